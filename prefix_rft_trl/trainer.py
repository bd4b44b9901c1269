"""GRPOTrainer with hybrid rollouts: runs each part of Prefix-RFT at its place in TRL's training step.

A demonstration is read (`method.demonstrations`), assigned to a rollout and cut (`rollouts`, `method.prefixes`),
continued by the policy (`sampling`), scored by the reward functions, given an advantage (`method.advantages`), and
turned into a loss (`method.token_weights`). This file says when, those modules say how.
"""

from typing import Any

import torch
from datasets import Dataset, IterableDataset
from transformers import PreTrainedModel
from trl import GRPOConfig, GRPOTrainer
from trl.trainer.utils import get_config_model_id

from . import PAPER
from .checks import check_arguments, warn_of_another_loss
from .config import PrefixGRPOConfig
from .method.advantages import on_policy_baseline_advantages, total_rewards
from .method.demonstrations import Message, demonstration_ids
from .method.prefixes import NO_PREFIX, Assignment, Prefix, token_noise
from .method.token_weights import prefix_token_mask
from .metrics import TokenSums, completion_columns, ratio, rollout_metrics, rollout_rows
from .passes.lean_passes import LeanPasses
from .rollouts import RolloutBatch, cut_prefix, plan_batch
from .run.completions import CompletionsPrinter
from .run.exact_resume import ExactResume
from .run.finite import FiniteRewards
from .run.model_card import DescribedRun
from .run.printed_log import print_figures
from .run.success_history import SuccessHistory
from .sampling.adapter_sync import keep_base_weights
from .sampling.hybrid import sample_continuations
from .sampling.server_key import key_sent_to_server
from .sampling.vllm_server import fail_together
from .stages.staged_generation import StagedGeneration
from .utils.patching import replaced


class PrefixGRPOTrainer(DescribedRun, ExactResume, FiniteRewards, LeanPasses, StagedGeneration):
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

    Raises:
        ValueError: before a model is loaded, if the dataset has no usable demonstration, a row that cannot be trained
            on, or too few rows for a step, or if an argument cannot be combined with hybrid rollouts.

    Attributes:
        rollout_batch (`RolloutBatch`): assignments, prefixes and rewards of the current generation batch.
    """

    _tag_names = ["trl", "grpo", "prefix-rft"]
    _name = "Prefix-RFT"
    _paper = PAPER
    _has_weighted_prefixes = False

    def __init__(
        self,
        model: str | PreTrainedModel,
        reward_funcs: Any = None,
        args: GRPOConfig | None = None,
        train_dataset: Dataset | IterableDataset | None = None,
        *others: Any,
        **named: Any,
    ):
        if args is None:
            name = model if isinstance(model, str) else get_config_model_id(model.config)
            args = PrefixGRPOConfig(f"{name.split('/')[-1]}-Prefix-RFT")
        self.num_prefix_generations = getattr(args, "num_prefix_generations", 0)
        self.rollout_batch, self._token_sums = RolloutBatch.on_policy(0), TokenSums()
        if not self.num_prefix_generations:
            self._tag_names, self._name, self._paper = GRPOTrainer._tag_names, GRPOTrainer._name, GRPOTrainer._paper
        given = check_arguments(model, reward_funcs, args, train_dataset, *others, **named)
        with key_sent_to_server(args):
            super().__init__(*given.args, **given.kwargs)
        print_figures(self)
        keep_base_weights(self.vllm_generation if self.use_vllm else None)
        if self.num_prefix_generations:
            self.add_callback(SuccessHistory())
            if self.log_completions:
                self.add_callback(CompletionsPrinter(self))

    def _set_signature_columns_if_needed(self) -> None:
        super()._set_signature_columns_if_needed()
        own = [self.args.demonstration_column, self.args.answer_column] if self.num_prefix_generations else []
        self._signature_columns += [name for name in own if name and name not in self._signature_columns]

    # Group: which rollouts are hybrid, and from which demonstration

    def _generate_and_score_completions(self, inputs: list[dict[str, Any]]) -> dict[str, Any]:
        if not (self.num_prefix_generations and self.model.training):
            self.rollout_batch = RolloutBatch.on_policy(len(inputs))
            return super()._generate_and_score_completions(inputs)
        self.rollout_batch = plan_batch(
            inputs, self.args, self._success_history, self.state, self.accelerator, previous=self.rollout_batch
        )
        outputs = super()._generate_and_score_completions(inputs)
        return outputs | self._prefix_tensors(outputs)

    @property
    def _success_history(self) -> SuccessHistory:  # looked up, since a resume may replace it
        return next(callback for callback in self.callback_handler.callbacks if isinstance(callback, SuccessHistory))

    # Length: each demonstration is encoded after its prompt and cut to its prefix

    def _tokenize_prompts(self, prompts: list[Any]) -> tuple[list[list[int]], Any, dict[str, Any]]:
        prompt_ids, images, multimodal_fields = super()._tokenize_prompts(prompts)
        rows = zip(prompts, prompt_ids, self.rollout_batch.assignments, strict=self.num_prefix_generations > 0)
        self.rollout_batch.prefixes = [self._encode_prefix(*row) for row in rows]
        return prompt_ids, images, multimodal_fields

    def _encode_prefix(self, prompt: Any, prompt_ids: list[int], assignment: Assignment) -> Prefix:
        if assignment.demonstration is None:
            return NO_PREFIX
        ids = self.demonstration_ids(prompt, prompt_ids, assignment.demonstration)
        return cut_prefix(ids, assignment, self.args, self._tokenizer.eos_token_id, self._tokenizer.decode)

    def demonstration_ids(self, prompt: Any, prompt_ids: list[int], message: Message) -> list[int]:
        """Token ids of a demonstration as the continuation of a prompt, in the chat template of this run."""
        template_kwargs = {"chat_template": self.chat_template, **self.chat_template_kwargs}
        return demonstration_ids(
            self._tokenizer, prompt, prompt_ids, message, stop_ids=self.eos_token_ids, **template_kwargs
        )

    # Sampling: the policy continues each prefix

    def _generate_single_turn(
        self, prompt_ids, images, multimodal_fields, num_generations, has_tool_images=False
    ) -> tuple[list[list[int]], list[list[float]] | None]:
        generate = super()._generate_single_turn

        def sample(prompts: list[list[int]], generations: int):
            return generate(prompts, images, multimodal_fields, generations, has_tool_images)

        if not self.num_prefix_generations:
            with fail_together(self.vllm_generation if self.use_vllm else None):
                return sample(prompt_ids, num_generations)
        batch = self.rollout_batch
        given = batch.prefix_ids, num_generations, batch.complete, batch.padding
        return sample_continuations(self, sample, prompt_ids, *given)

    # Advantage: one for the prefix and one for the continuation, from the rewards of all processes

    def _calculate_rewards(self, inputs, prompts, completions, completion_ids_list) -> torch.Tensor:
        if self.num_prefix_generations:
            self.rollout_batch.check_completions(completion_ids_list)
        rewards_per_func = super()._calculate_rewards(inputs, prompts, completions, completion_ids_list)
        if self.num_prefix_generations:
            batch, device = self.rollout_batch, self.accelerator.device
            batch.rewards = total_rewards(rewards_per_func, self.reward_weights.to(device))
            prefix_texts = self._tokenizer.batch_decode(batch.prefix_ids, skip_special_tokens=True)
            for name, values in completion_columns(batch, completions, prefix_texts).items():
                self._log_completion_extra(name, values)
            if self.model.training:
                answers = [example.get(self.args.answer_column) for example in inputs]
                rows = rollout_rows(batch, prefix_texts, answers, completion_ids_list).to(device)
                self._append_metrics(rollout_metrics(batch, self.accelerator.gather(rows)))
            if self.model.training and self.args.needs_success_history:
                settings = self.num_generations, self.args.prefix_success_reward, self.accelerator
                self._success_history.remember_rollouts(prompts, batch.prefix_ids, batch.rewards, *settings)
        return rewards_per_func

    def _prefix_tensors(self, outputs: dict[str, Any]) -> dict[str, torch.Tensor]:
        """Tensors about prefixes that the loss reads, each of shape (rollouts, ...), in addition to TRL's."""
        lengths = self.rollout_batch.prefix_lengths(self.accelerator.device)
        prefix_mask = prefix_token_mask(lengths, outputs["completion_mask"])
        prefix_advantages, advantages = self._advantages(outputs["advantages"], lengths)
        tensors = {
            "prefix_lengths": lengths,
            "prefix_mask": prefix_mask,
            "prefix_advantages": prefix_advantages,
            "advantages": advantages,
            "num_prefix_tokens": self.accelerator.gather(prefix_mask.sum()).sum(),
        }
        total_advantage = self.accelerator.reduce((prefix_advantages[:, None] * prefix_mask).sum(), reduction="sum")
        self._append_metrics({"prefix/advantage": ratio(total_advantage.item(), tensors["num_prefix_tokens"].item())})
        if self.args.prefix_selection == "random":
            tensors["prefix_noise"] = token_noise(self.rollout_batch.assignments, lengths, prefix_mask.size(1))
        if (correction := outputs.get("importance_sampling_ratio")) is not None:
            # It corrects for the engine that sampled the continuation, so prefix tokens are neither scaled nor dropped
            tensors["importance_sampling_ratio"] = torch.where(prefix_mask, 1.0, correction)
        return tensors

    def _advantages(self, group_advantages: torch.Tensor, lengths: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        if self.args.prefix_advantage == "group":
            return group_advantages, group_advantages
        found = self.rollout_batch.rewards, self.accelerator.gather(lengths) > 0, self.num_generations
        prefix_advantages, advantages = on_policy_baseline_advantages(self.args.prefix_advantage, *found)
        # The log holds one generation batch: this replaces the group's advantages, which are not trained on
        self._logs["advantages"].extend(advantages.tolist())
        process = self.accelerator.process_index
        return prefix_advantages.view(-1, len(lengths))[process], advantages.view(-1, len(lengths))[process]

    def _trained_tokens(self, batch: dict[str, Any]) -> torch.Tensor:
        trained = super()._trained_tokens(batch)
        return self.args.prefix_token_rule.trained_tokens(batch, trained) if "prefix_mask" in batch else trained

    # Clipping, ratio and loss: TRL's loss, with a weight for each prefix token. The weights need the entropies of the
    # loss's forward pass, and TRL reads the advantages after that pass, so they are set in between.

    def training_step(self, *args: Any, **named: Any) -> torch.Tensor:
        loss = super().training_step(*args, **named)
        if self.num_prefix_generations and self.accelerator.sync_gradients:
            rollouts = self._train_batch_size * self.current_gradient_accumulation_steps
            self._append_metrics(self._token_sums.take_metrics(self.accelerator, rollouts))
            if not self._has_weighted_prefixes:
                warn_of_another_loss(type(self).__name__)
            self._has_weighted_prefixes = True  # one warning is enough
        return loss

    def _compute_loss(self, model, inputs: dict[str, Any]) -> torch.Tensor:
        if "prefix_mask" not in inputs:
            return super()._compute_loss(model, inputs)
        inputs, forward = inputs | {"prefix_loss": 0.0}, self._get_per_token_logps_and_entropies

        def forward_and_weight(*args, **kwargs):
            logps, entropies, aux_loss = forward(*args, **kwargs)
            return *self._apply_prefix_weights(inputs, logps, entropies), aux_loss

        with replaced(self, "_get_per_token_logps_and_entropies", forward_and_weight):
            return super()._compute_loss(model, inputs) + inputs["prefix_loss"]

    def _apply_prefix_weights(
        self, inputs: dict[str, Any], logps: torch.Tensor, entropies: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        self._has_weighted_prefixes = True
        rule, prefix_mask, detached = self.args.prefix_token_rule, inputs["prefix_mask"], entropies.detach()
        selected = rule.select(inputs.get("prefix_noise", detached), prefix_mask, self.get_high_entropy_mask)
        sampled = inputs["completion_mask"].bool() & ~prefix_mask
        self._token_sums.add(prefix_mask, selected, sampled, detached)
        # `num_prefix_tokens` spans the generation batch of all processes: scale it to what one loss averages over
        window = self.current_gradient_accumulation_steps / self.args.steps_per_generation
        fraction = window / self.accelerator.num_processes
        logps, entropies, updates = rule.apply(inputs, logps, entropies, selected, fraction)
        inputs |= updates
        return logps, entropies
