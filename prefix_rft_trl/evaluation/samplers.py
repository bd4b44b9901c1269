"""Sample answers with vLLM or with a transformers model, reproducibly from seeds."""

from dataclasses import fields
from inspect import signature
from typing import Any

import numpy as np
import torch
from transformers import (
    AutoConfig,
    GenerationConfig,
    LogitsProcessor,
    LogitsProcessorList,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from prefix_rft_trl.models.sources import ModelSource
from prefix_rft_trl.sampling.generate import generate_ids, sampling_config, sampling_with, stop_token_ids

from .sampling import LikelyAnswer, Sampling


class VLLMSampler:
    """
    Samples from a model that vLLM loads. A prompt gets the same answer to the same seed.

    Args:
        source (`ModelSource`): the model, complete: vLLM is given no adapter.
        tokenizer ([`~transformers.PreTrainedTokenizerBase`]): its tokenizer.
        settings (`dict`): arguments of vLLM's `LLM`.

    Raises:
        ValueError: for settings that vLLM does not have.
    """

    def __init__(self, source: ModelSource, tokenizer: Any, settings: dict[str, Any]):
        from vllm import LLM

        _refuse_unknown(settings)
        self.llm = LLM(model=source.path, tokenizer=source.tokenizer_path, **settings)
        try:
            config = GenerationConfig.from_pretrained(source.path)
        except OSError:  # a model need not have one
            config = GenerationConfig.from_model_config(AutoConfig.from_pretrained(source.path))
        self.stop_ids = stop_token_ids(config, tokenizer)

    def __call__(self, prompts: list[list[int]], sampling: Sampling, seeds: list[int]) -> list[list[int]]:
        return [list(answer.token_ids) for answer in self._generate(prompts, sampling, seeds)]

    def with_likelihoods(self, prompts: list[list[int]], sampling: Sampling, seeds: list[int]) -> list[LikelyAnswer]:
        answers = self._generate(prompts, sampling, seeds, logprobs=0)  # those of the sampled tokens
        return [(list(answer.token_ids), answer.cumulative_logprob / len(answer.token_ids)) for answer in answers]

    def _generate(
        self, prompts: list[list[int]], sampling: Sampling, seeds: list[int], logprobs: int | None = None
    ) -> list[Any]:
        from vllm import SamplingParams

        params = [
            SamplingParams(
                temperature=sampling.temperature,
                top_p=sampling.top_p,
                max_tokens=sampling.max_new_tokens,
                stop_token_ids=self.stop_ids,
                detokenize=False,
                seed=seed,
                logprobs=logprobs,
            )
            for seed in seeds
        ]
        requests = [{"prompt_token_ids": prompt} for prompt in prompts]
        return [answer.outputs[0] for answer in self.llm.generate(requests, params, use_tqdm=False)]


def _refuse_unknown(settings: dict[str, Any]) -> None:
    from vllm import LLM, EngineArgs

    known = {*signature(LLM).parameters, *(field.name for field in fields(EngineArgs))} - {"model", "tokenizer"}
    unknown = sorted(settings.keys() - known)
    if unknown:
        raise ValueError(f"`vllm_kwargs` are arguments of vLLM's LLM, and {', '.join(unknown)} is none to set.")


class TransformersSampler:
    """
    Samples from a model in memory. The same prompts with the same seeds get the same answers.

    Args:
        model ([`~transformers.PreTrainedModel`]): keeps its mode, its generation config and the random state.
        tokenizer ([`~transformers.PreTrainedTokenizerBase`]): its tokenizer.
    """

    def __init__(self, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase):
        self.model, self.pad = model, tokenizer.pad_token_id
        self.stop_ids = stop_token_ids(model.generation_config, tokenizer)

    def __call__(self, prompts: list[list[int]], sampling: Sampling, seeds: list[int]) -> list[list[int]]:
        config = sampling_config(
            sampling.max_new_tokens, self.stop_ids, self.pad, sampling.temperature, sampling.top_p
        )
        with sampling_with(config, self.model):
            torch.manual_seed(seeds[0])  # one stream of random numbers serves all rows of a batch
            return generate_ids(self.model, prompts)

    def with_likelihoods(self, prompts: list[list[int]], sampling: Sampling, seeds: list[int]) -> list[LikelyAnswer]:
        """Answers of which each has random numbers of its own, so that it is the same in any batch."""
        draws = SeededDraws(sampling, seeds)
        config = sampling_config(sampling.max_new_tokens, self.stop_ids, self.pad, temperature=0)  # what was drawn
        with sampling_with(config, self.model):
            answers = generate_ids(self.model, prompts, LogitsProcessorList([draws]))
        sums = draws.log_probabilities.cumsum(dim=0)  # tokens x answers
        return [(ids, sums[len(ids) - 1, row].item() / len(ids)) for row, ids in enumerate(answers)]


class SeededDraws(LogitsProcessor):
    """
    Draws the next token of each answer of a batch from the answer's own stream of random numbers.

    Args:
        sampling (`Sampling`): temperature, top_p and the budget.
        seeds (`list[int]`): one for each answer.
    """

    def __init__(self, sampling: Sampling, seeds: list[int]):
        self.sampling = sampling
        streams = [np.random.default_rng(seed).random(sampling.max_new_tokens) for seed in seeds]
        self._uniforms = torch.from_numpy(np.stack(streams, axis=1))  # tokens x answers
        self._drawn: list[torch.Tensor] = []

    @property
    def log_probabilities(self) -> torch.Tensor:
        """Of the drawn tokens at temperature 1, before top_p: tokens x answers, with what follows the end of one."""
        return torch.stack(self._drawn).cpu()

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        """Leaves each answer (rows of both arguments) the token that is drawn."""
        tokens = scores.argmax(dim=-1) if self.sampling.temperature == 0 else self._draw(scores)
        chosen = tokens.unsqueeze(-1)
        self._drawn.append(scores.log_softmax(dim=-1).gather(-1, chosen).squeeze(-1).double())
        return torch.full_like(scores, -torch.inf).scatter(-1, chosen, 0.0)

    def _draw(self, scores: torch.Tensor) -> torch.Tensor:
        """In the order of the vocabulary, which rounding does not change as it does that of probabilities."""
        shares = (scores / self.sampling.temperature).softmax(dim=-1).double()
        if self.sampling.top_p < 1:
            ordered, places = shares.sort(dim=-1, descending=True)
            is_left_out = ordered.cumsum(dim=-1) - ordered >= self.sampling.top_p
            shares = shares.masked_fill(is_left_out.gather(-1, places.argsort(dim=-1)), 0.0)
        sums = shares.cumsum(dim=-1)
        uniforms = self._uniforms[len(self._drawn)].to(scores.device)
        drawn = torch.searchsorted(sums, (uniforms * sums[:, -1]).unsqueeze(-1), right=True).squeeze(-1)
        return drawn.clamp(max=scores.shape[-1] - 1)
