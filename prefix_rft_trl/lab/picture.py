"""Plot the quickstart: accuracy of both methods, length and advantage of the prefixes."""

from pathlib import Path
from typing import Any

from prefix_rft_trl.utils.plot_style import COLOURS, SETTINGS


LABELS = {"prefix_rft": "Prefix-RFT", "grpo": "GRPO"}
METHOD_COLOURS = dict(zip(LABELS, COLOURS, strict=False))
LENGTH_COLOUR, ADVANTAGE_COLOUR = COLOURS[2], COLOURS[5]

Curve = list[dict[str, Any]]


def draw(curves: dict[str, Curve], path: Path) -> None:
    """Draw the lines of each method's `curve.jsonl` over the training steps, into a PNG file."""
    from matplotlib import style
    from matplotlib.figure import Figure  # without pyplot: no display, no global state

    with style.context(["default", SETTINGS]):
        figure = Figure(figsize=(10, 3.8), layout="constrained")
        accuracy, prefix = figure.subplots(1, 2)
        _draw_accuracy(accuracy, curves)
        _draw_prefix(prefix, curves["prefix_rft"])
        figure.savefig(path, dpi=130)


def _draw_accuracy(axes: Any, curves: dict[str, Curve]) -> None:
    for method, curve in curves.items():
        steps, values = zip(*((line["step"], line["accuracy"]) for line in curve), strict=True)
        axes.plot(steps, values, color=METHOD_COLOURS[method], linewidth=2.2, label=LABELS[method])
    base = next(iter(curves.values()))[0]["accuracy"]
    axes.axhline(base, color="grey", linestyle=":", label="base model")
    axes.set(title="Held-out accuracy, no prefix given", xlabel="step", ylim=(0, 1))
    axes.legend(loc="center right")


def _draw_prefix(axes: Any, curve: Curve) -> None:
    with_prefix = [line for line in curve if "prefix/length" in line]
    logged_at = [line["step"] for line in with_prefix]
    axes.plot(logged_at, [line["prefix/length"] for line in with_prefix], color=LENGTH_COLOUR, linewidth=2.2)
    axes.set(title="Prefix-RFT: the prefix shrinks, its advantage fades", xlabel="step", ylim=(0, None))
    axes.set_ylabel("prefix length in tokens", color=LENGTH_COLOUR)
    advantage = axes.twinx()
    advantage.grid(False)
    advantage.spines["right"].set_visible(True)
    values = [line["prefix/advantage"] for line in with_prefix]
    advantage.plot(logged_at, values, color=ADVANTAGE_COLOUR, linewidth=2.2)
    advantage.set_ylabel("mean advantage on prefix tokens", color=ADVANTAGE_COLOUR)
