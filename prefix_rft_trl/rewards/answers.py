"""Where a text states its final answer: in the last box or pair of tags, or after a marker.

What stands inside a thinking block is no answer once the block is closed.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any


MARKERS = ("####", "answer is", "answer:")


_THINKING_CLOSER = "</think>"


_TAG_OPENER, _TAG_CLOSER = "<answer>", "</answer>"


_BOX_OR_BRACE = re.compile(r"\\(?:boxed|fbox)\s*\{|\\(?:boxed|fbox)\s+(\w+)|\\.|[{}]", re.DOTALL)


_DISPLAYED = re.compile(r"\$\$(.+?)\$\$|\$([^$]+)\$(?!\d)|\\\((.+?)\\\)|\\\[(.+?)\\\]", re.DOTALL)


# What may stand between a marker and the answer; `####` can be a heading of Markdown
_LEADING = re.compile(r"[\s:=*`]*(?:(?:the\s+)?(?:final\s+)?answer\W*\n[\s:=*`]*)?", re.IGNORECASE)


_JOINT = re.compile(r"\s*(?:,\s*(?:and|or)\b|,|and\b|or\b)\s*")


_REASON = re.compile(r",?\s+(?:since|because|as|so|which|and not)\b", re.IGNORECASE)


_SENTENCE_END = re.compile(r"[.!?](?=\s|$)")


@dataclass(frozen=True)
class FinalAnswer:
    """A final answer and its statement's place in the text.

    Attributes:
        text (`str`): the answer alone, without box, tags, marker or dollar signs.
        start, end (`int`): characters of the statement, from its box or marker to what ends it.
    """

    text: str
    start: int
    end: int


def find_final_answer(text: str, markers: tuple[str, ...] = MARKERS) -> FinalAnswer | None:
    r"""The last statement of an answer: the last complete `\boxed{}` or `<answer></answer>`, whichever ends later, or
    else what follows the last marker.

    Args:
        text (`str`): a response or a demonstration.
        markers (`tuple[str, ...]`): what an answer stands behind where there is no box and no tag, in either case.

    Returns:
        `FinalAnswer` or `None`: `None` where nothing is stated. Takes time linear in the text.
    """
    after_thinking = text.rfind(_THINKING_CLOSER) + len(_THINKING_CLOSER) if _THINKING_CLOSER in text else 0
    enclosed = (_last_box(text, after_thinking), _last_tags(text, after_thinking, markers))
    last = max(filter(None, enclosed), key=lambda statement: statement.end, default=None)
    return last or _after_last_marker(text, after_thinking, markers)


def _last_tags(text: str, begin: int, markers: tuple[str, ...]) -> FinalAnswer | None:
    end = text.rfind(_TAG_CLOSER, begin)
    start = text.rfind(_TAG_OPENER, begin, end) if end >= 0 else -1
    if start < 0:
        return None
    box = _last_box(text[:end], start)
    content = text[start + len(_TAG_OPENER) : end].strip()
    inner = box or _after_last_marker(content, 0, markers)
    return FinalAnswer(inner.text if inner else content, start, end + len(_TAG_CLOSER))


def _last_box(text: str, begin: int) -> FinalAnswer | None:
    opened: list[tuple[int, int] | None] = []  # of each brace that is open: where its box and its content start
    last: tuple[int, int, int, int] | None = None  # start of the box, of its content, and both ends
    for found in _BOX_OR_BRACE.finditer(text, begin):
        token = found.group()
        if found.group(1):
            last = (found.start(), *found.span(1), found.end())
        elif token == "{":
            opened.append(None)
        elif token == "}":
            box = opened.pop() if opened else None
            if box:
                last = (*box, found.start(), found.end())
        elif token.endswith("{") and len(token) > 2:
            opened.append((found.start(), found.end()))
    return FinalAnswer(text[last[1] : last[2]].strip(), last[0], last[3]) if last else None


def _as_pattern(marker: str) -> str:
    return re.escape(marker) + (r"(?!\w)" if marker[-1:].isalnum() else "")  # no "answer isn't"


def _displayed_in_a_row(text: str, start: int) -> Iterator[re.Match[str]]:
    """Formulas with nothing but a comma, `and` or `or` between them, from a place on."""
    displayed = _DISPLAYED.match(text, start)
    while displayed:
        yield displayed
        joint = _JOINT.match(text, displayed.end())
        displayed = _DISPLAYED.match(text, joint.end()) if joint else None


def _after_last_marker(text: str, begin: int, markers: tuple[str, ...]) -> FinalAnswer | None:
    if not markers:
        return None
    anyone = re.compile("|".join(map(_as_pattern, markers)), re.IGNORECASE)
    found = [*anyone.finditer(text, begin)]
    if not found:
        return None
    marker = found[-1]
    leading = _LEADING.match(text, marker.end())
    assert leading is not None  # it matches nothing at all too
    start = leading.end()
    displayed = [*_displayed_in_a_row(text, start)]
    if displayed:
        contents = (next(group for group in one.groups() if group is not None).strip() for one in displayed)
        return FinalAnswer(", ".join(contents), marker.start(), displayed[-1].end())
    line_end = text.find("\n", start)
    line = text[start : line_end if line_end >= 0 else len(text)]
    sentence_end = _SENTENCE_END.search(line)
    sentence = line[: sentence_end.start()] if sentence_end else line
    stated = _REASON.split(sentence, maxsplit=1)[0].strip().strip("*`").strip()
    return FinalAnswer(stated, marker.start(), start + len(line)) if stated else None


def text_of(completion: str | list[dict[str, Any]]) -> str:
    """The text of a completion: itself, or the content of its last message, text or parts."""
    if isinstance(completion, str):
        return completion
    content = completion[-1].get("content") if completion else None
    if isinstance(content, list):
        return "".join(part.get("text") or "" for part in content)
    return content or ""


def stated_answer(completion: str | list[dict[str, Any]], markers: tuple[str, ...] = MARKERS) -> str | None:
    """The final answer of a completion, as [`find_final_answer`] finds it."""
    final = find_final_answer(text_of(completion), markers)
    return None if final is None else final.text


def last_statement(text: str, right_answer: object = None) -> int | None:
    r"""Where the last statement of the answer begins.

    That is the last `\boxed{}`, or else the last marker such as `####`, as of [`find_final_answer`]. Where a text has
    neither, it is the last place where the right answer stands as a word of its own.

    Args:
        text (`str`): a demonstration.
        right_answer: what the row has in its `answer_column`.

    Returns:
        `int` or `None`: a place in characters; `None` where none is found.
    """
    final = find_final_answer(text)
    if final is not None:
        return final.start
    word = answer_as_word(right_answer)
    places = [found.start() for found in word.finditer(text)] if word else []
    return places[-1] if places else None


def answer_as_word(answer: object) -> re.Pattern[str] | None:
    """What matches, with no width, wherever an answer stands as a word or number of its own.

    Of an answer with a final mark, `... #### 42`, what follows the mark is looked for. `None` for an answer that is
    no text and no number, and for an empty one.
    """
    if not isinstance(answer, (str, int, float)):
        return None
    text = f"{answer:.15g}" if isinstance(answer, float) else str(answer)  # 42.0 is 42 in a text
    final = text.rpartition("####")[2].strip()
    return re.compile(rf"(?<!\w)(?<!\d\.)(?={re.escape(final)}(?!\w|\.\d))") if final else None
