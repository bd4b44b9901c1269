"""A model with another context, chat template or end of turn than its authors gave it, as a recipe asks for it.

The changes are made in a local folder that links to the weights. So training, vLLM inside it, a vLLM server and an
evaluation load one and the same model, which settings of the trainer alone would not reach.
"""

import json
import shutil
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from prefix_rft_trl.utils.files import whole_folder
from prefix_rft_trl.utils.recipe_files import find_recipe_file

from .sources import naming_model


RECORD = "model_changes.json"
_WEIGHTS = ("*.safetensors", "*.safetensors.index.json", "*.bin", "*.bin.index.json")
_DOWNLOADED = ("*.safetensors", "*.json", "*.txt", "*.model", "*.jinja")


@dataclass(frozen=True)
class ModelChanges:
    """
    What a recipe changes of its model, its setting `model_changes`.

    Args:
        folder (`str`): where the changed model is made, such as `models/qwen2.5-math-7b-16k`.
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
            ValueError: for a key that is none of these, no `folder`, or a chat template that is not there.
        """
        known = [one.name for one in fields(cls)]
        if unknown := sorted(set(setting) - set(known)):
            raise ValueError(f"`model_changes` has no '{unknown[0]}'; it has: {', '.join(known)}.")
        if not setting.get("folder"):
            raise ValueError("`model_changes` needs a `folder`, in which the changed model is made.")
        changes = cls(**setting)
        if changes.chat_template and not find_recipe_file(changes.chat_template).is_file():
            raise ValueError(f"`model_changes`: there is no chat template {changes.chat_template!r}.")
        return changes


def changed_tokenizer(model: str, changes: ModelChanges, revision: str | None = None) -> Any:
    """The tokenizer of a model, with the template and the end of turn of its changes.

    Raises:
        ValueError: if its vocabulary lacks the `eos_token`.
    """
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(model, revision=revision)
    if changes.chat_template:
        tokenizer.chat_template = find_recipe_file(changes.chat_template).read_text()
    if changes.eos_token:
        if changes.eos_token not in tokenizer.get_vocab():
            raise ValueError(f"`model_changes`: {model} has no token {changes.eos_token!r} to end a turn with.")
        tokenizer.eos_token = changes.eos_token
    return tokenizer


def changed_model(model: str, changes: ModelChanges, revision: str | None = None) -> str:
    """
    Makes the changed model, unless it was made before.

    Several processes may ask for it at once: the folder appears whole, and the first one to be ready is kept. A model
    that has all of the changes, as one that was trained with them, is left as it is, and so is an adapter.

    Args:
        model (`str`): a folder, or a name on the Hub, which is downloaded.
        changes (`ModelChanges`): what is changed.
        revision (`str`, *optional*): of a model on the Hub.

    Returns:
        `str`: the folder, or the model itself.

    Raises:
        ValueError: if the folder holds something else, the model has not what is to be changed, or there is none.
    """
    if _has_them_already(Path(model), changes):
        return model
    folder, record = Path(changes.folder), _record(model, changes, revision)
    if folder.exists():
        _check_is_the_same(folder, record)
        return str(folder)
    source = _files_of(model, revision)
    config = changed_config(json.loads((source / "config.json").read_text()), changes)
    tokenizer = changed_tokenizer(str(source), changes)
    with whole_folder(folder) as made:
        tokenizer.save_pretrained(made)
        for name, content in _configs(source, config, tokenizer, changes).items():
            (made / name).write_text(json.dumps(content, indent=2) + "\n")
        _link_weights(source, made)
        (made / RECORD).write_text(json.dumps(record, indent=2) + "\n")
    _check_is_the_same(folder, record)
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


def _has_them_already(folder: Path, changes: ModelChanges) -> bool:
    if (folder / "adapter_config.json").is_file():
        return True
    if not (folder / "config.json").is_file():
        return False
    config = json.loads((folder / "config.json").read_text())
    if changed_config(config, changes) != config:
        return False
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder)
    template = find_recipe_file(changes.chat_template).read_text() if changes.chat_template else None
    return template in (None, tokenizer.chat_template) and changes.eos_token in (None, tokenizer.eos_token)


def _record(model: str, changes: ModelChanges, revision: str | None) -> dict[str, Any]:
    template = find_recipe_file(changes.chat_template).read_text() if changes.chat_template else None
    is_local = Path(model).is_dir()
    return {
        "model": str(Path(model).resolve()) if is_local else model,
        "revision": None if is_local else revision or "main",
        **{name: value for name, value in asdict(changes).items() if name != "folder"},
        "chat_template": template,
    }


def _check_is_the_same(folder: Path, record: dict[str, Any]) -> None:
    of_folder = folder / RECORD
    found = json.loads(of_folder.read_text()) if of_folder.is_file() else {}
    differing = [name for name in record if found.get(name) != record[name]]
    if differing:
        raise ValueError(
            f"{str(folder)!r} holds another model than `model_changes` asks for (differs in: {', '.join(differing)}). "
            "Remove it, or name another `folder`."
        )
    gone = [file.name for file in folder.iterdir() if not file.exists()]
    if gone:
        raise ValueError(
            f"{str(folder)!r} links to weights that are no longer where they were: {', '.join(gone)}. Remove it, and "
            "it is made again."
        )


def _files_of(model: str, revision: str | None) -> Path:
    if Path(model).is_dir():
        return Path(model)
    from huggingface_hub import snapshot_download

    with naming_model(model):
        return Path(snapshot_download(model, revision=revision, allow_patterns=list(_DOWNLOADED)))


def _configs(source: Path, config: dict[str, Any], tokenizer: Any, changes: ModelChanges) -> dict[str, dict[str, Any]]:
    """`config.json` and `generation_config.json`: with a new end of turn, what ended a text before still ends it."""
    generation = source / "generation_config.json"
    of_generation = json.loads(generation.read_text()) if generation.is_file() else {}
    if changes.eos_token:
        before = of_generation.get("eos_token_id", config.get("eos_token_id"))
        ends = before if isinstance(before, list) else [] if before is None else [before]
        new = tokenizer.eos_token_id
        of_generation["eos_token_id"] = [new, *(end for end in ends if end != new)]
        config = {**config, "eos_token_id": new}
    return {"config.json": config} | ({"generation_config.json": of_generation} if of_generation else {})


def _link_weights(source: Path, folder: Path) -> None:
    files = [found for pattern in _WEIGHTS for found in source.glob(pattern)]
    if not files:
        raise ValueError(f"{source} holds no weights ({', '.join(_WEIGHTS)}).")
    for file in files:
        if file.suffix == ".json":
            shutil.copy(file, folder / file.name)
        else:
            (folder / file.name).symlink_to(file.resolve())
