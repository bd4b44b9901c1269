"""Times of day, which are names of moments and no quotients: 1:15 is not 3:45, and 10 a.m. not 10 p.m."""

import re
from dataclasses import dataclass


LONGEST = 40  # characters

_TEXT_MARKUP = re.compile(r"\\(?:text|textbf|textrm|mathrm|mbox|rm)(?![A-Za-z])|[{}. ]")
_CLOCK = re.compile(r"(\d{1,2})(?::(\d\d)(?::(\d\d))?)?(am|pm|o'clock|noon)?")


@dataclass(frozen=True)
class ClockTime:
    """A time as written: `half` is `am`, `pm` or empty."""

    hour: int
    minute: int
    second: int
    half: str
    has_colon: bool

    def could_be(self, other: "ClockTime") -> bool:
        """Whether the two can be the same moment; a missing half of the day fits both."""
        if (self.minute, self.second) != (other.minute, other.second):
            return False
        if self.half and other.half:
            return self._of_day() == other._of_day()
        if self.half or other.half:
            with_half, bare = (self, other) if self.half else (other, self)
            return bare.hour in (with_half.hour, with_half._of_day())
        return self.hour == other.hour

    def _of_day(self) -> int:
        return self.hour % 12 + 12 if self.half == "pm" else self.hour % 12


def clock_time(text: str) -> ClockTime | None:
    """The time of day that an answer in normal form is, with or without `a.m.`; a number alone is none."""
    if len(text) > LONGEST or not any(map(str.isdecimal, text)):
        return None
    written = _CLOCK.fullmatch(_TEXT_MARKUP.sub("", text).lower())
    if not written:
        return None
    hour, minute, second, suffix = written.groups()
    if int(hour) > 24 or int(minute or 0) > 59 or int(second or 0) > 59 or (minute is None and suffix is None):
        return None
    half = suffix if suffix in ("am", "pm") else "pm" if suffix == "noon" else ""
    return ClockTime(int(hour), int(minute or 0), int(second or 0), half, minute is not None)


def are_same_time(right: str, found: str) -> bool | None:
    """Whether two answers are the same time; `None` if this is no question of times."""
    times = (clock_time(right), clock_time(found))
    if times[0] and times[1]:
        return times[0].could_be(times[1])
    time, other = (times[0], found) if times[0] else (times[1], right)
    if time and ":0" in (right if times[0] else found) and ":" in other:
        return False  # 9:05 is no ratio
    if time is None or not (time.half or not time.has_colon):
        return None  # 4:20 may be a ratio
    return other.isdecimal() and len(other) < 3 and int(other) == time.hour and time.minute == 0
