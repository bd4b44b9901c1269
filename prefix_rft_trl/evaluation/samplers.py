"""Sample answers with vLLM or with a transformers model, reproducibly from seeds."""

from dataclasses import fields
from inspect import signature
from typing import Any

import torch
from transformers import AutoConfig, GenerationConfig, PreTrainedModel, PreTrainedTokenizerBase

from prefix_rft_trl.models.sources import ModelSource
from prefix_rft_trl.sampling.generate import generate_ids, sampling_config, sampling_with, stop_token_ids

from .sampling import Sampling


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
        from vllm import SamplingParams

        params = [
            SamplingParams(
                temperature=sampling.temperature,
                top_p=sampling.top_p,
                max_tokens=sampling.max_new_tokens,
                stop_token_ids=self.stop_ids,
                detokenize=False,
                seed=seed,
            )
            for seed in seeds
        ]
        requests = [{"prompt_token_ids": prompt} for prompt in prompts]
        answers = self.llm.generate(requests, params, use_tqdm=False)
        return [list(answer.outputs[0].token_ids) for answer in answers]


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
