"""A model, its problems, demonstrations and reward as a training would have them, and how much of them is probed."""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from prefix_rft_trl.data.row_encoder import RowEncoder
from prefix_rft_trl.method.demonstrations import Message, parse_demonstrations
from prefix_rft_trl.models.sources import ModelSource
from prefix_rft_trl.rewards.registry import RewardFunction


if TYPE_CHECKING:
    from datasets import Dataset


MANY_PROBLEMS, FEW_PROBLEMS = 48, 24
LONG_ANSWER = 128  # tokens of the budget, above which few problems are probed


@dataclass(frozen=True)
class ProbeSettings:
    """
    How much is sampled.

    Args:
        num_problems (`int`, *optional*): problems that are answered, spread over the dataset; defaults to 48, and to
            24 where an answer may have more than 128 tokens.
        num_samples (`int`, *optional*): answers to each problem; defaults to the recipe's `num_generations`.
        num_continuations (`int`, *optional*, defaults to 2): continuations of each demonstration from each share.
        seed (`int`, *optional*, defaults to 0): seed of the choice of problems and of all samples.
        batch_size (`int`, *optional*): answers that are sampled together, and written together; defaults to 64, with
            vLLM to 2048.

    Raises:
        ValueError: for a number below 1.
    """

    num_problems: int | None = None
    num_samples: int | None = None
    num_continuations: int = 2
    seed: int = 0
    batch_size: int | None = None

    def __post_init__(self) -> None:
        for name in ("num_problems", "num_samples", "num_continuations", "batch_size"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ValueError(f"`{name}` is at least 1, found {value}.")
        if self.seed < 0:
            raise ValueError(f"`seed` is at least 0, found {self.seed}.")

    def for_subject(self, subject: "ProbedSubject", uses_vllm: bool) -> "ProbeSettings":
        """The settings, with those that are open filled in."""
        is_long = subject.max_completion_length > LONG_ANSWER
        return replace(
            self,
            num_problems=self.num_problems or (FEW_PROBLEMS if is_long else MANY_PROBLEMS),
            num_samples=self.num_samples or subject.num_generations,
            batch_size=self.batch_size or (2048 if uses_vllm else 64),
        )


@dataclass(frozen=True)
class ProbedDemonstration:
    """A demonstration of a row, in token ids behind those of its prompt."""

    row: int
    prompt_ids: list[int]
    ids: list[int]


@dataclass(frozen=True)
class ProbedSubject:
    """
    What is probed.

    Args:
        model, dataset (`str`): names, as the recipe has them.
        source (`ModelSource`): the model.
        tokenizer ([`~transformers.PreTrainedTokenizerBase`]): the model's.
        stop_ids (`list[int]`): ids that end a completion.
        rows (`Dataset`): to train on, with the prompts of the training and all columns that the reward reads.
        reward (`Callable`): that judges answers.
        demonstration_column, answer_column (`str`, *optional*): of the rows; `None` where they have none.
        num_generations, max_completion_length (`int`), temperature, top_p (`float`): as in the training.
        excludes_answer (`bool`): whether prefixes end before the answer (`prefix_exclude_answer`).
        template_kwargs, reward_kwargs (`dict`, *optional*), prompting (`dict`): as of a
            [`~prefix_rft_trl.evaluation.benchmark.Benchmark`].
    """

    model: str
    dataset: str
    source: ModelSource
    tokenizer: Any
    stop_ids: list[int]
    rows: "Dataset"
    reward: RewardFunction
    demonstration_column: str | None
    answer_column: str | None
    num_generations: int
    max_completion_length: int
    temperature: float = 1.0
    top_p: float = 1.0
    excludes_answer: bool = False
    template_kwargs: dict[str, Any] | None = None
    reward_kwargs: dict[str, Any] | None = None
    prompting: dict[str, Any] = field(default_factory=dict)

    @cached_property
    def demonstrations(self) -> dict[int, Message]:
        """The first demonstration of each row that has one.

        Raises:
            ValueError: naming the row, if what it has is no demonstration.
        """
        if self.demonstration_column is None:
            return {}
        values = enumerate(self.rows[self.demonstration_column])
        found = ((row, parse_demonstrations(value, row, self.demonstration_column)) for row, value in values)
        return {row: messages[0] for row, messages in found if messages}

    def shuffled_rows(self, seed: int) -> list[int]:
        """All rows in an order that the seed draws: its beginnings are spread over the dataset."""
        return np.random.default_rng(seed).permutation(len(self.rows)).tolist()

    def encode(self, rows: list[int]) -> Iterator[ProbedDemonstration]:
        """The demonstrations of rows, as the trainer encodes them.

        Raises:
            ValueError: naming the row, if one has no place in the chat template.
        """
        encoder = RowEncoder(self.tokenizer, self.stop_ids, self.template_kwargs)
        for row in rows:
            prompt = self.rows[row]["prompt"]
            try:
                ids, _ = encoder.demonstration(prompt, self.demonstrations[row])
            except ValueError as error:
                raise ValueError(f"Row {row}, column '{self.demonstration_column}': {error}") from error
            yield ProbedDemonstration(row, encoder.prompt_ids(prompt), ids)

    def answer(self, row: int) -> object:
        """The right answer of a row, as it is in `answer_column`."""
        return self.rows[row].get(self.answer_column) if self.answer_column else None
