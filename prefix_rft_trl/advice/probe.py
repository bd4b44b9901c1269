"""Probe a policy on its problems: answers alone and behind prefixes, and how its demonstrations look to it."""

import json
import shutil
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from prefix_rft_trl.evaluation.demonstration_likelihood import ScoredDemonstration
from prefix_rft_trl.evaluation.engines import Engine, fit_budgets
from prefix_rft_trl.evaluation.evaluate import SETTINGS, changed_settings, sample_missing, sample_settings
from prefix_rft_trl.evaluation.sampling import Sampling
from prefix_rft_trl.rewards.registry import name_of_reward
from prefix_rft_trl.utils.files import exclusive_lock, read_object, write_atomically
from prefix_rft_trl.utils.hashing import stable_hash

from .demonstration_facts import find_facts, rows_looked_at
from .probe_result import PROBED_RATIOS, ProbeResult, Share
from .probed_answers import Continuations, ProbedAnswers, answers_alone, continuations, read_successes
from .probed_subject import ProbedDemonstration, ProbedSubject, ProbeSettings
from .token_likelihoods import measure_likelihoods


PROBE, SAMPLES = "probe.json", "samples"
CHANGED = "Take another `--folder`, or add --overwrite."


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
        """That are sampled, continuations among them."""
        return sum(len(asked.rows) * asked.sampling.num_samples for asked in self.asked)

    @property
    def most_tokens(self) -> int:
        """That may be sampled."""
        return sum(len(one.rows) * one.sampling.num_samples * one.sampling.max_new_tokens for one in self.asked)


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
    planned: PlannedProbe, folder: Path, overwrite: bool = False, say: Callable[[str], None] | None = None
) -> ProbeResult:
    """
    Samples what the folder lacks, and measures; a finished folder is read.

    Args:
        planned (`PlannedProbe`): from [`plan_probe`].
        folder (`Path`): gets `probe.json`, and the samples.
        overwrite (`bool`): whether a probe of other settings that is there is removed. One of the same is resumed.
        say (`Callable`, *optional*): takes a sentence on another command that it waits for.

    Raises:
        ValueError: if the folder has another probe, naming what differs, or other files.
        WorkError: if one of several processes dies. What has been sampled is kept.
    """
    with exclusive_lock(folder, say=say):
        _claim(folder, planned.settings, overwrite)
        if (folder / PROBE).is_file():
            return ProbeResult.read(folder / PROBE)
        sample_missing(planned.subject.source, list(planned.asked), planned.engine, folder / SAMPLES, CHANGED)
        result = _measure(planned, folder / SAMPLES)
        result.write(folder / PROBE)
        return result


def _claim(folder: Path, settings: Mapping[str, Any], overwrite: bool) -> None:
    file = folder / SETTINGS
    if file.is_file():
        before = read_object(file, f"Remove {folder}, and probe again.")
        changes = changed_settings(before, settings)
        if not changes:
            return
        if not overwrite:
            known = [change for change in changes if not change.startswith("content was ")]
            told = "; ".join(known) or "its weights, problems, answers or demonstrations were others"
            raise ValueError(f"{folder} has a probe of other settings: {told}. {CHANGED}")
        shutil.rmtree(folder / SAMPLES, ignore_errors=True)
        for name in (PROBE, SETTINGS):
            (folder / name).unlink(missing_ok=True)
    elif others := sorted(path.name for path in folder.iterdir() if not path.name.startswith(".")):
        raise ValueError(f"{folder} has files that are not of a probe, such as {others[0]}. Take another `--folder`.")
    write_atomically(file, json.dumps(settings, indent=1) + "\n")


def _measure(planned: PlannedProbe, samples_folder: Path) -> ProbeResult:
    subject = planned.subject
    alone, answers = read_successes(planned.alone, samples_folder)
    continued = {ratio: read_successes(asked, samples_folder)[0] for ratio, asked in planned.continued.items()}
    budget = subject.max_completion_length
    scored = [ScoredDemonstration(one.prompt_ids, one.ids[:budget]) for one in planned.demonstrations]
    likelihoods = measure_likelihoods(subject.source, scored, planned.engine)
    facts = find_facts(subject, planned.rows)
    return ProbeResult(
        model=subject.model,
        dataset=subject.dataset,
        reward=name_of_reward(subject.reward),
        num_generations=subject.num_generations,
        alone=alone,
        continued=continued,
        rows=len(subject.rows),
        **vars(facts),
        token_logps=tuple(value for values in likelihoods.logps for value in values),
        token_entropies=tuple(value for values in likelihoods.entropies for value in values),
        first_token_logps=tuple(values[0] for values in likelihoods.logps),
        read_tokens=tuple(map(len, likelihoods.logps)),
        answer_tokens=tuple(sample.tokens for sample in answers),
        truncated=Share(sum(sample.is_truncated for sample in answers), len(answers)),
        settings=planned.settings,
    )
