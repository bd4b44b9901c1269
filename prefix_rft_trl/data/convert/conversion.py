"""Convert a dataset into rows of `prompt`, `completion` and `solution`, with shares of its demonstrations ablated.

Intermediate results lie in a temporary folder beside the output, so that memory does not grow with the texts of the
dataset.
"""

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from prefix_rft_trl.data.held_out import draw_held_out

from .corruption import confirm_wrong
from .draws import Purpose, draw
from .extraction import Extraction, Tally, count, extracted_features
from .options import ConversionOptions
from .output import RowFormat, write_rows
from .sources.reading import Reader


if TYPE_CHECKING:
    from datasets import Dataset

ROWS_PER_BATCH = 500

Place = tuple[int, int]  # row of the source, and place among the demonstrations of that row


@dataclass(frozen=True)
class Conversion:
    """The result of a conversion.

    Attributes:
        rows_kept, rows_demonstrated (`int`): rows in the file, and those with a demonstration.
        demonstrations, corrupted (`int`): demonstrations in the file, and how many of them are corrupted.
        shortfall (`int`): demonstrations that should have been corrupted too, had enough been corruptible.
        tally (`Tally`): what was read, dropped and left out, with reasons.
        rows_held_out (`int`): rows of the file of held-out problems; their demonstrations stay as they are.
        example (`dict`, *optional*): the first row with a demonstration, or else the first.
    """

    rows_kept: int
    rows_demonstrated: int
    demonstrations: int
    corrupted: int
    shortfall: int
    tally: Tally
    example: dict[str, Any] | None
    rows_held_out: int = 0


def convert(
    dataset: "Dataset", reader: Reader, options: ConversionOptions, path: Path, test_path: Path | None = None
) -> Conversion:
    """Converts a dataset to a Parquet or JSONL file, by the suffix; writes nothing if no row is kept.

    With a second path it has the held-out problems, a `test_share` of all.
    """
    extraction = Extraction(reader, options)
    # The fingerprints keep `datasets` from hashing the functions: each file is used once
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=".conversion-") as cache:
        extracted = dataset.select_columns(reader.columns).map(
            extraction,
            with_indices=True,
            batched=True,
            batch_size=ROWS_PER_BATCH,
            remove_columns=reader.columns,
            features=extracted_features(options.plain_text),
            cache_file_name=f"{cache}/extracted.arrow",
            new_fingerprint="extracted",
            desc="Reading",
        )
        problems = extracted.remove_columns(["prompt", "texts", "corrupted_texts"]).to_list()
        groups = [int(problem["group"]) for problem in problems]
        drawn = draw_held_out(groups, options.test_share, options.test_seed) if test_path and problems else set()
        trained = [place for place in range(len(problems)) if place not in drawn]
        ablation = draw_ablation([problems[place] for place in trained], options, extraction.tally)
        requested = round(options.corrupted_share * len(ablation))
        ablation |= {(problems[row]["row"], place): False for row in drawn for place in problems[row]["places"]}
        demonstrated, example = {row for row, _ in ablation}, None
        if problems:
            row_format = RowFormat(
                options.plain_text,
                several_demonstrations=any(len(problem["places"]) > 1 for problem in problems),
                several_answers=any(len(problem["golds"]) > 1 for problem in problems),
            )

            def finish(problem: dict[str, Any]) -> dict[str, Any]:
                places = [(problem["row"], place) for place in problem["places"]]
                versions = zip(places, problem["texts"], problem["corrupted_texts"], strict=True)
                texts = [wrong if ablation[place] else text for place, text, wrong in versions if place in ablation]
                return row_format.columns(texts, problem["golds"])

            rows = extracted.map(
                finish,
                remove_columns=[name for name in extracted.column_names if name != "prompt"],
                cache_file_name=f"{cache}/rows.arrow",
                new_fingerprint="rows",
                desc="Writing",
            )
            write_rows(rows.select(trained), path)
            if test_path:
                write_rows(rows.select(sorted(drawn)), test_path)
            places = (place for place, problem in enumerate(problems) if problem["row"] in demonstrated)
            example = rows[next(places, 0)]
    corrupted = sum(ablation.values())
    return Conversion(
        rows_kept=len(problems),
        rows_demonstrated=len(demonstrated),
        demonstrations=len(ablation),
        corrupted=corrupted,
        shortfall=requested - corrupted,
        tally=extraction.tally,
        example=example,
        rows_held_out=len(drawn),
    )


def draw_ablation(problems: list[dict[str, Any]], options: ConversionOptions, tally: Tally) -> dict[Place, bool]:
    """Draws which demonstrations stay, and which of them are corrupted.

    Args:
        problems (`list[dict]`): the extracted rows; their texts are not needed.
        options (`ConversionOptions`): shares, of the problems with demonstrations and of the demonstrations that stay.
        tally (`Tally`): counts the demonstrations that cannot be corrupted, if some are to be.

    Returns:
        `dict`: for each demonstration that stays, whether it is corrupted.
    """
    having = [problem for problem in problems if problem["places"]]
    keys = [(int(problem["key"]),) for problem in having]
    drawn = draw(round(options.demonstrated_share * len(having)), keys, options.seed, Purpose.DEMONSTRATED)
    demonstrated = [having[index] for index in sorted(drawn)]
    ablation = {(problem["row"], place): False for problem in demonstrated for place in problem["places"]}
    number = round(options.corrupted_share * len(ablation))
    if not number:
        return ablation
    wrong = wrong_answers(demonstrated)
    corruptible: dict[Place, tuple[int, int]] = {}
    for problem in demonstrated:
        for place in problem["places"]:
            if (problem["row"], place) in wrong:
                corruptible[problem["row"], place] = (int(problem["key"]), place)
            else:
                count(tally.noted, "demonstrations that cannot be corrupted", problem["row"], problem["example"])
    places = list(corruptible)
    drawn = draw(number, list(corruptible.values()), options.seed, Purpose.CORRUPTED)
    return ablation | {places[index]: True for index in drawn}


def wrong_answers(problems: list[dict[str, Any]]) -> set[Place]:
    """The demonstrations whose corruption ends in an answer that is surely wrong."""
    wrong, doubtful = set(), []
    for problem in problems:
        answers = zip(problem["places"], problem["wrong_answers"], problem["certain"], strict=True)
        for place, answer, is_certain in answers:
            if is_certain:
                wrong.add((problem["row"], place))
            elif answer is not None:
                doubtful.append(((problem["row"], place), answer, problem["golds"]))
    confirmed = confirm_wrong([answer for _, answer, _ in doubtful], [golds for *_, golds in doubtful])
    return wrong | {place for (place, *_), is_wrong in zip(doubtful, confirmed, strict=True) if is_wrong}
