"""How a run was started, as its model card says it."""

import json
import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from prefix_rft_trl import lab
from prefix_rft_trl.data.data_files import HUB_NAME
from prefix_rft_trl.data.gym import NAME_PREFIX
from prefix_rft_trl.data.loading import name_on_hub
from prefix_rft_trl.models.sources import LAB
from prefix_rft_trl.utils.redaction import redacted


@dataclass(frozen=True)
class RunRecord:
    """
    How a run was started.

    Attributes:
        model (`str`): the model that it, or its first stage, starts from: a name on the Hub, a folder, or `lab`.
        dataset (`str`): a name as in a recipe, with its configuration; empty if unknown.
        settings (`dict`): settings that are not the defaults.
        command (`str`): the command that trains it; empty in a script.
        stages_before (`list[str]`): stages of its recipe that came before.
        model_on_hub, dataset_on_hub (`str`, *optional*): their names on the Hub, without revision and configuration.
    """

    model: str
    dataset: str
    settings: Mapping[str, Any]
    command: str
    stages_before: list[str]
    model_on_hub: str | None
    dataset_on_hub: str | None

    @classmethod
    def at_start(
        cls,
        model: str = "",
        dataset: str = "",
        settings: Mapping[str, Any] | None = None,
        command: str = "",
        stages_before: Sequence[str] = (),
    ) -> "RunRecord":
        """The record of a run as it starts: a folder that it reads is there, whatever becomes of it."""
        dataset_on_hub = None if Path(dataset).exists() else name_on_hub(dataset.split(", ")[0])
        return cls(model, dataset, settings or {}, command, [*stages_before], _model_on_hub(model), dataset_on_hub)

    @property
    def is_model_of_package(self) -> bool:
        return _is_model_of_package(self.model)

    @property
    def is_dataset_of_package(self) -> bool:
        return self.dataset == LAB or self.dataset.startswith(NAME_PREFIX)


def _model_on_hub(model: str) -> str | None:
    name = model.split(" at ")[0]  # a revision
    is_local = Path(model).exists() or Path(name).exists() or _is_model_of_package(model)
    return name if HUB_NAME.match(name) and not is_local else None


def _is_model_of_package(model: str) -> bool:
    return model == LAB or Path(model).is_relative_to(Path(lab.__file__).parent)


def shown(value: Any) -> str:
    """A value as a card shows it: paths without the folders of this machine, and no secret."""
    public = _public(redacted(value))
    return public if isinstance(public, str) else json.dumps(public, ensure_ascii=False, default=str)


def _public(value: Any) -> Any:
    """A value with its paths as seen from the working directory; of one outside its last part is left."""
    match value:
        case Mapping():
            return {_public(name): _public(inner) for name, inner in value.items()}
        case list() | tuple():
            return [_public(inner) for inner in value]
        case str() if value.startswith(("{", "[")):
            with suppress(ValueError):
                return json.dumps(_public(json.loads(value)), ensure_ascii=False)
        case str() if value.startswith(("/", "~")) or ".." in Path(value).parts:
            path, here = Path(os.path.abspath(value)), Path.cwd()
            is_inside = path.is_relative_to(here) and not value.startswith("~")
            return str(path.relative_to(here)) if is_inside else path.name or value
        case os.PathLike():
            return _public(str(value))
    return value
