"""Sample a model's answers to the problems of a benchmark, and score them."""

import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, cast

from prefix_rft_trl.rewards.registry import answer_finder, is_registered, name_of_reward
from prefix_rft_trl.rewards.verification.equivalence import LONGEST
from prefix_rft_trl.rewards.verification.normal_form import normal_form
from prefix_rft_trl.sampling.generate import encode_prompts
from prefix_rft_trl.utils.hashing import stable_hash

from .samples import LikelySample, Sample, SampleFolder
from .sampling import Chunk, LikelihoodSampler, Loaded, Place, Sampling


if TYPE_CHECKING:
    from datasets import Dataset


THINKING_MARKS = ("<think>", "</think>", "[THINK]", "[/THINK]")


class Answer(NamedTuple):
    """An answer of a model.

    Attributes:
        ids (`list[int]`), text (`str`): its tokens; the text of its last message if it has several.
        is_truncated (`bool`): whether the budget has cut it off.
        log_probability (`float`, *optional*): mean of its tokens, if asked.
        messages (`list[dict]`, *optional*): of a conversation with tools.
        tool_tokens (`int`): those of the ids that tools have said.
    """

    ids: list[int]
    text: str
    is_truncated: bool
    log_probability: float | None = None
    messages: list[dict[str, Any]] | None = None
    tool_tokens: int = 0


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
        for_training (`bool`): whether the answers are to be trained on: they keep their thinking marks, lose the mark
            that ends them, and have their likelihood ([`LikelySample`]).
    """

    name: str
    rows: "Dataset"
    reward: Callable[..., list[float | None]]
    sampling: Sampling
    template_kwargs: dict[str, Any] | None = None
    reward_kwargs: dict[str, Any] | None = None
    prompting: dict[str, Any] = field(default_factory=dict)
    prompt_ids: list[list[int]] = field(default_factory=list, repr=False)
    for_training: bool = False

    def samples_in(self, folder: Path) -> SampleFolder:
        """Its samples in the folder of a model."""
        return SampleFolder(folder / self.name, LikelySample if self.for_training else Sample)

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
        if self.for_training:
            likely = cast(LikelihoodSampler, model.sampler).with_likelihoods(prompts, self.sampling, self.seeds(chunk))
            return [_demonstrating(model, ids, log_probability) for ids, log_probability in likely]
        answers = model.sampler(prompts, self.sampling, self.seeds(chunk))
        texts = model.tokenizer.batch_decode(answers, skip_special_tokens=True)
        return [
            Answer(ids, text, not ids or ids[-1] not in model.stop_ids)
            for ids, text in zip(answers, texts, strict=True)
        ]

    def score(self, chunk: Chunk, answers: list[Answer], **given: Any) -> list[Sample]:
        """The answers with their rewards, which may read what is given besides the columns."""
        rows = self.rows.select([place.problem for place in chunk.places])
        prompts, texts = list(rows["prompt"]), [answer.text for answer in answers]
        is_text = isinstance(prompts[0], str)
        messages = [answer.messages or [{"role": "assistant", "content": answer.text}] for answer in answers]
        others = [name for name in rows.column_names if name not in ("prompt", "completion", "completion_ids")]
        columns: dict[str, Any] = {name: list(rows[name]) for name in others} | given
        ids, completions = [answer.ids for answer in answers], texts if is_text else messages
        rewards = self.reward(prompts=prompts, completions=completions, completion_ids=ids, **columns)
        return [
            _sample(
                answer,
                problem=place.problem,
                sample=place.sample,
                answer=self._final_answer(answer.text),
                reward=float(reward) if reward is not None and math.isfinite(reward) else None,
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


def _sample(answer: Answer, /, **scored: Any) -> Sample:
    tokens = len(answer.ids) - answer.tool_tokens
    known = {"text": answer.text, "tokens": tokens, "is_truncated": answer.is_truncated, **scored}
    if answer.log_probability is None:
        return Sample(**known)
    return LikelySample(**known, log_probability=answer.log_probability)


def _demonstrating(model: Loaded, ids: list[int], log_probability: float) -> Answer:
    """An answer as a demonstration has it: without the token that ended it, and with its thinking marks."""
    ends, tokenizer = bool(ids) and ids[-1] in model.stop_ids, model.tokenizer
    marks = {*tokenizer.convert_tokens_to_ids([*THINKING_MARKS])} - {tokenizer.unk_token_id}
    left_out = {*tokenizer.all_special_ids} - marks
    kept = [token for token in ids[: len(ids) - ends] if token not in left_out]
    return Answer(ids, tokenizer.decode(kept, skip_special_tokens=False), not ends, log_probability)


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
