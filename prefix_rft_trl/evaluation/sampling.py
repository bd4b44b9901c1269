"""Set how answers are sampled, and divide them into chunks, which are sampled, written and resumed one by one."""

from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

from prefix_rft_trl.run.settings import AnswerSettings


@dataclass(frozen=True)
class Sampling:
    """
    How the answers to a problem are sampled.

    Args:
        num_samples (`int`, *optional*, defaults to 1): answers to each problem.
        temperature (`float`, *optional*, defaults to 1.0): 0 takes the most likely token.
        top_p (`float`, *optional*, defaults to 1.0): share of the probability that is sampled from.
        max_new_tokens (`int`, *optional*, defaults to 512): budget of an answer in tokens.
        seed (`int`, *optional*, defaults to 0): seed of all random numbers.
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

    def chunks(self, problems: int) -> list["Chunk"]:
        """The samples of a number of problems, problem by problem, so that equal prompts are sampled together."""
        places = [Place(problem, sample) for problem in range(problems) for sample in range(self.num_samples)]
        starts = range(0, len(places), self.batch_size)
        return [Chunk(index, tuple(places[start : start + self.batch_size])) for index, start in enumerate(starts)]


@dataclass(frozen=True, kw_only=True)
class EvalOverrides(AnswerSettings):
    """
    Settings of an evaluation that come before those of the run that made the model; `None` leaves a setting to the
    run, and else to the benchmark.

    Args:
        num_samples (`int`, *optional*): answers to each problem.
        num_problems (`int`, *optional*): number of problems of each benchmark, from the first; defaults to all.
        prompt_column (`str`, *optional*): column of a file or dataset; by default problem, question or prompt.
        answer_column (`str`, *optional*): the same for right answers; by default answer, final_answer or solution.
        dataset_config (`str`, *optional*): configuration of a dataset on the Hub.
        dataset_split (`str`, *optional*): split of a dataset, or a slice as train[240:]; by default test, or the
            first.
        test_share (`float`, *optional*): only the problems that a run with this test_share held out.
        test_seed (`int`, *optional*): that of the run, by default 0.
        sampling (`Sampling`): all further settings of the sampling.
    """

    num_samples: int | None = None
    num_problems: int | None = None
    prompt_column: str | None = None
    answer_column: str | None = None
    dataset_config: str | None = None
    dataset_split: str | None = None
    test_share: float | None = None
    test_seed: int | None = None
    sampling: Sampling = field(default_factory=Sampling)

    def __post_init__(self):
        if self.num_problems is not None and self.num_problems < 1:
            raise ValueError(f"`num_problems` is at least 1, found {self.num_problems}.")


@dataclass(frozen=True)
class Place:
    """A sample of a problem, both counted from 0."""

    problem: int
    sample: int


@dataclass(frozen=True)
class Chunk:
    """Answers that are sampled together."""

    index: int
    places: tuple[Place, ...]


LikelyAnswer = tuple[list[int], float]  # token ids and mean log-probability


class Sampler(Protocol):
    """Gives each prompt one answer: token ids, with the token that ended it if one did."""

    def __call__(self, prompts: list[list[int]], sampling: Sampling, seeds: list[int]) -> list[list[int]]: ...


class LikelihoodSampler(Sampler, Protocol):
    """A sampler that also gives each answer with the mean log-probability of its tokens at temperature 1."""

    def with_likelihoods(
        self, prompts: list[list[int]], sampling: Sampling, seeds: list[int]
    ) -> list[LikelyAnswer]: ...


class Loaded(NamedTuple):
    """A model that is ready to answer: its sampler, its tokenizer, and the ids that end an answer."""

    sampler: Sampler
    tokenizer: Any
    stop_ids: list[int]
