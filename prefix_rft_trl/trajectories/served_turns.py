"""TRL's tool loop with turns of demonstrations: served where a rollout's prefix has one, sampled elsewhere."""

from collections.abc import Callable
from typing import Any

import torch
from trl import GRPOTrainer

from prefix_rft_trl.config import PrefixGRPOConfig
from prefix_rft_trl.method.demonstrations import Message
from prefix_rft_trl.method.prefixes import Assignment, Prefix
from prefix_rft_trl.method.trajectories import Trajectory
from prefix_rft_trl.rollouts import RolloutBatch, cut_trajectory
from prefix_rft_trl.sampling.hybrid import Sampled, sample_continuations
from prefix_rft_trl.utils.patching import replaced

from .encoding import encode_turns, render_with
from .tool_rounds import ReplayedTools, ToolRounds


class ServedTurns(GRPOTrainer):
    """Mixin for a [`~trl.GRPOTrainer`] with a `rollout_batch`: serves the turns of trajectories in its tool loop.

    Every process asks its engine as often as the one whose rows call tools longest.
    """

    args: PrefixGRPOConfig
    rollout_batch: RolloutBatch
    extends_grpo: bool
    _tool_rounds: ToolRounds | None = None

    def _encode_trajectory(self, prompt: list[Message], row: int, assignment: Assignment) -> Prefix:
        assert isinstance(assignment.demonstration, Trajectory)
        if self.environment_factories is not None:
            tools = self._env_tools[self._batch_environments[row]]
        else:
            tools = self.tools
        render = render_with(self._tokenizer, tools, chat_template=self.chat_template, **self.chat_template_kwargs)
        turns = encode_turns(render, prompt, assignment.demonstration, self.eos_token_ids)
        results = [turn.result_texts for turn in assignment.demonstration.turns]
        return cut_trajectory(turns, results, assignment, self.args, self._tokenizer)

    def _tool_call_loop(self, prompts, prompt_ids, completion_ids, completions, *others: Any) -> tuple:
        batch = self.rollout_batch
        if not self.extends_grpo:
            return super()._tool_call_loop(prompts, prompt_ids, completion_ids, completions, *others)
        prefixes, lengths = batch.prefixes, [len(ids) for ids in prompt_ids]
        stops = self.args.prefix_tool_results == "on_policy"
        self._tool_rounds = rounds = ToolRounds(lengths, completions, list(prefixes), stops)
        sync_tools = list(self._sync_tool_dicts)
        if self.args.prefix_tool_results == "demonstration":
            for row, prefix in enumerate(prefixes):
                replayed = [text for piece in prefix.pieces if piece.is_complete for text in piece.results]
                if replayed:
                    sync_tools[row] = ReplayedTools(sync_tools[row], replayed)
        try:
            with replaced(self, "_sync_tool_dicts", sync_tools):
                found = super()._tool_call_loop(prompts, prompt_ids, completion_ids, completions, *others)
                self._wait_for_other_processes(prompt_ids)
        finally:
            self._tool_rounds = None
        batch.prefixes = [prefix.served(ids) for prefix, ids in zip(rounds.prefixes, found[2], strict=True)]
        if not self.model.training:
            return found
        counts = torch.tensor([rounds.results, rounds.results_that_differ], device=self.accelerator.device)
        served, differ = self.accelerator.reduce(counts, reduction="sum").tolist()
        self._metrics["train"]["prefix/tool_results"].append(float(served))
        self._metrics["train"]["prefix/tool_results_differ"].append(float(differ))
        return found

    def _serve_or_sample(
        self, sample: Callable[[list[int], list[list[int]], int], Sampled], request: list[list[int]]
    ) -> Sampled:
        """The next turn of each row that TRL's tool loop asks for."""
        rounds = self._tool_rounds
        assert rounds is not None
        rows = rounds.rows(len(request))
        found = [rounds.next_piece(row, len(ids)) for row, ids in zip(rows, request, strict=True)]
        pieces = [piece.ids if piece else [] for piece in found]
        complete = [piece is not None and piece.is_complete for piece in found]
        used = [len(ids) - rounds.prompt_lengths[row] for row, ids in zip(rows, request, strict=True)]
        self._processes_left(active=True)
        return sample_continuations(self, sample, request, pieces, 1, complete, used=used)

    def _wait_for_other_processes(self, prompt_ids: list[list[int]]) -> None:
        """Takes part in the calls of engines until no process has a row left in its tool loop."""
        if self.accelerator.num_processes == 1:
            return
        while self._processes_left(active=False):
            sample_continuations(self, self._idle_sample, [prompt_ids[0]], [[]], 1, [True])

    def _idle_sample(self, rows: list[int], prompts: list[list[int]], generations: int) -> Sampled:
        return super()._generate_single_turn(prompts, None, {}, generations)

    def _processes_left(self, active: bool) -> bool:
        """Whether a process has rows left in its tool loop; every process calls it."""
        if self.accelerator.num_processes == 1:
            return active
        flag = torch.tensor([active], device=self.accelerator.device)
        return bool(self.accelerator.gather(flag).any())
