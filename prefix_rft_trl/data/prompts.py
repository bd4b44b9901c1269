"""Make the prompt of a problem, the same in training, evaluation, conversion and data check."""

from collections.abc import Sequence

from prefix_rft_trl.utils.shared_start import shared_start

from .convert.rows import Message, Unusable


BOX_INSTRUCTION = r"Please reason step by step, and put your final answer within \boxed{}"
MARK_INSTRUCTION = "Please reason step by step, and put your final answer after ####"

Prompt = str | list[Message]


def make_prompt(
    problem: Prompt, *, instruction: str | None = None, conversational: bool, system_prompt: str | None = None
) -> Prompt:
    """The prompt of a problem.

    Args:
        problem (`str` or `list[dict]`): the problem, or messages that end with a user's.
        instruction (`str`, *optional*): on a line of its own after the problem. Lines that the problem ends with
            already are not repeated.
        conversational (`bool`): whether the prompt is messages, or text.
        system_prompt (`str`, *optional*): a message of its own in front, in place of one that is there; in text, a
            paragraph in front, unless the text begins with it.

    Raises:
        Unusable: if messages of several turns are to be one text.
    """
    messages = [{"role": "user", "content": problem}] if isinstance(problem, str) else list(problem)
    content = messages[-1]["content"]
    if system_prompt and not content.startswith(f"{system_prompt}\n\n"):
        messages = [message for message in messages if message["role"] != "system"]
        messages.insert(0, {"role": "system", "content": system_prompt})
    messages[-1] = {**messages[-1], "content": _with_instruction(content, instruction)}
    if conversational:
        return messages
    if any(message["role"] == "assistant" for message in messages):
        raise Unusable("a prompt of several turns, which plain text cannot hold")
    return "\n\n".join(message["content"] for message in messages)


def _with_instruction(text: str, instruction: str | None) -> str:
    if not instruction or instruction in text:
        return text
    lines = instruction.split("\n")
    present = [n for n in range(1, len(lines)) if text.endswith("\n" + "\n".join(lines[:n]))]
    return "\n".join([text, *lines[max(present, default=0) :]])


def shared_parts(prompts: Sequence[Prompt]) -> tuple[str, str] | None:
    """System prompt and instruction of a dataset, found in what all its prompts share.

    Args:
        prompts (`Sequence[str | list[dict]]`): some of its prompts, all text or all messages.

    Returns:
        `tuple[str, str]` or `None`: the system message, in text the first paragraphs, and the last lines of what the
        user says; empty where the prompts share none. `None` if the prompts are all the same, or hold more than text:
        nothing then tells an instruction from a problem.
    """
    messages = [prompt for prompt in prompts if not isinstance(prompt, str)]
    texts = [prompt if isinstance(prompt, str) else prompt[-1]["content"] for prompt in prompts]
    if not all(isinstance(text, str) for text in texts) or len(set(texts)) < 2:
        return None
    instruction = shared_start(*(text.split("\n")[:0:-1] for text in texts))[::-1]
    if messages:
        system = shared_start(
            *([turn["content"] for turn in prompt if turn["role"] == "system"] for prompt in messages)
        )
    else:
        system = shared_start(*(text.split("\n\n")[:-1] for text in texts))
    return "\n\n".join(system), "\n".join(instruction)
