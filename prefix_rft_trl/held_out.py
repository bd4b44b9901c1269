"""Accuracy on held-out problems without any prefix, measured the same way for every method."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from accelerate import Accelerator
from datasets import Dataset
from transformers import GenerationConfig, PreTrainedModel, PreTrainedTokenizerBase


@torch.no_grad()
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
    eos = model.generation_config.eos_token_id
    ends = [end for end in {*(eos if isinstance(eos, list) else [eos]), tokenizer.eos_token_id} if end is not None]
    config = GenerationConfig(
        do_sample=True,
        temperature=1.0,
        top_p=1.0,
        top_k=0,
        max_new_tokens=max_new_tokens,
        eos_token_id=ends,
        pad_token_id=tokenizer.pad_token_id,
    )
    training, answers = model.training, []
    model.eval()
    with _generating_by(config, model), torch.random.fork_rng([model.device] if model.device.type == "cuda" else []):
        torch.manual_seed(seed)
        for start in range(0, len(prompts), batch_size):
            inputs = _padded(tokenizer, prompts[start : start + batch_size], template_kwargs or {}).to(model.device)
            outputs = model.generate(**inputs)
            answers += [_up_to_the_end(ids, ends) for ids in outputs[:, inputs["input_ids"].size(1) :].cpu()]
    model.train(training)
    return answers


@contextmanager
def _generating_by(config: GenerationConfig, model: PreTrainedModel) -> Iterator[None]:
    """Puts a config in the place of the model's own, which would lend it all that it leaves open."""
    own, model.generation_config = model.generation_config, config
    try:
        yield
    finally:
        model.generation_config = own


def _padded(tokenizer: PreTrainedTokenizerBase, prompts: list[Any], template_kwargs: dict[str, Any]) -> Any:
    is_text = isinstance(prompts[0], str)
    texts = (
        prompts
        if is_text
        else tokenizer.apply_chat_template(prompts, tokenize=False, add_generation_prompt=True, **template_kwargs)
    )
    return tokenizer(texts, add_special_tokens=is_text, return_tensors="pt", padding=True, padding_side="left")


def _up_to_the_end(ids: torch.Tensor, ends: list[int]) -> list[int]:
    places = torch.isin(ids, torch.tensor(ends)).nonzero()
    return ids[: places[0].item() + 1].tolist() if len(places) else ids.tolist()


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
        rewards = self.score(prompts, answers, tokenizer.batch_decode(answers, skip_special_tokens=True), mine)
        scored = ~rewards.isnan()
        sums = [rewards[scored].sum(), scored.sum(), sum(map(len, answers)), len(answers)]
        of_all = accelerator.reduce(torch.tensor(sums, device=accelerator.device, dtype=torch.float64), "sum").tolist()
        return {"accuracy": of_all[0] / max(of_all[1], 1), "length": of_all[2] / of_all[3]}

    def score(self, prompts: list[Any], ids: list[list[int]], texts: list[str], rows: Dataset) -> torch.Tensor:
        """The reward of each answer, shape (answers,), NaN where there is none."""
        if not prompts:  # a process beyond the number of problems
            return torch.empty(0)
        is_text = isinstance(prompts[0], str)
        completions = texts if is_text else [[{"role": "assistant", "content": text}] for text in texts]
        given = ("prompt", "completion", "completion_ids")
        columns = {name: list(rows[name]) for name in rows.column_names if name not in given}
        rewards = self.reward(prompts=prompts, completions=completions, completion_ids=ids, **columns)
        return torch.tensor([float("nan") if reward is None else reward for reward in rewards], dtype=torch.float32)
