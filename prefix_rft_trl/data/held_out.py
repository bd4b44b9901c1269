"""Hold problems out of training: a file of their own, a share drawn by a seed, or a slice of a split."""

import logging
import os
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from prefix_rft_trl.utils.errors import UserError
from prefix_rft_trl.utils.hashing import stable_hash

from .convert.draws import Purpose, draw
from .row_scan import prompt_fault
from .texts import problem_text


if TYPE_CHECKING:
    from datasets import Dataset, DatasetDict

HELD_OUT = "test"  # the split of held-out problems

logger = logging.getLogger(__name__)


def with_held_out(splits: "DatasetDict", settings: Mapping[str, Any], of_file: "DatasetDict | None") -> "DatasetDict":
    """The splits of a dataset, with the problems that a recipe holds out as the split `test`.

    Args:
        splits (`DatasetDict`): those of the dataset.
        settings (`Mapping`): those of a recipe.
        of_file (`DatasetDict`, *optional*): the splits of its `dataset_test_file`, if it has one.

    Raises:
        UserError: if that cannot be, such as a share of a stream.
    """
    trained, share = settings.get("dataset_train_split") or "train", settings.get("test_share") or 0.0
    if of_file is None and not share:
        return splits
    setting = "dataset_test_file" if of_file else "test_share"
    if of_file and share:
        raise UserError("`dataset_test_file` and `test_share` both set which problems are held out. Remove one.")
    if HELD_OUT in split_names(trained):
        raise UserError(
            f"`{setting}` gives the held-out problems as the split '{HELD_OUT}', and `dataset_train_split` is "
            f"'{trained}'. Train on another split, or remove `{setting}`."
        )
    if of_file:
        return type(splits)({**splits, HELD_OUT: of_file.get(HELD_OUT, next(iter(of_file.values())))})
    rows = pick_split(splits, trained)
    if not hasattr(rows, "__len__"):
        raise UserError(
            "`test_share` draws among all rows, and `dataset_streaming` reads them one by one. Set "
            "`dataset_test_file` to a file of held-out problems."
        )
    rest, held_out = divide(rows, settings.get("prompt_column") or "prompt", share, settings.get("test_seed") or 0)
    return type(splits)({**splits, trained: rest, HELD_OUT: held_out})


def describe_held_out(settings: Mapping[str, Any]) -> str:
    """The problems that a recipe measures on, alike for recipes that measure on the same."""
    split, name = settings["measure_split"], settings["dataset_name"]
    if split == HELD_OUT and settings["dataset_test_file"]:
        return f"`{settings['dataset_test_file']}`"
    if split == HELD_OUT and settings["test_share"]:
        of = f"split `{settings['dataset_train_split']}` of `{name}`"
        return f"a share of {settings['test_share']:g} of {of}, drawn with the seed {settings['test_seed']}"
    return f"split `{split}` of `{name}`"


def pick_split(splits: "DatasetDict", split: str) -> Any:
    """The rows of a split by its name, or of a slice as in `datasets`: `train[:240]`, `train[80%:]`.

    Raises:
        UserError: with the splits that there are, if it is missing or no slice.
    """
    if split in splits:
        return splits[split]
    if split_names(split) == {split}:
        raise UserError(f"the dataset has no split '{split}'; it has: {', '.join(splits)}.")
    from datasets import concatenate_datasets

    return concatenate_datasets([splits[name].select(rows) for name, rows in _ranges(splits, split)])


def split_names(split: str) -> set[str]:
    """The splits that a slice is of, or that a sum of slices joins."""
    return {part.partition("[")[0].strip() for part in split.split("+")}


def _ranges(splits: "DatasetDict", split: str) -> list[tuple[str, range]]:
    """The rows of a slice by the split that they are in."""
    from datasets import ReadInstruction

    for name in split_names(split):
        rows = pick_split(splits, name)
        if not hasattr(rows, "__len__"):
            raise UserError(f"'{split}' is a slice, and `dataset_streaming` has no row numbers. Name a split.")
    try:
        found = ReadInstruction.from_spec(split).to_absolute({name: len(rows) for name, rows in splits.items()})
    except (ValueError, AssertionError) as error:
        raise UserError(
            f"'{split}' is no slice of a split: {' '.join(str(error).split()).rstrip('.')}. Write it as `train[:240]` "
            "or `train[80%:]`."
        ) from error
    ranges = [(part.splitname, range(part.from_, part.to)) for part in found]
    if not any(rows for _, rows in ranges):
        lengths = ", ".join(f"'{name}' has {len(splits[name]):,} rows" for name in sorted(split_names(split)))
        raise UserError(f"the slice '{split}' has no rows: {lengths}.")
    return ranges


def check_disjoint(splits: "DatasetDict", trained: str, measured: str, setting: str = "measure_split") -> None:
    """Raises `UserError` if a split or slice to measure on, by its setting, has rows of the one that is trained on."""
    if not split_names(trained) & split_names(measured):
        return
    if trained != measured:
        both = [_ranges(splits, split) for split in (trained, measured)]
        rows, others = ({(name, row) for name, part in ranges for row in part} for ranges in both)
        if not rows & others:
            return
    raise UserError(
        f"`{setting}` is '{measured}' and `dataset_train_split` is '{trained}', which have rows in common: "
        "the model would be measured on what is trained on. Hold problems out with `test_share: 0.1`, or take slices "
        "such as `train[:240]` and `train[240:]`."
    )


def divide(rows: "Dataset", column: str, share: float, seed: int) -> tuple["Dataset", "Dataset"]:
    """The rows to train on, and a share of the problems that is held out; rows with equal prompts stay together."""
    if column not in rows.column_names:
        raise UserError(
            f"`test_share` keeps rows with equal prompts together, and the dataset has no column '{column}'; its "
            f"columns are: {', '.join(rows.column_names)}. Set `prompt_column`."
        )
    held_out = draw_held_out([prompt_key(prompt) for prompt in rows[column]], share, seed)
    places = range(len(rows))
    return tuple(rows.select([row for row in places if (row in held_out) == is_held]) for is_held in (False, True))


def draw_held_out(keys: Iterable[int | None], share: float, seed: int) -> set[int]:
    """Draws places of problems, given by the keys of their prompts; those without a key are not drawn.

    The draw depends on the prompts alone: not on their order, and hardly on the other prompts.

    Raises:
        UserError: if the share is none, or leaves nothing to train on.
    """
    if not 0 < share < 1:
        raise UserError(f"`test_share` must be above 0 and below 1, found {share}.")
    places: dict[int, list[int]] = {}
    for place, key in enumerate(keys):
        if key is not None:
            places.setdefault(key, []).append(place)
    problems = list(places)
    number = max(1, round(share * len(problems)))
    if number >= len(problems):
        raise UserError(
            f"`test_share: {share}` of {len(problems)} different problems leaves none to train on. Lower it, or "
            "take held-out problems from another file."
        )
    drawn = draw(number, [(key,) for key in problems], seed, Purpose.HELD_OUT)
    return {place for problem in drawn for place in places[problems[problem]]}


def prompt_key(prompt: Any) -> int | None:
    """A number that equal prompts share; `None` for a prompt that is unusable."""
    return None if prompt_fault(prompt) else text_key(problem_text(prompt))


def text_key(text: str) -> int:
    """A number that equal texts share, whatever their white space and case."""
    return stable_hash(" ".join(text.split()).casefold())


def leave_out_held_out(demonstrations: "Dataset", held_out: "Dataset") -> "Dataset":
    """The rows of a second dataset without those whose prompt is held out, which are counted in a warning.

    Raises:
        UserError: if none is left.
    """
    left = _rows_apart(demonstrations["prompt"], held_out["prompt"])
    if len(demonstrations) and not left:
        raise UserError(
            f"all {len(demonstrations):,} problems of `demonstration_dataset_name` are held out, and training on them "
            "would spoil the measurements. Name other problems, or set `measure_steps: 0`."
        )
    what = "problems of `demonstration_dataset_name` are held out, and are not trained on."
    return _picked(demonstrations, left, what)


def leave_out_trained(held_out: "Dataset", trained: Any, column: str) -> "Dataset":
    """The held-out rows without those whose prompt is trained on, which are counted in a warning.

    Raises:
        UserError: if none is left.
    """
    if not hasattr(trained, "__len__") or column not in trained.column_names:
        return held_out
    left = _rows_apart(held_out[column], trained[column])
    if len(held_out) and not left:
        raise UserError(
            f"all {len(held_out):,} held-out problems are trained on, so accuracy on them says nothing. Hold others "
            "out, such as with `test_share: 0.1` of the training problems."
        )
    return _picked(held_out, left, "held-out problems are left out of the measurements: they are trained on too.")


def _rows_apart(prompts: Iterable[Any], others: Iterable[Any]) -> list[int]:
    """Rows whose prompt is not among the others."""
    keys = {prompt_key(prompt) for prompt in others} - {None}
    return [row for row, prompt in enumerate(prompts) if prompt_key(prompt) not in keys]


def _picked(dataset: "Dataset", rows: list[int], what: str) -> "Dataset":
    """These rows of a dataset, with a warning that counts the others."""
    if len(rows) == len(dataset):
        return dataset
    if int(os.environ.get("LOCAL_RANK", 0)) == 0:
        logger.warning(f"{len(dataset) - len(rows):,} of {len(dataset):,} {what}")
    return dataset.select(rows)
