"""Keep two runs from mixing in one folder: what a run leaves there, and who may train into it."""

import json
import os
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from prefix_rft_trl.models.adapters import MERGED, RECORD
from prefix_rft_trl.models.sources import ADAPTER_CONFIG, CONFIG

from .fingerprint import RunFingerprint, describe_changes
from .folder import CANDIDATES, CURVE, ENVIRONMENT, STATE, is_finished, last_checkpoint
from .progress import PROGRESS
from .record import RunRecord
from .settings import RUN_SETTINGS


STAGE_RECIPE = "recipe.yaml"
TRACES = (RUN_SETTINGS, ENVIRONMENT, CURVE, PROGRESS, STATE, "training_args.bin")
MODEL_FILES = (
    CONFIG, ADAPTER_CONFIG, "generation_config.json", "model*.safetensors", "model*.safetensors.index.json",
    "adapter_model*", "pytorch_model*", "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json",
    "added_tokens.json", "vocab.json", "vocab.txt", "merges.txt", "tokenizer.model", "spiece.model",
    "sentencepiece.bpe.model", "chat_template.jinja", "additional_chat_templates", "preprocessor_config.json",
    "processor_config.json",
)  # fmt: skip
COMPLETIONS = "completions/completions_*.parquet"
CARD, CARD_TAG = "README.md", "generated_from_trainer"
START = "PREFIX_RFT_RUN_START"  # environment variable with which the command line passes it to its training script


@dataclass(frozen=True)
class PlannedRun:
    """
    A training that is about to start in a folder.

    Attributes:
        folder (`Path`): its output folder.
        fingerprint ([`RunFingerprint`]): what it is.
        resumes (`str` or `bool`, *optional*): its `resume_from_checkpoint`.
        overwrites (`bool`): whether it may remove an earlier run.
        inputs (`dict[str, str]`): files and folders that it reads, by setting.
        record ([`RunRecord`], *optional*): what its model card says of its start.
    """

    folder: Path
    fingerprint: RunFingerprint
    resumes: str | bool | None = None
    overwrites: bool = False
    inputs: Mapping[str, str] = field(default_factory=dict)
    record: RunRecord | None = None

    @property
    def resumed_folder(self) -> Path | None:
        """The folder whose checkpoints it resumes."""
        if self.resumes in (None, False, "", "None", "False", "false"):
            return None
        return self.folder if self.resumes in ("last", True, "True", "true") else Path(str(self.resumes)).parent

    def reads(self, file: Path) -> bool:
        return file.resolve() in {Path(name).resolve() for name in self.inputs.values()}

    @property
    def resumes_here(self) -> bool:
        return self.resumed_folder is not None and self.resumed_folder.resolve() == self.folder.resolve()


def check_folders(runs: Sequence[PlannedRun], report: Callable[[str], None]) -> list[Path]:
    """
    Checks the folders of a training, or of all of its stages, before the first one starts.

    Args:
        runs (`Sequence[PlannedRun]`): in order.
        report (`Callable`): takes a line about settings of a resumed run that have changed.

    Returns:
        `list[Path]`: folders of earlier runs that are to be removed before.

    Raises:
        ValueError: if a folder holds another run, or one that can be resumed or is finished.
    """
    for run in runs:
        if run.overwrites and run.resumes_here:
            raise ValueError(
                "`--overwrite` removes the run in the folder, and `--resume_from_checkpoint` resumes it: give one of "
                "them."
            )
        if holds_model(run.folder) and not holds_run(run.folder):
            raise ValueError(
                f"{run.folder} holds a model and no run that made it, and training would replace it. Take another "
                "`--output_dir`."
            )
    used = [run for run in runs if holds_run(run.folder)]
    removed = [run.folder for run in used if run.overwrites]
    _refuse_to_remove_inputs(removed, runs)
    for run in runs:
        if run.resumed_folder is not None:
            _check_resumed(run, run.resumed_folder, report)
    if kept := [run for run in used if not run.overwrites and not run.resumes_here]:
        raise ValueError(_refusal(kept, all(is_finished(run.folder) for run in runs)))
    return removed


def _check_resumed(run: PlannedRun, folder: Path, report: Callable[[str], None]) -> None:
    there = RunFingerprint.read(folder)
    changes = there.changes(run.fingerprint) if there else []
    if [change for change in changes if change.is_of_identity]:
        raise ValueError(
            f"{folder} holds another run, which cannot be resumed with these settings "
            f"({describe_changes(changes)}). Take another `--output_dir`, or `--overwrite` instead of "
            "`--resume_from_checkpoint` to remove that run."
        )
    if changes and not run.fingerprint.stage and is_finished(folder) and last_checkpoint(folder) is None:
        raise ValueError(
            f"{folder} holds a finished run without checkpoints, so other settings ({describe_changes(changes)}) "
            "have nothing to go on from. Take another `--output_dir`, or `--overwrite` to remove that run."
        )
    if changes:
        is_over = run.fingerprint.stage and is_finished(folder)
        what = f"Stage '{run.fingerprint.stage}' is finished and not trained again" if is_over else "Resuming"
        report(f"{what}: settings of {folder} have changed ({describe_changes(changes)}).")


def _refusal(runs: Sequence[PlannedRun], are_finished: bool) -> str:
    found = [RunFingerprint.read(run.folder) for run in runs]
    for run, there in zip(runs, found, strict=True):
        if there and (changes := there.changes(run.fingerprint)):
            goes_on = not are_finished and not any(change.is_of_identity for change in changes)
            resume = ", `--resume_from_checkpoint last` to go on with these settings" if goes_on else ""
            return (
                f"{run.folder} holds another run ({describe_changes(changes)}). Take another `--output_dir`{resume}, "
                "or `--overwrite` to remove that run."
            )
    folder = runs[-1].folder
    this = "this run" if all(found) else "a run of unknown settings"
    if are_finished:
        return (
            f"{folder} holds {this}, and it is finished: the model is there. `--overwrite` trains it again; to keep "
            "it, take another `--output_dir`."
        )
    return (
        f"{folder} holds {this}, and it is not finished. `--resume_from_checkpoint last` resumes it, `--overwrite` "
        "starts it again; to keep it, take another `--output_dir`."
    )


def _refuse_to_remove_inputs(folders: Iterable[Path], runs: Iterable[PlannedRun]) -> None:
    removed = {path.resolve() for folder in folders for path in left_by_run(folder)}
    parents = {path.parent for path in removed}
    for run in runs:
        for setting, name in run.inputs.items():
            path = Path(name).resolve()
            if path.exists() and (path in parents or removed & {path, *path.parents}):
                raise ValueError(
                    f"`--overwrite` would remove {name}, which is the `{setting}` of this run. Take another "
                    "`--output_dir`, or copy it to another place."
                )


def holds_run(folder: Path) -> bool:
    """Whether a run has left something in a folder that the next one would mix with."""
    return any((folder / name).is_file() for name in TRACES) or any(_checkpoints(folder))


def holds_model(folder: Path) -> bool:
    return any((folder / name).is_file() for name in (CONFIG, ADAPTER_CONFIG))


def left_by_run(folder: Path) -> list[Path]:
    """Files and folders that a run and its stages have left in a folder."""
    names = (*TRACES, *MODEL_FILES, COMPLETIONS)
    found = [*_checkpoints(folder), *(path for name in names for path in folder.glob(name))]
    found += [path for name in ("step-*", "partial") for path in folder.glob(f"{CANDIDATES}/{name}")]
    if (folder / MERGED / RECORD).is_file():
        found.append(folder / MERGED)
    card = folder / CARD
    if card.is_file() and CARD_TAG in card.read_text(encoding="utf-8", errors="replace"):
        found.append(card)
    for stage in _stages(folder):
        found += [*left_by_run(stage), *stage.glob(STAGE_RECIPE)]
    return found


def remove_run(folder: Path) -> None:
    """Removes what a run has left in a folder, and nothing else. Several processes may do so at once."""
    emptied = [*_stages(folder), folder / "completions", folder / CANDIDATES]
    for path in left_by_run(folder):
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)
    for path in emptied:
        if path.is_dir() and not any(path.iterdir()):
            path.rmdir()


def _checkpoints(folder: Path) -> Iterator[Path]:
    return (path for path in folder.glob("checkpoint-*") if path.name[11:].isdigit())


def _stages(folder: Path) -> list[Path]:
    """Folders inside that hold an earlier stage of its run."""
    inside = [path for path in folder.glob("*/") if (path / RUN_SETTINGS).is_file() and not path.is_symlink()]
    return [path for path in inside if (there := RunFingerprint.read(path)) and there.stage == path.name]


@contextmanager
def start_in_environment(run: PlannedRun, removed: Sequence[Path]) -> Iterator[None]:
    """Passes a planned run to its training script: in this process, or in those that are launched in the block."""
    start = {
        "fingerprint": run.fingerprint.settings,
        "record": asdict(run.record) if run.record else None,
        "removed": [str(folder) for folder in removed],
    }
    os.environ[START] = json.dumps(start)
    try:
        yield
    finally:
        os.environ.pop(START, None)


def begin_planned_run() -> tuple[dict[str, Any] | None, RunRecord | None]:
    """Removes the earlier runs that the planned one replaces.

    Returns:
        `tuple`: its fingerprint, for the settings file, and its record, for the model card.
    """
    start = json.loads(os.environ.get(START, "{}"))
    for folder in start.get("removed", []):
        remove_run(Path(folder))
    record = start.get("record")
    return start.get("fingerprint"), RunRecord(**record) if record else None
