"""The line that a training command ends with: how to sample from the model it made."""

import json
import shlex
from typing import Any


def sampling_command(model: str, prompt: Any, max_new_tokens: int) -> str:
    """One line for the shell that samples from a model."""
    program = (
        "from transformers import pipeline; "
        f'print(pipeline("text-generation", {_literal(model)})'
        f'({_literal(prompt)}, max_new_tokens={max_new_tokens}, return_full_text=False)[0]["generated_text"])'
    )
    return f"python -c {shlex.quote(program)}"


def _literal(value: Any) -> str:
    """Text or messages in double quotes, which the shell's single quotes leave readable."""
    return json.dumps(value, ensure_ascii=False)
