"""Find the final answer that a text states: in its last box or answer tags, or else after its last marker.

Once a thinking block is closed, nothing inside it counts as an answer. A row's right answers are read the same way.
Of a long text only the end is read, and in time linear in its length, whatever it holds.
"""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from decimal import Decimal
from functools import lru_cache
from typing import Any


LONGEST_RESPONSE = 50_000  # characters at the end of a text, in which its answer is looked for
LONGEST_WORD = 1_000  # characters of an answer that is looked for as a word of a text
LONGEST_IN_TABLE = 80  # characters of an answer in the completions table
MARKERS = ("####", "answer is", "answer:")

_NO_ANSWER = {"", "none", "null", "nan", "n/a", "na", "-"}
_LONGEST_PLACEHOLDER = 40
_PLACEHOLDER_WORDS = frozenset(
    """
    your the my final answer answers goes here insert put write and in simplest form
    """.split()  # noqa: SIM905
)
_MOST_MENTIONS = 4  # tags and markers without an answer, at the end of a text, that are passed over
_DOTS = (r"\ldots", r"\dots", r"\cdots")
_THINKING_CLOSER = "</think>"
_TAG_OPENER, _TAG_CLOSER = "<answer>", "</answer>"
_BOX_OR_BRACE = re.compile(r"\\(?:boxed|fbox)\s*\{|\\(?:boxed|fbox)\s+(\w+)|\\.|[{}]", re.DOTALL)
_OPENER = re.compile(r"\$\$?|\\[(\[]")
_CLOSERS = {"$$": "$$", "$": "$", r"\(": r"\)", r"\[": r"\]"}
# May stand between a marker and its answer; `####` can be a Markdown heading
_LEADING = re.compile(r"[\s:=*`]*(?:(?:the\s+)?(?:final\s+)?answer\W*\n[\s:=*`]*)?", re.IGNORECASE)
# The end of a sentence or a line, unless the next one goes on with the answer: `5? No, 6.`
_END = re.compile(
    r"[.!?](?=\s|$)(?!\s{0,9}+(?:or|but|no|wait|actually|sorry|hmm)\b)|(?<!,)\n(?!\s{0,9}+(?:and|or)\s{1,9}+(?:[\d$\\(-]|$))",
    re.IGNORECASE,
)
_CAUSE = re.compile(r"(?:,|(?<!\s))\s++(?:since|because|as|and not)\b", re.IGNORECASE)
_CONSEQUENCE = re.compile(r"(?:,|(?<!\s))\s++(?:so|and so|which)\b", re.IGNORECASE)
_CORRECTION = re.compile(
    r"\b(?:or|but|maybe|perhaps|too|also|well|instead|rather|actually|however|wait)\b", re.IGNORECASE
)
_DENIAL = re.compile(r"\b(?:no|not|wrong|incorrect|false)\b|\d+", re.IGNORECASE)


@dataclass(frozen=True)
class FinalAnswer:
    """A final answer, and the position of its statement in the text.

    Attributes:
        text (`str`): the bare answer, without box, tags, marker or dollar signs.
        start, end (`int`): character span of the statement, from its box or marker to its end.
    """

    text: str
    start: int
    end: int


def find_final_answer(text: str, markers: tuple[str, ...] = MARKERS) -> FinalAnswer | None:
    r"""Find the last statement of an answer in the last `LONGEST_RESPONSE` characters of a text, without final blanks.

    That is the last complete `\boxed{}` or `<answer></answer>`, whichever ends later, or else what follows the last
    marker.

    Args:
        text (`str`): a response or a demonstration.
        markers (`tuple[str, ...]`): case-insensitive phrases that introduce an answer where there is no box and no
            tag.

    Returns:
        `FinalAnswer` or `None`: `None` if no answer is stated.
    """
    begin = max(0, len(text.rstrip()) - LONGEST_RESPONSE)
    thinking_end = text.rfind(_THINKING_CLOSER, begin)
    begin = thinking_end + len(_THINKING_CLOSER) if thinking_end >= 0 else begin
    boxes = _last_boxes(text, begin)
    stated = [statement for statement in (boxes[-1], _last_tags(text, begin, markers)) if statement]
    last = max((one for one in stated if not is_placeholder(one.text)), key=lambda one: one.end, default=None)
    return last or _after_last_marker(text, begin, markers) or boxes[0] or (stated[0] if stated else None)


def is_placeholder(answer: str) -> bool:
    r"""Whether a box only shows where an answer goes: an empty one, `\boxed{your answer}`, `\boxed{...}`."""
    if len(answer) > _LONGEST_PLACEHOLDER:
        return False
    bare = answer.strip().removeprefix(r"\text{").removesuffix("}").strip(" .?_<>[]()…")
    words = bare.lower().split()
    return not words or bare in _DOTS or ("answer" in words and _PLACEHOLDER_WORDS.issuperset(words))


def completion_text(completion: str | list[dict[str, Any]]) -> str:
    """The text of a completion: itself, or that of its last message."""
    if isinstance(completion, str):
        return completion
    return message_text(completion[-1]) if completion else ""


def message_text(message: dict[str, Any]) -> str:
    """The content of a message, or the text in its parts; empty if there is none."""
    content = message.get("content")
    if isinstance(content, list):
        texts = (part.get("text") for part in content if isinstance(part, dict))
        return "".join(text for text in texts if isinstance(text, str))
    return content if isinstance(content, str) else ""


def stated_answer(completion: str | list[dict[str, Any]], markers: tuple[str, ...] = MARKERS) -> str | None:
    """The final answer of a completion, as found by [`find_final_answer`]."""
    final = find_final_answer(completion_text(completion), markers)
    return None if final is None else final.text


def log_answers(log_extra: Callable[[str, list[str]], None], answers: list[str | None]) -> None:
    """Puts the beginnings of extracted answers into the completions table, by the trainer's `log_extra`."""
    log_extra("extracted_answer", [(answer or "")[:LONGEST_IN_TABLE] for answer in answers])


def acceptable_golds(solution: Any) -> tuple[str, ...]:
    r"""The bare answers that count as right.

    Args:
        solution: a row's text or number, or a list of either, of which any one is right. From a text with a
            `\boxed{}` or a `####`, the content of the last one is taken.

    Returns:
        `tuple[str, ...]`: empty if the row names no answer, or a placeholder such as `None` or `n/a`.
    """
    if isinstance(solution, (list, tuple)):
        return tuple(dict.fromkeys(gold for item in solution for gold in acceptable_golds(item)))
    if solution is None or isinstance(solution, bool) or not isinstance(solution, (str, int, float)):
        return ()
    text = f"{Decimal(f'{solution:.15g}'):f}" if isinstance(solution, float) else str(solution)  # 0.00001, not 1e-05
    stated = find_final_answer(text, markers=("####",))
    gold = (stated.text if stated else text).strip()
    return () if gold.lower() in _NO_ANSWER else (gold,)


def last_statement(text: str, right_answer: object = None) -> int | None:
    """Find where the last statement of the answer begins.

    That is the start of the statement that [`find_final_answer`] finds, or else the last occurrence of the right
    answer as a word of its own.

    Args:
        text (`str`): a demonstration.
        right_answer: the row's value in `answer_column`.

    Returns:
        `int` or `None`: a character index; `None` if the answer is not stated.
    """
    final = find_final_answer(text)
    if final is not None:
        return final.start
    word = answer_as_word(right_answer)
    starts = [match.start() for match in word.finditer(text)] if word else []
    return starts[-1] if starts else None


def answer_as_word(answer: object) -> re.Pattern[str] | None:
    """A zero-width pattern that matches wherever an answer stands as a word or number of its own.

    Of an answer with a final mark, `... #### 42`, only the part after the mark is matched. `None` for an empty
    answer, one of more than `LONGEST_WORD` characters, and one that is neither text nor a number.
    """
    if not isinstance(answer, (str, int, float)):
        return None
    text = f"{answer:.15g}" if isinstance(answer, float) else str(answer)  # a text says 42, not 42.0
    final = text.rpartition("####")[2].strip()
    return _word_pattern(final) if 0 < len(final) <= LONGEST_WORD else None


@lru_cache(maxsize=4096)
def _word_pattern(word: str) -> re.Pattern[str]:
    return re.compile(rf"(?<!\w)(?<!\d\.)(?={re.escape(word)}(?!\w|\.\d))")


def _last_boxes(text: str, begin: int) -> tuple[FinalAnswer | None, FinalAnswer | None]:
    """The last box, and the last that has an answer; a command without braces, `\\boxed 5`, encloses a number."""
    open_braces: list[tuple[int, int] | None] = []  # for the brace of a box: where the box and its content start
    last: tuple[int, int, int, int] | None = None  # start of box, start of content, end of content, end of box
    answered = last
    for match in _BOX_OR_BRACE.finditer(text, begin):
        token = match.group()
        if match.group(1):
            if _is_boxed_without_braces(match.group(1), text[match.end() : match.end() + 1]):
                answered = last = (match.start(), *match.span(1), match.end())
        elif token == "{":
            open_braces.append(None)
        elif token == "}":
            box = open_braces.pop() if open_braces else None
            if box:
                last = (*box, match.start(), match.end())
                is_long = match.start() - box[1] > 2 * _LONGEST_PLACEHOLDER
                answered = last if is_long or not is_placeholder(text[box[1] : match.start()]) else answered
        elif token.endswith("{") and len(token) > 2:
            open_braces.append((match.start(), match.end()))
    return _box(text, last), _box(text, answered)


def _box(text: str, span: tuple[int, int, int, int] | None) -> FinalAnswer | None:
    return FinalAnswer(text[span[1] : span[2]].strip(), span[0], span[3]) if span else None


def _is_boxed_without_braces(word: str, following: str) -> bool:
    """Whether `\\boxed 5` or `\\boxed C.` is an answer; in `put into \\boxed as you asked` it is a mention."""
    return any(map(str.isdigit, word)) or (len(word) == 1 and word.isupper() and following in ("", ".", ",", "$"))


def _last_tags(text: str, begin: int, markers: tuple[str, ...]) -> FinalAnswer | None:
    end = len(text)
    for _ in range(_MOST_MENTIONS):
        end = text.rfind(_TAG_CLOSER, begin, end)
        start = text.rfind(_TAG_OPENER, begin, end) if end >= 0 else -1
        if start < 0:
            return None
        if not is_placeholder(text[start + len(_TAG_OPENER) : end]):
            break
    content = text[start + len(_TAG_OPENER) : end].strip()
    inner = _last_boxes(text[:end], start)[1] or _after_last_marker(content, 0, markers)
    return FinalAnswer(inner.text if inner else content, start, end + len(_TAG_CLOSER))


def _after_last_marker(text: str, begin: int, markers: tuple[str, ...]) -> FinalAnswer | None:
    matches = [*_marker_pattern(tuple(markers)).finditer(text, begin)] if markers else []
    statements = (_after_marker(text, marker) for marker in matches[: -_MOST_MENTIONS - 1 : -1])
    return next((statement for statement in statements if statement and not is_placeholder(statement.text)), None)


def _after_marker(text: str, marker: re.Match[str]) -> FinalAnswer | None:
    leading = _LEADING.match(text, marker.end())
    assert leading is not None  # the pattern also matches the empty string
    sentence, end = _sentence(text, leading.end())
    stated = _without_reason(sentence).strip().strip("*`").strip()
    return FinalAnswer(stated, marker.start(), end) if stated else None


def _sentence(text: str, start: int) -> tuple[str, int]:
    """A sentence without the dollar signs of its formulas, inside of which it does not end; and where it ends."""
    is_choice = text[start : start + 1].isupper() and text[start + 1 : start + 2] == "."  # `E. 42`
    said, place = "", start
    for opening, closing, width in _formulas(text, start):
        if found := _END.search(text, place + 2 * (is_choice and place == start), opening):
            return said + text[place : found.start()], found.start()
        said += text[place:opening] + text[opening + width : closing].strip()
        place = closing + width
    found = _END.search(text, place + 2 * (is_choice and place == start))
    end = found.start() if found else len(text)
    return said + text[place:end], end


def _formulas(text: str, start: int) -> Iterator[tuple[int, int, int]]:
    """Where each formula opens and closes, and the width of its signs; `$18` is an amount."""
    place, missing = start, set()
    for opener in _OPENER.finditer(text, start):
        sign = opener.group()
        if opener.start() < place or sign in missing:
            continue
        closing = text.find(_CLOSERS[sign], opener.end())
        if closing < 0:
            missing.add(sign)
            continue
        is_amount = sign == "$" and (text[closing + 1 : closing + 2].isdigit() or "\n" in text[opener.end() : closing])
        if not is_amount and closing > opener.end():
            place = closing + len(sign)
            yield opener.start(), closing, len(sign)


def _without_reason(sentence: str) -> str:
    """A sentence up to `, since ...` or `, so ...`, unless that takes the answer back or names another number."""
    if (found := _CAUSE.search(sentence)) and not _CORRECTION.search(sentence, found.end()):
        sentence = sentence[: found.start()]
    if (found := _CONSEQUENCE.search(sentence)) and not _CORRECTION.search(sentence, found.end()):
        stated, rest = sentence[: found.start()], sentence[found.end() :]
        sentence = stated if {*_DENIAL.findall(rest)} <= {*_DENIAL.findall(stated)} else sentence
    return sentence


@lru_cache
def _marker_pattern(markers: tuple[str, ...]) -> re.Pattern[str]:
    written = [re.sub(":$", r"\*{0,2}:", re.escape(marker)) for marker in markers]  # **Answer**: 5
    patterns = [
        one + (r"(?!\w)" if marker[-1:].isalnum() else "") for one, marker in zip(written, markers, strict=True)
    ]
    return re.compile("|".join(patterns), re.IGNORECASE)  # a marker ends its word: "answer isn't" is none
