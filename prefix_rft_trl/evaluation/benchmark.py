"""A benchmark as it is put to a model: prompts, what the verifier needs, and the verifier."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from prefix_rft_trl.rewards.answers import MARKERS, find_final_answer
from prefix_rft_trl.rewards.verification.equivalence import LONGEST
from prefix_rft_trl.rewards.verification.normal_form import normal_form

from .samples import Sample
from .sampling import Chunk, Place, Sampling


if TYPE_CHECKING:
    from datasets import Dataset


@dataclass(frozen=True)
class Benchmark:
    """
    Problems, and what an answer to them is worth.

    Attributes:
        name (`str`): what it is called in tables.
        rows (`Dataset`): columns `prompt`, text or messages, and what the reward reads.
        reward (`Callable`): a reward function as for [`~trl.GRPOTrainer`], 1 for a right answer and 0 for a wrong one.
        sampling (`Sampling`): how answers are sampled.
        markers (`tuple[str, ...]`): what a final answer stands behind where it has no box.
        template_kwargs (`dict`, *optional*): further arguments of the chat template.
        reward_kwargs (`dict`, *optional*): what the reward was made with, to be written down.
    """

    name: str
    rows: "Dataset"
    reward: Callable[..., list[float | None]]
    sampling: Sampling
    markers: tuple[str, ...] = MARKERS
    template_kwargs: dict[str, Any] | None = None
    reward_kwargs: dict[str, Any] | None = None

    @property
    def verifier(self) -> str:
        """The name of the reward."""
        return getattr(self.reward, "__name__", type(self.reward).__name__)

    def check_golds(self) -> None:
        """Raises `ValueError` if the verifier can read none of the right answers, before anything is sampled."""
        places = tuple(Place(problem, 0) for problem in range(len(self.rows)))
        nothing: list[list[int]] = [[] for _ in places]
        found = self.score(Chunk(0, places), nothing, [""] * len(places), [])
        if all(sample.reward is None for sample in found):
            raise ValueError(
                f"{self.verifier} can read none of the {len(found)} right answers of {self.name}. Take another "
                "verifier (`--reward`) or column (`--answer_column`)."
            )

    def score(self, chunk: Chunk, ids: list[list[int]], texts: list[str], ends: list[int]) -> list[Sample]:
        """The samples of a chunk with their rewards, from token ids and text of each."""
        rows = self.rows.select([place.problem for place in chunk.places])
        prompts = list(rows["prompt"])
        is_text = isinstance(prompts[0], str)
        completions = texts if is_text else [[{"role": "assistant", "content": text}] for text in texts]
        given = ("prompt", "completion", "completion_ids")
        columns = {name: list(rows[name]) for name in rows.column_names if name not in given}
        rewards = self.reward(prompts=prompts, completions=completions, completion_ids=ids, **columns)
        return [
            Sample(
                place.problem,
                place.sample,
                text,
                self._stated(text),
                None if reward is None else float(reward),
                len(answer_ids),
                not answer_ids or answer_ids[-1] not in ends,
            )
            for place, text, reward, answer_ids in zip(chunk.places, texts, rewards, ids, strict=True)
        ]

    def _stated(self, text: str) -> str | None:
        final = find_final_answer(text, self.markers)
        return None if final is None else normal_form(final.text[:LONGEST]) or None
