"""Identify a run by its settings, its data and its model, before any of them is loaded."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from prefix_rft_trl.data.data_files import file_format
from prefix_rft_trl.data.gym import NAME_PREFIX
from prefix_rft_trl.models.sources import LAB, fingerprint
from prefix_rft_trl.utils.redaction import redacted
from prefix_rft_trl.utils.renamed import current_settings

from .settings import FINGERPRINT, read_run_settings


MODEL, DATASET, DEMONSTRATIONS, STAGE = "model", "dataset", "demonstration_dataset", "stage"
# Where a run writes, what it logs, how often it saves, and with which processes it does so: not what it trains
IGNORED_PREFIXES = ("logging_", "log_", "save_", "hub_", "trackio_", "ddp_", "vllm_server_")
IGNORED = {
    "output_dir", "overwrite", "resume_from_checkpoint", "report_to", "run_name", "project", "disable_tqdm",
    "push_to_hub", "num_completions_to_print", "enable_jit_checkpoint", "restore_callback_states_from_checkpoint",
    "include_num_input_tokens_seen", "skip_memory_metrics", "debug", "local_rank", "do_train", "do_eval", "do_predict",
    "vllm_group_port", "vllm_gpu_memory_utilization", "trust_remote_code", "dataset_num_proc",
    "dataloader_num_workers", "dataloader_pin_memory", "dataloader_persistent_workers", "dataloader_prefetch_factor",
    "dataloader_multiprocessing_context", "stages", "env",
}  # fmt: skip
# A checkpoint of another model, dataset, trainer, adapter or optimizer cannot be resumed
IDENTITY_PREFIXES = ("lab_", "lora_", "bnb_", "load_in_")
IDENTITY = {
    MODEL, DATASET, DEMONSTRATIONS, "demonstration_dataset_split", "trainer", "model_changes", "reasoning_gym",
    "dataset_train_split", "test_share", "test_seed", "prompt_column", "demonstration_column", "use_peft",
    "use_rslora", "use_dora", "use_bnb_nested_quant", "optim",
}  # fmt: skip
MOST_CHANGES = 5


def is_of_training(setting: str) -> bool:
    """Whether a setting says what a run trains, and not where, how often or with what it writes that down."""
    return setting not in IGNORED and not setting.startswith(IGNORED_PREFIXES)


@dataclass(frozen=True)
class Change:
    """A setting that two runs do not share."""

    setting: str
    there: Any
    here: Any

    @property
    def is_of_identity(self) -> bool:
        """Whether no checkpoint of the one can be resumed with the other."""
        return self.setting in IDENTITY or self.setting.startswith(IDENTITY_PREFIXES)

    def __str__(self) -> str:
        there, here = _worded(self.there), _worded(self.here)
        return (
            f"{self.setting}: {here} has changed" if there == here else f"{self.setting}: {there} there, {here} here"
        )


@dataclass(frozen=True)
class RunFingerprint:
    """
    The settings that make a run what it is, without secrets.

    Attributes:
        settings (`dict`): values by name. `model` and `dataset` have a `name` and, for local files, a hash of their
            `content`.
    """

    settings: dict[str, Any]

    @classmethod
    def from_settings(cls, given: Mapping[str, Any], stage: str = "", stage_before: str = "") -> "RunFingerprint":
        """
        The fingerprint of a run with these settings. Local data and models are read, nothing is loaded.

        Args:
            given (`Mapping`): settings of a training as a recipe or a command line gives them.
            stage, stage_before (`str`): names of the run's stage and of the one whose model it starts from.
        """
        sources = {}
        if "model_name_or_path" in given:
            model = {"name": f"the model of stage '{stage_before}'"} if stage_before else _model(given)
            sources[MODEL] = model
        named = {"model_name_or_path", "model_revision"}
        for dataset in (DATASET, DEMONSTRATIONS):
            if given.get(f"{dataset}_name"):
                sources[dataset] = _dataset(str(given[f"{dataset}_name"]), given.get(f"{dataset}_config"))
            named |= {f"{dataset}_name", f"{dataset}_config"}
        others = {name: _plain(value) for name, value in given.items() if name not in named and is_of_training(name)}
        settings = {**sources, **({STAGE: stage} if stage else {}), **others}
        return cls(redacted(json.loads(json.dumps(settings, default=str))))

    @classmethod
    def read(cls, folder: Path) -> "RunFingerprint | None":
        """The fingerprint of the run in a folder; `None` if it has left none, such as before 0.8.0."""
        try:
            settings = read_run_settings(folder).get(FINGERPRINT)
        except ValueError:
            return None
        return cls(redacted(current_settings(settings))) if isinstance(settings, dict) else None

    @property
    def stage(self) -> str:
        return str(self.settings.get(STAGE, ""))

    def changes(self, here: "RunFingerprint") -> list[Change]:
        """What differs in another run, its identity first. Settings that only one of them has are not compared."""
        shared = [name for name in here.settings if name in self.settings]
        pairs = [Change(name, self.settings[name], here.settings[name]) for name in shared]
        changed = [pair for pair in pairs if not _is_same(pair.there, pair.here)]
        return sorted(changed, key=lambda change: not change.is_of_identity)


def describe_changes(changes: Sequence[Change]) -> str:
    shown = "; ".join(map(str, changes[:MOST_CHANGES]))
    more = len(changes) - MOST_CHANGES
    return f"{shown}; and {more} more" if more > 0 else shown


def _model(given: Mapping[str, Any]) -> dict[str, str]:
    name, revision = str(given["model_name_or_path"]), given.get("model_revision")
    if name != LAB and Path(name).is_dir():
        return {"name": name, "content": fingerprint(Path(name))}
    return {"name": name if revision in (None, "main") else f"{name} at {revision}"}


def _dataset(name: str, config: Any) -> dict[str, str]:
    path, is_made_here = Path(name).expanduser(), name == LAB or name.startswith(NAME_PREFIX)
    inside = [path] if is_made_here or path.is_file() else _data_files(path)
    files = [] if is_made_here else [file for file in inside if file.is_file()]
    if not files:
        return {"name": f"{name}, {config}" if config else name}
    digest = hashlib.blake2b(digest_size=8)
    for file in files:
        with file.open("rb") as content:
            digest.update(hashlib.file_digest(content, "blake2b").digest())
    return {"name": name, "content": digest.hexdigest()}


def _data_files(folder: Path) -> list[Path]:
    visible = (path for path in sorted(folder.rglob("*")) if not any(part[0] == "." for part in _inside(path, folder)))
    return [path for path in visible if file_format(path.name) or path.suffix == ".arrow"]


def _inside(path: Path, folder: Path) -> tuple[str, ...]:
    return path.relative_to(folder).parts


def _plain(value: Any) -> Any:
    """A value as it compares: JSON of a command line read, a single word for a list of one."""
    if isinstance(value, str) and value.startswith(("{", "[")):
        try:
            value = json.loads(value)
        except ValueError:
            return value
    return value[0] if isinstance(value, list) and len(value) == 1 else value


def _is_same(there: Any, here: Any) -> bool:
    one, other = (value.get("content") if isinstance(value, dict) else None for value in (there, here))
    return one == other if one or other else there == here


def _worded(value: Any) -> str:
    if isinstance(value, dict):
        return str(value["name"]) if "name" in value else json.dumps(value)
    return str(value)
