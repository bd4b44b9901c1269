"""Show and compare the scores of evaluated models: tables in the terminal, and a picture of pass@k."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from prefix_rft_trl.utils.files import atomic_file, read_object
from prefix_rft_trl.utils.intervals import Estimate
from prefix_rft_trl.utils.tables import TextTable

from .evaluate import SCORES, differing_settings, read_settings
from .scores import Scores, paired_difference


@dataclass(frozen=True)
class Difference:
    """Two models on a benchmark: the mean of each and of second - first, and the settings in which they differ."""

    benchmark: str
    first: float
    second: float
    difference: Estimate
    differing_settings: list[str]


Evaluated = dict[str, dict[str, Scores]]  # by model, then by benchmark


def scores_table(evaluated: Evaluated, ks: Sequence[int]) -> TextTable:
    """A line for each model and benchmark; percentages, with 95% intervals over problems."""
    head = ["model", "benchmark", "problems", "n", "avg@n", *(f"pass@{k}" for k in ks)]
    head += ["maj@n", "answered", "cut off", "tokens"]
    rows = [
        [
            model,
            benchmark,
            f"{scores.problems}" + (f" (+{scores.unscored})" if scores.unscored else ""),
            f"{scores.num_samples}",
            scores.mean.text(1, 100),
            *(f"{100 * scores.pass_at_k[k - 1]:.1f}" if k <= scores.num_samples else "" for k in ks),
            *(f"{100 * share:.1f}" for share in (scores.majority, scores.answered, scores.truncated)),
            f"{scores.mean_tokens:.0f}",
        ]
        for model, by_benchmark in evaluated.items()
        for benchmark, scores in by_benchmark.items()
    ]
    return TextTable(head, rows, text_columns=2)


def differences_table(first: str, second: str, found: Sequence[Difference]) -> TextTable:
    """A line for each benchmark: both means and second - first, in percent."""
    rows = [
        [
            one.benchmark,
            f"{100 * one.first:.1f}",
            f"{100 * one.second:.1f}",
            one.difference.text(decimals=1, scale=100, sign="+"),
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
                if benchmark in by_benchmark:
                    curve = by_benchmark[benchmark].pass_at_k
                    dot = {"marker": "o"} if len(curve) == 1 else {}
                    axis.plot(range(1, len(curve) + 1), curve, label=model, color=COLOURS[place % len(COLOURS)], **dot)
            longest = max(len(scores[benchmark].pass_at_k) for scores in evaluated.values() if benchmark in scores)
            axis.set_xscale("log", base=2)
            axis.set_xticks(ticks := [4**power for power in range(longest.bit_length()) if 4**power <= longest], ticks)
            axis.minorticks_off()
            axis.set(title=benchmark, xlabel="k", ylabel="pass@k", ylim=(0, 1.02))
            axis.legend(loc="best")
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
        ValueError: if there is none, or its problems are not the same.
    """
    before, after = read_scores(first), read_scores(second)
    shared = [name for name in before if name in after]
    if not shared:
        raise ValueError(
            f"No benchmark was evaluated for both: {first} has {', '.join(before)}, {second} {', '.join(after)}."
        )
    return [_difference(name, (first, before[name]), (second, after[name])) for name in shared]


def _difference(name: str, *evaluated: tuple[Path, Scores]) -> Difference:
    problems = [read_settings(folder / name)["problems"] for folder, _ in evaluated]
    first, second = (scores for _, scores in evaluated)
    if problems[0] != problems[1] or first.problem_indices != second.problem_indices:
        raise ValueError(
            f"The problems of {name} are not those of both models, or were put differently: evaluate both with the "
            "same benchmark, instruction and `num_problems`."
        )
    paired = paired_difference(first.problem_accuracies, second.problem_accuracies)
    differing = differing_settings(folder / name for folder, _ in evaluated)
    return Difference(name, first.mean.mean, second.mean.mean, paired, differing)
