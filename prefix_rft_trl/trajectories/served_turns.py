"""TRL's tool loop with turns of demonstrations: served where a rollout's prefix has one, sampled elsewhere."""

from collections.abc import Callable
from typing import Any

import torch
from accelerate.logging import get_logger
from trl import GRPOTrainer

from prefix_rft_trl.config import PrefixGRPOConfig
from prefix_rft_trl.method.demonstrations import Message
from prefix_rft_trl.method.prefixes import NO_PREFIX, Assignment, Prefix
from prefix_rft_trl.method.trajectories import Trajectory, TurnTokens, ids_with_results
from prefix_rft_trl.models.processors import text_side
from prefix_rft_trl.rollouts import RolloutBatch
from prefix_rft_trl.sampling.hybrid import Sampled, sample_continuations
from prefix_rft_trl.utils.patching import replaced

from .encoding import Render, encode_turns, read_calls_with
from .recent_turns import RecentTurns
from .replayed_tools import ReplayedTools
from .tool_rounds import ToolRounds
from .trajectory_cuts import cut_trajectory


logger = get_logger(__name__)


class ServedTurns(GRPOTrainer):
    """Mixin for a [`~trl.GRPOTrainer`] with a `rollout_batch`: serves the turns of trajectories in its tool loop.

    Every process asks its engine as often as the one whose rows call tools longest.
    """

    args: PrefixGRPOConfig
    rollout_batch: RolloutBatch
    extends_grpo: bool
    _tool_rounds: ToolRounds | None = None
    _decoded_tokens = 0  # of this process, in the current generation batch
    _unread_turns = 0  # the same, of the demonstrations that were drawn
    _has_warned_of_unread = False
    _recent_turns: RecentTurns | None = None

    def _tools_of_row(self, row: int) -> list[Any]:
        if self.environment_factories is None:
            return self.tools
        return self._env_tools[self._batch_environments[row]]

    def _encode_trajectory(self, prompt: list[Message], row: int, assignment: Assignment) -> Prefix:
        trajectory = assignment.demonstration
        assert isinstance(trajectory, Trajectory)
        try:
            turns = self._encode_turns(prompt, row, trajectory)
        except ValueError as error:  # of a row that was not encoded before training
            self._count_unread(len(trajectory.turns), f"{error} Its rollouts begin on-policy")
            return NO_PREFIX
        if unread := [turn for tokens, turn in zip(turns, trajectory.turns, strict=True) if not tokens.is_read]:
            found = f"The tool calls of the turn {unread[0].message!r:.120} are read otherwise from what the chat "
            self._count_unread(len(unread), found + "template makes of them. Prefixes end before them")
        results = [turn.result_texts for turn in trajectory.turns]
        return cut_trajectory(turns, results, assignment, self.args, self._tokenizer)

    def _count_unread(self, turns: int, reason: str) -> None:
        if not self._has_warned_of_unread:
            self._has_warned_of_unread = True
            hint = "`prefix-rft data check --tokenizer` finds all such rows."
            logger.warning(f"{reason} (`prefix/turns_not_read`). {hint}", main_process_only=False)
        self._unread_turns += turns

    def _encode_turns(self, prompt: list[Message], row: int, trajectory: Trajectory) -> list[TurnTokens]:
        if self._recent_turns is None:
            self._recent_turns = RecentTurns()
        environment = None if self.environment_factories is None else self._batch_environments[row]
        tools = self._tools_of_row(row)

        def encode() -> list[TurnTokens]:
            template = {"chat_template": self.chat_template, **self.chat_template_kwargs}
            render = Render(text_side(self.processing_class), tools, template)
            read_calls = read_calls_with(self._tokenizer, tools) if tools else None  # a `rollout_func` reads them
            ends = self._tokenizer.eos_token_id, self.eos_token_ids
            return encode_turns(render, read_calls, prompt, trajectory, *ends)

        return self._recent_turns.get(prompt, trajectory, environment, encode)

    def trajectory_ids(
        self, prompt: list[Message], row: int, trajectory: Trajectory
    ) -> tuple[list[int], tuple[tuple[int, int], ...]]:
        """Token ids of a demonstration with its own results of tools, and where its turns stand, from and up to."""
        turns = self._encode_turns(prompt, row, trajectory)
        return ids_with_results(turns), tuple((turn.start, turn.start + len(turn.ids)) for turn in turns)

    def _generate(self, prompts: list[Any]) -> tuple:
        self._decoded_tokens = self._unread_turns = 0
        found = super()._generate(prompts)
        if self.extends_grpo and self.tools and self.model.training:
            decoded = torch.tensor(self._decoded_tokens, device=self.accelerator.device)
            total = self.accelerator.reduce(decoded, reduction="sum")
            self._metrics["train"]["sampling/decoded_tokens"].append(float(total))
        return found

    def _tool_call_loop(self, prompts, prompt_ids, completion_ids, completions, *others: Any) -> tuple:
        if not self.extends_grpo:
            return super()._tool_call_loop(prompts, prompt_ids, completion_ids, completions, *others)
        batch, replays = self.rollout_batch, self.args.prefix_tool_results == "demonstration"
        self._tool_rounds = rounds = ToolRounds(
            [len(ids) for ids in prompt_ids],
            completions,
            list(batch.prefixes),
            stops_where_results_differ=self.args.prefix_tool_results == "on_policy",
        )
        rows = zip(self._sync_tool_dicts, batch.prefixes, strict=True)
        tools = [ReplayedTools(found, prefix.served_results) if replays else found for found, prefix in rows]
        try:
            with replaced(self, "_sync_tool_dicts", tools):
                found = super()._tool_call_loop(prompts, prompt_ids, completion_ids, completions, *others)
                self._wait_for_other_processes()
        finally:
            self._tool_rounds = None
        batch.prefixes = [prefix.served(len(ids)) for prefix, ids in zip(rounds.prefixes, found[2], strict=True)]
        batch.tool_tokens = [mask.count(0) for mask in found[0]]
        if self.model.training:
            self._log_tool_results(rounds)
        return found

    def _log_tool_results(self, rounds: ToolRounds) -> None:
        served = self.rollout_batch.prefixes
        missing = sum(len(prefix.pieces) - len(prefix.spans) for prefix in served)
        counts = {
            "tool_results": rounds.results,
            "tool_results_differ": rounds.results_that_differ,
            "turns_not_served": missing,
            "turns_not_read": self._unread_turns,
        }
        own = torch.tensor(list(counts.values()), device=self.accelerator.device)
        for name, value in zip(counts, self.accelerator.reduce(own, reduction="sum").tolist(), strict=True):
            self._metrics["train"][f"prefix/{name}"].append(float(value))

    def _serve_or_sample(
        self, sample: Callable[[list[int], list[list[int]], int], Sampled], request: list[list[int]]
    ) -> Sampled:
        """The next turn of each row that TRL's tool loop asks for."""
        rounds = self._tool_rounds
        assert rounds is not None
        rows = rounds.rows(len(request))
        found = [rounds.next_piece(row, len(ids)) for row, ids in zip(rows, request, strict=True)]
        pieces = [piece.ids if piece else [] for piece in found]
        used = [len(ids) - rounds.prompt_lengths[row] for row, ids in zip(rows, request, strict=True)]
        complete = [
            (piece is not None and piece.is_complete) or before + len(ids) >= self.max_completion_length
            for piece, ids, before in zip(found, pieces, used, strict=True)
        ]
        self._processes_left(active=True)
        return self._count_decoded(sample_continuations(self, sample, request, pieces, 1, complete, used=used), pieces)

    def _count_decoded(self, sampled: Sampled, prefixes: list[list[int]]) -> Sampled:
        self._decoded_tokens += sum(map(len, sampled[0])) - sum(map(len, prefixes))
        return sampled

    def _wait_for_other_processes(self) -> None:
        """Takes part in the calls of engines until no process has a row left in its tool loop."""
        if self.accelerator.num_processes == 1:
            return
        filler = [self._tokenizer.eos_token_id]  # a row's prompt may have image tokens, which need their images
        while self._processes_left(active=False):
            sample_continuations(self, self._idle_sample, [filler], [[]], 1, [True])

    def _idle_sample(self, rows: list[int], prompts: list[list[int]], generations: int) -> Sampled:
        return super()._generate_single_turn(prompts, None, {}, generations)

    def _processes_left(self, active: bool) -> bool:
        """Whether a process has rows left in its tool loop; every process calls it."""
        if self.accelerator.num_processes == 1:
            return active
        flag = torch.tensor([active], device=self.accelerator.device)
        return bool(self.accelerator.gather(flag).any())
