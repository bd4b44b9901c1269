"""Sample answers to problems, keep those that the reward accepts, and write them as a dataset of demonstrations."""

import hashlib
import json
import shutil
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from itertools import groupby
from operator import attrgetter
from pathlib import Path
from typing import TYPE_CHECKING, Any

from prefix_rft_trl.data.convert.output import RowFormat, write_rows
from prefix_rft_trl.evaluation.benchmark import Benchmark
from prefix_rft_trl.evaluation.engines import Engine
from prefix_rft_trl.evaluation.evaluate import (
    SETTINGS,
    changed_settings,
    read_settings,
    sample_missing,
    sample_settings,
)
from prefix_rft_trl.evaluation.samples import LikelySample
from prefix_rft_trl.models.sources import ModelSource
from prefix_rft_trl.utils.files import atomic_file, exclusive_lock, read_object, write_atomically

from .problems import Problems
from .selection import Selection
from .solved_report import Figures, SolvedCount


if TYPE_CHECKING:
    from datasets import Dataset

REPORT = "report.json"
CHANGED = "Take another `--output`, or add --overwrite."


@dataclass(frozen=True)
class Made:
    """
    A dataset of demonstrations.

    Attributes:
        figures (`dict`): what was solved, as in the report.
        rows (`int`): that were written; 0 if no answer was accepted and there is no file.
        was_there (`bool`): whether an earlier command had written it, so that nothing was left to do.
        example (`dict`, *optional*): the first row with a demonstration, of those that were just written.
    """

    figures: Figures
    rows: int
    was_there: bool = False
    example: dict[str, Any] | None = None


def samples_folder(output: Path) -> Path:
    """Where samples and report are: readers of a folder of data pass over one with an underscore."""
    return output.with_name(f"_{output.name}.samples")


def make_demonstrations(
    source: ModelSource,
    problems: Problems,
    engine: Engine,
    selection: Selection,
    output: Path,
    overwrite: bool,
    say: Callable[[str], None] | None = None,
) -> Made:
    """
    Samples what is not on disk yet, and writes the dataset and its report.

    The file is the same however often the work was killed, and with any number of processes.

    Args:
        source (`ModelSource`): the model.
        problems (`Problems`): with the prompts in its tokens.
        engine (`Engine`): what runs it.
        selection (`Selection`): which answers become demonstrations.
        output (`Path`): a .parquet or .jsonl file.
        overwrite (`bool`): whether a file that is there is replaced. Samples of the same settings are kept.
        say (`Callable`, *optional*): takes a sentence on another command that it waits for.

    Raises:
        ValueError: if the file is there from something else, or the samples are, or another command is writing it.
        WorkError: if one of several processes dies. What has been sampled is kept.
    """
    folder, asked = samples_folder(output), problems.asked
    of_samples = sample_settings(asked, source, engine)
    settings = json.loads(json.dumps({**of_samples, **asdict(selection)}))
    with exclusive_lock(folder, name=output, say=say):
        if output.exists() and not overwrite:
            return _finished(output, folder, settings, asked)
        if overwrite:
            _remove_other_samples(folder, of_samples, asked)
        elif others := [name for name in _sampled(folder) if name != asked.name]:
            raise ValueError(f"{folder} has samples of {others[0]}, and not of {asked.name}. {CHANGED}")
        sample_missing(source, [asked], engine, folder, CHANGED)
        return _write(problems, selection, folder, output, settings)


def _finished(output: Path, folder: Path, settings: dict[str, Any], asked: Benchmark) -> Made:
    """What an earlier command has made with the same settings.

    Raises:
        ValueError: if something else has made the file, naming what differs.
    """
    report = read_object(folder / REPORT, f"Remove {folder}.") if (folder / REPORT).is_file() else {}
    if report.get("digest") != _digest(output):
        raise ValueError(f"{str(output)!r} exists already, and not from this command. {CHANGED}")
    if changes := changed_settings(report["settings"], settings, asked.prompting):
        raise ValueError(f"{str(output)!r} was made with other settings: {'; '.join(changes)}. {CHANGED}")
    return Made(report["figures"], report["rows"], was_there=True)


def _remove_other_samples(folder: Path, settings: dict[str, Any], asked: Benchmark) -> None:
    """Of a file that is replaced: its samples, unless they are of the same settings."""
    for name in _sampled(folder):
        if name != asked.name or changed_settings(read_settings(folder / name), settings, asked.prompting):
            shutil.rmtree(folder / name)


def _sampled(folder: Path) -> list[str]:
    """The datasets that the samples in a folder are of: one, in the folder of an output."""
    return [file.parent.name for file in folder.glob(f"*/{SETTINGS}")]


def _write(problems: Problems, selection: Selection, folder: Path, output: Path, settings: dict[str, Any]) -> Made:
    chosen: list[list[LikelySample]] = []
    count = SolvedCount(problems.rows, problems.asked.sampling.num_samples, selection)
    for samples in _by_problem(problems.asked, folder):
        chosen.append(selection.demonstrations(samples))
        count.add(samples, chosen[-1])
    figures = count.figures()
    report = {"settings": settings, "figures": figures, "rows": 0, "digest": None}
    if not any(chosen):
        write_atomically(folder / REPORT, json.dumps(report) + "\n")
        return Made(figures, 0)
    rows = _with_completions(problems.rows, chosen, selection)
    with atomic_file(output) as partial:
        write_rows(rows, partial)
        report |= {"rows": len(rows), "digest": _digest(partial)}
        write_atomically(folder / REPORT, json.dumps(report) + "\n")  # first: by it a file is known
    written = [own for own in chosen if own or selection.all]
    return Made(figures, len(rows), example=rows[next(place for place, own in enumerate(written) if own)])


def _by_problem(asked: Benchmark, folder: Path) -> Iterator[list[LikelySample]]:
    samples = asked.samples_in(folder).read(asked.chunks, with_texts=True)
    for _, of_problem in groupby(samples, attrgetter("problem")):
        yield list(of_problem)


def _with_completions(rows: "Dataset", chosen: list[list[LikelySample]], selection: Selection) -> "Dataset":
    """The rows that are written: `prompt`, `completion`, `solution` and all other columns of the problems."""
    from datasets import Dataset, concatenate_datasets

    kept = [place for place, demonstrations in enumerate(chosen) if demonstrations or selection.all]
    is_text = isinstance(rows[0]["prompt"], str)
    form = RowFormat(is_text, max(map(len, chosen)) > 1, several_answers=False)
    completions = [form.completion([sample.text for sample in chosen[place]]) for place in kept]
    left = rows.select(kept)
    others = left.remove_columns([name for name in ("completion",) if name in rows.column_names])
    first = [name for name in ("prompt", "completion", "solution") if name in (*others.column_names, "completion")]
    made = concatenate_datasets([others, Dataset.from_dict({"completion": completions})], axis=1)
    return made.select_columns([*first, *(name for name in others.column_names if name not in first)])


def _digest(file: Path) -> str:
    with file.open("rb") as content:
        return hashlib.file_digest(content, "blake2b").hexdigest()[:32]
