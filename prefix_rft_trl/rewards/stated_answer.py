"""Where a demonstration states its answer for the last time, and the right answer as a word of a text."""

import re

from .answers import find_final_answer


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
