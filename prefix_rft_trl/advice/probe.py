"""Probe a policy on its problems: answers alone and behind prefixes, and how its demonstrations look to it."""

import json
import shutil
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

from prefix_rft_trl.evaluation.demonstration_likelihood import ScoredDemonstration
from prefix_rft_trl.evaluation.engines import Engine, fit_budgets
from prefix_rft_trl.evaluation.evaluate import SETTINGS, changed_settings, sample_missing, sample_settings
from prefix_rft_trl.evaluation.sampling import Sampling
from prefix_rft_trl.rewards.registry import name_of_reward
from prefix_rft_trl.utils.files import exclusive_lock, read_object, write_atomically
from prefix_rft_trl.utils.hashing import stable_hash

from .advice_rules import MEND, advise
from .demonstration_facts import DemonstrationFacts, find_facts, rows_looked_at
from .probe_result import PROBED_RATIOS, Probed, ProbeResult, Share
from .probed_answers import (
    Continuations,
    ProbedAnswers,
    answers_alone,
    continuations,
    read_successes,
    share_of_answers,
)
from .probed_subject import ProbedDemonstration, ProbedSubject, ProbeSettings
from .token_likelihoods import TokenLikelihoods, measure_likelihoods


PROBE, SAMPLES, PAGE = "probe.json", "samples", "advice.html"
OF_A_PROBE = {"num_continuations", "content"}  # in its settings, and in no other command's
CHANGED = "Take another `--folder`, or add --overwrite."


class Remaining(NamedTuple):
    """Answers that are still to be sampled, continuations among them, and tokens that they may have."""

    answers: int
    most_tokens: int


@dataclass(frozen=True)
class PlannedProbe:
    """
    What a probe will sample.

    Attributes:
        subject (`ProbedSubject`), engine (`Engine`): what is probed, and what runs it.
        rows (`list[int]`): all rows, in the order in which they are looked at.
        alone (`ProbedAnswers`): answers to prompts alone.
        demonstrations (`list[ProbedDemonstration]`): that are continued and read.
        continued (`dict[float, Continuations]`): by their share of the demonstration.
        settings (`dict`): by which a folder is known again.
    """

    subject: ProbedSubject
    engine: Engine
    rows: list[int]
    alone: ProbedAnswers
    demonstrations: list[ProbedDemonstration]
    continued: dict[float, Continuations]
    settings: dict[str, Any]

    @property
    def asked(self) -> list[ProbedAnswers]:
        return [self.alone, *self.continued.values()]

    @property
    def answers(self) -> int:
        """In all, continuations among them."""
        return sum(len(asked.rows) * asked.sampling.num_samples for asked in self.asked)

    def remaining(self, samples_folder: Path) -> Remaining:
        """What a folder lacks."""
        missing = [(one, one.samples_in(samples_folder).missing(one.chunks)) for one in self.asked]
        answers = [
            (sum(len(chunk.places) for chunk in chunks), one.sampling.max_new_tokens) for one, chunks in missing
        ]
        return Remaining(sum(count for count, _ in answers), sum(count * budget for count, budget in answers))


def plan_probe(
    subject: ProbedSubject, settings: ProbeSettings, engine: Engine, say: Callable[[str], object]
) -> PlannedProbe:
    """
    Chooses problems and demonstrations, and encodes them. No model is loaded.

    Raises:
        ValueError: if a prompt leaves no room for an answer, or a demonstration cannot be read.
    """
    settings = settings.for_subject(subject, engine.uses_vllm)
    rows, filled = subject.shuffled_rows(settings.seed), asdict(settings)
    sampling = Sampling(
        num_samples=filled["num_samples"],
        temperature=subject.temperature,
        top_p=subject.top_p,
        max_new_tokens=subject.max_completion_length,
        seed=settings.seed,
        batch_size=filled["batch_size"],
    )
    demonstrated = [row for row in rows if row in subject.demonstrations][: settings.num_problems]
    demonstrations = [one for one in subject.encode(sorted(demonstrated)) if one.ids]
    of_each = replace(sampling, num_samples=settings.num_continuations)
    found = {ratio: continuations(subject, demonstrations, ratio, of_each) for ratio in PROBED_RATIOS}
    asked: list[Any] = [answers_alone(subject, sorted(rows[: settings.num_problems]), sampling)]
    asked += [one for one in found.values() if one]
    fitting: Any
    fitting, needed = fit_budgets(asked, engine.context_length(subject.source), is_given=False, report=say)
    ratios = [ratio for ratio, one in found.items() if one]
    alone, *continued = fitting
    engine = engine.with_room_for(needed)
    known = _settings(subject, settings, engine, alone, continued, rows)
    return PlannedProbe(subject, engine, rows, alone, demonstrations, dict(zip(ratios, continued, strict=True)), known)


def _settings(
    subject: ProbedSubject,
    settings: ProbeSettings,
    engine: Engine,
    alone: ProbedAnswers,
    continued: list[Continuations],
    rows: list[int],
) -> dict[str, Any]:
    """All that findings depend on: first what a reader knows, then hashes of the content."""
    of_samples = sample_settings(alone, subject.source, engine)
    hashed = {name: of_samples.pop(name) for name in ("weights", "problems", "prompt_ids", "first_prompt")}
    hashed["continued"] = [sample_settings(one, subject.source, engine)["prompt_ids"] for one in continued]
    hashed["rows"] = subject.rows.select(rows_looked_at(subject, rows)).to_list()
    named = {
        "model": subject.model,
        "dataset": subject.dataset,
        **asdict(settings),
        "num_generations": subject.num_generations,
        "excludes_answer": subject.excludes_answer,
        **{name: value for name, value in of_samples.items() if name != "benchmark"},
        "rows": len(subject.rows),
        "demonstrations": len(subject.demonstrations),
        "content": f"{stable_hash(json.dumps(hashed, sort_keys=True, default=str)):016x}",
    }
    return json.loads(json.dumps(named, default=str))


def run_probe(
    planned: PlannedProbe,
    folder: Path,
    overwrite: bool = False,
    say: Callable[[str], None] | None = None,
    on_sampling: Callable[[Remaining], object] | None = None,
) -> ProbeResult:
    """
    Counts what the dataset is worth, samples what the folder lacks, and measures; a finished folder is read.

    Where the advice is to mend the data first, nothing is sampled.

    Args:
        planned (`PlannedProbe`): from [`plan_probe`].
        folder (`Path`): gets `probe.json`, and the samples.
        overwrite (`bool`): whether a probe of other settings that is there is removed. One of the same is resumed.
        say (`Callable`, *optional*): takes a sentence on another command that it waits for.
        on_sampling (`Callable`, *optional*): takes what is left to sample, before it is.

    Raises:
        ValueError: if the folder has another probe, naming what differs, or other files.
        WorkError: if one of several processes dies. What has been sampled is kept.
    """
    with exclusive_lock(folder, say=say):
        _claim(folder, planned.settings, overwrite)
        if (folder / PROBE).is_file():
            return ProbeResult.read(folder / PROBE)
        facts = find_facts(planned.subject, planned.rows)
        result = _unsampled(planned, facts)
        if advise(result).outcome != MEND:
            if on_sampling and (remaining := planned.remaining(folder / SAMPLES)).answers:
                on_sampling(remaining)
            sample_missing(planned.subject.source, list(planned.asked), planned.engine, folder / SAMPLES, CHANGED)
            result = _measure(planned, folder / SAMPLES, result)
        result.write(folder / PROBE)
        return result


def _claim(folder: Path, settings: Mapping[str, Any], overwrite: bool) -> None:
    file = folder / SETTINGS
    before = read_object(file, f"Remove {folder}, and probe again.") if file.is_file() else {}
    names = sorted(path.name for path in folder.iterdir() if not path.name.startswith("."))
    known = {SETTINGS, PROBE, SAMPLES, PAGE} if before.keys() >= OF_A_PROBE else set()
    if others := [name for name in names if name not in known]:
        raise ValueError(f"{folder} has files that are not of a probe, such as {others[0]}. Take another `--folder`.")
    if before:
        changes = changed_settings(before, settings)
        if not changes:
            return
        if not overwrite and (folder / SAMPLES).exists():  # without any, there is nothing to lose
            known_changes = [change for change in changes if not change.startswith("content was ")]
            told = "; ".join(known_changes) or "its weights, problems, answers or demonstrations were others"
            raise ValueError(f"{folder} has a probe of other settings: {told}. {CHANGED}")
        shutil.rmtree(folder / SAMPLES, ignore_errors=True)
        for name in (PROBE, SETTINGS):
            (folder / name).unlink(missing_ok=True)
    write_atomically(file, json.dumps(settings, indent=1) + "\n")


def _unsampled(planned: PlannedProbe, facts: DemonstrationFacts) -> ProbeResult:
    """Findings before anything is sampled."""
    subject = planned.subject
    return ProbeResult(
        model=subject.model,
        dataset=subject.dataset,
        reward=name_of_reward(subject.reward),
        num_generations=subject.num_generations,
        alone=Probed((), ()),
        continued={},
        rows=len(subject.rows),
        **vars(facts),
        **_read(TokenLikelihoods([], [])),
        answer_tokens=(),
        truncated=Share(0, 0),
        settings=planned.settings,
    )


def _measure(planned: PlannedProbe, samples_folder: Path, unsampled: ProbeResult) -> ProbeResult:
    subject = planned.subject
    alone, answers = read_successes(planned.alone, samples_folder)
    continued = {ratio: read_successes(asked, samples_folder)[0] for ratio, asked in planned.continued.items()}
    budget = subject.max_completion_length
    scored = [ScoredDemonstration(one.prompt_ids, one.ids[:budget]) for one in planned.demonstrations]
    return replace(
        unsampled,
        alone=alone,
        continued=continued,
        **_read(measure_likelihoods(subject.source, scored, planned.engine)),
        answer_tokens=tuple(sample.tokens for sample in answers),
        truncated=share_of_answers(answers, lambda sample: sample.is_truncated),
    )


def _read(likelihoods: TokenLikelihoods) -> dict[str, Any]:
    return {
        "token_logps": tuple(value for values in likelihoods.logps for value in values),
        "token_entropies": tuple(value for values in likelihoods.entropies for value in values),
        "first_token_logps": tuple(values[0] for values in likelihoods.logps),
        "read_tokens": tuple(map(len, likelihoods.logps)),
    }
