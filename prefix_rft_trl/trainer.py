"""GRPOTrainer with hybrid rollouts: runs each part of Prefix-RFT at its place in TRL's training step.

A demonstration is read (`method.demonstrations`), assigned to a rollout and cut (`rollouts`, `method.prefixes`),
continued by the policy (`sampling`), scored by the reward functions, given an advantage (`method.advantages`), and
turned into a loss (`loss`, `method.token_weights`). This file says when, those modules say how.
"""

from functools import partial
from typing import Any

import torch
from datasets import Dataset, IterableDataset
from transformers import PreTrainedModel
from trl import GRPOConfig, GRPOTrainer
from trl.trainer.utils import get_config_model_id

from . import PAPER
from .checks import check_arguments
from .config import PrefixGRPOConfig
from .demonstration_rows.joined_demonstrations import JoinedDemonstrations
from .loss.gated_groups import GatedGroups
from .loss.hinted_prompts import HintedPrompts
from .loss.weighted_prefixes import WeightedPrefixes
from .method.demonstrations import Message, demonstration_ids
from .method.hints import as_hint, hint_source_ids
from .method.prefixes import NO_PREFIX, Assignment, Prefix
from .method.replay import OwnSuccess
from .method.trajectories import Trajectory
from .metrics import completion_columns, rollout_metrics, rollout_rows
from .models.processors import text_side
from .passes.gradient_norms import GradientNorms
from .rollouts import RolloutBatch, cut_prefix, cut_success, plan_batch
from .run.completions import CompletionsPrinter
from .run.finite import FiniteRewards
from .run.model_card import DescribedRun
from .run.printed_log import print_figures
from .run.replaying import ReplaysSuccesses
from .run.success_history import SuccessHistory
from .sampling.adapter_sync import keep_base_weights
from .sampling.carried_images import CarriedImages
from .sampling.generate import encode_prompts
from .sampling.hybrid import sample_continuations
from .sampling.prompt_images import PromptImages
from .sampling.rollout_function import PrefixedRollouts, takes_prefixes
from .sampling.server_key import key_sent_to_server
from .sampling.vllm_server import fail_together
from .stages.staged_generation import StagedGeneration
from .trajectories.served_turns import ServedTurns


class PrefixGRPOTrainer(
    DescribedRun,
    ReplaysSuccesses,
    GradientNorms,
    WeightedPrefixes,
    GatedGroups,
    HintedPrompts,
    JoinedDemonstrations,
    FiniteRewards,
    StagedGeneration,
    ServedTurns,
    CarriedImages,
):
    """
    Trainer for Prefix-RFT (Huang et al., 2025, https://huggingface.co/papers/2507.01679).

    Some of the rollouts of a prompt start with a prefix of a demonstration, which the policy continues. They enter the
    group like the others; their prefix tokens are trained as off-policy targets, only where the policy is uncertain.

    It takes the arguments of [`~trl.GRPOTrainer`]. Given a [`~trl.GRPOConfig`] it is that trainer, bit for bit, as
    long as rewards are finite, and with `num_prefix_generations=0` to rounding (`passes.lean_passes`); an adapter's
    base is kept (`sampling.adapter_sync`).

    Example:

    ```python
    from prefix_rft_trl import PrefixGRPOConfig, PrefixGRPOTrainer, lab

    trainer = PrefixGRPOTrainer(
        model=lab.base_model_path(),
        reward_funcs=lab.exact_answer_reward,
        args=PrefixGRPOConfig("lab-prefix-rft", max_completion_length=56, use_cpu=True, bf16=False),
        train_dataset=lab.load_dataset("train"),
    )
    trainer.train()
    ```

    Args:
        model, reward_funcs, args, train_dataset, *others, **named:
            As for [`~trl.GRPOTrainer`]. `args` defaults to a [`PrefixGRPOConfig`]. `train_dataset` has a column with
            demonstrations, `args.demonstration_column`, besides what the reward functions need. Evaluation never
            starts from a prefix.
        demonstration_dataset (`Dataset`, *optional*):
            Demonstrations of other problems, in the same columns, of which each step trains
            `per_device_demonstration_batch_size` beside each micro-batch of rollouts (CHORD).

    Raises:
        ValueError: before a model is loaded, if the dataset has no usable demonstration, a row that cannot be trained
            on, or too few rows for a step, or if an argument cannot be combined with hybrid rollouts.

    Attributes:
        rollout_batch (`RolloutBatch`): assignments, prefixes and rewards of the current generation batch.
    """

    _tag_names = ["trl", "grpo", "prefix-rft"]
    _name = "Prefix-RFT"
    _paper = PAPER
    rollout_function_runs = False

    def __init__(
        self,
        model: str | PreTrainedModel,
        reward_funcs: Any = None,
        args: GRPOConfig | None = None,
        train_dataset: Dataset | IterableDataset | None = None,
        *others: Any,
        demonstration_dataset: Dataset | None = None,
        **named: Any,
    ):
        if args is None:
            name = model if isinstance(model, str) else get_config_model_id(model.config)
            args = PrefixGRPOConfig(f"{name.split('/')[-1]}-Prefix-RFT")
        self.extends_grpo = getattr(args, "extends_grpo", False)
        self.rollout_batch = RolloutBatch.on_policy(0)
        if not self.extends_grpo:
            self._tag_names, self._name, self._paper = GRPOTrainer._tag_names, GRPOTrainer._name, GRPOTrainer._paper
        rows = train_dataset, *others
        given = check_arguments(model, reward_funcs, args, *rows, demonstration_dataset=demonstration_dataset, **named)
        if takes_prefixes(given.arguments.get("rollout_func")):
            given.arguments["rollout_func"] = PrefixedRollouts(given.arguments["rollout_func"])
        with key_sent_to_server(args):
            super().__init__(*given.args, **given.kwargs)
        self.use_demonstrations(demonstration_dataset)
        print_figures(self)
        keep_base_weights(self.vllm_generation if self.use_vllm else None)
        if self.extends_grpo:
            self.add_callback(SuccessHistory())
            if self.log_completions:
                self.add_callback(CompletionsPrinter(self))

    def _set_signature_columns_if_needed(self) -> None:
        super()._set_signature_columns_if_needed()
        own = [self.args.demonstration_column, self.args.answer_column] if self.extends_grpo else []
        self._signature_columns += [name for name in own if name and name not in self._signature_columns]

    # Group: which rollouts are hybrid, and from which demonstration

    def _generate_and_score_completions(self, inputs: list[dict[str, Any]]) -> dict[str, Any]:
        if not (self.extends_grpo and self.model.training):
            self.rollout_batch = RolloutBatch.on_policy(len(inputs))
            return super()._generate_and_score_completions(inputs)
        self.rollout_batch = plan_batch(
            inputs, self.args, self._success_history, self.state, self.accelerator, self.rollout_batch, self.replay
        )
        return super()._generate_and_score_completions(inputs)

    @property
    def _success_history(self) -> SuccessHistory:  # looked up, since a resume may replace it
        return next(callback for callback in self.callback_handler.callbacks if isinstance(callback, SuccessHistory))

    # Length: each demonstration is encoded after its prompt and cut to its prefix, which may go into the prompt

    def _tokenize_prompts(self, prompts: list[Any]) -> tuple[list[list[int]], Any, dict[str, Any]]:
        tokenized = super()._tokenize_prompts(prompts)
        if self.rollout_function_runs:
            return tokenized
        rows = zip(
            prompts, tokenized[0], range(len(prompts)), self.rollout_batch.assignments, strict=self.extends_grpo
        )
        self.rollout_batch.prefixes = prefixes = [self._encode_prefix(*row) for row in rows]
        if not any(prefix.hint for prefix in prefixes):
            return tokenized
        return super()._tokenize_prompts(self.rollout_batch.sampled_prompts(prompts))

    def _encode_prefix(self, prompt: Any, prompt_ids: list[int], row: int, assignment: Assignment) -> Prefix:
        if assignment.demonstration is None:
            return NO_PREFIX
        if isinstance(assignment.demonstration, OwnSuccess):
            return cut_success(assignment.demonstration, assignment, self.args, self._tokenizer.decode)
        if isinstance(assignment.demonstration, Trajectory):
            return self._encode_trajectory(prompt, row, assignment)
        if self.args.prefix_unit == "turn" and not assignment.is_whole:
            return NO_PREFIX  # of one turn
        ids = self.demonstration_ids(prompt, prompt_ids, assignment.demonstration, self._tools_of_row(row))
        prefix = cut_prefix(ids, assignment, self.args, self._tokenizer.eos_token_id, self._tokenizer.decode)
        if self.args.prefix_placement == "completion":
            return prefix
        decode = partial(self._tokenizer.decode, skip_special_tokens=True)
        return as_hint(prefix, prompt, prompt_ids, self.args.prefix_hint_template, decode)

    def demonstration_ids(
        self, prompt: Any, prompt_ids: list[int], message: Message, tools: list[Any] | None = None
    ) -> list[int]:
        """Token ids of a demonstration as the continuation of a prompt, in the chat template of this run, or as the
        text that hints are cut from."""
        if self.args.prefix_placement == "prompt":
            return hint_source_ids(self._tokenizer, message, self.eos_token_ids)
        tokenizer = self._tokenizer
        template_kwargs = {"chat_template": self.chat_template, **self.chat_template_kwargs}
        if tools:
            template_kwargs["tools"] = tools
        if self._is_vlm and not isinstance(prompt, str):  # its ids have the tokens of images, which no text gives
            tokenizer = text_side(self.processing_class)
            (prompt_ids,) = encode_prompts(tokenizer, [prompt], template_kwargs)
        return demonstration_ids(
            tokenizer, prompt, prompt_ids, message, stop_ids=self.eos_token_ids, **template_kwargs
        )

    # Sampling: the policy continues each prefix

    def _generate_single_turn(
        self, prompt_ids, images, multimodal_fields, num_generations, has_tool_images=False
    ) -> tuple[list[list[int]], list[list[float]] | None]:
        generate, rounds = super()._generate_single_turn, self._tool_rounds
        if self.rollout_function_runs or not self.extends_grpo:
            with fail_together(self.vllm_generation if self.use_vllm else None):
                return generate(prompt_ids, images, multimodal_fields, num_generations, has_tool_images)

        def process(rows: list[int]) -> dict[str, Any]:
            if has_tool_images:
                return self._fields_of_images([images[row] for row in rows])
            return self._fields_of_rows([rounds.requested[row] for row in rows] if rounds else rows)

        def sample(rows: list[int], prompts: list[list[int]], generations: int):
            of_rows = PromptImages(images, multimodal_fields, process).of_rows(rows, prompts, len(prompt_ids))
            return generate(prompts, *of_rows, generations, has_tool_images)

        if rounds is not None:
            return self._serve_or_sample(sample, prompt_ids)
        batch = self.rollout_batch
        given = batch.first_ids, num_generations, batch.complete, batch.padding
        return self._count_decoded(sample_continuations(self, sample, prompt_ids, *given), batch.first_ids)

    # Advantage: one for the prefix and one for the continuation, from the rewards of all processes

    def _calculate_rewards(self, inputs, prompts, completions, completion_ids_list) -> torch.Tensor:
        if self.extends_grpo:
            self.rollout_batch.check_completions(completion_ids_list)
        rewards_per_func = super()._calculate_rewards(inputs, prompts, completions, completion_ids_list)
        if self.extends_grpo:
            batch, device = self.rollout_batch, self.accelerator.device
            prefix_texts = self._tokenizer.batch_decode(batch.given_ids, skip_special_tokens=True)
            shown = self._tokenizer.batch_decode(batch.last_message_ids(completions), skip_special_tokens=True)
            for name, values in completion_columns(batch, completions, shown).items():
                self._log_completion_extra(name, values)
            if self.model.training:
                answers = [example.get(self.args.answer_column) for example in inputs]
                rows = rollout_rows(batch, prefix_texts, answers, completion_ids_list).to(device)
                self._append_metrics(rollout_metrics(batch, self.accelerator.gather(rows)))
            if self.model.training and self.args.needs_success_history:
                settings = self.num_generations, self.args.prefix_success_reward, self.accelerator
                asked = [example["prompt"] for example in inputs]  # an environment adds to the prompts of a batch
                self._success_history.remember_rollouts(asked, batch.given_ids, batch.rewards, *settings)
        return rewards_per_func
