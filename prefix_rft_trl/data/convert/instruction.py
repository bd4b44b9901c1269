"""Choose the instruction after each problem: none that the demonstrations contradict."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from prefix_rft_trl.data.answer_forms import asked_forms, ends_otherwise, name_forms
from prefix_rft_trl.data.prompts import MARK_INSTRUCTION
from prefix_rft_trl.data.texts import last_words

from .rows import SourceProblem, Unusable
from .sources.reading import Reader


if TYPE_CHECKING:
    from datasets import Dataset

SAMPLE = 1_000  # rows, evenly spread, that decide
FITTING_SHARE = 0.9


@dataclass(frozen=True)
class Instruction:
    """The instruction of a conversion.

    Attributes:
        text (`str`): what is appended to each problem; "" for nothing.
        reason (`str`): a sentence on why the default of the source is not appended.
        warning (`str`): a sentence on what the demonstrations do instead of what the user's instruction asks for.
    """

    text: str
    reason: str = ""
    warning: str = ""


def choose_instruction(problems: Iterable[SourceProblem], given: str | None, default: str) -> Instruction:
    """The user's instruction, or the default of the source if prompts and demonstrations leave room for it.

    Args:
        problems (`Iterable[SourceProblem]`): some rows, which decide.
        given (`str`, *optional*): the user's; "" for none.
        default (`str`): of the source.
    """
    wanted = default if given is None else given
    asked = asked_forms(wanted)
    if not asked:
        return Instruction(wanted)
    problems = list(problems)
    if given is None and (present := _most_asked(problems)):
        return Instruction("", reason=f"Most prompts say already how to end ({present}).")
    texts = [text for problem in problems for text in problem.demonstrations]
    others = [text for text in texts if ends_otherwise(asked, text)]
    if len(texts) - len(others) >= FITTING_SHARE * len(texts):
        return Instruction(wanted)
    found = f"{len(others):,} of {len(texts):,} demonstrations have no {name_forms(asked)}"
    end = f"one ends: {last_words(others[0], 40)}"
    if given is not None:
        return Instruction(given, warning=f"--instruction asks for {name_forms(asked)}, and {found}; {end}")
    marked = [text for text in texts if not ends_otherwise({"####"}, text)]
    fitting = MARK_INSTRUCTION if len(marked) >= FITTING_SHARE * len(texts) else "TEXT"
    return Instruction("", reason=f'{found}; {end}\nTo say how to end: --instruction "{fitting}"')


def _most_asked(problems: list[SourceProblem]) -> str:
    """The form that most prompts ask for themselves; empty if they do not."""
    asked = [forms for forms in (asked_forms(problem.prompt) for problem in problems) if forms]
    return name_forms(asked[0]) if len(asked) > len(problems) / 2 else ""


def sample_problems(dataset: "Dataset", reader: Reader) -> Iterator[SourceProblem]:
    """The usable problems among some rows of a dataset, evenly spread."""
    step = max(1, len(dataset) // SAMPLE)
    for row in dataset.select_columns(reader.columns).select(range(0, len(dataset), step)):
        try:
            yield reader.read(row)
        except Unusable:
            continue
