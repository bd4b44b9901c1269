"""Answers by transformers' own `generate`."""

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from prefix_rft_trl.sampling.generate import ends_of, generate_ids, sampling_by, sampling_config

from .sampling import Sampling


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
