"""Answers by vLLM, each with random numbers of its own."""

from dataclasses import fields
from inspect import signature
from typing import Any

from transformers import AutoConfig, GenerationConfig

from prefix_rft_trl.models.sources import Source

from .sampling import Sampling
from .vllm_adapters import rank_of_adapter


class VLLMSampler:
    """
    Samples from a model that vLLM loads. A prompt gets the same answer to the same seed.

    Args:
        source (`Source`): of the model. An adapter is put on its base by vLLM.
        tokenizer ([`~transformers.PreTrainedTokenizerBase`]): of the model.
        settings (`dict`): arguments of vLLM's `LLM`.

    Raises:
        ValueError: for settings that vLLM does not have, or an adapter that it would run differently.
    """

    def __init__(self, source: Source, tokenizer: Any, settings: dict[str, Any]):
        from vllm import LLM

        self.adapter = None
        if source.base is not None:
            from vllm.lora.request import LoRARequest

            settings = {"enable_lora": True, "max_lora_rank": rank_of_adapter(source.path), **settings}
            self.adapter = LoRARequest(source.name, 1, source.path)
        model = source.base or source.path
        _refuse_unknown(settings)
        self.llm = LLM(model=model, tokenizer=source.tokenizer_path, **settings)
        self.ends = _ends_of(model, tokenizer)

    def __call__(self, prompts: list[list[int]], sampling: Sampling, seeds: list[int]) -> list[list[int]]:
        from vllm import SamplingParams

        params = [
            SamplingParams(
                temperature=sampling.temperature,
                top_p=sampling.top_p,
                max_tokens=sampling.max_new_tokens,
                stop_token_ids=self.ends,
                detokenize=False,
                seed=seed,
            )
            for seed in seeds
        ]
        asked = [{"prompt_token_ids": prompt} for prompt in prompts]
        answers = self.llm.generate(asked, params, use_tqdm=False, lora_request=self.adapter)
        return [list(answer.outputs[0].token_ids) for answer in answers]


def _refuse_unknown(settings: dict[str, Any]) -> None:
    from vllm import LLM, EngineArgs

    known = {*signature(LLM).parameters, *(field.name for field in fields(EngineArgs))} - {"model", "tokenizer"}
    unknown = sorted(settings.keys() - known)
    if unknown:
        raise ValueError(f"`vllm_kwargs` are arguments of vLLM's LLM, and {', '.join(unknown)} is none to set.")


def _ends_of(model: str, tokenizer: Any) -> list[int]:
    """Those at which transformers would end, without its model."""
    try:
        config = GenerationConfig.from_pretrained(model)
    except OSError:  # a model need not have one
        config = GenerationConfig.from_model_config(AutoConfig.from_pretrained(model))
    eos = config.eos_token_id
    ends = {*(eos if isinstance(eos, list) else [eos]), tokenizer.eos_token_id}
    return sorted(end for end in ends if end is not None)
