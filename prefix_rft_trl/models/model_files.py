"""Files of a local model: find what is missing or damaged among them before anything is loaded."""

import json
import re
from pathlib import Path
from typing import Any


CONFIG, ADAPTER_CONFIG = "config.json", "adapter_config.json"

_TOKENIZERS = ("tokenizer*.json", "vocab.*", "*.model", "*.tiktoken")
_WEIGHTS = ("*.safetensors", "*.bin")
_OBJECTS = re.compile(r"(.*_)?config\.json|.*\.index\.json|tokenizer\.json|vocab\.json|special_tokens_map\.json")
_LFS_POINTER = b"version https://git-lfs"
_PICKLES = (b"PK", b"\x80")  # how `torch.save` begins a file, today and before


def check_model_files(model: str) -> None:
    """Looks at the files of a local model; a name on the Hub passes.

    Raises:
        ValueError: naming what is missing or damaged, or if it is an adapter or of another kind.
    """
    folder = Path(model)
    if folder.is_file():
        kind = "a GGUF file, which cannot be trained" if folder.suffix == ".gguf" else "a file"
        raise ValueError(f"The model {model!r} is {kind}. Name the folder of a model in safetensors.")
    if not folder.is_dir():
        return
    if (folder / ADAPTER_CONFIG).is_file() and not (folder / CONFIG).is_file():
        base = read_adapter_config(folder / ADAPTER_CONFIG).get("base_model_name_or_path")
        raise ValueError(
            f"The model {model!r} is an adapter of {base!r}. Start from that with `--model_name_or_path {base}`, or "
            f"merge the adapter, by `prefix_rft_trl.models.adapters.merge_adapter({model!r})`."
        )
    if not (folder / CONFIG).is_file():
        raise ValueError(f"The folder {model!r} is no model: it has no {CONFIG}.{_models_inside(folder)}")
    if not any(path for pattern in _TOKENIZERS for path in folder.glob(pattern)):
        raise ValueError(f"The model {model!r} has no tokenizer. Copy tokenizer*.json of its base model into it.")
    if "model_type" not in _read_object(folder / CONFIG):
        raise ValueError(f"The model {model!r}: its {CONFIG} has no `model_type`. Take that of its base model.")
    check_weights(folder)


def read_adapter_config(file: Path) -> dict[str, Any]:
    """The configuration of an adapter.

    Raises:
        ValueError: if it is damaged, or names a module that PEFT would import.
    """
    config = _read_object(file)
    if config.get("megatron_config"):
        raise ValueError(
            f"{file} has a `megatron_config`, with which PEFT imports the module {config.get('megatron_core')!r}. "
            "Take an adapter without it."
        )
    return config


def check_weights(folder: Path) -> None:
    """Looks at the JSON files and the weights of a model or an adapter in a folder.

    Raises:
        ValueError: naming the one that is missing or damaged.
    """
    files = (file for file in sorted(folder.glob("*.json")) if _OBJECTS.fullmatch(file.name))
    contents = {file.name: _read_object(file) for file in files}
    shards = {
        shard
        for name, content in contents.items()
        if name.endswith(".index.json")
        for shard in content.get("weight_map", {}).values()
    }
    if missing := sorted(shard for shard in shards if not (folder / shard).is_file()):
        raise ValueError(f"The model {str(folder)!r} lacks {missing[0]}, which its index names. Copy it again.")
    weights = [file for pattern in _WEIGHTS for file in sorted(folder.glob(pattern))]
    if not weights:
        raise ValueError(f"The model {str(folder)!r} has no weights ({', '.join(_WEIGHTS)}).")
    for file in weights:
        if fault := _fault_in_weights(file):
            raise ValueError(f"{file} {fault}. Download or copy it again.")


def _models_inside(folder: Path) -> str:
    if any(folder.glob("*.gguf")):
        return " GGUF files cannot be trained: take the model in safetensors."
    inside = sorted({file.parent.name for file in folder.glob(f"*/{CONFIG}")})
    return f" There are models in it: {', '.join(inside)}." if inside else ""


def _read_object(file: Path) -> dict[str, Any]:
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:
        is_pointer = file.read_bytes().startswith(_LFS_POINTER)
        reason = "is a pointer of Git LFS" if is_pointer else f"is damaged: it is not JSON ({error})"
        raise ValueError(f"{file} {reason}. Download or copy it again.") from error
    if not isinstance(found, dict):
        raise ValueError(f"{file} is no JSON object, found {found!r:.40}. Download or copy it again.")
    return found


def _fault_in_weights(file: Path) -> str | None:
    if not file.exists():
        return "is a link to a file that is gone"
    size = file.stat().st_size
    with file.open("rb") as content:
        head = content.read(8)
        if _LFS_POINTER.startswith(head) and head:
            return "is a pointer of Git LFS, and not the weights"
        if file.suffix == ".bin":
            return None if head.startswith(_PICKLES) else "is damaged: it holds no weights of PyTorch"
        length = int.from_bytes(head, "little")
        if len(head) < 8 or 8 + length > size:
            return f"is damaged: it has {size} bytes, and its list of tensors is cut off"
        try:
            tensors = json.loads(content.read(length))
            end = max((tensor["data_offsets"][1] for name, tensor in tensors.items() if name != "__metadata__"))
        except (ValueError, KeyError, TypeError, AttributeError):
            return "is damaged: its list of tensors cannot be read"
    wanted = 8 + length + end
    return None if size == wanted else f"is damaged or cut off: it has {size} bytes instead of {wanted}"
