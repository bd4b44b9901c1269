"""Sample a model's answers to the problems of a benchmark, and score them."""

import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, NamedTuple

from prefix_rft_trl.rewards.registry import answer_finder, is_registered, name_of_reward
from prefix_rft_trl.rewards.verification.equivalence import LONGEST
from prefix_rft_trl.rewards.verification.normal_form import normal_form
from prefix_rft_trl.sampling.generate import encode_prompts
from prefix_rft_trl.utils.hashing import stable_hash

from .samples import Sample
from .sampling import Chunk, Loaded, Place, Sampling


if TYPE_CHECKING:
    from datasets import Dataset


class Answer(NamedTuple):
    """Token ids and text of an answer, and whether the budget has cut it off."""

    ids: list[int]
    text: str
    is_truncated: bool


@dataclass(frozen=True)
class Benchmark:
    """
    Problems, how their answers are sampled, and what verifies them.

    Attributes:
        name (`str`): its name in tables.
        rows (`Dataset`): columns `prompt`, text or messages, and what the reward reads.
        reward (`Callable`): a reward function as for [`~trl.GRPOTrainer`], 1 for a right answer and 0 for a wrong one.
            Its attribute `final_answer` or `answer_markers` says how answers are found.
        sampling (`Sampling`): how answers are sampled.
        template_kwargs (`dict`, *optional*): further arguments of the chat template.
        reward_kwargs (`dict`, *optional*): what the reward was made with, to be recorded.
        prompting (`dict`, *optional*): the settings that the prompts were made by, to be recorded.
        prompt_ids (`list[list[int]]`, *optional*): the prompts in a model's tokens (`encoded`).
    """

    name: str
    rows: "Dataset"
    reward: Callable[..., list[float | None]]
    sampling: Sampling
    template_kwargs: dict[str, Any] | None = None
    reward_kwargs: dict[str, Any] | None = None
    prompting: dict[str, Any] = field(default_factory=dict)
    prompt_ids: list[list[int]] = field(default_factory=list, repr=False)

    @property
    def verifier(self) -> str:
        """The name of the reward."""
        return name_of_reward(self.reward)

    @property
    def chunks(self) -> list[Chunk]:
        return self.sampling.chunks(len(self.rows))

    def encoded(self, tokenizer: Any) -> "Benchmark":
        """The benchmark with its prompts in a model's tokens, unless it has them already."""
        if self.prompt_ids:
            return self
        return replace(self, prompt_ids=encode_prompts(tokenizer, list(self.rows["prompt"]), self.template_kwargs))

    def seeds(self, chunk: Chunk) -> list[int]:
        """A seed for each sample, from (seed, benchmark, problem, sample)."""
        keys = [(self.sampling.seed, self.name, place.problem, place.sample) for place in chunk.places]
        return [stable_hash(repr(key), size=4) >> 1 for key in keys]  # engines take signed numbers

    def sample(self, model: Loaded, chunk: Chunk) -> list[Answer]:
        """A model's answers."""
        prompts = [self.prompt_ids[place.problem] for place in chunk.places]
        answers = model.sampler(prompts, self.sampling, self.seeds(chunk))
        texts = model.tokenizer.batch_decode(answers, skip_special_tokens=True)
        return [
            Answer(ids, text, not ids or ids[-1] not in model.stop_ids)
            for ids, text in zip(answers, texts, strict=True)
        ]

    def score(self, chunk: Chunk, answers: list[Answer]) -> list[Sample]:
        """The answers with their rewards."""
        rows = self.rows.select([place.problem for place in chunk.places])
        prompts, texts = list(rows["prompt"]), [answer.text for answer in answers]
        is_text = isinstance(prompts[0], str)
        completions = texts if is_text else [[{"role": "assistant", "content": text}] for text in texts]
        given = ("prompt", "completion", "completion_ids")
        columns = {name: list(rows[name]) for name in rows.column_names if name not in given}
        ids = [answer.ids for answer in answers]
        rewards = self.reward(prompts=prompts, completions=completions, completion_ids=ids, **columns)
        return [
            Sample(
                problem=place.problem,
                sample=place.sample,
                text=answer.text,
                answer=self._final_answer(answer.text),
                reward=float(reward) if reward is not None and math.isfinite(reward) else None,
                tokens=len(answer.ids),
                is_truncated=answer.is_truncated,
            )
            for place, answer, reward in zip(chunk.places, answers, rewards, strict=True)
        ]

    def check_golds(self) -> None:
        """Raises `ValueError` if the verifier can read none of the right answers, before anything is sampled.

        A reward of the user's own may have no score for the empty answer that it is tried with, and is not tried.
        """
        if not is_registered(self.reward):
            return
        chunk = Chunk(0, tuple(Place(problem, 0) for problem in range(len(self.rows))))
        found = self.score(chunk, [Answer([], "", True)] * len(chunk.places))
        if all(sample.reward is None for sample in found):
            raise ValueError(
                f"{self.verifier} can read none of the {len(found)} right answers of {self.name}. Take another "
                "verifier (`--reward`) or column (`--answer_column`)."
            )

    def _final_answer(self, text: str) -> str | None:
        find = answer_finder(self.reward)
        found = find(text) if find else None
        return None if found is None else normal_form(str(found)[:LONGEST]) or None


@dataclass(frozen=True)
class HeldOutSplit(Benchmark):
    """
    Rows of a dataset whose accuracy is measured during training, in batches of up to 512.

    `generate` draws all random numbers of a batch from its first seed, which is the number of the batch: every
    measurement of a run meets the same draws. vLLM has a seed for each answer, which must not be the same.

    Attributes:
        further_rewards (`tuple[Callable, ...]`): rewards whose means are measured on the same answers.
        demonstrations (`tuple`): prompts and messages whose likelihood is measured, of these problems or of others.
    """

    further_rewards: tuple[Callable[..., list[float | None]], ...] = ()
    demonstrations: tuple[tuple[Any, dict[str, Any]], ...] = field(default=(), repr=False)

    def seeds(self, chunk: Chunk) -> list[int]:
        return [chunk.index, *super().seeds(chunk)[1:]]
