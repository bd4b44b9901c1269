"""The prompt of a row: system prompt, problem and instruction, as messages or as text."""

from .convert.rows import Message, Unusable


BOX_INSTRUCTION = r"Please reason step by step, and put your final answer within \boxed{}"
MARK_INSTRUCTION = "Please reason step by step, and put your final answer after ####"


def prompt_of(
    prompt: str | list[Message], system_prompt: str | None, instruction: str, plain_text: bool
) -> str | list[Message]:
    """What the policy is given.

    Args:
        prompt (`str` or `list[dict]`): the problem, or messages that end with a user's.
        system_prompt (`str`, *optional*): takes the place of the one that the messages may have.
        instruction (`str`): on a line of its own after the problem, unless the problem has it already.
        plain_text (`bool`): whether it is to be text, the system prompt in front.

    Raises:
        Unusable: if messages are not those of one user, and text is asked for.
    """
    messages = [{"role": "user", "content": prompt}] if isinstance(prompt, str) else list(prompt)
    messages[-1] = {**messages[-1], "content": _instructed(messages[-1]["content"], instruction)}
    if system_prompt:
        kept = [message for message in messages if message["role"] != "system"]
        messages = [{"role": "system", "content": system_prompt}, *kept]
    return _as_text(messages) if plain_text else messages


def _instructed(text: str, instruction: str) -> str:
    return text if not instruction or instruction in text else f"{text}\n{instruction}"


def _as_text(messages: list[Message]) -> str:
    if any(message["role"] == "assistant" for message in messages):
        raise Unusable("a prompt of several turns, which plain text cannot hold")
    return "\n\n".join(message["content"] for message in messages)
