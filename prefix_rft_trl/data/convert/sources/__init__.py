"""Sources of `prefix-rft data` by name: the known datasets, and any other by its columns."""

from collections.abc import Callable
from dataclasses import dataclass

from prefix_rft_trl.data.prompts import BOX_INSTRUCTION

from .by_columns import columns, prompt_completion
from .openr1_math import openr1_math
from .reading import Reader
from .worked_solutions import competition_math, gsm8k


@dataclass(frozen=True)
class KnownSource:
    """A source by name.

    Attributes:
        purpose (`str`): one line for the help.
        reader (`Callable`): makes a reader from the columns of the dataset and the options of the source; raises a
            `ValueError` if a column is missing.
        options (`tuple[str, ...]`): names of those options.
        input (`str`, *optional*): name on the Hub; `None` where the user has to name one.
        config (`str`, *optional*): configuration on the Hub.
        instruction (`str`): default instruction after each problem.
    """

    purpose: str
    reader: Callable[..., Reader]
    options: tuple[str, ...] = ()
    input: str | None = None
    config: str | None = None
    instruction: str = BOX_INSTRUCTION


SOURCES = {
    "openr1-math": KnownSource(
        "solutions of DeepSeek-R1: the 46k problems of the paper, or OpenR1-Math-220k with "
        "--input open-r1/OpenR1-Math-220k", openr1_math, ("llama_marks",), input="Elliott/Openr1-Math-46k-8192"),
    "gsm8k": KnownSource(
        "grade-school mathematics with solutions by people", gsm8k, ("keep_mark",),
        input="openai/gsm8k", config="main"),
    "math": KnownSource(
        "MATH, competition problems with solutions by people", competition_math,
        input="DigitalLearningGmbH/MATH-lighteval"),
    "prompt-completion": KnownSource(
        "any dataset in TRL's SFT format (prompt and completion, or messages) with a column of answers; its prompts "
        "stay as they are", prompt_completion, ("answer_column",), instruction=""),
    "columns": KnownSource("any other dataset, by the names of its columns", columns,
        ("prompt_column", "demonstration_column", "answer_column")),
}  # fmt: skip
