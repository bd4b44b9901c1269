"""The text side of a processor for images: its tokenizer, with the chat template that the processor has.

A processor's template takes messages whose contents are lists of parts, and writes one placeholder for an image, which
the processor turns into as many tokens as the image takes. That changes no text behind a prompt, which is encoded
behind the prompt with its placeholders as they are.
"""

from typing import TYPE_CHECKING, Any


if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase, ProcessorMixin

PLACEHOLDERS = ("image_token", "boi_token", "video_token")  # attributes of processors and their tokenizers


class ProcessorText:
    """Stands in for the tokenizer of a processor, whose attributes it has.

    Args:
        processor (`ProcessorMixin`): with a `tokenizer`.
    """

    def __init__(self, processor: "ProcessorMixin") -> None:
        self._processor, self._tokenizer = processor, processor.tokenizer
        found = (getattr(part, name, None) for part in (processor, self._tokenizer) for name in PLACEHOLDERS)
        self.placeholders = sorted({text for text in found if isinstance(text, str) and text})

    def __getattr__(self, name: str) -> Any:
        return getattr(self._tokenizer, name)

    def __call__(self, *args: Any, **named: Any) -> Any:
        return self._tokenizer(*args, **named)

    @property
    def chat_template(self) -> Any:
        return self._processor.chat_template

    def apply_chat_template(
        self, messages: list[dict[str, Any]], tokenize: bool = False, return_dict: bool = False, **named: Any
    ) -> str | list[int]:
        """The text of a conversation, with a placeholder for each image, or the token ids of that text.

        Raises:
            ValueError: if the policy's part of it has a placeholder, for which there would be no image.
        """
        for message in messages:
            for text in self.placeholders if message.get("role") == "assistant" else ():
                if text in str(message.get("content")):
                    raise ValueError(
                        f"a demonstration has {text!r}, which stands for an image in a prompt, and there is none for "
                        "it. Take it out of the text"
                    )
        text = self._processor.apply_chat_template(list(map(in_parts, messages)), tokenize=False, **named)
        return self._tokenizer(text, add_special_tokens=False)["input_ids"] if tokenize else text


def in_parts(message: dict[str, Any]) -> dict[str, Any]:
    """A message whose content is a list of parts; one without text stays as it is."""
    content = message.get("content")
    return {**message, "content": [{"type": "text", "text": content}]} if isinstance(content, str) else message


def text_side(processor: Any) -> "PreTrainedTokenizerBase":
    """A tokenizer itself, or what stands in for the tokenizer of a processor."""
    from transformers import ProcessorMixin

    return ProcessorText(processor) if isinstance(processor, ProcessorMixin) else processor  # type: ignore[return-value]
