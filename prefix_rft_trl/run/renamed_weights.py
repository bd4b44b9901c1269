"""Load the checkpoints of models that save their weights under other names than they have in memory."""

import json
from pathlib import Path
from typing import Any

from safetensors import safe_open
from transformers import Trainer
from transformers.utils import SAFE_WEIGHTS_INDEX_NAME, SAFE_WEIGHTS_NAME


class LoadsRenamedWeights(Trainer):
    """Mixin for a [`~transformers.Trainer`]: a resumed model has the weights of its checkpoint.

    Most models that see keep the names of their first release in their files. transformers 5.23 resumes by the names
    in memory and passes over all others, so such a run would go on from the weights that it once started from.
    """

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
        super()._load_from_checkpoint(resume_from_checkpoint, model)
        self._load_renamed(resume_from_checkpoint, self.model if model is None else model)

    def _load_best_model(self) -> None:
        super()._load_best_model()
        self._load_renamed(self.state.best_model_checkpoint, self.model)

    def _load_renamed(self, folder: str, model: Any) -> None:
        is_sharded = self.is_fsdp_enabled or self.is_deepspeed_enabled  # whose checkpoints have the names in memory
        if not is_sharded and saved_names(Path(folder)) - {*model.state_dict()}:
            model.load_state_dict(type(model).from_pretrained(folder, dtype="auto").state_dict())


def saved_names(folder: Path) -> set[str]:
    """Names of the weights in a folder; none if they are in another format than safetensors."""
    file, index = folder / SAFE_WEIGHTS_NAME, folder / SAFE_WEIGHTS_INDEX_NAME
    if file.is_file():
        with safe_open(file, framework="pt") as weights:
            return set(weights.keys())
    return {*json.loads(index.read_text(encoding="utf-8"))["weight_map"]} if index.is_file() else set()
