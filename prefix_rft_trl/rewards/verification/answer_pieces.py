r"""Cut an answer into its statements, and these into formulas and words, so that nothing of it is left out.

`2 \text{ hours and } x = 3` has two statements, `2` with the word `hours`, and `x = 3`. Text in `\text{}` and words
that stand bare are read alike. What is in brackets belongs to its formula.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import accumulate

from .units import SINGLE_LETTERS, is_unit


@dataclass(frozen=True)
class Piece:
    """A part of a statement: a formula, words, or a sign between them (`=`, `≈`)."""

    kind: str
    text: str


FORMULA, WORDS, EQUALS, ROUGHLY = "formula", "words", "=", "≈"
Statement = tuple[Piece, ...]

_TOKEN = re.compile(r"\\[A-Za-z]+|\\.|\d+(?:\.\d+)?|[A-Za-z]+|[^\W\d_A-Za-z]+|\s+|.", re.DOTALL)
_TEXT_COMMANDS = frozenset(
    rf"\{name}" for name in ["text", "textbf", "textit", "textrm", "textnormal", "mathrm", "mathbf", "mbox", "rm"]
)
_OPENERS = frozenset(("(", "[", "{", r"\{", r"\lfloor", r"\lceil", r"\langle", r"\begin"))
_CLOSERS = frozenset((")", "]", "}", r"\}", r"\rfloor", r"\rceil", r"\rangle", r"\end"))
_ROUGH = frozenset((r"\approx", r"\simeq", r"\doteq"))
_CONJUNCTIONS = frozenset(["and", "or", "where", "with", "和", "或", "与", "及"])
_SHORT_WORDS = frozenset(
    """
    am pm is if in of to at or no on by as an be it we so and for not the are day men per due via any all mod yes his
    her its has was but out
    """.split()  # noqa: SIM905
)
_MARKS = frozenset("().!?\"'`-:")
_UNIT_SIGNS = frozenset(("/", r"\cdot", "*"))


def statements(text: str) -> list[Statement]:
    """The statements of an answer in normal form, which commas, semicolons, `and` and `or` outside brackets divide.

    Time is linear in the text.
    """
    return [statement for statement in _Scan(text).read() if statement]


class _Scan:
    def __init__(self, text: str):
        self.tokens = _TOKEN.findall(text)
        self.ends = _ends_of_braces(self.tokens)
        self.pieces: list[tuple[str, list[str]]] = []  # of the statement that is being read
        self.place = 0
        self.depth = 0
        self.asides: set[int] = set()  # places of brackets that end words
        self.text_ends: list[tuple[int, bool]] = []  # of each `\text{` around this place, and whether it has letters
        self.letters = [*accumulate(token[:1].isalpha() for token in self.tokens)]

    def read(self) -> Iterator[Statement]:
        while self.place < len(self.tokens):
            if self._is_separator():
                yield self._finished()
            elif not (self._enters_or_leaves_text() or self._is_mark_of_text()):
                self._add(self.tokens[self.place])
            self.place += 1
        yield self._finished()

    def _finished(self) -> Statement:
        pieces = [Piece(kind, "".join(parts).strip()) for kind, parts in self.pieces]
        self.pieces = []
        return tuple(piece for piece in pieces if piece.text)

    def _is_separator(self) -> bool:
        token = self.tokens[self.place]
        if self.depth:
            return False
        return token in (",", ";", r"\\") or token.lower() in _CONJUNCTIONS

    def _enters_or_leaves_text(self) -> bool:
        if self.text_ends and self.place == self.text_ends[-1][0]:
            self.text_ends.pop()
            return True
        if self.depth or self.tokens[self.place] not in _TEXT_COMMANDS:
            return False
        opener = self._after(self.place)
        end = self.ends.get(opener)
        if end is None or (end - opener == 2 and self._is_variable(self.tokens[self.place], self.tokens[opener + 1])):
            return False
        self.place = opener
        self.text_ends.append((end, self.letters[end] > self.letters[opener]))
        return True

    def _is_variable(self, command: str, letter: str) -> bool:
        r"""Whether a letter is set upright or bold in a formula, as in `\mathbf{v}` and `\mathrm{P}(A)`."""
        if command not in (r"\mathbf", r"\mathrm") or len(letter) > 1 or not letter.isalpha():
            return False
        follows_formula = bool(self.pieces) and self.pieces[-1][0] == FORMULA
        return command == r"\mathbf" or not (letter in SINGLE_LETTERS and follows_formula)

    def _is_mark_of_text(self) -> bool:
        """Whether this is punctuation of words: in `\\text{(a.m.)}`, of `5 (cm)`, or the colon of `Area: 5`."""
        token = self.tokens[self.place]
        if self.place in self.asides:
            return True
        if self.depth or token not in _MARKS:
            return False
        if token in "()" and self._is_in_words():
            return True
        if token == "(" and not self.text_ends:
            following = self.tokens[self.place + 1 : self.place + 12]
            inside = following[: following.index(")")] if ")" in following else []
            has_word = any(word.isalpha() and (len(word) > 3 or is_unit(word)) for word in inside)
            if has_word and all(word.isalpha() or word.isspace() for word in inside):
                self.asides.add(self.place + 1 + len(inside))
                return True
        follows_words = bool(self.pieces) and self.pieces[-1][0] == WORDS
        return (self._is_in_words() and not self._is_beside_digit()) or (token == ":" and follows_words)

    def _is_in_words(self) -> bool:
        return bool(self.text_ends) and self.text_ends[-1][1]

    def _is_beside_digit(self) -> bool:
        return self._token(self.place - 1).isdecimal() or self._token(self.place + 1)[:1].isdecimal()

    def _add(self, token: str) -> None:
        if self.depth == 0 and (kind := self._kind(token)):
            if kind == WORDS and self._continues_unit():
                self.pieces[-1][1].append(token)
            elif kind == WORDS and self.pieces and self.pieces[-1][0] == WORDS:
                self.pieces[-1][1].append(f" {token}")
            else:
                self.pieces.append((kind, [token]))
            return
        if self.depth == 0 and self._joins_unit(token):
            return
        self.depth += (token in _OPENERS) - (token in _CLOSERS and self.depth > 0)
        if token.isspace() and not (self.pieces and self.pieces[-1][0] == FORMULA):
            return
        if self.pieces and self.pieces[-1][0] == FORMULA:
            self.pieces[-1][1].append(token)
        else:
            self.pieces.append((FORMULA, [token]))

    def _kind(self, token: str) -> str | None:
        """What a token outside brackets is, unless it belongs to a formula."""
        if token == "=":
            return EQUALS if self._token(self.place - 1) not in ("!", "<", ">", ":", r"\not") else None
        if token in _ROUGH:
            return ROUGHLY
        if not token.isalpha():
            return None
        return WORDS if self.text_ends or self._is_word(token) else None

    def _is_word(self, token: str) -> bool:
        if not token.isascii():
            return not ("\u0370" <= token[0] <= "\u03ff")  # letters of formulas are Greek
        before = self._token(self._before(self.place))
        if before in ("_", "^") or self._token(self.place + 1) == "_":
            return False
        follows_number = before[-1:].isdigit() or before in ("}", ")") or before == r"\pi"
        if len(token) == 1:
            if token in "Rr" and before.isdecimal():
                return self._token(self._after(self.place)).isdecimal()  # 7 R 3
            is_beside = self._token(self.place - 1) == before and before[-1:].isalnum()  # 5m is a product
            words = self.pieces[-1][1] if self.pieces and self.pieces[-1][0] == WORDS else [""]
            follows_unit = is_unit(words[0]) or words[0] in SINGLE_LETTERS
            may_be_unit = (follows_number and not is_beside) or follows_unit or self._continues_unit()
            return (
                may_be_unit and token in SINGLE_LETTERS and self._is_unit_to_the_end() and self._follows_no_variable()
            )
        if is_unit(token) and self._continues_unit():
            return True
        is_apart = self.place == 0 or self._token(self.place - 1).isspace() or self._token(self.place - 1) in "(-"
        if (follows_number and is_unit(token)) or (self._token(self._after(self.place)) == ")" and self.asides):
            return True
        if not is_apart or self._token(self.place + 1) == "(":
            return False
        if is_unit(token) and self.place and self._is_unit_to_the_end():
            return True
        if len(token) == 3 and token.islower() and before.isdecimal():
            return self._token(self.place + 1)[:1] in ("", " ", ",", ";", ")")  # 8 red
        return len(token) > 3 or token.lower() in _SHORT_WORDS

    def _follows_no_variable(self) -> bool:
        return not (self.pieces and self.pieces[-1][0] == FORMULA and any(map(str.isalpha, self.pieces[-1][1])))

    def _is_unit_to_the_end(self) -> bool:
        r"""Whether `m/s` or `m s^{-1}` is all that follows up to the end of the statement."""
        letters = 0
        for token in self.tokens[self.place : self.place + 20]:
            if token in (",", ";") or token.lower() in _CONJUNCTIONS:
                return True
            if token.isalpha():
                letters += 1
                if not (token in SINGLE_LETTERS or is_unit(token)):
                    return False
            elif not (token.isspace() or token in _UNIT_SIGNS or token in "^{}-" or token in "123"):
                return False
        return letters < 10 and self.place + 20 > len(self.tokens)

    def _continues_unit(self) -> bool:
        return bool(self.pieces) and self.pieces[-1][0] == WORDS and self.pieces[-1][1][-1] in ("/", " ")

    def _joins_unit(self, token: str) -> bool:
        r"""Take the exponent of `cm^2` and the sign of `m/s` into the words before it."""
        if not self.pieces or self.pieces[-1][0] != WORDS:
            return False
        words = self.pieces[-1][1]
        following = self._token(self._after(self.place))
        if token == "^":
            start = self._after(self.place)
            end = self.ends.get(start, start) if following == "{" else start
            exponent = "".join(self.tokens[start : end + 1]).strip("{} ")
            if exponent.removeprefix("-").isdecimal() and len(exponent) < 4:
                words.append(f"^{exponent}")
                self.place = end
                return True
        if token in _UNIT_SIGNS and (following[:1].isalpha() or following in _TEXT_COMMANDS):
            words.append("/" if token == "/" else " ")
            return True
        return False

    def _token(self, place: int) -> str:
        return self.tokens[place] if 0 <= place < len(self.tokens) else ""

    def _after(self, place: int) -> int:
        return place + 2 if self._token(place + 1).isspace() else place + 1

    def _before(self, place: int) -> int:
        return place - 2 if self._token(place - 1).isspace() else place - 1


def _ends_of_braces(tokens: list[str]) -> dict[int, int]:
    open_places: list[int] = []
    ends: dict[int, int] = {}
    for place, token in enumerate(tokens):
        if token == "{":
            open_places.append(place)
        elif token == "}" and open_places:
            ends[open_places.pop()] = place
    return ends
