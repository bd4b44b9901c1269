"""Sources by name: what they are, where they are, and how they are read."""

from collections.abc import Callable
from dataclasses import dataclass

from prefix_rft_trl.data.prompts import BOX_INSTRUCTION

from .by_columns import columns, prompt_completion
from .competition_math import competition_math
from .gsm8k import gsm8k
from .openr1_math import openr1_math
from .reading import Reader


@dataclass(frozen=True)
class Source:
    """A source.

    Attributes:
        purpose (`str`): what it is, for the help.
        reader (`Callable`): from the columns of the dataset, and options by name, to how it is read.
        options (`tuple[str, ...]`): the names of those options.
        input (`str`, *optional*): where it is on the Hub; `None` where the user has to say it.
        config (`str`, *optional*): its configuration there.
        instruction (`str`): what is put after each problem, unless the user says otherwise.
    """

    purpose: str
    reader: Callable[..., Reader]
    options: tuple[str, ...] = ()
    input: str | None = None
    config: str | None = None
    instruction: str = BOX_INSTRUCTION


SOURCES = {
    "openr1-math": Source(
        "solutions of DeepSeek-R1: the 46k problems of the paper, or OpenR1-Math-220k with "
        "--input open-r1/OpenR1-Math-220k",
        openr1_math,
        ("llama_marks",),
        input="Elliott/Openr1-Math-46k-8192",
    ),
    "gsm8k": Source(
        "grade-school mathematics with solutions by people",
        gsm8k,
        ("keep_mark",),
        input="openai/gsm8k",
        config="main",
    ),
    "math": Source(
        "MATH, competition problems with solutions by people",
        competition_math,
        input="DigitalLearningGmbH/MATH-lighteval",
    ),
    "prompt-completion": Source(
        "any dataset in TRL's format for SFT (prompt and completion, or messages) with a column of answers; its "
        "prompts stay as they are",
        prompt_completion,
        ("answer_column",),
        instruction="",
    ),
    "columns": Source(
        "any other dataset, its columns named",
        columns,
        ("prompt_column", "demonstration_column", "answer_column"),
    ),
}
