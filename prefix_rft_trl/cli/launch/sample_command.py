"""The line that a training command ends with: how to sample from the model it made."""

import json
import shlex
import sys
from pathlib import Path
from typing import Any


def sampling_command(model: str, prompt: Any, max_new_tokens: int) -> str:
    """One line for the shell that samples from a model."""
    program = (
        "from transformers import pipeline; "
        f'print(pipeline("text-generation", {_literal(model)})'
        f'({_literal(prompt)}, max_new_tokens={max_new_tokens}, return_full_text=False)[0]["generated_text"])'
    )
    return f"{_this_python()} -c {shlex.quote(program)}"


def _this_python() -> str:
    """The interpreter that has the packages, which need not be the one on the path."""
    path = Path(sys.executable)
    return str(path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path)


def _literal(value: Any) -> str:
    """Text or messages in double quotes, which the shell's single quotes leave readable."""
    return json.dumps(value, ensure_ascii=False)
