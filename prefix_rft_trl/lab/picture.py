"""Plot the quickstart: accuracy of both methods, length and advantage of the prefixes."""

from pathlib import Path
from typing import Any


LABELS = {"prefix_rft": "Prefix-RFT", "grpo": "GRPO"}
COLOURS = {"prefix_rft": "#0b6e4f", "grpo": "#b3541e"}

Curve = list[dict[str, Any]]


def draw(curves: dict[str, Curve], path: Path) -> None:
    """Draw the lines of each method's `curve.jsonl` over the training steps, into a PNG file."""
    from matplotlib.figure import Figure  # without pyplot: no display, no global state

    figure = Figure(figsize=(10, 3.8), layout="constrained")
    accuracy, prefix = figure.subplots(1, 2)
    for method, curve in curves.items():
        steps, values = zip(*((line["step"], line["accuracy"]) for line in curve), strict=True)
        accuracy.plot(steps, values, color=COLOURS[method], linewidth=2.2, label=LABELS[method])
    base = next(iter(curves.values()))[0]["accuracy"]
    accuracy.axhline(base, color="grey", linestyle=":", label="base model")
    accuracy.set(title="Held-out accuracy, no prefix given", xlabel="step", ylim=(0, 1))
    accuracy.legend(frameon=False, loc="center right")

    with_prefix = [line for line in curves["prefix_rft"] if "prefix/length" in line]
    logged_at = [line["step"] for line in with_prefix]
    prefix.plot(logged_at, [line["prefix/length"] for line in with_prefix], color="#33658a", linewidth=2.2)
    prefix.set(title="Prefix-RFT: the prefix shrinks, its advantage fades", xlabel="step", ylim=(0, None))
    prefix.set_ylabel("prefix length in tokens", color="#33658a")
    advantage = prefix.twinx()
    advantage.plot(logged_at, [line["prefix/advantage"] for line in with_prefix], color="#8f2d56", linewidth=2.2)
    advantage.set_ylabel("mean advantage on prefix tokens", color="#8f2d56")
    for axis in (accuracy, prefix, advantage):
        axis.spines["top"].set_visible(False)
    figure.savefig(path, dpi=130)
