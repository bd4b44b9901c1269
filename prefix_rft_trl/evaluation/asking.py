"""How benchmarks are put to a model, as far as somebody says."""

from dataclasses import dataclass, field
from typing import Any

from .sampling import Sampling


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
