"""Measure how likely and how open each token of demonstrations is to a model, by forward passes alone."""

from dataclasses import dataclass, replace

import torch
from tqdm import tqdm
from trl.trainer.utils import entropy_from_logits, selective_log_softmax

from prefix_rft_trl.evaluation.demonstration_likelihood import (
    ScoredDemonstration,
    argument_names,
    arrange_passes,
    demonstration_logits,
    scoring,
)
from prefix_rft_trl.evaluation.engines import Engine
from prefix_rft_trl.models.sources import ModelSource


DECIMALS = 5


@dataclass(frozen=True)
class TokenLikelihoods:
    """Log-probabilities and entropies in nats at temperature 1, of each token of each demonstration."""

    logps: list[list[float]]
    entropies: list[list[float]]


def measure_likelihoods(
    source: ModelSource, demonstrations: list[ScoredDemonstration], engine: Engine
) -> TokenLikelihoods:
    """
    The likelihoods of demonstrations behind their prompts.

    Args:
        source (`ModelSource`): the model, which transformers loads.
        demonstrations (`list[ScoredDemonstration]`): of at least one token each.
        engine (`Engine`): for the dtype.
    """
    if not demonstrations:
        return TokenLikelihoods([], [])
    loaded = replace(engine, backend="transformers", tensor_parallel_size=1, vllm_kwargs={}).load(source)
    model, tokenizer = loaded.sampler.model, loaded.tokenizer  # type: ignore[attr-defined]
    pad = tokenizer.eos_token_id if tokenizer.pad_token_id is None else tokenizer.pad_token_id
    takes = argument_names(model)
    places = {id(demonstration): place for place, demonstration in enumerate(demonstrations)}
    found = TokenLikelihoods([[] for _ in demonstrations], [[] for _ in demonstrations])
    with scoring(model), tqdm(total=len(demonstrations), desc="Reading demonstrations") as bar:
        for together in arrange_passes(demonstrations):
            each = demonstration_logits(model, together, pad, model.device, takes)
            for demonstration, (logits, ids) in zip(together, each, strict=True):
                place = places[id(demonstration)]
                found.logps[place] = _rounded(selective_log_softmax(logits, ids))
                found.entropies[place] = _rounded(entropy_from_logits(logits))
            bar.update(len(together))
    return found


def _rounded(values: torch.Tensor) -> list[float]:
    return [round(value, DECIMALS) for value in values.tolist()]
