"""Measure how likely a model finds demonstrations, token by token behind their prompts."""

import inspect
from collections.abc import Container, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any, NamedTuple

import torch
from trl.trainer.utils import selective_log_softmax

from prefix_rft_trl.data.row_encoder import RowEncoder
from prefix_rft_trl.method.demonstrations import Message, parse_demonstrations
from prefix_rft_trl.models.sources import positions
from prefix_rft_trl.sampling.generate import stop_token_ids


MOST_DEMONSTRATIONS = 256
TOKENS_PER_PASS = 8192  # padding included; a longer demonstration has a pass of its own


class ScoredDemonstration(NamedTuple):
    """Token ids of a demonstration and of the prompt before it."""

    prompt_ids: list[int]
    ids: list[int]

    @property
    def width(self) -> int:
        return len(self.prompt_ids) + len(self.ids)


def find_demonstrations(rows: Iterable[dict[str, Any]], column: str) -> list[tuple[Any, Message]]:
    """The prompt and the first demonstration of each row that has one."""
    found = []
    for row in rows:
        with suppress(ValueError):  # no demonstration, which plain GRPO is free to have in this column
            found += [(row["prompt"], message) for message in parse_demonstrations(row.get(column))[:1]]
    return found


class DemonstrationLikelihood:
    """
    The mean log-probability of a token of a fixed set of demonstrations, under the model as it is trained.

    Args:
        trainer ([`~transformers.Trainer`]): with a `processing_class`. Its processes share the demonstrations.
        demonstrations (`Sequence`): prompts and messages, from [`find_demonstrations`].
        budget (`int`): longest demonstration in tokens; a longer one is left out, as is one that the model has no
            positions for or whose template refuses it.
        template_kwargs (`dict`, *optional*): further arguments of the chat template.
    """

    def __init__(
        self,
        trainer: Any,
        demonstrations: Sequence[tuple[Any, Message]],
        budget: int,
        template_kwargs: dict[str, Any] | None = None,
    ):
        self.trainer = trainer
        tokenizer = getattr(trainer.processing_class, "tokenizer", trainer.processing_class)
        model = trainer.accelerator.unwrap_model(trainer.model)
        encoder = RowEncoder(tokenizer, stop_token_ids(model.generation_config, tokenizer), template_kwargs)
        limit = positions(model.config.to_dict())
        encoded = [
            demonstration
            for demonstration in encode_demonstrations(encoder, demonstrations)
            if 0 < len(demonstration.ids) <= budget and (limit is None or demonstration.width <= limit)
        ]
        self.passes = arrange_passes(encoded)
        self.pad = tokenizer.eos_token_id if tokenizer.pad_token_id is None else tokenizer.pad_token_id

    def measure(self) -> dict[str, float]:
        """`demonstration_logp`, in nats, the same on every process; nothing without demonstrations."""
        if not self.passes:
            return {}
        accelerator = self.trainer.accelerator
        number, rank = accelerator.num_processes, accelerator.process_index
        total = torch.zeros(2, dtype=torch.float64)
        with scoring(self.trainer.model):
            for start in range(0, len(self.passes), number):  # as many on each process: shards are gathered in a pass
                part = self.passes[min(start + rank, len(self.passes) - 1)]
                with accelerator.autocast():
                    logp = self._sum_of_logps(part)
                if start + rank < len(self.passes):
                    total += torch.tensor([logp, sum(len(demonstration.ids) for demonstration in part)])
        logp, tokens = accelerator.reduce(total.to(accelerator.device, torch.float32), reduction="sum").tolist()
        return {"demonstration_logp": logp / tokens}

    def _sum_of_logps(self, demonstrations: list[ScoredDemonstration]) -> float:
        accelerator, model = self.trainer.accelerator, self.trainer.model
        takes = argument_names(accelerator.unwrap_model(model))
        found = demonstration_logits(model, demonstrations, self.pad, accelerator.device, takes)
        return sum(selective_log_softmax(logits, ids).sum().item() for logits, ids in found)


def demonstration_logits(
    model: Any, demonstrations: list[ScoredDemonstration], pad: int, device: Any, takes: Container[str] = ()
) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Logits and token ids of demonstrations, by one forward pass over all of them.

    Args:
        model (`Callable`): a causal language model, in evaluation and without gradients.
        demonstrations (`list[ScoredDemonstration]`): of the pass.
        pad (`int`): id behind the end of a row.
        device (`torch.device`): the model's.
        takes (`Container[str]`): names of the model's arguments, by which it may leave out the logits of prompts.

    Yields:
        `tuple`: for each demonstration float32 logits of shape (tokens, vocabulary), and its ids, (tokens,).
    """
    width = max(demonstration.width for demonstration in demonstrations)
    rows = [[*prompt_ids, *ids] for prompt_ids, ids in demonstrations]
    inputs = {
        "input_ids": torch.tensor([row + [pad] * (width - len(row)) for row in rows], device=device),
        "attention_mask": torch.tensor([[1] * len(row) + [0] * (width - len(row)) for row in rows], device=device),
        "use_cache": False,
    }
    first = min(len(prompt_ids) for prompt_ids, _ in demonstrations) - 1  # that predicts a demonstration's token
    if "logits_to_keep" in takes:
        inputs["logits_to_keep"] = width - first
    logits = model(**inputs).logits[:, first - width :]
    for row, (prompt_ids, ids) in zip(logits, demonstrations, strict=True):
        start = len(prompt_ids) - 1 - first
        yield row[start : start + len(ids)].float(), torch.tensor(ids, device=device)


def encode_demonstrations(
    encoder: RowEncoder, demonstrations: Sequence[tuple[Any, Message]]
) -> Iterator[ScoredDemonstration]:
    """Demonstrations behind their prompts, without those that have no place in the chat template."""
    for prompt, message in demonstrations:
        with suppress(ValueError):
            yield ScoredDemonstration(encoder.prompt_ids(prompt), encoder.demonstration(prompt, message)[0])


def arrange_passes(demonstrations: list[ScoredDemonstration]) -> list[list[ScoredDemonstration]]:
    """Demonstrations of similar length together, the longest first, at most `TOKENS_PER_PASS` in a pass."""
    passes: list[list[ScoredDemonstration]] = []
    for demonstration in sorted(demonstrations, key=lambda one: -one.width):
        if passes and (len(passes[-1]) + 1) * passes[-1][0].width <= TOKENS_PER_PASS:
            passes[-1].append(demonstration)
        else:
            passes.append([demonstration])
    return passes


def argument_names(model: Any) -> Container[str]:
    """Names of the arguments of a model's forward pass."""
    model = model.get_base_model() if hasattr(model, "get_base_model") else model
    return inspect.signature(model.forward).parameters


@contextmanager
def scoring(model: Any) -> Iterator[None]:
    """Within the block the model is in evaluation, without gradients; its mode is restored."""
    training = model.training
    model.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        model.train(training)
