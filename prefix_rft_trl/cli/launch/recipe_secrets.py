"""Keep secrets out of the recipes that a run writes: the processes that it starts get them from the environment."""

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from prefix_rft_trl.utils.errors import UserError
from prefix_rft_trl.utils.redaction import SECRET, redacted


HIDDEN = "PREFIX_RFT_SECRETS"  # environment variable: the values that a written recipe leaves out, as JSON, by place
NOT_NEEDED = ("hub_token",)  # without it the Hub takes that of `hf auth login` or of HF_TOKEN


@contextmanager
def secrets_in_environment(settings: Mapping[str, Any]) -> Iterator[None]:
    """Passes the secrets among the settings of a recipe to the processes that are started in the block."""
    public = dict(_leaves(redacted(settings)))
    hidden = {place: value for place, value in _leaves(settings) if public[place] != value}
    os.environ[HIDDEN] = json.dumps(hidden, default=str)
    try:
        yield
    finally:
        os.environ.pop(HIDDEN, None)


def with_secrets(settings: dict[str, Any], recipe: str) -> dict[str, Any]:
    """The settings of a recipe with the secrets that a run has left out of it, from the environment.

    Raises:
        UserError: naming the setting and the variable that it can be given by.
    """
    hidden = json.loads(os.environ.pop(HIDDEN, "{}"))

    def fill(value: Any, place: str) -> Any:
        if isinstance(value, dict):
            return {name: fill(inner, _inside(place, name)) for name, inner in value.items()}
        if isinstance(value, list):
            return [fill(inner, _inside(place, number)) for number, inner in enumerate(value)]
        if not isinstance(value, str) or SECRET not in value:
            return value
        name = place.rpartition(".")[2]
        found = hidden.get(place, os.environ.get(name, os.environ.get(name.upper())) if value == SECRET else None)
        if found is None and name not in NOT_NEEDED:
            variable = f"set the environment variable {name.upper()}, or " if value == SECRET else ""
            raise UserError(
                f"`{place}` in {recipe!r} is {value!r}: the run that wrote the recipe left the secret out. Before you "
                f"train it, {variable}take the recipe that the run was started with."
            )
        return found

    return {name: fill(value, name) for name, value in settings.items()}


def _leaves(value: Any, place: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(value, Mapping):
        for name, inner in value.items():
            yield from _leaves(inner, _inside(place, name))
    elif isinstance(value, list | tuple):
        for number, inner in enumerate(value):
            yield from _leaves(inner, _inside(place, number))
    else:
        yield place, value


def _inside(place: str, name: Any) -> str:
    return f"{place}.{name}" if place else str(name)
