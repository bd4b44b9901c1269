"""Find tokens of chat templates inside texts."""

import re
from collections.abc import Iterable, Iterator

from prefix_rft_trl.data.texts import in_context, prompt_texts

from .checked_rows import CheckedRow, RowCheck
from .findings import Finding


_USUAL_TOKENS = (
    "<s>", "</s>", "<bos>", "<eos>", "<pad>", "<unk>", "[INST]", "[/INST]", "<<SYS>>", "<</SYS>>",
    "<start_of_turn>", "<end_of_turn>", "[SYSTEM_PROMPT]", "[/SYSTEM_PROMPT]",
)  # fmt: skip
_BAR = "[|\uff5c]"  # DeepSeek's is the full-width one
_BETWEEN_BARS = rf"<{_BAR}[A-Za-z][\w\u2581 -]{{1,40}}{_BAR}>"
_THINKING_TOKENS = {"<think>", "</think>"}  # expected in demonstrations


class TemplateTokenCheck(RowCheck):
    """Looks for the tokens of the usual templates, and the special tokens of a tokenizer, in all texts of a row."""

    def __init__(self, special_tokens: Iterable[str] = ()) -> None:
        special = {token for token in special_tokens if len(token) > 2 and not token.isalnum()}
        tokens = sorted({*_USUAL_TOKENS, *special} - _THINKING_TOKENS, key=len, reverse=True)
        self._pattern = re.compile("|".join([*map(re.escape, tokens), _BETWEEN_BARS]))

    def read(self, row: CheckedRow) -> Iterator[Finding]:
        for place, text in _named_texts(row):
            found = self._pattern.search(text)
            if found:
                note = f"{found.group()} in the {place}: {in_context(text, found.start(), found.end())}"
                yield Finding("template_token", row.number, note)


def _named_texts(row: CheckedRow) -> Iterator[tuple[str, str]]:
    if row.prompt is not None:
        yield from (("prompt", text) for text in prompt_texts(row.prompt))
    yield from ((name, message["content"]) for name, message in row.named_demonstrations())
    solutions = row.solution if isinstance(row.solution, (list, tuple)) else [row.solution]
    yield from (("gold answer", text) for text in solutions if isinstance(text, str))
