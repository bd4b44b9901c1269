"""How a run was started, as its model card says it."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from prefix_rft_trl import lab
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
        dataset (`str`): a name as in a recipe; empty if unknown.
        settings (`dict`): settings that are not the defaults.
        command (`str`): the command that trains it; empty in a script.
        stages_before (`list[str]`): stages of its recipe that came before.
    """

    model: str
    dataset: str
    settings: Mapping[str, Any]
    command: str
    stages_before: list[str]

    @property
    def model_on_hub(self) -> str | None:
        name = self.model.split(" at ")[0]  # a revision
        is_hub_name = re.fullmatch(r"[\w.-]+(/[\w.-]+)?", name) and not Path(name).exists()
        return name if is_hub_name and not self.is_model_of_package else None

    @property
    def dataset_on_hub(self) -> str | None:
        return name_on_hub(self.dataset.split(", ")[0]) if self.dataset else None  # without a configuration

    @property
    def is_model_of_package(self) -> bool:
        return self.model == LAB or Path(self.model).is_relative_to(Path(lab.__file__).parent)

    @property
    def is_dataset_of_package(self) -> bool:
        return self.dataset == LAB or self.dataset.startswith(NAME_PREFIX)


def shown(value: Any) -> str:
    """A value as a card shows it: a path without the folders of this machine, and no secret."""
    value = redacted(value)
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
    path = Path(text)
    if text.startswith(("/", "~")):
        text = str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else path.name
    return text
