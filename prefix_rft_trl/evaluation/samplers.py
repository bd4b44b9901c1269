"""Answers by vLLM, each with random numbers of its own."""

import json
from dataclasses import fields
from inspect import signature
from pathlib import Path
from typing import Any

import torch
from transformers import AutoConfig, GenerationConfig, PreTrainedModel, PreTrainedTokenizerBase

from prefix_rft_trl.models.sources import ADAPTER_CONFIG, ModelSource
from prefix_rft_trl.sampling.generate import ends_of, generate_ids, sampling_by, sampling_config

from .sampling import Sampling


class VLLMSampler:
    """
    Samples from a model that vLLM loads. A prompt gets the same answer to the same seed.

    Args:
        source (`ModelSource`): of the model. An adapter is put on its base by vLLM.
        tokenizer ([`~transformers.PreTrainedTokenizerBase`]): of the model.
        settings (`dict`): arguments of vLLM's `LLM`.

    Raises:
        ValueError: for settings that vLLM does not have, or an adapter that it would run differently.
    """

    def __init__(self, source: ModelSource, tokenizer: Any, settings: dict[str, Any]):
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


class TransformersSampler:
    """
    Samples from a model that is in memory. The same prompts with the same seeds give the same answers.

    Args:
        model ([`~transformers.PreTrainedModel`]): it keeps its mode, its generation config and the random state.
        tokenizer ([`~transformers.PreTrainedTokenizerBase`]): of the model.
    """

    def __init__(self, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase):
        self.model, self.tokenizer = model, tokenizer
        self.ends = ends_of(model, tokenizer)

    def __call__(self, prompts: list[list[int]], sampling: Sampling, seeds: list[int]) -> list[list[int]]:
        pad = self.tokenizer.pad_token_id
        config = sampling_config(sampling.max_new_tokens, self.ends, pad, sampling.temperature, sampling.top_p)
        with sampling_by(config, self.model):
            torch.manual_seed(seeds[0])  # one stream of random numbers serves the rows of a batch
            return generate_ids(self.model, prompts)


RANKS = (1, 8, 16, 32, 64, 128, 256, 320, 512)  # that vLLM reserves memory for

# Of an adapter's config: vLLM refuses the first two once it has loaded, and runs the others as if they were not set.
NOT_IN_VLLM = (
    "use_dora",
    "modules_to_save",
    "rank_pattern",
    "alpha_pattern",
    "lora_bias",
    "trainable_token_indices",
    "layer_replication",
)


def rank_of_adapter(folder: str) -> int:
    """The smallest rank of vLLM that an adapter fits into.

    Raises:
        ValueError: if vLLM would not run the adapter, or would run it differently.
    """
    config = json.loads((Path(folder) / ADAPTER_CONFIG).read_text())
    found = [f"`{name}`" for name in NOT_IN_VLLM if config.get(name)]
    if config.get("bias", "none") != "none":
        found.append("`bias`")
    kind, rank = config.get("peft_type", "LORA"), config.get("r", 0)
    if kind != "LORA":
        found = [f"`peft_type` {kind}"]
    elif rank > RANKS[-1]:
        found.append(f"`r` {rank}")
    if found:
        raise ValueError(
            f"vLLM does not run the adapter {folder} as it was trained: {', '.join(found)} in its {ADAPTER_CONFIG}. "
            "Take `--backend transformers`, or merge the adapter into its base."
        )
    return next(size for size in RANKS if size >= rank)
