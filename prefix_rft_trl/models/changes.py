"""Copies of a model with another context length, chat template or end of turn, for a recipe's `model_changes`.

The copy is a local folder that links to the weights, so that training, vLLM inside it, a vLLM server and an evaluation
all load the same model. Settings of the trainer alone would not reach them all.
"""

import json
import shutil
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from prefix_rft_trl.utils.files import atomic_folder
from prefix_rft_trl.utils.recipe_files import find_recipe_file

from .model_files import ADAPTER_CONFIG, CONFIG, check_model_files
from .sources import explain_missing_model, resolve_model


RECORD = "model_changes.json"
_WEIGHTS = ("*.safetensors", "*.safetensors.index.json", "*.bin", "*.bin.index.json")
_DOWNLOADED = ("*.safetensors", "*.json", "*.txt", "*.model", "*.jinja")


@dataclass(frozen=True)
class ModelChanges:
    """
    The setting `model_changes` of a recipe.

    Args:
        folder (`str`): folder of the changed copy, such as `models/qwen2.5-math-7b-16k`.
        config (`dict`): values of `config.json`. `rope_theta` is found inside `rope_parameters` as well.
        chat_template (`str`, *optional*): file of the chat template.
        eos_token (`str`, *optional*): token that ends a turn of the template, and with it a completion.
    """

    folder: str
    config: dict[str, Any] = field(default_factory=dict)
    chat_template: str | None = None
    eos_token: str | None = None

    @classmethod
    def read(cls, setting: dict[str, Any]) -> "ModelChanges":
        """
        Raises:
            ValueError: for an unknown key, a missing `folder`, or a chat template that does not exist.
        """
        known = [one.name for one in fields(cls)]
        if unknown := sorted(set(setting) - set(known)):
            raise ValueError(f"`model_changes` has no '{unknown[0]}'; it has: {', '.join(known)}.")
        if not setting.get("folder"):
            raise ValueError("`model_changes` needs a `folder` for the changed model.")
        changes = cls(**setting)
        if changes.chat_template and not find_recipe_file(changes.chat_template).is_file():
            raise ValueError(f"`model_changes`: there is no chat template {changes.chat_template!r}.")
        return changes

    @property
    def template_text(self) -> str | None:
        if not self.chat_template:
            return None
        try:
            return find_recipe_file(self.chat_template).read_text(encoding="utf-8")
        except UnicodeDecodeError as error:
            raise ValueError(f"the chat template {self.chat_template!r} is not in UTF-8: {error}.") from error


def starting_model(model: str, lab_level: str, setting: dict[str, Any] | None, revision: str | None = None) -> str:
    """The model that a recipe starts from: with `model_changes`, the changed copy ([`changed_model`]).

    Raises:
        ValueError: if a file of the model is missing or damaged, or for what [`changed_model`] refuses.
    """
    model = resolve_model(model, lab_level)
    check_model_files(model)
    return changed_model(model, ModelChanges.read(setting), revision) if setting else model


def previewed_model(
    model: str, lab_level: str, setting: dict[str, Any] | None, revision: str | None = None, *, scratch: Path
) -> str:
    """As [`starting_model`]; a changed copy that has not been made yet is made in `scratch`, without the weights."""
    changes = ModelChanges.read(setting) if setting else None
    if changes is None or Path(changes.folder).exists():
        return starting_model(model, lab_level, setting, revision)
    model = resolve_model(model, lab_level)
    check_model_files(model)
    return changed_model(model, replace(changes, folder=str(scratch / "model")), revision, with_weights=False)


def changed_tokenizer(model: str, changes: ModelChanges) -> Any:
    """The tokenizer of a model, with the chat template and end of turn of its changes.

    Raises:
        ValueError: if its vocabulary lacks the `eos_token`.
    """
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(model)
    if changes.chat_template:
        tokenizer.chat_template = changes.template_text
    if changes.eos_token:
        if changes.eos_token not in tokenizer.get_vocab():
            raise ValueError(f"`model_changes`: {model} has no token {changes.eos_token!r} to end a turn with.")
        tokenizer.eos_token = changes.eos_token
    return tokenizer


def changed_model(model: str, changes: ModelChanges, revision: str | None = None, with_weights: bool = True) -> str:
    """
    Makes the changed copy of a model, unless that has been done before.

    Several processes may call this at once: the folder appears complete, and the first one wins. A model that has all
    of the changes already, such as one trained with them, is returned as it is, and so is an adapter.

    Args:
        model (`str`): a folder, or a name on the Hub, which is downloaded.
        changes (`ModelChanges`): the changes.
        revision (`str`, *optional*): revision of a model on the Hub.
        with_weights (`bool`): whether the copy links to the weights, or has config and tokenizer alone.

    Returns:
        `str`: the folder of the copy, or the model itself.

    Raises:
        ValueError: if the folder holds something else, if the model lacks a value that is to be changed, or if there
            is no such model.
    """
    if _has_changes(Path(model), changes):
        return model
    folder, record = Path(changes.folder), _record(model, changes, revision)
    if folder.exists():
        _check_content(folder, record)
        return str(folder)
    source = _local_files(model, revision, with_weights)
    config = changed_config(json.loads((source / CONFIG).read_text(encoding="utf-8")), changes)
    tokenizer = changed_tokenizer(str(source), changes)
    with atomic_folder(folder) as partial:
        tokenizer.save_pretrained(partial)
        for name, content in {**_changed_configs(source, config, tokenizer, changes), RECORD: record}.items():
            (partial / name).write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
        if with_weights:
            _link_weights(source, partial)
    _check_content(folder, record)
    return str(folder)


def changed_config(config: dict[str, Any], changes: ModelChanges) -> dict[str, Any]:
    """A model's `config.json` with the values of its changes.

    Raises:
        ValueError: for a value that the model does not have.
    """
    changed = dict(config)
    for name, value in changes.config.items():
        rope = changed.get("rope_parameters")
        if name == "rope_theta" and isinstance(rope, dict):
            changed["rope_parameters"] = {**rope, name: value}
        elif name in changed:
            changed[name] = value
        else:
            raise ValueError(
                f"`model_changes` sets '{name}', which the model's config.json does not have. It has: "
                f"{', '.join(sorted(changed))}."
            )
    return changed


def _has_changes(folder: Path, changes: ModelChanges) -> bool:
    if (folder / ADAPTER_CONFIG).is_file():
        return True
    if not (folder / CONFIG).is_file():
        return False
    config = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
    if changed_config(config, changes) != config:
        return False
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder)
    same_template = changes.template_text in (None, tokenizer.chat_template)
    return same_template and changes.eos_token in (None, tokenizer.eos_token)


def _record(model: str, changes: ModelChanges, revision: str | None) -> dict[str, Any]:
    is_local = Path(model).is_dir()
    return {
        "model": str(Path(model).resolve()) if is_local else model,
        "revision": None if is_local else revision or "main",
        **{name: value for name, value in asdict(changes).items() if name != "folder"},
        "chat_template": changes.template_text,
    }


def _check_content(folder: Path, record: dict[str, Any]) -> None:
    found = json.loads((folder / RECORD).read_text(encoding="utf-8")) if (folder / RECORD).is_file() else {}
    if differing := [name for name in record if found.get(name) != record[name]]:
        raise ValueError(
            f"{str(folder)!r} holds another model than that of `model_changes` (differs in: {', '.join(differing)}). "
            "Remove it, or name another `folder`."
        )
    if missing := [link.name for link in folder.iterdir() if not link.exists()]:
        raise ValueError(
            f"{str(folder)!r} links to weights that have been moved: {', '.join(missing)}. Remove the folder to make "
            "it again."
        )


def _local_files(model: str, revision: str | None, with_weights: bool) -> Path:
    if Path(model).is_dir():
        return Path(model)
    from huggingface_hub import snapshot_download

    with explain_missing_model(model):
        wanted = [pattern for pattern in _DOWNLOADED if with_weights or pattern not in _WEIGHTS]
        return Path(snapshot_download(model, revision=revision, allow_patterns=wanted))


def _changed_configs(
    source: Path, config: dict[str, Any], tokenizer: Any, changes: ModelChanges
) -> dict[str, dict[str, Any]]:
    """`config.json` and `generation_config.json`: a new end of turn is added to the ids that ended a text before."""
    file = source / "generation_config.json"
    generation = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
    if changes.eos_token:
        before, new = generation.get("eos_token_id", config.get("eos_token_id")), tokenizer.eos_token_id
        end_ids = before if isinstance(before, list) else [before]
        generation["eos_token_id"] = [new, *(end for end in end_ids if end not in (new, None))]
        config = {**config, "eos_token_id": new}
    return {CONFIG: config} | ({file.name: generation} if generation else {})


def _link_weights(source: Path, folder: Path) -> None:
    files = [found for pattern in _WEIGHTS for found in source.glob(pattern)]
    if not files:
        raise ValueError(f"{source} holds no weights ({', '.join(_WEIGHTS)}).")
    for file in files:
        if file.suffix == ".json":
            shutil.copy(file, folder / file.name)
        else:
            (folder / file.name).symlink_to(file.resolve())
