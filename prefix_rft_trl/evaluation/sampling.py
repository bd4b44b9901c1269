"""How answers are sampled, and in which portions: what a killed evaluation goes on with."""

import hashlib
from dataclasses import dataclass, field
from typing import Any, Protocol


@dataclass(frozen=True)
class Sampling:
    """
    How the answers to a problem are sampled.

    Args:
        num_samples (`int`, *optional*, defaults to 1): answers to each problem.
        temperature (`float`, *optional*, defaults to 1.0): of the sampling; 0 takes the most likely token.
        top_p (`float`, *optional*, defaults to 1.0): share of the probability that is sampled from.
        max_new_tokens (`int`, *optional*, defaults to 512): budget of an answer in tokens.
        seed (`int`, *optional*, defaults to 0): of all random numbers.
        batch_size (`int`, *optional*, defaults to 256): answers that are sampled together, and written together.

    Raises:
        ValueError: for a value that nothing can be sampled with.
    """

    num_samples: int = 1
    temperature: float = 1.0
    top_p: float = 1.0
    max_new_tokens: int = 512
    seed: int = 0
    batch_size: int = 256

    def __post_init__(self):
        for name in ("num_samples", "max_new_tokens", "batch_size"):
            if getattr(self, name) < 1:
                raise ValueError(f"`{name}` is at least 1, found {getattr(self, name)}.")
        if self.temperature < 0:
            raise ValueError(f"`temperature` is 0 (the most likely token) or above, found {self.temperature}.")
        if not 0 < self.top_p <= 1:
            raise ValueError(f"`top_p` is above 0 and at most 1, found {self.top_p}.")
        if self.temperature == 0 and self.num_samples > 1:
            raise ValueError(
                f"At temperature 0 the {self.num_samples} samples of a problem would be the same. Set `num_samples` "
                "to 1, or a temperature."
            )


@dataclass(frozen=True)
class Place:
    """Which sample of which problem, both counted from 0."""

    problem: int
    sample: int


@dataclass(frozen=True)
class Chunk:
    """Answers that are sampled together."""

    index: int
    places: tuple[Place, ...]


class Sampler(Protocol):
    """Gives each prompt one answer: token ids, with the end of sequence if it has come to one."""

    def __call__(self, prompts: list[list[int]], sampling: Sampling, seeds: list[int]) -> list[list[int]]: ...


def chunks_of(problems: int, sampling: Sampling) -> list[Chunk]:
    """All samples of all problems in portions: problem by problem, so that equal prompts stand together."""
    places = [Place(problem, sample) for problem in range(problems) for sample in range(sampling.num_samples)]
    size = sampling.batch_size
    return [Chunk(start // size, tuple(places[start : start + size])) for start in range(0, len(places), size)]


def seeds_of(chunk: Chunk, benchmark: str, seed: int) -> list[int]:
    """A seed for each sample, from (seed, benchmark, problem, sample)."""
    return [_hashed(seed, benchmark, place.problem, place.sample) for place in chunk.places]


def _hashed(*what: object) -> int:
    digest = hashlib.blake2b(repr(what).encode(), digest_size=4).digest()
    return int.from_bytes(digest, "big") >> 1  # engines take signed numbers


@dataclass(frozen=True)
class Asking:
    """
    How benchmarks are put to a model, as far as a command line says. `None` leaves it to the run that has made the
    model, and else to the benchmark.

    Args:
        num_samples (`int`, *optional*): answers to each problem.
        num_problems (`int`, *optional*): how many of a benchmark's first problems.
        max_new_tokens (`int`, *optional*): budget of an answer in tokens.
        instruction (`str`, *optional*): text put after each problem; empty for none.
        conversational (`bool`, *optional*): whether problems are made a user's message.
        chat_template_kwargs (`dict`, *optional*): further arguments of the chat template.
        reward (`str`, *optional*): name or dotted path of the reward that tells right answers.
        reward_kwargs (`dict`, *optional*): its arguments.
        prompt_column, answer_column (`str`, *optional*): of a dataset.
        dataset_config (`str`, *optional*): of a dataset on the Hub.
        dataset_split (`str`, *optional*): of a dataset that has several.
        lab_level (`str`, *optional*): of the lab's problems.
        sampling (`Sampling`): all else of the sampling.
    """

    num_samples: int | None = None
    num_problems: int | None = None
    max_new_tokens: int | None = None
    instruction: str | None = None
    conversational: bool | None = None
    chat_template_kwargs: dict[str, Any] | None = None
    reward: str | None = None
    reward_kwargs: dict[str, Any] | None = None
    prompt_column: str | None = None
    answer_column: str | None = None
    dataset_config: str | None = None
    dataset_split: str | None = None
    lab_level: str | None = None
    sampling: Sampling = field(default_factory=Sampling)

    def __post_init__(self):
        if self.num_problems is not None and self.num_problems < 1:
            raise ValueError(f"`num_problems` is at least 1, found {self.num_problems}.")
