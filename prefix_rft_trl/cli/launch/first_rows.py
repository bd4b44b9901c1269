"""The first rows of a training, in token ids as its model will see them."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from itertools import islice
from types import SimpleNamespace
from typing import Any

from datasets import Dataset
from trl.trainer.utils import RepeatSampler

from prefix_rft_trl.checks import load_processing_class
from prefix_rft_trl.data.row_encoder import RowEncoder
from prefix_rft_trl.method.prefixes import Assignment
from prefix_rft_trl.method.trajectories import Trajectory
from prefix_rft_trl.models.sources import load_tokenizer
from prefix_rft_trl.rollouts import cut_prefix, longest_prefix, plan_rollouts, read_demonstrations, scheduled_bounds
from prefix_rft_trl.run.success_history import SuccessHistory
from prefix_rft_trl.sampling.generate import declared_stop_ids
from prefix_rft_trl.trajectories.tool_arguments import RowTools
from prefix_rft_trl.trajectories.trajectory_cuts import cut_trajectory
from prefix_rft_trl.trajectories.turn_encoder import TurnEncoder


SAMPLE = 64  # rows whose length is taken for that of all


@dataclass(frozen=True)
class SplicedRow:
    """A prompt, the prefix that is given to the model, and the rest of its demonstration, in token ids.

    A prompt of plain GRPO has neither prefix nor rest; a demonstration of SFT is given as a whole. With a hint the
    prefix is in the prompt. Results of tools are those of the demonstration.
    """

    prompt: list[int]
    prefix: list[int]
    rest: list[int]
    has_hint: bool = False


@dataclass(frozen=True)
class SampledLengths:
    """Tokens of a sample of rows, by row: their prompts, with the longest hint, and their first demonstrations."""

    prompts: list[int]
    demonstrations: list[int]


class FirstRows:
    """
    Args:
        arguments (`dict`): of the trainer; of its `model`, config and tokenizer are read.
        steps (`int`): of the training.
    """

    def __init__(self, arguments: dict[str, Any], steps: int) -> None:
        args, model = arguments["args"], arguments["model"]
        processor = load_processing_class(model, args) or load_tokenizer(model)
        self.tokenizer = getattr(processor, "tokenizer", processor)
        self._dataset, self._args, self._steps = arguments["train_dataset"], args, steps
        self._has_hints = getattr(args, "prefix_placement", "completion") == "prompt"
        given: Any = SimpleNamespace(arguments=arguments)
        self._tools_of_row = RowTools(given).of_row
        self._stop_ids = declared_stop_ids(model, self.tokenizer)
        self._template_kwargs = getattr(args, "chat_template_kwargs", None) or {}
        self._turns = TurnEncoder(self.tokenizer, self._stop_ids, self._tools_of_row, self._template_kwargs)
        self._encoders: dict[Any, RowEncoder] = {}  # by the environment, which brings tools
        self._samples = hasattr(args, "num_generations")
        self._column = args.needed_demonstration_column if self._samples else "completion"

    @property
    def prompt(self) -> list[int]:
        """That of the first rollout."""
        return self._prompt_ids(next(self._first_step()))

    @property
    def spliced(self) -> SplicedRow | None:
        """The first hybrid rollout of the first step, of SFT the first demonstration; `None` if there is none."""
        for place, row in enumerate(self._first_step() if self._column else ()):
            assignment = self._assignment(place, row)
            if not isinstance(assignment.demonstration, dict | Trajectory):
                continue
            drawn, rest = self._cut(row, assignment)
            given = self._encoder(row).hinted(row["prompt"], drawn) if self._has_hints else self._prompt_ids(row)
            if drawn:
                return SplicedRow(given, drawn, rest, self._has_hints)
        return None

    def _cut(self, row: dict[str, Any], assignment: Assignment) -> tuple[list[int], list[int]]:
        """What is given of a demonstration, and its rest."""
        if not self._samples:
            return self._demonstration(row, assignment.demonstration), []
        if isinstance(assignment.demonstration, Trajectory):
            return self._cut_turns(row, assignment.demonstration, assignment)
        ids, end = self._demonstration(row, assignment.demonstration), self.tokenizer.eos_token_id
        drawn = cut_prefix(ids, assignment, self._args, end, self.tokenizer.decode).ids
        return drawn, ids[len(drawn) :]

    def _cut_turns(
        self, row: dict[str, Any], trajectory: Trajectory, assignment: Assignment
    ) -> tuple[list[int], list[int]]:
        ids, turns = self._demonstration(row, trajectory), self._turns.encode(row["prompt"], trajectory, row)
        results = [turn.result_texts for turn in trajectory.turns]
        pieces = cut_trajectory(turns, results, assignment, self._args, self.tokenizer).pieces
        if not pieces:
            return [], ids
        starts = [*(turn.start for turn in turns), len(ids)]
        last = len(pieces) - 1
        end = starts[last + 1] if pieces[last].is_complete else starts[last] + len(pieces[last].ids)
        return ids[:end], ids[end:]

    @property
    def lengths(self) -> SampledLengths:
        rows = list(self._sampled())
        found = [(row, self._parsed(row)) for row in rows if self._column]
        return SampledLengths(
            [len(self._longest_prompt(row)) for row in rows],
            [len(self._demonstration(row, messages[0])) for row, messages in found if messages],
        )

    def _first_step(self) -> Iterator[dict[str, Any]]:
        """One row for each group of the first generation batch, as GRPO's sampler draws them."""
        if not self._samples:
            return iter(self._dataset.take(1))
        groups = self._args.generation_batch_size // self._args.num_generations
        if not isinstance(self._dataset, Dataset):
            return iter(self._dataset.take(groups))
        order = RepeatSampler(
            self._dataset, 1, batch_size=groups, shuffle=self._args.shuffle_dataset, seed=self._args.seed
        )
        return (self._dataset[place] for place in islice(order, groups))

    def _assignment(self, place: int, row: dict[str, Any]) -> Assignment:
        """What the first rollout of a group is drawn in the first step."""
        if not self._samples:
            return Assignment(True, next(iter(self._parsed(row)), None))
        bounds = scheduled_bounds(self._args, 0, self._steps)
        first_row = place * self._args.num_generations
        return plan_rollouts([row], self._args, SuccessHistory(), 0, bounds, first_row, rows_before=0)[0]

    def _longest_prompt(self, row: dict[str, Any]) -> list[int]:
        messages = self._parsed(row) if self._has_hints else []
        if not messages:
            return self._prompt_ids(row)
        return self._encoder(row).longest_hinted(row["prompt"], messages[0], None)

    def _parsed(self, row: dict[str, Any]) -> list[Any]:
        return read_demonstrations(row.get(str(self._column)))

    def _demonstration(self, row: dict[str, Any], demonstration: Any) -> list[int]:
        if isinstance(demonstration, Trajectory):
            return self._turns.whole(row["prompt"], demonstration, row)
        return self._encoder(row).demonstration(row["prompt"], demonstration)[0]

    def _prompt_ids(self, row: dict[str, Any]) -> list[int]:
        return self._encoder(row).prompt_ids(row["prompt"])

    def _encoder(self, row: dict[str, Any]) -> RowEncoder:
        """That of a row's tools, which stand in its prompt."""
        environment = row.get("environment")
        if environment not in self._encoders:
            tools = self._tools_of_row(row)
            self._encoders[environment] = RowEncoder(
                self.tokenizer,
                self._stop_ids,
                self._template_kwargs | ({"tools": tools} if tools else {}),
                partial(longest_prefix, self._args, self.tokenizer.eos_token_id, self.tokenizer.decode),
                self._args.prefix_hint_template if self._has_hints else None,
            )
        return self._encoders[environment]

    def _sampled(self) -> Iterator[dict[str, Any]]:
        if not isinstance(self._dataset, Dataset):
            return iter(self._dataset.take(SAMPLE))
        step = -(-len(self._dataset) // SAMPLE) or 1
        return iter(self._dataset.select(range(0, len(self._dataset), step)))
