"""Show advice in the terminal: the method, why, what was measured, what to change, and what would change it."""

from collections.abc import Iterable

from prefix_rft_trl.utils.printable import printable
from prefix_rft_trl.utils.tables import TextTable, print_table

from .advice_facts import NOT_SHOWN, facts
from .advice_rules import LABELS, Advice
from .probe_result import ProbeResult


def print_advice(advice: Advice, result: ProbeResult) -> None:
    """Prints sentences and tables in the width of the terminal."""
    _say(f"Advice for {result.model} on {result.dataset}, by the reward {result.reward}", "")
    _say(f"  {advice.headline}", "bold")
    _say(advice.why)
    if advice.runner_up:
        _say(f"To compare it with, or to try next: {LABELS[advice.runner_up]}.")
    rows = [(name, figure) for _, group in facts(result) for name, figure in group]
    print_table(TextTable(("measured", "share, its 95% interval, and of how many"), rows, 2))
    if advice.changes:
        changes = [(change.setting, str(change.value), change.reason) for change in advice.changes]
        print_table(TextTable(("setting", "value", "why"), changes, 3))
    _list("What would change the advice", advice.would_change)
    _list("Warnings", advice.warnings)
    _say(NOT_SHOWN, "dim")


def _list(title: str, sentences: Iterable[str]) -> None:
    items = [f"- {sentence}" for sentence in sentences]
    if items:
        _say("\n".join([f"{title}:", *items]))


def _say(text: str, style: str = "") -> None:
    """Prints a paragraph, whose words come from models and datasets too, and a blank line."""
    from rich.console import Console
    from rich.padding import Padding
    from rich.text import Text

    console = Console(highlight=False, markup=False, emoji=False, force_jupyter=False)
    for line in printable(text).splitlines():
        mark = "- " if line.startswith("- ") else "  " if line.startswith("  ") else ""
        words = Text(line.removeprefix(mark), style)
        if not mark:
            console.print(words)
            continue
        first, *rest = words.wrap(console, max(20, console.width - len(mark)))
        console.print(Text(mark) + first)
        for part in rest:
            console.print(Padding(part, (0, 0, 0, len(mark)), expand=False))
    console.print()
