"""Accuracy on held-out problems without any prefix, measured the same way for every method."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from accelerate import Accelerator
from datasets import Dataset
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from prefix_rft_trl.sampling.generate import encode_prompts, ends_of, generate_ids, sampling_by, sampling_config


def sample_answer_ids(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    prompts: list[Any],
    max_new_tokens: int,
    seed: int = 0,
    batch_size: int = 512,
    template_kwargs: dict[str, Any] | None = None,
) -> list[list[int]]:
    """Token ids of one answer a prompt, sampled at temperature 1 from all tokens; its end of sequence belongs to it.

    Leaves the global random state and the model's mode as they were.

    Args:
        model, tokenizer: the policy.
        prompts (`list`): text or messages.
        max_new_tokens (`int`): budget of an answer in tokens.
        seed (`int`): of the sampling.
        batch_size (`int`): answers that are sampled at a time.
        template_kwargs (`dict`, *optional*): further arguments of the chat template.
    """
    config = sampling_config(max_new_tokens, ends_of(model, tokenizer), tokenizer.pad_token_id)
    ids, answers = encode_prompts(tokenizer, prompts, template_kwargs), []
    with sampling_by(config, model):
        torch.manual_seed(seed)
        for start in range(0, len(ids), batch_size):
            answers += generate_ids(model, ids[start : start + batch_size])
    return answers


@dataclass(frozen=True)
class HeldOut:
    """The problems, and what an answer to them is worth.

    Attributes:
        dataset (`Dataset`): columns `prompt` and what the rewards need.
        reward (`Callable`): a reward function as for [`~trl.GRPOTrainer`], 1 for a right answer and 0 for a wrong one.
        max_new_tokens (`int`): budget of an answer in tokens.
        template_kwargs (`dict`): further arguments of the chat template.
    """

    dataset: Dataset
    reward: Callable[..., list[float | None]]
    max_new_tokens: int
    template_kwargs: dict[str, Any] = field(default_factory=dict)
    further_rewards: Sequence[Callable[..., list[float | None]]] = ()

    def measure(
        self, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, accelerator: Accelerator
    ) -> dict[str, float]:
        """One answer a problem, shared out over the processes.

        Returns:
            `dict`: `accuracy`, the mean reward over the problems that could be scored, and `length`, the mean number
            of tokens of an answer.
        """
        mine = self.dataset.shard(accelerator.num_processes, accelerator.process_index)
        prompts = list(mine["prompt"])
        answers = sample_answer_ids(
            model,
            tokenizer,
            prompts,
            self.max_new_tokens,
            seed=accelerator.process_index,
            template_kwargs=self.template_kwargs,
        )
        texts = tokenizer.batch_decode(answers, skip_special_tokens=True)
        sums: list[Any] = [sum(map(len, answers)), len(answers)]
        for reward in (self.reward, *self.further_rewards):
            rewards = self.score(reward, prompts, answers, texts, mine)
            scored = ~rewards.isnan()
            sums += [rewards[scored].sum(), scored.sum()]
        length, number, *of_all = accelerator.reduce(
            torch.tensor(sums, device=accelerator.device, dtype=torch.float64), "sum"
        ).tolist()
        means = [total / max(scored, 1) for total, scored in zip(of_all[::2], of_all[1::2], strict=True)]
        further = {reward.__name__: mean for reward, mean in zip(self.further_rewards, means[1:], strict=True)}
        return {"accuracy": means[0], "length": length / number, **further}

    def score(
        self,
        reward: Callable[..., list[float | None]],
        prompts: list[Any],
        ids: list[list[int]],
        texts: list[str],
        rows: Dataset,
    ) -> torch.Tensor:
        """The reward of each answer, shape (answers,), NaN where there is none."""
        if not prompts:  # a process beyond the number of problems
            return torch.empty(0)
        is_text = isinstance(prompts[0], str)
        completions = texts if is_text else [[{"role": "assistant", "content": text}] for text in texts]
        given = ("prompt", "completion", "completion_ids")
        columns = {name: list(rows[name]) for name in rows.column_names if name not in given}
        rewards = reward(prompts=prompts, completions=completions, completion_ids=ids, **columns)
        return torch.tensor([float("nan") if value is None else value for value in rewards], dtype=torch.float32)
