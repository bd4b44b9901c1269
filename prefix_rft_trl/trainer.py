"""PrefixGRPOTrainer: wires the stations of a demonstration to the seams of TRL's GRPOTrainer.

A demonstration is read (`demonstrations`), cut (`schedules`, `prefixes`), spliced in front of what the policy samples,
scored by the reward functions, given an advantage (`advantages`), and turned into a loss (`imitation`). This file only
says when; each station says how.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from datasets import Dataset, IterableDataset
from transformers import PreTrainedModel
from trl import GRPOConfig, GRPOTrainer
from trl.trainer.utils import get_config_model_id

from .checks import check_prefixes, refuse_other_generators
from .config import PrefixGRPOConfig
from .method.advantages import on_policy_baseline_advantages, total_rewards
from .method.demonstrations import Message, check_demonstrations, demonstration_ids
from .method.prefixes import NO_PREFIX, ON_POLICY, Assignment, Prefix, prepend, put_back, token_noise
from .method.token_weights import CROSS_ENTROPY, SELECTIONS, cross_entropy, prefix_token_mask, weigh_prefix_tokens
from .metrics import rollout_metrics, rollout_rows, token_metrics, token_sums
from .rollouts import plan_rollouts, prefix_of, scheduled_bounds
from .run.completions_table import prefix_characters, print_table
from .run.exact_resume import ExactResume
from .run.success_history import SuccessHistory
from .sampling.continuous_batching import batching_within
from .sampling.padded import decoding_within, split_at_padding, starting_with
from .sampling.vllm import vllm_within
from .sampling.vllm_server import ending_together


PAPER = {
    "title": "Blending Supervised and Reinforcement Fine-Tuning with Prefix Sampling",
    "id": "2507.01679",
    "citation": """\
@inproceedings{huang2026prefixrft,
    title        = {{Blending Supervised and Reinforcement Fine-Tuning with Prefix Sampling}},
    author       = {Huang, Zeyu and Cheng, Tianhao and Qiu, Zihan and Wang, Zili and Xu, Yinghui and Ponti, Edoardo M.
                    and Titov, Ivan},
    year         = 2026,
    booktitle    = {International Conference on Machine Learning},
    eprint       = {arXiv:2507.01679},
}""",
}


class PrefixGRPOTrainer(ExactResume, GRPOTrainer):
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
            refuse_other_generators(model, reward_funcs, args, train_dataset, *others, **named)
            if isinstance(train_dataset, (Dataset, IterableDataset)):  # TRL refuses anything else
                without_demonstration = check_demonstrations(train_dataset, args.demonstration_column)
        else:
            self._tag_names, self._name, self._paper = GRPOTrainer._tag_names, GRPOTrainer._name, GRPOTrainer._paper
        # Of the current generation batch: a row's assignment, what it starts with, its ids; the rewards of all ranks
        self._assignments: list[Assignment] = []
        self._given: list[Prefix] = []
        self._prefixes: list[list[int]] = []
        self._rewards = torch.empty(0)
        # (optimizer step, its generation batches so far), for draws that repeat neither in a step nor after a resume
        self._generations_of_step = (-1, 0)
        self._loss_inputs: dict[str, Any] | None = None
        super().__init__(model, reward_funcs, args, train_dataset, *others, **named)
        if self.num_prefix_generations:
            self.add_callback(SuccessHistory())
            if self._is_vlm:
                raise ValueError(
                    "Hybrid rollouts are spliced from text, and the processing class is a processor for images. Pass "
                    "the tokenizer alone as `processing_class`, or set `num_prefix_generations=0`."
                )
            if without_demonstration is not None:
                check_prefixes(
                    self.train_dataset, self.args, self._tokenizer, self._longest_prefix, without_demonstration
                )

    def _longest_prefix(self, row: int, message: Message) -> list[int]:
        example = self.train_dataset[row]
        prompt_ids = super()._tokenize_prompts([example["prompt"]])[0][0]
        assignment = Assignment(True, message, ratio=1.0, answer=example.get(self.args.answer_column))
        return self._prefix_of(example["prompt"], prompt_ids, assignment).ids

    def _set_signature_columns_if_needed(self) -> None:
        super()._set_signature_columns_if_needed()
        own = [self.args.demonstration_column, self.args.answer_column] if self.num_prefix_generations else []
        self._signature_columns += [name for name in own if name and name not in self._signature_columns]

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
        return plan_rollouts(
            inputs,
            self.args,
            self._problems,
            step,
            self.state.max_steps,
            first_row=self.accelerator.process_index * len(inputs),
            rows_before=batches * self.accelerator.num_processes * len(inputs),
        )

    @property
    def _problems(self) -> SuccessHistory:  # looked up: a resume may put another in its place
        return next(callback for callback in self.callback_handler.callbacks if isinstance(callback, SuccessHistory))

    # Generation: prompt ids + prefix ids go to the sampler, prefix ids + sampled ids come back

    def _tokenize_prompts(self, prompts: list[Any]) -> tuple[list[list[int]], Any, dict[str, Any]]:
        prompt_ids, images, multimodal_fields = super()._tokenize_prompts(prompts)
        if self.num_prefix_generations:
            self._given = [
                self._prefix_of(prompt, ids, assignment)
                for prompt, ids, assignment in zip(prompts, prompt_ids, self._assignments, strict=True)
            ]
            self._prefixes = [given.ids for given in self._given]
        return prompt_ids, images, multimodal_fields

    def _prefix_of(self, prompt: Any, prompt_ids: list[int], assignment: Assignment) -> Prefix:
        if assignment.demonstration is None:
            return NO_PREFIX
        ids = demonstration_ids(
            self._tokenizer,
            prompt,
            prompt_ids,
            assignment.demonstration,
            stop_ids=self.eos_token_ids,
            **{"chat_template": self.chat_template, **self.chat_template_kwargs},
        )
        return prefix_of(ids, assignment, self.args, self._tokenizer.eos_token_id, self._tokenizer.decode)

    def _generate_single_turn(
        self, prompt_ids, images, multimodal_fields, num_generations, has_tool_images=False
    ) -> tuple[list[list[int]], list[list[float]] | None]:
        if not self.num_prefix_generations:
            with ending_together(self.vllm_generation if self.use_vllm else None):
                return super()._generate_single_turn(
                    prompt_ids, images, multimodal_fields, num_generations, has_tool_images
                )
        training = self.model.training
        rows = self._rows_to_sample()
        asked = self._as_many_as_others(rows)  # never none: some rollout of each group is sampled
        pads = not (self.use_vllm or self.use_transformers_continuous_batching)
        prompts = [prompt_ids[row] for row in asked]
        prefixes = [self._prefixes[row] for row in rows] + [[]] * (len(asked) - len(rows))
        given, riding = split_at_padding(prompts, prefixes) if pads else (prefixes, [])
        # A vLLM server is asked once a group and samples all of it from the group's first prompt. The prompts of a
        # hybrid group differ, so each is asked for as a group of its own.
        num_generations = 1 if training else num_generations
        with self._sampling(given, riding):
            ids, logps = super()._generate_single_turn(
                prepend(prompts, given), images, multimodal_fields, num_generations, has_tool_images
            )
        self.model.train(training)  # continuous batching turns it on: the evaluation would go on with prefixes
        completions = put_back(rows, prepend(given, ids, self.max_completion_length), self._prefixes)
        if logps is not None:  # the sampler gave none for the prefix; TRL takes NaN for a ratio of 1
            unknown = [[float("nan")] * len(prefix) for prefix in self._prefixes]
            of_rows = prepend([unknown[row] for row in rows], logps[: len(rows)], self.max_completion_length)
            logps = put_back(rows, of_rows, unknown)
        return completions, logps

    @contextmanager
    def _sampling(self, given: list[list[int]], riding: list[list[int]]) -> Iterator[None]:
        budgets = [self.max_completion_length - len(prefix) for prefix in given]
        if self.use_vllm:
            engine = vllm_within(self.vllm_generation, budgets)
        else:
            self.generation_config.max_new_tokens = max(budgets)
            within = batching_within if self.use_transformers_continuous_batching else decoding_within
            engine = within(self.accelerator.unwrap_model(self.model_wrapped), budgets)
        with starting_with(self.accelerator.unwrap_model(self.model_wrapped), riding), engine:
            yield

    def _rows_to_sample(self) -> list[int]:
        is_known = self.args.gives_whole_demonstrations
        return [row for row, prefix in enumerate(self._prefixes) if not (is_known and prefix)]

    def _as_many_as_others(self, rows: list[int]) -> list[int]:
        # Engines count on every process asking for as many: their collective calls, and how they slice what comes back
        if not self.args.gives_whole_demonstrations:
            return rows
        most = self.accelerator.gather(torch.tensor([len(rows)], device=self.accelerator.device)).max().item()
        return rows + [0] * (most - len(rows))

    # Scoring: what the log and the completions table say, and the advantages of prefix and continuation

    def _calculate_rewards(self, inputs, prompts, completions, completion_ids_list) -> torch.Tensor:
        rewards_per_func = super()._calculate_rewards(inputs, prompts, completions, completion_ids_list)
        if self.num_prefix_generations:
            self._rewards = total_rewards(rewards_per_func, self.reward_weights.to(self.accelerator.device))
            prefix_texts = self._tokenizer.batch_decode(self._prefixes, skip_special_tokens=True)
            self._add_table_columns(completions, prefix_texts)
            if self.model.training:
                self._log_rollouts(inputs, completion_ids_list, prefix_texts)
                if self.args.follows_problems:
                    self._problems.remember_rollouts(
                        prompts, self._prefixes, self._rewards, self.args, self.accelerator
                    )
        return rewards_per_func

    def _add_table_columns(self, completions: list[Any], prefix_texts: list[str]) -> None:
        characters = [prefix_characters(*pair) for pair in zip(completions, prefix_texts, strict=True)]
        self._log_completion_extra("hybrid", [bool(prefix) for prefix in self._prefixes])
        self._log_completion_extra("prefix_length", [len(prefix) for prefix in self._prefixes])
        self._log_completion_extra("prefix_characters", characters)

    def _log_rollouts(self, inputs, completion_ids: list[list[int]], prefix_texts: list[str]) -> None:
        answers = [example.get(self.args.answer_column) for example in inputs]
        of_rollouts = rollout_rows(self._assignments, self._given, prefix_texts, answers, completion_ids)
        low, high = scheduled_bounds(self.args, self.state.global_step, self.state.max_steps)
        self._append_metrics({"prefix/ratio_low": low, "prefix/ratio_high": high})
        gathered = self.accelerator.gather(of_rollouts.to(self.accelerator.device))
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
        in_prefix = prefix_token_mask(lengths, outputs["completion_mask"])
        outputs["num_prefix_tokens"] = self.accelerator.gather(in_prefix.sum()).sum()
        if self.args.prefix_selection == "random":
            outputs["prefix_noise"] = token_noise(self._assignments, lengths, outputs["completion_ids"].size(1))
        if "importance_sampling_ratio" in outputs:
            # It corrects for the sampler of the continuation, and must neither scale nor drop the demonstration
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
        if "prefix_lengths" not in inputs:
            return super()._compute_loss(model, inputs)
        inputs = self._loss_inputs = dict(inputs)
        return super()._compute_loss(model, inputs) + inputs["prefix_loss"]

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
        inputs["prefix_loss"] = torch.zeros((), device=logps.device)
        if self.args.prefix_loss_type == CROSS_ENTROPY:
            # The count is of a generation batch on all processes: the share of one of them in an accumulation window
            window = self.current_gradient_accumulation_steps / self.args.steps_per_generation
            normalizer = inputs["num_prefix_tokens"].clamp(min=1) * window / self.accelerator.num_processes
            inputs["prefix_loss"] = self.args.prefix_loss_coef * cross_entropy(logps, kept, normalizer)
            kept = torch.zeros_like(kept)  # in TRL's loss the prefix is context
        logps, inputs["old_per_token_logps"], inputs["advantages"] = weigh_prefix_tokens(
            self.args.prefix_loss_type,
            logps,
            inputs.get("old_per_token_logps"),
            inputs["advantages"],
            inputs["prefix_advantages"],
            in_prefix,
            kept,
            self.args.prefix_shaping_gamma,
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
            print_table(self._logs, self.state.global_step, number)
