"""Numbers and settings as a reader takes them in."""

import json
from typing import Any

from prefix_rft_trl.utils.intervals import Estimate


NOTHING = "-"


def accuracy(estimate: Estimate | None) -> str:
    """`0.912 ± 0.013`, without the interval for a single seed, a dash for none."""
    if estimate is None:
        return NOTHING
    if estimate.half_width is None:
        return f"{estimate.mean:.3f}"
    return f"{estimate.mean:.3f} ± {estimate.half_width:.3f}"


def tokens(count: float | None) -> str:
    """Three digits: `950`, `9.87k`, `412k`, `1.24M`."""
    if count is None:
        return NOTHING
    for unit, suffix in ((1, ""), (1e3, "k"), (1e6, "M"), (1e9, "G")):
        scaled = f"{count / unit:.{0 if suffix == '' else digits_after_point(count / unit)}f}"
        if float(scaled) < 1000:
            break
    return scaled + suffix


def digits_after_point(value: float) -> int:
    """So many that three digits are shown in all."""
    return 2 if value < 9.995 else 1 if value < 99.95 else 0


def whole(count: float | None) -> str:
    """`7,680`."""
    return NOTHING if count is None else f"{count:,.0f}"


def seconds(duration: float | None) -> str:
    """`31 s`; below ten seconds `4.2 s`."""
    if duration is None:
        return NOTHING
    return f"{duration:.1f} s" if duration < 9.95 else f"{duration:,.0f} s"


def setting(value: Any) -> str:
    """As in a recipe."""
    if isinstance(value, str):
        return value or '""'
    if isinstance(value, float):
        return repr(value)
    return json.dumps(value, default=str)


def joined(names: list[str]) -> str:
    """`a, b and c`."""
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)
