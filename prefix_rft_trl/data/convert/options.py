"""How a dataset is converted, whatever it was."""

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from prefix_rft_trl.data.prompts import BOX_INSTRUCTION

from .rows import KEEP, check_thinking


if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

MAX_PROMPT_TOKENS = 1024
MAX_DEMONSTRATION_TOKENS = 8192


@dataclass(frozen=True)
class Settings:
    """The paper's, unless set.

    Attributes:
        system_prompt (`str`, *optional*): in front of each problem.
        instruction (`str`): on a line after each problem; none if empty.
        plain_text (`bool`): prompts and completions as text instead of messages.
        thinking (`str`): `keep`, `strip`, or the name of another tag.
        tokenizer (`PreTrainedTokenizerBase`, *optional*): what lengths are counted with; without it none is.
        max_prompt_tokens, max_demonstration_tokens (`int`): longer ones are dropped.
        max_demonstrations (`int`, *optional*): demonstrations kept for a problem, the first ones.
        demonstrated_share (`float`): share of the problems with demonstrations that keep theirs.
        damaged_share (`float`): share of the demonstrations that are damaged.
        seed (`int`): what decides which, and how.
        max_rows (`int`, *optional*): rows after which reading stops.

    Raises:
        ValueError: if one of them cannot be.
    """

    system_prompt: str | None = None
    instruction: str = BOX_INSTRUCTION
    plain_text: bool = False
    thinking: str = KEEP
    tokenizer: "PreTrainedTokenizerBase | None" = None
    max_prompt_tokens: int = MAX_PROMPT_TOKENS
    max_demonstration_tokens: int = MAX_DEMONSTRATION_TOKENS
    max_demonstrations: int | None = None
    demonstrated_share: float = 1.0
    damaged_share: float = 0.0
    seed: int = 0
    max_rows: int | None = None

    def __post_init__(self) -> None:
        check_thinking(self.thinking)
        for name in ("demonstrated_share", "damaged_share"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"`{name}` is from 0 to 1, found {getattr(self, name):g}.")
        if self.seed < 0:
            raise ValueError(f"`seed` is not negative, found {self.seed}.")
        for name in ("max_prompt_tokens", "max_demonstration_tokens", "max_demonstrations", "max_rows"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ValueError(f"`{name}` is at least 1, found {value}.")

    def counting_with(self, tokenizer: "PreTrainedTokenizerBase") -> "Settings":
        return replace(self, tokenizer=tokenizer)
