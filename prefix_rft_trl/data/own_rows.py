"""Look at a dataset that no recipe describes yet: its columns, some of its rows, and how they state their answers."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from prefix_rft_trl.method.demonstrations import Message, parse_demonstrations
from prefix_rft_trl.utils.errors import UserError, as_user_error

from .loading import COLUMN_SETTINGS
from .prompts import BOX_INSTRUCTION, MARK_INSTRUCTION, Prompt, shared_parts
from .row_forms import RowForm, example_row, recognised_form
from .row_scan import prompt_fault


if TYPE_CHECKING:
    from datasets import Dataset

ROLES = {role: default for role, (_, default) in COLUMN_SETTINGS.items()}  # and the default columns
MOST_READ = 500  # rows, evenly spaced
_STYLES = {r"\boxed": BOX_INSTRUCTION, "####": MARK_INSTRUCTION}


@dataclass(frozen=True)
class OwnRow:
    """A row with a demonstration, of which it may have several: `columns` are those of the dataset."""

    number: int
    prompt: Prompt
    demonstration: Message
    answer: Any
    columns: Mapping[str, Any]


@dataclass(frozen=True)
class OwnRows:
    """
    A dataset, as far as recipes for it depend on it.

    Attributes:
        form ([`RowForm`]): the columns of prompt, demonstration and answer.
        number (`int`): of rows.
        rows (`list[OwnRow]`): some with a demonstration, from all over the dataset.
        looked_at (`int`): rows among which these were found.
        without (`int`): how many of those have no demonstration.
        unanswered (`int`): how many have no answer.
    """

    form: RowForm
    number: int
    rows: list[OwnRow]
    looked_at: int
    without: int
    unanswered: int

    @property
    def is_text(self) -> bool:
        """Whether prompts are plain text, and not messages."""
        return all(isinstance(row.prompt, str) for row in self.rows)

    @property
    def settings(self) -> dict[str, str]:
        """The columns as settings of a recipe, where they are not the defaults.

        None for rows that have to be read by their form: conversations, and prompts of two columns.
        """
        form = self.form
        if form.context or form.prompt == form.demonstration:
            return {}
        named = {role: getattr(form, role) for role in ROLES}
        return {f"{role}_column": name for role, name in named.items() if name not in (None, ROLES[role])}

    @property
    def instruction(self) -> str | None:
        """How to state the answer as most demonstrations do; `None` if prompts say it, or no mark is known."""
        prompts = [row.prompt for row in self.rows]
        shared = shared_parts(prompts)
        if not self.is_text or (shared and shared[1]):
            return None
        for mark, instruction in _STYLES.items():
            marked = [mark in row.demonstration["content"] for row in self.rows]
            if 2 * sum(marked) > len(marked) and not any(mark in str(prompt) for prompt in prompts):
                return instruction
        return None


def look_at(dataset: "Dataset", given: Mapping[str, str | None], needs_answer: bool = True) -> OwnRows:
    """
    Looks at a dataset.

    Args:
        dataset (`Dataset`): a split.
        given (`Mapping`): columns that the user has named, by role: `prompt`, `demonstration`, `answer`.
        needs_answer (`bool`): whether its reward reads right answers.

    Raises:
        UserError: if a column is missing or it is open which one it is, or if no row can be used, naming one.
    """
    columns = dataset.column_names
    listed = f"Its columns are: {', '.join(columns)}."
    if missing := [name for name in given.values() if name not in (*columns, None)]:
        raise UserError(f"the dataset has no column '{missing[0]}'. {listed}")
    try:
        form = recognised_form(columns, example_row(dataset), given)
    except ValueError as error:
        raise UserError(f"{error} {listed}") from error
    found = {role: form and getattr(form, role) for role in ROLES}
    asked = [role for role, name in found.items() if name is None and (role != "answer" or needs_answer)]
    if form is None or asked:
        contents = " or ".join(f"{role}s" for role in asked)
        flags = ", ".join(f"`--{role}_column`" for role in asked)
        own = ""
        if asked == ["answer"]:
            own = ", or a reward that needs none (--reward_funcs my_rewards.exact)"
            contents += ", and the demonstrations state none in a box, in answer tags or after ####"
        raise UserError(f"no column is known to hold the {contents}. {listed} Name it: {flags}{own}.")
    return _read(dataset, form, needs_answer)


def _read(dataset: "Dataset", form: RowForm, needs_answer: bool) -> OwnRows:
    places = range(0, len(dataset), -(-len(dataset) // MOST_READ))
    rows, without, unanswered = [], 0, 0
    for place, columns in zip(places, dataset.select(places), strict=True):
        read = form.read(columns)
        if fault := prompt_fault(read["prompt"]):
            raise UserError(f"row {place} has no prompt in the column '{form.prompt}': {fault}. Remove the row.")
        with as_user_error(ValueError):
            demonstrations = parse_demonstrations(read["completion"], place, str(form.demonstration))
        without += not demonstrations
        is_unanswered = needs_answer and read["solution"] in (None, "", [])
        unanswered += is_unanswered
        if demonstrations and not is_unanswered:
            rows.append(OwnRow(place, read["prompt"], demonstrations[0], read["solution"], columns))
    if not rows:
        role = "demonstration" if without == len(places) else "answer"
        column = getattr(form, role)
        raise UserError(f"the column '{column}' has no {role} in any row. Name another: `--{role}_column`.")
    return OwnRows(form, len(dataset), rows, len(places), without, unanswered)
