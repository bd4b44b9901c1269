"""Show and compare the scores of evaluated models: tables in the terminal, and a picture of pass@k."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from prefix_rft_trl.utils.files import atomic_file, read_object
from prefix_rft_trl.utils.intervals import Estimate
from prefix_rft_trl.utils.tables import TextTable

from .asked_alike import check_asked_alike, differing_runs
from .evaluate import SCORES, read_settings
from .scores import Scores, interval_of_difference, interval_of_share, over_problems, paired_difference


@dataclass(frozen=True)
class Difference:
    """Two models on the problems of a benchmark that are scored for both.

    Attributes:
        benchmark (`str`): its name.
        means (`tuple[Estimate, Estimate, Estimate]`, *optional*): of the first, the second, and second - first. `None`
            if no problem is scored for both.
        notes (`list[str]`): sentences on what the means leave out, or differ in.
    """

    benchmark: str
    means: tuple[Estimate, Estimate, Estimate] | None
    notes: list[str]


Evaluated = dict[str, dict[str, Scores]]  # by model, then by benchmark

UNKNOWN = "-"
MOST_DECIMALS = 4
COLUMNS = {"mean": "avg@n", "pass_at_k": "pass@k", "majority": "maj@n", "answered": "answered"}


def scores_table(evaluated: Evaluated, ks: Sequence[int]) -> TextTable:
    """A line for each model and benchmark; percentages, with 95% intervals over problems, and a dash for unknown."""
    head = ["model", "benchmark", "problems", "n", "avg@n", *(f"pass@{k}" for k in ks)]
    head += ["maj@n", "answered", "cut off", "tokens"]
    rows = [
        [
            model,
            benchmark,
            f"{scores.problems}" + (f" of {scores.problems + scores.unscored}" if scores.unscored else ""),
            f"{scores.num_samples}",
            _with_interval(scores.mean, interval_of_share(scores.mean)) if scores.mean else UNKNOWN,
            *(_percent(curve[k - 1] if k <= len(curve) else None) for curve in [scores.pass_at_k or []] for k in ks),
            *map(_percent, (scores.majority, scores.answered, scores.truncated)),
            f"{scores.mean_tokens:.0f}",
        ]
        for model, by_benchmark in evaluated.items()
        for benchmark, scores in by_benchmark.items()
    ]
    return TextTable(head, rows, text_columns=2)


def _with_interval(mean: Estimate, interval: tuple[float, float] | None, sign: str = "") -> str:
    """In percent: `18.5 ± 1.8`, `0.04 ± 0.02`, or `0.0 (0.0 to 11.4)` where the interval is not around the mean."""
    decimals = 1
    if mean.half_width:
        decimals = min(max(1, math.ceil(-math.log10(100 * mean.half_width))), MOST_DECIMALS)
    if interval == (mean.low, mean.high):
        return mean.text(decimals, 100, sign)
    text, *ends = (f"{100 * share:{sign}.{decimals}f}" for share in (mean.mean, *(interval or ())))
    return text + (f" ({' to '.join(ends)})" if ends else "")


def _percent(share: float | None) -> str:
    return UNKNOWN if share is None else f"{100 * share:.1f}"


def notes_on_scores(evaluated: Evaluated, ks: Sequence[int]) -> list[str]:
    """Sentences that say why scores of the table are unknown, and how many problems the others are of."""
    places: dict[str, list[str]] = {}
    for model, by_benchmark in evaluated.items():
        for benchmark, scores in by_benchmark.items():
            for note in _notes(scores, ks):
                places.setdefault(note, []).append(f"{model} on {benchmark}")
    return [f"{', '.join(found)}: {note}." for note, found in places.items()]


def _notes(scores: Scores, ks: Sequence[int]) -> Iterator[str]:
    reasons: dict[str, list[str]] = {}
    for name, column in COLUMNS.items():
        if name in scores.unknown:
            reasons.setdefault(scores.unknown[name], []).append(column)
    for reason, columns in reasons.items():
        yield f"{', '.join(columns)} unknown: {reason}"
    if scores.problems and scores.unscored:
        total = scores.problems + scores.unscored
        yield f"the figures are of {scores.problems} of {total} problems; to the others the reward gives no score"
    if too_many := [f"pass@{k}" for k in ks if k > scores.num_samples]:
        yield f"{', '.join(too_many)} unknown: n is {scores.num_samples}"


def differences_table(first: str, second: str, found: Sequence[Difference]) -> TextTable:
    """A line for each benchmark: both means and second - first, in percent."""
    rows = [
        [
            one.benchmark,
            *([_percent(mean.mean) for mean in one.means[:2]] if one.means else [UNKNOWN] * 2),
            _with_interval(one.means[2], interval_of_difference(one.means[2]), "+") if one.means else UNKNOWN,
        ]
        for one in found
    ]
    return TextTable(["benchmark", first, second, f"{second} - {first}"], rows)


def draw_pass_at_k(evaluated: Evaluated, file: Path) -> None:
    """Draws the curves of all models, a panel for each benchmark, k on a logarithmic scale."""
    from matplotlib import rc_context
    from matplotlib.figure import Figure  # without pyplot: no display, no global state

    from prefix_rft_trl.utils.plot_style import COLOURS, SETTINGS

    benchmarks = list(dict.fromkeys(name for by_benchmark in evaluated.values() for name in by_benchmark))
    with rc_context(SETTINGS):
        figure = Figure(figsize=(5.4 * len(benchmarks), 3.8))
        axes = figure.subplots(1, len(benchmarks), squeeze=False)
        for axis, benchmark in zip(axes[0], benchmarks, strict=True):
            for place, (model, by_benchmark) in enumerate(evaluated.items()):
                curve = by_benchmark[benchmark].pass_at_k if benchmark in by_benchmark else None
                if curve:
                    dot = {"marker": "o"} if len(curve) == 1 else {}
                    axis.plot(range(1, len(curve) + 1), curve, label=model, color=COLOURS[place % len(COLOURS)], **dot)
            longest = max(scores[benchmark].num_samples for scores in evaluated.values() if benchmark in scores)
            axis.set_xscale("log", base=2)
            axis.set_xticks(ticks := [4**power for power in range(longest.bit_length()) if 4**power <= longest], ticks)
            axis.minorticks_off()
            axis.set(title=benchmark, xlabel="k", ylabel="pass@k", ylim=(0, 1.02))
            if axis.lines:
                axis.legend(loc="best")
            else:
                axis.text(0.5, 0.5, "unknown: no problem is scored", transform=axis.transAxes, ha="center")
        figure.tight_layout()
        with atomic_file(file) as partial:
            figure.savefig(partial, dpi=150, metadata={"Software": None})


def read_scores(folder: Path) -> dict[str, Scores]:
    """The scores of an evaluated model by benchmark.

    Raises:
        ValueError: if the folder has none.
    """
    found = {file.parent.name: file for file in sorted(folder.glob(f"*/{SCORES}"))}
    if not found:
        beneath = sorted({str(file.parents[1]) for file in folder.glob(f"*/*/{SCORES}")})
        hint = f" There are in: {', '.join(beneath)}." if beneath else ""
        raise ValueError(f"{folder} holds no scores of an evaluated model.{hint}")
    remedy = "Evaluate again: the samples are kept, and the scores are made from them."
    return {name: Scores.from_json(read_object(file, remedy, Scores.keys())) for name, file in found.items()}


def differences(first: Path, second: Path) -> list[Difference]:
    """The paired difference of two evaluated models on each benchmark that they share.

    Raises:
        ValueError: if there is none, or the models were not asked and scored alike.
    """
    before, after = read_scores(first), read_scores(second)
    shared = [name for name in before if name in after]
    if not shared:
        raise ValueError(
            f"No benchmark was evaluated for both: {first} has {', '.join(before)}, {second} {', '.join(after)}."
        )
    return [_difference(name, (first, before[name]), (second, after[name])) for name in shared]


def _difference(name: str, *evaluated: tuple[Path, Scores]) -> Difference:
    settings = {str(folder): read_settings(folder / name) for folder, _ in evaluated}
    check_asked_alike(name, settings)
    accuracies = [dict(zip(one.problem_indices, one.problem_accuracies, strict=True)) for _, one in evaluated]
    shared = [problem for problem in accuracies[0] if problem in accuracies[1]]
    total = max(one.problems + one.unscored for _, one in evaluated)
    notes = [f"Not run alike on {name}: {'; '.join(found)}."] if (found := differing_runs(settings)) else []
    if not shared:
        return Difference(name, None, [*notes, f"Unknown on {name}: no problem is scored for both models."])
    if len(shared) < total:
        notes.append(f"On {name} the figures are of the {len(shared)} of {total} problems scored for both models.")
    before, after = ([of_model[problem] for problem in shared] for of_model in accuracies)
    means = (over_problems(before), over_problems(after), paired_difference(before, after))
    if means[2].half_width is None:
        alike = "both models are alike" if before == after else "the difference is the same"
        reason = "one problem tells none" if len(shared) == 1 else f"{alike} on every problem"
        notes.append(f"No interval on {name}: {reason}.")
    return Difference(name, means, notes)
