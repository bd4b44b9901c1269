"""PrefixGRPOTrainer: wires the stations of a demonstration to the seams of TRL's GRPOTrainer.

A demonstration is read (`demonstrations`), cut (`schedules`, `prefixes`), spliced in front of what the policy samples,
scored by the reward functions, given an advantage (`advantages`), and turned into a loss (`imitation`). This file only
says when; each station says how.
"""

import inspect
from typing import Any

import torch
from accelerate.logging import get_logger
from datasets import Dataset, IterableDataset
from transformers import PreTrainedModel
from trl import GRPOConfig, GRPOTrainer
from trl.trainer.utils import get_config_model_id, print_prompt_completions_sample

from .advantages import on_policy_baseline_advantages, total_rewards
from .citation import PAPER
from .completions_table import mark_prefix_ends, prefix_characters
from .config import PrefixGRPOConfig
from .demonstrations import check_demonstrations, demonstration_ids, doubtful_rows, parse_demonstrations
from .imitation import SELECTIONS, prefix_token_mask, weigh_prefix_tokens
from .metrics import holds_answer, rollout_metrics, token_metrics, token_sums
from .prefixes import ON_POLICY, Assignment, assign, is_hybrid, prefix_length, prepend, token_noise
from .riding import split_at_padding, starting_with
from .schedules import ratio_bounds


logger = get_logger(__name__)


class PrefixGRPOTrainer(GRPOTrainer):
    """
    Trainer for Prefix-RFT (Huang et al., 2025, https://huggingface.co/papers/2507.01679).

    Some of the rollouts of a prompt start with a prefix of a demonstration and go on by themselves. They enter the
    group like the others; their prefix tokens are trained as off-policy targets, only where the policy is uncertain.

    It takes the arguments of [`~trl.GRPOTrainer`]. Given a [`~trl.GRPOConfig`], or `num_prefix_generations=0`, it is
    that trainer, bit for bit.

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
            As for [`~trl.GRPOTrainer`]. `args` defaults to a [`PrefixGRPOConfig`]. `train_dataset` holds a column with
            demonstrations, `args.demonstration_column`, besides what the reward functions need. Evaluation never
            starts from a prefix.

    Raises:
        ValueError: before a model is loaded, if the dataset holds no usable demonstration, or if an argument cannot
            be combined with hybrid rollouts.
    """

    _tag_names = ["trl", "grpo", "prefix-rft"]
    _name = "Prefix-RFT"
    _paper = PAPER

    num_completions_to_print: int | None

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
        without_demonstration = None
        if self.num_prefix_generations:
            _refuse_other_generators(model, reward_funcs, args, train_dataset, *others, **named)
            if isinstance(train_dataset, (Dataset, IterableDataset)):  # TRL refuses anything else
                without_demonstration = check_demonstrations(train_dataset, args.demonstration_column)
        else:
            self._tag_names, self._name, self._paper = GRPOTrainer._tag_names, GRPOTrainer._name, GRPOTrainer._paper
        # Of the current generation batch: a row's assignment, the ids it starts with; the rewards of all ranks
        self._assignments: list[Assignment] = []
        self._prefixes: list[list[int]] = []
        self._rewards = torch.empty(0)
        # (optimizer step, its generation batches so far), for draws that repeat neither in a step nor after a resume
        self._generations_of_step = (-1, 0)
        self._loss_inputs: dict[str, Any] | None = None
        super().__init__(model, reward_funcs, args, train_dataset, *others, **named)
        if self.num_prefix_generations:
            if self._is_vlm:
                raise ValueError(
                    "Hybrid rollouts are spliced from text, and the processing class is a processor for images. Pass "
                    "the tokenizer alone as `processing_class`, or set `num_prefix_generations=0`."
                )
            if without_demonstration is not None:
                self._check_doubtful_rows(without_demonstration)

    def _check_doubtful_rows(self, without_demonstration: int) -> None:
        column, too_short = self.args.demonstration_column, 0
        for row, found in doubtful_rows(self.train_dataset, column, self._tokenizer):
            prompt = self.train_dataset[row]["prompt"]
            prompt_ids = super()._tokenize_prompts([prompt])[0][0]
            whole = (Assignment(True, message, ratio=1.0) for message in found)
            try:
                prefixes = [self._prefix_ids(prompt, prompt_ids, assignment) for assignment in whole]
            except ValueError as error:
                raise ValueError(f"Row {row}, column '{column}': {error}") from error
            too_short += not any(prefixes)
        if without_demonstration or too_short:
            logger.warning(
                f"{without_demonstration + too_short} of {len(self.train_dataset)} rows train as plain GRPO: "
                f"{without_demonstration} have no demonstration or an empty one in column '{column}', {too_short} "
                "have one of a single token, which cannot be cut."
            )

    def _set_signature_columns_if_needed(self) -> None:
        super()._set_signature_columns_if_needed()
        if self.num_prefix_generations and self.args.demonstration_column not in self._signature_columns:
            self._signature_columns.append(self.args.demonstration_column)

    # The plan of a generation batch

    def _generate_and_score_completions(self, inputs: list[dict[str, Any]]) -> dict[str, Any]:
        if not self.num_prefix_generations:
            return super()._generate_and_score_completions(inputs)
        training = self.model.training
        self._assignments = self._assign(inputs) if training else [ON_POLICY] * len(inputs)
        outputs = super()._generate_and_score_completions(inputs)
        return self._with_prefixes(outputs) if training else outputs

    def _assign(self, inputs: list[dict[str, Any]]) -> list[Assignment]:
        step, (step_before, batches) = self.state.global_step, self._generations_of_step
        batches = batches if step == step_before else 0
        self._generations_of_step = (step, batches + 1)
        rows_before = batches * self.accelerator.num_processes * len(inputs)
        bounds, column = self._ratio_bounds(), self.args.demonstration_column
        assignments = []
        for row, example in enumerate(inputs, self.accelerator.process_index * len(inputs)):
            if is_hybrid(row, self.num_generations, self.num_prefix_generations):
                found = parse_demonstrations(example.get(column), f"with the prompt {example['prompt']!r:.80}", column)
                assignments.append(assign(found, self.args.seed, step, rows_before + row, bounds))
            else:
                assignments.append(ON_POLICY)
        return assignments

    def _ratio_bounds(self) -> tuple[float, float]:
        return ratio_bounds(
            self.args.prefix_ratio_schedule,
            step=self.state.global_step,
            decay_steps=self.args.prefix_ratio_decay_steps or self.state.max_steps,
            low=self.args.prefix_ratio_low,
            high=self.args.prefix_ratio_high,
        )

    # Generation: prompt ids + prefix ids go to the sampler, prefix ids + sampled ids come back

    def _tokenize_prompts(self, prompts: list[Any]) -> tuple[list[list[int]], Any, dict[str, Any]]:
        prompt_ids, images, multimodal_fields = super()._tokenize_prompts(prompts)
        if self.num_prefix_generations:
            self._prefixes = [
                self._prefix_ids(prompt, ids, assignment)
                for prompt, ids, assignment in zip(prompts, prompt_ids, self._assignments, strict=True)
            ]
        return prompt_ids, images, multimodal_fields

    def _prefix_ids(self, prompt: Any, prompt_ids: list[int], assignment: Assignment) -> list[int]:
        if assignment.demonstration is None:
            return []
        ids = demonstration_ids(
            self._tokenizer,
            prompt,
            prompt_ids,
            assignment.demonstration,
            stop_ids=self.eos_token_ids,
            **{"chat_template": self.chat_template, **self.chat_template_kwargs},
        )
        return ids[: prefix_length(assignment.ratio, len(ids), self.max_completion_length)]

    def _generate_single_turn(
        self, prompt_ids, images, multimodal_fields, num_generations, has_tool_images=False
    ) -> tuple[list[list[int]], list[list[float]] | None]:
        if not self.num_prefix_generations:
            return super()._generate_single_turn(
                prompt_ids, images, multimodal_fields, num_generations, has_tool_images
            )
        training = self.model.training
        pads = not (self.use_vllm or self.use_transformers_continuous_batching)
        given, riding = split_at_padding(prompt_ids, self._prefixes) if pads else (self._prefixes, [])
        if not self.use_vllm:  # no decoding beyond what the completion budget leaves to the shortest prefix
            self.generation_config.max_new_tokens = self.max_completion_length - min(map(len, given))
        # A vLLM server is asked once a group and samples all of it from the group's first prompt. The prompts of a
        # hybrid group differ, so each is asked for as a group of its own.
        num_generations = 1 if training else num_generations
        with starting_with(self.accelerator.unwrap_model(self.model_wrapped), riding):
            ids, logps = super()._generate_single_turn(
                prepend(prompt_ids, given), images, multimodal_fields, num_generations, has_tool_images
            )
        self.model.train(training)  # continuous batching turns it on: the evaluation would go on with prefixes
        if logps is not None:  # the sampler gave none for the prefix; TRL takes NaN for a ratio of 1
            logps = prepend([[float("nan")] * len(prefix) for prefix in given], logps, self.max_completion_length)
        return prepend(given, ids, self.max_completion_length), logps

    # Scoring: what the log and the completions table say, and the advantages of prefix and continuation

    def _calculate_rewards(self, inputs, prompts, completions, completion_ids_list) -> torch.Tensor:
        rewards_per_func = super()._calculate_rewards(inputs, prompts, completions, completion_ids_list)
        if self.num_prefix_generations:
            self._rewards = total_rewards(rewards_per_func, self.reward_weights.to(self.accelerator.device))
            prefix_texts = self._tokenizer.batch_decode(self._prefixes, skip_special_tokens=True)
            self._add_table_columns(completions, prefix_texts)
            if self.model.training:
                self._log_rollouts(inputs, completion_ids_list, prefix_texts)
        return rewards_per_func

    def _add_table_columns(self, completions: list[Any], prefix_texts: list[str]) -> None:
        characters = [prefix_characters(*pair) for pair in zip(completions, prefix_texts, strict=True)]
        self._log_completion_extra("hybrid", [bool(prefix) for prefix in self._prefixes])
        self._log_completion_extra("prefix_length", [len(prefix) for prefix in self._prefixes])
        self._log_completion_extra("prefix_characters", characters)

    def _log_rollouts(self, inputs, completion_ids: list[list[int]], prefix_texts: list[str]) -> None:
        answers = [example.get(self.args.answer_column) for example in inputs]
        of_rollouts = [
            [assignment.planned, len(prefix), assignment.ratio, holds_answer(text, answer), len(ids)]
            for assignment, prefix, text, answer, ids in zip(
                self._assignments, self._prefixes, prefix_texts, answers, completion_ids, strict=True
            )
        ]
        gathered = self.accelerator.gather(torch.tensor(of_rollouts, device=self.accelerator.device))
        low, high = self._ratio_bounds()
        self._append_metrics({"prefix/ratio_low": low, "prefix/ratio_high": high})
        self._append_metrics(rollout_metrics(gathered, self._rewards))

    def _append_metrics(self, metrics: dict[str, float]) -> None:
        for name, value in metrics.items():
            self._metrics["train"][name].append(value)

    def _with_prefixes(self, outputs: dict[str, Any]) -> dict[str, Any]:
        lengths = torch.tensor([len(prefix) for prefix in self._prefixes], device=self.accelerator.device)
        of_prefix, of_continuation = outputs["advantages"], outputs["advantages"]
        if self.args.prefix_advantage != "group":
            of_prefix, of_continuation = self._advantages_against_on_policy_baseline(lengths)
        outputs |= {"prefix_lengths": lengths, "prefix_advantages": of_prefix, "advantages": of_continuation}
        if self.args.prefix_selection == "random":
            outputs["prefix_noise"] = token_noise(self._assignments, lengths, outputs["completion_ids"].size(1))
        if "importance_sampling_ratio" in outputs:
            # It corrects for the sampler of the continuation, and must neither scale nor drop the demonstration
            in_prefix = prefix_token_mask(lengths, outputs["completion_mask"])
            outputs["importance_sampling_ratio"] = torch.where(in_prefix, 1.0, outputs["importance_sampling_ratio"])
        return outputs

    def _advantages_against_on_policy_baseline(self, lengths: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        hybrid = self.accelerator.gather(lengths) > 0
        of_prefix, of_continuation = on_policy_baseline_advantages(
            self.args.prefix_advantage, self._rewards, hybrid, self.num_generations
        )
        # The log holds one generation batch: this pushes out those of the whole group, which are not trained on
        self._logs["advantages"].extend(of_continuation.tolist())
        first = self.accelerator.process_index * len(lengths)
        return of_prefix[first : first + len(lengths)], of_continuation[first : first + len(lengths)]

    # Loss: TRL's own, with a weight for each prefix token. The weights need the entropies of the loss's own forward
    # pass, and TRL reads the advantages after it, so they are set in between.

    def _compute_loss(self, model, inputs: dict[str, Any]) -> torch.Tensor:
        if "prefix_lengths" in inputs:
            inputs = self._loss_inputs = dict(inputs)
        return super()._compute_loss(model, inputs)

    def _get_per_token_logps_and_entropies(self, *args, **kwargs) -> tuple[torch.Tensor, ...]:
        inputs, self._loss_inputs = self._loss_inputs, None  # of the loss's own forward pass alone
        logps, entropies, aux_loss = super()._get_per_token_logps_and_entropies(*args, **kwargs)
        if inputs is not None:
            logps, entropies = self._weigh_prefix_tokens(inputs, logps, entropies)
        return logps, entropies, aux_loss

    def _weigh_prefix_tokens(
        self, inputs: dict[str, Any], logps: torch.Tensor, entropies: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        detached = entropies.detach()  # TRL's bonus on them trains the same tokens as the rest of the loss
        in_prefix = prefix_token_mask(inputs["prefix_lengths"], inputs["completion_mask"])
        ranked = inputs.get("prefix_noise", detached)
        kept = SELECTIONS[self.args.prefix_selection](
            ranked, in_prefix, self.args.prefix_top_entropy_quantile, self.get_high_entropy_mask
        )
        sampled = inputs["completion_mask"].bool() & ~in_prefix
        sums = token_sums(in_prefix, kept, sampled, detached, inputs["prefix_advantages"])
        self._append_metrics(token_metrics(self.accelerator.reduce(sums, reduction="sum")))
        logps, inputs["old_per_token_logps"], inputs["advantages"] = weigh_prefix_tokens(
            self.args.prefix_loss_type,
            logps,
            inputs.get("old_per_token_logps"),
            inputs["advantages"],
            inputs["prefix_advantages"],
            in_prefix,
            kept,
        )
        return logps, torch.where(in_prefix & ~kept, detached, entropies)

    # The printed table of completions

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        if not (self.num_prefix_generations and self.log_completions):
            return super().log(logs, start_time)
        number = self.num_completions_to_print
        self.num_completions_to_print = 0  # the table is printed here instead
        try:
            super().log(logs, start_time)
        finally:
            self.num_completions_to_print = number
        if self.accelerator.is_main_process:
            extra = dict(self._logs["extra"])
            print_prompt_completions_sample(
                self._logs["prompt"],
                mark_prefix_ends(self._logs["completion"], extra.pop("prefix_characters", [])),
                self._logs["rewards"],
                self._logs["advantages"],
                self.state.global_step,
                number,
                extra=extra,
            )


def _refuse_other_generators(*args: Any, **named: Any) -> None:
    given = inspect.signature(GRPOTrainer).bind(*args, **named).arguments
    for name in ("tools", "rollout_func", "environment_factory"):
        if given.get(name):
            raise ValueError(
                f"`{name}` takes generation out of the trainer's hands, so a rollout cannot start with a prefix of a "
                f"demonstration. Leave `{name}` out, or set `num_prefix_generations=0`."
            )
