"""Pictures of a probe as inline SVG, in the colours of the page that they are part of."""

from collections.abc import Sequence
from math import exp

from markupsafe import Markup, escape

from .probe_result import ProbeResult, Share


WIDTH, HEIGHT = 360, 220
LEFT, RIGHT, TOP, BOTTOM = 40, 12, 12, 44
PROBABILITIES = ((0.5, "above 50%"), (0.1, "10 to 50%"), (0.01, "1 to 10%"), (0.001, "0.1 to 1%"), (0.0, "below 0.1%"))
SUCCESSES = ("never", "up to ¼", "up to ½", "up to ¾", "above ¾", "always")


def success_by_prefix(result: ProbeResult) -> Markup | None:
    """Success alone and behind growing shares of a demonstration, with intervals; `None` without any."""
    points = [(0.0, result.alone.share), *((ratio, one.share) for ratio, one in sorted(result.continued.items()))]
    points = [(ratio, share) for ratio, share in points if share.of]
    if not points:
        return None
    parts = [_axes(((0.0, "0"), (0.25, "25"), (0.5, "50"), (0.75, "75"), (1.0, "100")), "% of a demonstration given")]
    line = " ".join(f"{_x(ratio):.1f},{_y(share.value):.1f}" for ratio, share in points)
    parts.append(Markup('<polyline class="line" points="{}"/>').format(line))
    if result.accepted.of:
        highest = max(share.value for ratio, share in points if ratio <= 0.5)
        parts.append(_level(result.accepted.value, "demonstrations the reward accepts", highest))
    parts += [_point(ratio, share) for ratio, share in points]
    described = ", ".join(f"{share.value:.2f} from {ratio:.0%}" for ratio, share in points)
    return _svg(parts, f"Success of answers by the share of a demonstration before them: {described}")


def success_of_problems(result: ProbeResult) -> Markup | None:
    """Number of problems by how often they are solved alone; `None` without any."""
    shares = [
        count / tries for count, tries in zip(result.alone.successes, result.alone.tries, strict=True) if tries > 0
    ]
    return _bars(
        SUCCESSES, _counts([_bin(share) for share in shares], len(SUCCESSES)), "problems, by how often solved"
    )


def tokens_by_probability(result: ProbeResult) -> Markup | None:
    """Number of demonstration tokens by their probability under the policy; `None` without any."""
    places = [
        next(place for place, (least, _) in enumerate(PROBABILITIES) if exp(min(0.0, logp)) >= least)
        for logp in result.token_logps
    ]
    names = [name for _, name in PROBABILITIES]
    return _bars(names, _counts(places, len(names)), "demonstration tokens, by probability")


def _bin(share: float) -> int:
    edges = (0.0, 0.25, 0.5, 0.75)
    return len(SUCCESSES) - 1 if share >= 1 else next((i for i, edge in enumerate(edges) if share <= edge), 4)


def _counts(places: Sequence[int], number: int) -> list[int]:
    return [places.count(place) for place in range(number)]


def _bars(names: Sequence[str], counts: Sequence[int], title: str) -> Markup | None:
    """Horizontal bars with their counts: names of any length are read without turning the head."""
    if not sum(counts):
        return None
    row, start = 26, 92
    room = WIDTH - start - 56
    parts = []
    for place, (name, count) in enumerate(zip(names, counts, strict=True)):
        y, length = place * row + 6, room * count / max(counts)
        parts.append(
            Markup(
                '<text class="name" x="{}" y="{}" text-anchor="end">{}</text>'
                '<rect class="bar" x="{}" y="{}" width="{:.1f}" height="16"/><text x="{:.1f}" y="{}">{:,}</text>'
            ).format(start - 8, y + 13, name, start, y, length, start + length + 6, y + 13, count)
        )
    listed = ", ".join(f"{name} {count:,}" for name, count in zip(names, counts, strict=True))
    return _svg(parts, f"Number of {title}: {listed}", row * len(names) + 8)


def _axes(ticks: Sequence[tuple[float, str]], title: str) -> Markup:
    marks = [(value, f"{value:g}") for value in (0.0, 0.25, 0.5, 0.75, 1.0)]
    rules = [
        Markup('<line class="rule" x1="{}" x2="{}" y1="{:.1f}" y2="{:.1f}"/>').format(
            LEFT, WIDTH - RIGHT, _y(value), _y(value)
        )
        + Markup('<text x="{}" y="{:.1f}" text-anchor="end">{}</text>').format(LEFT - 6, _y(value) + 4, text)
        for value, text in marks
    ]
    below = [
        Markup('<text x="{:.1f}" y="{}" text-anchor="middle">{}</text>').format(_x(value), HEIGHT - BOTTOM + 18, text)
        for value, text in ticks
    ]
    middle = (LEFT + WIDTH - RIGHT) / 2
    title_below = Markup('<text x="{}" y="{}" text-anchor="middle">{}</text>').format(middle, HEIGHT - 6, title)
    return Markup("").join([*rules, *below, title_below])


def _level(value: float, name: str, highest: float) -> Markup:
    """A dashed line with its name, on the side of it that is free of a curve that goes up to `highest`."""
    below = value >= 0.9 or 0.1 < value <= highest
    name_y = _y(value) + 13 if below else _y(value) - 5
    return Markup(
        '<line class="level" x1="{}" x2="{}" y1="{:.1f}" y2="{:.1f}"/><text class="faint" x="{}" y="{:.1f}">{}</text>'
    ).format(LEFT, WIDTH - RIGHT, _y(value), _y(value), LEFT + 6, name_y, name)


def _point(ratio: float, share: Share) -> Markup:
    low, high = share.interval
    title = f"{ratio:.0%}: {share.value:.2f} ({low:.2f} to {high:.2f})"
    return Markup(
        '<line class="interval" x1="{0:.1f}" x2="{0:.1f}" y1="{1:.1f}" y2="{2:.1f}"/>'
        '<circle class="point" cx="{0:.1f}" cy="{3:.1f}" r="4"><title>{4}</title></circle>'
    ).format(_x(ratio), _y(high), _y(low), _y(share.value), title)


def _x(ratio: float) -> float:
    return LEFT + 8 + (WIDTH - RIGHT - LEFT - 16) * ratio


def _y(value: float) -> float:
    return HEIGHT - BOTTOM - (HEIGHT - BOTTOM - TOP) * value


def _svg(parts: Sequence[Markup], description: str, height: int = HEIGHT) -> Markup:
    return Markup('<svg viewBox="0 0 {} {}" role="img" aria-label="{}">{}</svg>').format(
        WIDTH, height, escape(description), Markup("").join(parts)
    )
