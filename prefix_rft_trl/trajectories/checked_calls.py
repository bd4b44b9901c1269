"""Check the tool calls of a dataset: against their tools, the chat template and, executed, their results."""

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

from prefix_rft_trl.data.check.checked_rows import CallCheck, CheckedRow
from prefix_rft_trl.data.check.findings import Finding
from prefix_rft_trl.method.trajectories import Trajectory

from .call_arguments import argument_faults, described, schemas_of_column
from .executed_calls import call_text, results_that_differ, tools_of_row
from .tool_arguments import RowTools
from .turn_encoder import TurnEncoder


class ToolCallCheck(CallCheck):
    """Looks at the tool calls of all demonstrations.

    Args:
        column (`str`): of the demonstrations.
        tools (`list[Callable]`): that all rows may call.
        environment_factory (*optional*): as [`~trl.GRPOTrainer`] takes it.
        prefix_unit (`str`): of the run.
        executes (`bool`): whether tools are executed, for results that differ.
    """

    def __init__(
        self,
        column: str,
        tools: list[Any],
        environment_factory: Any = None,
        prefix_unit: str = "token",
        executes: bool = False,
    ) -> None:
        self._column, self._tools, self._factory = column, tools, environment_factory
        given: Any = SimpleNamespace(arguments={"tools": tools, "environment_factory": environment_factory})
        self._row_tools = RowTools(given)
        self._is_in_turns, self._executes = prefix_unit == "turn", executes
        self._of_one_turn = self._of_several = 0
        self._has_column = False
        self.encoder: TurnEncoder | None = None

    @property
    def available(self) -> dict[str, bool]:
        has_tools = bool(self._tools or self._factory or self._has_column)
        return {
            "tools": has_tools,
            "parser of tool calls": self.encoder is None or self.encoder.has_parser,
            "--execute": self._executes,
            "prefix_unit: turn": self._is_in_turns,
        }

    @property
    def notes(self) -> list[str]:
        if not self._has_column:
            return []
        return [
            "The column 'tools' describes tools as SFT takes them, and calls were compared with it. GRPO does not "
            "read it: a run takes functions, as `tools` of the recipe or the trainer (--tools here)."
        ]

    def columns(self, names: list[str]) -> list[str]:
        if self._executes and self._factory is not None:
            return names  # an environment is reset with all of them
        return [name for name in ("tools", "environment") if name in names]

    def tools_of_row(self, row: dict[str, Any]) -> list[Any] | None:
        """Functions or schemas of a row, for the chat template; `None` if they are not known."""
        try:
            found = self._row_tools.of_row(row)
        except ValueError:  # an environment that is not there
            return None
        if found is not None or self._factory is not None:
            return found
        schemas = schemas_of_column(row.get("tools"))
        self._has_column |= schemas is not None
        return schemas

    def prepare_encoder(self, tokenizer: Any, stop_ids: list[int], template_kwargs: dict[str, Any]) -> dict[str, Any]:
        """Has turns encoded; returns the arguments of the chat template for prompts, with the tools of all rows."""
        self.encoder = TurnEncoder(tokenizer, stop_ids, self.tools_of_row, template_kwargs)
        tools = self.tools_of_row({}) if self._tools or self._factory else None
        return {**template_kwargs, "tools": tools} if tools else template_kwargs

    def read(self, row: CheckedRow) -> Iterator[Finding]:
        yield from self._single_turns(row)
        for name, trajectory in row.named_trajectories():
            where = f"column '{self._column}', {name}"
            yield from self._compare_with_tools(row, trajectory, where)
            yield from self._read_back(row, trajectory, where)
            if self._executes:
                yield from self._execute(row, trajectory, where)

    def why_unusable(self) -> Iterator[str]:
        if self.encoder is not None and self.encoder.fault:
            yield self.encoder.fault
        if self._is_in_turns and self._of_one_turn and not self._of_several:
            yield "all demonstrations have one turn, of which `prefix_unit: turn` gives no prefix"

    def _single_turns(self, row: CheckedRow) -> Iterator[Finding]:
        single = [name for name, _ in row.named_messages()]
        single += [name for name, trajectory in row.named_trajectories() if len(trajectory.turns) == 1]
        self._of_one_turn += len(single)
        self._of_several += len(row.demonstrations) - len(single)
        if self._is_in_turns:
            yield from (Finding("one_turn", row.number, f"column '{self._column}', {name}") for name in single)

    def _compare_with_tools(self, row: CheckedRow, trajectory: Trajectory, where: str) -> Iterator[Finding]:
        try:
            self._row_tools.of_row(row.value)
        except ValueError as error:
            yield Finding("tool_missing", row.number, str(error))
            return
        tools = self.tools_of_row(row.value)
        if tools is None:
            return
        descriptions = {description["name"]: description for description in map(described, tools)}
        for number, turn in enumerate(trajectory.turns):
            for call in turn.calls:
                function = call["function"]
                if function["name"] not in descriptions:
                    known = ", ".join(descriptions) or "none"
                    note = f"{where}, turn {number} calls '{function['name']}'; its tools are: {known}"
                    yield Finding("tool_missing", row.number, note)
                    continue
                for fault in argument_faults(function["arguments"], descriptions[function["name"]]):
                    yield Finding(
                        "arguments_misfit", row.number, f"{where}, turn {number}, {call_text(call)}: {fault}"
                    )

    def _read_back(self, row: CheckedRow, trajectory: Trajectory, where: str) -> Iterator[Finding]:
        if self.encoder is None or row.prompt is None:
            return
        try:
            encoded = self.encoder.encode(row.prompt, trajectory, row.value)
        except ValueError:  # which is found where lengths are measured
            return
        for number, (tokens, turn) in enumerate(zip(encoded, trajectory.turns, strict=True)):
            if not tokens.is_read:
                calls = ", ".join(map(call_text, turn.calls))
                yield Finding("call_unread", row.number, f"{where}, turn {number}: {calls}")

    def _execute(self, row: CheckedRow, trajectory: Trajectory, where: str) -> Iterator[Finding]:
        try:
            tools = tools_of_row(self._tools, self._factory, row.value)
        except (Exception, SystemExit) as error:
            note = f"{where}: the environment cannot be made and reset: {type(error).__name__}: {error}"
            yield Finding("result_differs", row.number, note)
            return
        for difference in results_that_differ(trajectory, tools):
            yield Finding("result_differs", row.number, f"{where}, {difference}")
