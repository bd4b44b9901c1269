"""Options of a conversion, whatever the source."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from prefix_rft_trl.data.prompts import BOX_INSTRUCTION

from .thinking import KEEP, check_thinking


if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


@dataclass(frozen=True)
class ConversionOptions:
    """Options of a conversion; the defaults are the paper's. The flags of `prefix-rft data` are made from this text.

    Attributes:
        system_prompt (`str`, *optional*): system prompt before each problem
        instruction (`str`): instruction on a line after each problem, "" for none; without the flag, nothing that the
            demonstrations contradict
        plain_text (`bool`): write text instead of messages
        thinking (`str`): keep the block between <think> and </think>, strip it, or rename its tag: reasoning writes
            <reasoning>
        tokenizer (`PreTrainedTokenizerBase`, *optional*): drop what is too long in the tokens of this model
        max_prompt_tokens (`int`): longest prompt
        max_demonstration_tokens (`int`): longest demonstration
        max_demonstrations (`int`, *optional*): keep the first N demonstrations of a problem; `trl sft` takes 1
        demonstrated_share (`float`): share of the problems that keep their demonstrations; the others stay without
        corrupted_share (`float`): share of the demonstrations that get a slip and end in a wrong answer
        seed (`int`): seed of both draws; a smaller share is a subset of a larger one
        max_rows (`int`, *optional*): stop after N converted rows
        test_share (`float`): share of the problems that is held out: the output is a folder with a file `train` and a
            file `test`
        test_seed (`int`): seed of that draw

    Raises:
        ValueError: for a value out of range.
    """

    system_prompt: str | None = None
    instruction: str = BOX_INSTRUCTION
    plain_text: bool = False
    thinking: str = KEEP
    tokenizer: "PreTrainedTokenizerBase | None" = None
    max_prompt_tokens: int = 1024
    max_demonstration_tokens: int = 8192
    max_demonstrations: int | None = None
    demonstrated_share: float = 1.0
    corrupted_share: float = 0.0
    seed: int = 0
    max_rows: int | None = None
    test_share: float = 0.0
    test_seed: int = 0

    def __post_init__(self) -> None:
        check_thinking(self.thinking)
        for name in ("demonstrated_share", "corrupted_share"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"`{name}` must be between 0 and 1, found {getattr(self, name):g}.")
        if not 0 <= self.test_share < 1:
            raise ValueError(f"`test_share` must be at least 0 and below 1, found {self.test_share:g}.")
        for name in ("seed", "test_seed"):
            if getattr(self, name) < 0:
                raise ValueError(f"`{name}` must not be negative, found {getattr(self, name)}.")
        for name in ("max_prompt_tokens", "max_demonstration_tokens", "max_demonstrations", "max_rows"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ValueError(f"`{name}` must be at least 1, found {value}.")
