"""The first rows of a training, in token ids as its model will see them."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from itertools import islice
from typing import Any

from datasets import Dataset
from trl.trainer.utils import RepeatSampler

from prefix_rft_trl.checks import load_processing_class
from prefix_rft_trl.data.row_encoder import RowEncoder
from prefix_rft_trl.method.demonstrations import Message, parse_demonstrations
from prefix_rft_trl.method.prefixes import Assignment
from prefix_rft_trl.models.sources import load_tokenizer
from prefix_rft_trl.rollouts import cut_prefix, longest_prefix, plan_rollouts, scheduled_bounds
from prefix_rft_trl.run.success_history import SuccessHistory
from prefix_rft_trl.sampling.generate import declared_stop_ids


SAMPLE = 64  # rows whose length is taken for that of all


@dataclass(frozen=True)
class SplicedRow:
    """A prompt, the prefix that is given to the model, and the rest of its demonstration, in token ids.

    A prompt of plain GRPO has neither prefix nor rest; a demonstration of SFT is given as a whole. With a hint the
    prefix is in the prompt.
    """

    prompt: list[int]
    prefix: list[int]
    rest: list[int]
    has_hint: bool = False


@dataclass(frozen=True)
class SampledLengths:
    """Tokens of a sample of rows, by row: their prompts, with the longest hint, and their first demonstrations."""

    prompts: list[int]
    demonstrations: list[int]


class FirstRows:
    """
    Args:
        dataset: of the trainer.
        args: settings of the trainer.
        model (`str`): folder or name of the model; its config and tokenizer are read.
        steps (`int`): of the training.
    """

    def __init__(self, dataset: Any, args: Any, model: str, steps: int) -> None:
        processor = load_processing_class(model, args) or load_tokenizer(model)
        self.tokenizer = getattr(processor, "tokenizer", processor)
        self._dataset, self._args, self._steps = dataset, args, steps
        self._has_hints = getattr(args, "prefix_placement", "completion") == "prompt"
        self._encoder = RowEncoder(
            self.tokenizer,
            declared_stop_ids(model, self.tokenizer),
            getattr(args, "chat_template_kwargs", None),
            partial(longest_prefix, args, self.tokenizer.eos_token_id, self.tokenizer.decode),
            args.prefix_hint_template if self._has_hints else None,
        )
        self._samples = hasattr(args, "num_generations")
        self._column = args.needed_demonstration_column if self._samples else "completion"

    @property
    def prompt(self) -> list[int]:
        """That of the first rollout."""
        return self._encoder.prompt_ids(next(self._first_step())["prompt"])

    @property
    def spliced(self) -> SplicedRow | None:
        """The first hybrid rollout of the first step, of SFT the first demonstration; `None` if there is none."""
        for place, row in enumerate(self._first_step() if self._column else ()):
            assignment = self._assignment(place, row)
            if not isinstance(assignment.demonstration, dict):
                continue
            ids = self._demonstration(row, assignment.demonstration)
            end = self.tokenizer.eos_token_id
            drawn = cut_prefix(ids, assignment, self._args, end, self.tokenizer.decode).ids if self._samples else ids
            prompt = row["prompt"]
            given = self._encoder.hinted(prompt, drawn) if self._has_hints else self._encoder.prompt_ids(prompt)
            if drawn:
                return SplicedRow(given, drawn, ids[len(drawn) :], self._has_hints)
        return None

    @property
    def lengths(self) -> SampledLengths:
        rows = list(self._sampled())
        found = [(row, self._parsed(row)) for row in rows if self._column]
        return SampledLengths(
            [len(self._longest_prompt(row)) for row in rows],
            [len(self._demonstration(row, messages[0])) for row, messages in found if messages],
        )

    def _first_step(self) -> Iterator[dict[str, Any]]:
        """One row for each group of the first generation batch, as GRPO's sampler draws them."""
        if not self._samples:
            return iter(self._dataset.take(1))
        groups = self._args.generation_batch_size // self._args.num_generations
        if not isinstance(self._dataset, Dataset):
            return iter(self._dataset.take(groups))
        order = RepeatSampler(
            self._dataset, 1, batch_size=groups, shuffle=self._args.shuffle_dataset, seed=self._args.seed
        )
        return (self._dataset[place] for place in islice(order, groups))

    def _assignment(self, place: int, row: dict[str, Any]) -> Assignment:
        """What the first rollout of a group is drawn in the first step."""
        if not self._samples:
            return Assignment(True, next(iter(self._parsed(row)), None))
        bounds = scheduled_bounds(self._args, 0, self._steps)
        first_row = place * self._args.num_generations
        return plan_rollouts([row], self._args, SuccessHistory(), 0, bounds, first_row, rows_before=0)[0]

    def _longest_prompt(self, row: dict[str, Any]) -> list[int]:
        messages = self._parsed(row) if self._has_hints else []
        if not messages:
            return self._encoder.prompt_ids(row["prompt"])
        return self._encoder.longest_hinted(row["prompt"], messages[0], None)

    def _parsed(self, row: dict[str, Any]) -> list[Message]:
        return parse_demonstrations(row.get(str(self._column)))

    def _demonstration(self, row: dict[str, Any], message: Message) -> list[int]:
        return self._encoder.demonstration(row["prompt"], message)[0]

    def _sampled(self) -> Iterator[dict[str, Any]]:
        if not isinstance(self._dataset, Dataset):
            return iter(self._dataset.take(SAMPLE))
        step = -(-len(self._dataset) // SAMPLE) or 1
        return iter(self._dataset.select(range(0, len(self._dataset), step)))
