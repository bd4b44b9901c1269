"""What a user can mend is said in a sentence, without a traceback."""

from collections.abc import Iterable
from difflib import get_close_matches


class UserError(Exception):
    """Something in a recipe, a flag or a dataset cannot be run; the message says what and how to mend it."""


def nearest(name: str, known: Iterable[str]) -> str:
    """` Did you mean 'learning_rate'?` for a name that is close to a known one, nothing otherwise."""
    matches = get_close_matches(name, list(known), n=1)
    return f" Did you mean '{matches[0]}'?" if matches else ""
