"""Convert a dataset into rows of `prompt`, `completion` and `solution`, with shares of its demonstrations ablated.

Intermediate results lie in a temporary folder, so that memory does not grow with the dataset.
"""

import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .corruption import confirm_wrong
from .draws import Purpose, draw
from .extraction import Extraction, Tally, count, extracted_features
from .options import ConversionOptions
from .output import RowFormat, write_rows
from .sources.reading import Reader


if TYPE_CHECKING:
    from datasets import Dataset, Features

ROWS_PER_BATCH = 500


@dataclass(frozen=True)
class Ablation:
    """The demonstrations that are taken away or corrupted.

    Attributes:
        demonstrated (`set[int]`): source rows that keep their demonstrations.
        corrupted (`set[tuple[int, int]]`): source row and place of the corrupted demonstrations.
        incorruptible (`list[dict]`): the extracted row of each demonstration that cannot be corrupted.
        shortfall (`int`): how many more should have been corrupted.
    """

    demonstrated: set[int]
    corrupted: set[tuple[int, int]]
    incorruptible: list[dict[str, Any]]
    shortfall: int


@dataclass(frozen=True)
class Conversion:
    """The result of a conversion.

    Attributes:
        rows_kept, rows_demonstrated (`int`): rows in the file, and those with a demonstration.
        demonstrations, corrupted (`int`): demonstrations in the file, and how many of them are corrupted.
        shortfall (`int`): demonstrations that should have been corrupted too, had enough been corruptible.
        tally (`Tally`): what was read, dropped and left out, with reasons.
    """

    rows_kept: int
    rows_demonstrated: int
    demonstrations: int
    corrupted: int
    shortfall: int
    tally: Tally


def convert(dataset: "Dataset", reader: Reader, options: ConversionOptions, path: Path) -> Conversion:
    """Converts a dataset to a Parquet or JSONL file, by the suffix; writes nothing if no row is kept."""
    extraction = Extraction(reader, options)
    with tempfile.TemporaryDirectory(prefix="prefix_rft_data-") as cache:
        problems = _map(
            dataset.select_columns(reader.columns),
            extraction,
            extracted_features(options.plain_text),
            Path(cache) / "problems.arrow",
            "Reading",
            batched=True,
            batch_size=ROWS_PER_BATCH,
            with_indices=True,
        )
        facts = problems.remove_columns(["prompt", "texts", "corrupted_texts"]).to_list()
        ablation = draw_ablation(facts, options)
        if facts:
            row_format = RowFormat(
                options.plain_text,
                several_demonstrations=any(len(row["places"]) > 1 for row in facts),
                several_answers=any(len(row["golds"]) > 1 for row in facts),
            )

            def finished(problem: dict[str, Any]) -> dict[str, Any]:
                return row_format.row(ablated_demonstrations(problem, ablation), problem["golds"])

            write_rows(_map(problems, finished, row_format.features, Path(cache) / "rows.arrow", "Writing"), path)
    for row in ablation.incorruptible:
        count(extraction.tally.noted, "demonstrations that cannot be corrupted", row["row"], row["example"])
    return Conversion(
        rows_kept=len(facts),
        rows_demonstrated=len(ablation.demonstrated),
        demonstrations=sum(len(row["places"]) for row in facts if row["row"] in ablation.demonstrated),
        corrupted=len(ablation.corrupted),
        shortfall=ablation.shortfall,
        tally=extraction.tally,
    )


def _map(
    dataset: "Dataset",
    function: Callable[..., Any],
    features: "Features",
    file: Path,
    title: str,
    **options: Any,
) -> "Dataset":
    return dataset.map(
        function,
        features=features,
        remove_columns=[name for name in dataset.column_names if name not in features],
        cache_file_name=str(file),
        new_fingerprint=file.stem,  # the file is used once, so the function need not be hashed
        desc=title,
        **options,
    )


def draw_ablation(rows: list[dict[str, Any]], options: ConversionOptions) -> Ablation:
    """Draws `round(share * number)` of the problems with a demonstration, and of the demonstrations that these have.

    Args:
        rows (`list[dict]`): the extracted rows; of their columns `row`, `key`, `golds`, `places`, `wrong_answers` and
            `certain` are used.
        options (`ConversionOptions`): shares and seed.
    """
    having = [row for row in rows if row["places"]]
    number = round(options.demonstrations * len(having))
    drawn = draw(number, [(int(row["key"]),) for row in having], options.seed, Purpose.DEMONSTRATED)
    left = [having[index] for index in sorted(drawn)]
    demonstrated = {row["row"] for row in left}
    number = round(options.corrupt * sum(len(row["places"]) for row in left))
    if not number:
        return Ablation(demonstrated, set(), [], 0)
    wrong = wrong_answers(left)
    places = [(row, place) for row in left for place in row["places"]]
    corruptible = [(row, place) for row, place in places if (row["row"], place) in wrong]
    keys = [(int(row["key"]), place) for row, place in corruptible]
    drawn = draw(number, keys, options.seed, Purpose.CORRUPTED)
    corrupted = {(corruptible[index][0]["row"], corruptible[index][1]) for index in drawn}
    incorruptible = [row for row, place in places if (row["row"], place) not in wrong]
    return Ablation(demonstrated, corrupted, incorruptible, number - len(corrupted))


def wrong_answers(rows: list[dict[str, Any]]) -> set[tuple[int, int]]:
    """Row and place of the demonstrations whose corruption ends in an answer that is surely wrong."""
    wrong, doubtful = set(), []
    for row in rows:
        for place, answer, is_certain in zip(row["places"], row["wrong_answers"], row["certain"], strict=True):
            if is_certain:
                wrong.add((row["row"], place))
            elif answer is not None:
                doubtful.append(((row["row"], place), answer, row["golds"]))
    confirmed = confirm_wrong([answer for _, answer, _ in doubtful], [golds for *_, golds in doubtful])
    return wrong | {place for (place, *_), is_wrong in zip(doubtful, confirmed, strict=True) if is_wrong}


def ablated_demonstrations(problem: dict[str, Any], ablation: Ablation) -> list[str]:
    """The demonstrations of an extracted row as they will be written."""
    row = problem["row"]
    if row not in ablation.demonstrated:
        return []
    return [
        corrupted if (row, place) in ablation.corrupted else text
        for place, text, corrupted in zip(problem["places"], problem["texts"], problem["corrupted_texts"], strict=True)
    ]
