"""Units of measurement: which words are one, what they measure, and how large they are."""

import re
from fractions import Fraction
from functools import lru_cache


Measure = tuple[tuple[tuple[str, int], ...], Fraction]  # powers of the base dimensions, and the size in base units

_TABLE = {
    "length": {
        "mm millimeter millimetre": 1e-3,
        "cm centimeter centimetre 厘米": 1e-2,
        "dm decimeter decimetre 分米": 1e-1,
        "m meter metre 米": 1.0,
        "km kilometer kilometre 千米 公里": 1e3,
        "in inch inches": 0.0254,
        "ft foot feet": 0.3048,
        "yd yard": 0.9144,
        "mi mile": 1609.344,
    },
    "mass": {
        "mg milligram": 1e-6,
        "g gram 克": 1e-3,
        "kg kilogram 千克 公斤": 1.0,
        "oz ounce": 0.028349523125,
        "lb lbs pound": 0.45359237,
        "ton tonne 吨": 1e3,
    },
    "time": {
        "ms millisecond": 1e-3,
        "s sec second 秒": 1.0,
        "min minute 分钟 分": 60.0,
        "h hr hrs hour 小时 时": 3600.0,
        "day 天": 86400.0,
        "week wk 周": 604800.0,
    },
    "months": {"month 个月": 1.0, "yr year 年": 12.0},
    "money": {"cent ¢": 0.01, "dollar usd buck": 1.0},
    "euros": {"eur euro": 1.0},
    "yuan": {"角": 0.1, "元 yuan rmb": 1.0},
    "pounds": {"gbp": 1.0},
    "yen": {"yen jpy": 1.0},
    "rupees": {"inr rupee": 1.0},
    "won": {"won krw": 1.0},
    "volume": {"ml milliliter millilitre": 1e-3, "l liter litre 升": 1.0, "gal gallon": 3.785411784},
    "force": {"n newton": 1.0, "kn": 1e3},
    "energy": {"j joule": 1.0, "kj": 1e3, "cal calorie": 4.184},
    "particle energy": {"electronvolt": 1.0},
    "power": {"w watt": 1.0, "kw": 1e3},
    "tension": {"v volt": 1.0},
    "current": {"a amp ampere": 1.0},
    "temperature": {"k kelvin": 1.0},
    "celsius": {"celsius": 1.0},
    "fahrenheit": {"fahrenheit": 1.0},
    "pressure": {"pa pascal": 1.0, "bar": 1e5},
    "angle": {"rad radian": 1.0},
    "frequency": {"hz hertz": 1.0},
    "amount": {"mol mole": 1.0},
    "charge": {"coulomb": 1.0},
    "capacity": {"farad": 1.0},
    "resistance": {"ohm": 1.0},
    "area": {"acre": 4046.8564224, "hectare": 1e4},
    "information": {"bit": 1.0, "byte": 8.0},
}
_PREFIXES = {"p": -12, "n": -9, "µ": -6, "μ": -6, "u": -6, "m": -3, "c": -2, "k": 3, "M": 6, "G": 9, "T": 12}
_PREFIX_WORDS = {"pico": -12, "nano": -9, "micro": -6, "milli": -3, "centi": -2, "kilo": 3, "mega": 6, "giga": 9}
_PREFIXED = {name: name.lower() for name in "m g s L l N J W V A Pa Hz mol rad cal bit".split()}  # noqa: SIM905
_PREFIXED["eV"] = "electronvolt"
_PREFIXED_WORDS = frozenset(
    """
    meter metre gram second liter litre newton joule watt volt amp ampere pascal hertz electronvolt mole calorie
    farad ohm coulomb byte bit
    """.split()  # noqa: SIM905
)
_SPEEDS = {"mph": ("mile", "hour"), "kmh": ("km", "hour"), "kph": ("km", "hour"), "kmph": ("km", "hour")}
_SIZES = {
    name: (dimension, Fraction(str(size)))
    for dimension, units in _TABLE.items()
    for names, size in units.items()
    for name in names.split()
}
_DEGREES_OF_TEMPERATURE = re.compile(r"(?i)\bdegrees? (?=celsius|fahrenheit)")
_EXPONENT_WORDS = {"square": 2, "squared": 2, "sq": 2, "cubic": 3, "cubed": 3, "cu": 3, "平方": 2, "立方": 3}
SINGLE_LETTERS = frozenset("msghLNJWVAK")  # after a number, units rather than variables
SCALES = {
    "dozen": 12,
    "score": 20,
    "hundred": 10**2,
    "gross": 144,
    "myriad": 10**4,
    "lakh": 10**5,
    "crore": 10**7,
    "thousand": 10**3,
    "million": 10**6,
    "billion": 10**9,
    "trillion": 10**12,
    "万": 10**4,
    "亿": 10**8,
}


def is_unit(word: str) -> bool:
    """Whether a word of at least two letters, or of a script other than Latin, is a unit or its multiple."""
    known = _known(word.lower()) if len(word) < 3 else _size_of(word)  # of two letters few are no product
    return (len(word) > 1 or not word.isascii()) and (
        known is not None or word.lower() in _EXPONENT_WORDS or word.lower() in _SPEEDS
    )


def _known(word: str) -> tuple[str, Fraction] | None:
    return _SIZES.get(word) or _SIZES.get(word.removesuffix("s"))


def _size_of(word: str) -> tuple[str, Fraction] | None:
    """The dimension and the size of a unit with or without a prefix, in which `MPa` is not `mPa`."""
    prefix, symbol = word[:1], word[1:]
    if prefix in _PREFIXES and symbol in _PREFIXED and word != "pm":
        return _prefixed(_PREFIXED[symbol], _PREFIXES[prefix])
    lower = word.lower()
    for name, power in _PREFIX_WORDS.items():
        if lower.startswith(name) and lower[len(name) :].removesuffix("s") in _PREFIXED_WORDS:
            return _prefixed(lower[len(name) :], power)
    return _known(lower) or (_prefixed(lower[1:], 3) if lower[:1] == "k" and lower[1:] in _PREFIXED.values() else None)


def _prefixed(unit: str, power: int) -> tuple[str, Fraction] | None:
    known = _known(unit)
    return known and (known[0], known[1] * Fraction(10) ** power)


@lru_cache(maxsize=4096)
def measure(unit: str) -> Measure | None:
    """What the words of a unit measure, `km/h` or `square feet`; `None` for other words, such as `apples`.

    Args:
        unit (`str`): words, each with its exponent (`cm^2`), joined by spaces, `/`, `per` or a dot.
    """
    powers: dict[str, int] = {}
    size, sign, exponent = Fraction(1), 1, 1
    unit = _DEGREES_OF_TEMPERATURE.sub("", unit)
    for word in unit.replace("/", " / ").replace("*", " ").replace("平方", "平方 ").replace("立方", "立方 ").split():
        unit_name, _, written = word.partition("^")
        name = unit_name.lower()
        if name in ("/", "per"):
            sign = -1
        elif name in _EXPONENT_WORDS and not written:
            exponent = _EXPONENT_WORDS[name]
        elif name in _SPEEDS:
            length, time = (_SIZES[part] for part in _SPEEDS[name])
            powers = {"length": 1, "time": -1} if not powers else {"?": 1}
            size *= length[1] / time[1]
        else:
            known = _size_of(unit_name)
            if known is None or (not written.removeprefix("-").isdecimal() and written):
                return None
            power = sign * (int(written[:3]) if written else exponent)
            powers[known[0]] = powers.get(known[0], 0) + power
            size *= known[1] ** max(-9, min(power, 9))
            exponent = 1
    found = tuple(sorted((name, power) for name, power in powers.items() if power))
    return (found, size) if found else None


def without_scale(unit: str) -> tuple[str, int]:
    """The words of a unit without a number word such as `million`, and the product of these."""
    factor = 1
    kept: list[str] = []
    for word in unit.split():
        known = SCALES.get(word.lower()) or SCALES.get(word.lower().removesuffix("s"))
        if known and factor < 10**24:
            factor *= known
        else:
            kept.append(word)
    return " ".join(kept), factor
