"""Models named on a command line: found and checked before anything is loaded, adapters with their base."""

import hashlib
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from prefix_rft_trl import lab

from .model_files import ADAPTER_CONFIG, CONFIG, check_model_files, check_weights, read_adapter_config


if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


LAB = "lab"
NO_WARNING_LENGTH = 10**30  # of a tokenizer that counts long texts

_NAME = re.compile(r"^\w[\w.-]*$")
_HUB_NAME = re.compile(r"^[\w.-]+(/[\w.-]+)?$")
_FINGERPRINTED = re.compile(
    r"^(?:(?:adapter_|pytorch_)?model.*\.(?:safetensors|bin)|(?:adapter_|generation_)?config\.json)$"
)


@dataclass(frozen=True)
class ModelSource:
    """
    Where a model comes from.

    Attributes:
        name (`str`): its name in tables and for its folder of samples.
        path (`str`): its folder, or its name on the Hub.
        base (`str`, *optional*): the base model of an adapter.
    """

    name: str
    path: str
    base: str | None = None

    @property
    def tokenizer_path(self) -> str:
        has_own = self.base is None or (Path(self.path) / "tokenizer_config.json").is_file()
        return self.path if has_own else str(self.base)

    def check_files(self) -> None:
        """Raises `ValueError` if a file of the model, of the adapter or of its base, is missing or damaged."""
        check_model_files(self.base or self.path)
        if self.base is not None and Path(self.path).is_dir():
            check_weights(Path(self.path))

    @property
    def fingerprint(self) -> str:
        """Identifies the weights, including those of the base; for a model on the Hub it is the name."""
        paths = [path for path in (self.path, self.base) if path is not None]
        return " on ".join(fingerprint(Path(path)) if Path(path).is_dir() else path for path in paths)


def fingerprint(folder: Path) -> str:
    """A hash of the weights and configs in a folder, wherever it lies."""
    digest = hashlib.blake2b(digest_size=8)
    for file in sorted(path for path in folder.iterdir() if _FINGERPRINTED.match(path.name)):
        digest.update(file.name.encode())
        with file.open("rb") as content:
            digest.update(hashlib.file_digest(content, "blake2b").digest())
    return digest.hexdigest()


def find_models(given: Iterable[str], base: str | None = None, lab_level: str = "easy") -> list[ModelSource]:
    """
    Finds the models of a command line.

    Args:
        given (`Iterable[str]`): folders, names on the Hub or `lab`, each alone or as `NAME=MODEL`.
        base (`str`, *optional*): base model of the adapters among them, instead of the one that they name.
        lab_level (`str`): level of the lab's base model.

    Raises:
        ValueError: for a folder that holds no model, an adapter without its base, or two models of the same name.
    """
    sources = []
    for part in given:
        name, is_named, path = ("", "", part) if Path(part).exists() else part.partition("=")
        if is_named and not _NAME.match(name):
            raise ValueError(f"A model's name has letters, digits, dots, dashes and underscores, found {name!r}.")
        sources.append(_find(name if is_named else None, path if is_named else part, base, lab_level))
    names = [source.name for source in sources]
    if duplicates := {name for name in names if names.count(name) > 1}:
        raise ValueError(
            f"Two models are called {', '.join(sorted(duplicates))}. Name them: --model NAME=PATH NAME=PATH."
        )
    return sources


def _find(name: str | None, path: str, base: str | None, lab_level: str) -> ModelSource:
    if path == LAB:
        return ModelSource(name or "base", resolve_model(path, lab_level))
    folder = Path(path)
    if not folder.is_dir():
        if folder.is_file() or not _HUB_NAME.match(path):
            raise ValueError(f"{path!r} is no folder of a model, and no name on the Hub either.")
        if folder.parent.is_dir() and str(folder.parent) != ".":  # then it is no name on the Hub
            raise ValueError(f"There is no model {path!r}: the folder {str(folder.parent)!r} holds none of that name.")
        return ModelSource(name or folder.name, path, _base_on_hub(path, base, lab_level))
    name = name or folder.resolve().name
    if (folder / ADAPTER_CONFIG).is_file():
        return ModelSource(name, path, _base_of_adapter(folder / ADAPTER_CONFIG, base, lab_level))
    if not (folder / CONFIG).is_file():
        inside = sorted(file.parent.name for config in (CONFIG, ADAPTER_CONFIG) for file in folder.glob(f"*/{config}"))
        hint = f" There are models in it: {', '.join(inside)}." if inside else ""
        raise ValueError(f"The folder {path!r} is no model: it has no {CONFIG} and no {ADAPTER_CONFIG}.{hint}")
    return ModelSource(name, path)


def _base_on_hub(path: str, given: str | None, lab_level: str) -> str | None:
    from transformers.utils import cached_file

    try:
        config = cached_file(path, ADAPTER_CONFIG, _raise_exceptions_for_missing_entries=False)
    except OSError:  # without network; a model that does not exist is reported when it is loaded
        config = None
    return None if config is None else _base_of_adapter(Path(config), given, lab_level)


def _base_of_adapter(config: Path, given: str | None, lab_level: str) -> str:
    named = read_adapter_config(config).get("base_model_name_or_path")
    base = given or named
    if not isinstance(base, str) or not base:
        raise ValueError(
            f"{config.parent} is an adapter that does not say of which model. Name its base: --base_model MODEL."
        )
    if base == LAB:
        return resolve_model(base, lab_level)
    is_local = Path(base).is_absolute() or (Path(base).parent.name and Path(base).parent.is_dir())
    if not (Path(base) / CONFIG).is_file() and (is_local or not _HUB_NAME.match(base)):
        raise ValueError(
            f"{config.parent} is an adapter of {base!r}, which is no folder of a model here. Name its base: "
            "--base_model MODEL."
        )
    return base


def resolve_model(model: Any, lab_level: str = "easy") -> Any:
    """The folder of the lab's base model for `lab`; anything else is returned as it is."""
    return lab.base_model_path(lab_level) if model == LAB else model


def load_tokenizer(model: str) -> "PreTrainedTokenizerBase":
    """The tokenizer of a model, by folder or name, which counts long texts without a warning.

    Raises:
        ValueError: if there is no such model.
    """
    from transformers import AutoTokenizer

    with explain_missing_model(model), explain_damaged_tokenizer(model):
        tokenizer = AutoTokenizer.from_pretrained(model)
    tokenizer.model_max_length = NO_WARNING_LENGTH
    return tokenizer


def context_length(model: str) -> int | None:
    """Tokens that a model takes, prompt and answer together; `None` if its config does not say."""
    from transformers import AutoConfig, PreTrainedConfig

    config, _ = PreTrainedConfig.get_config_dict(model)
    if (length := positions(config)) is None:  # then it is the default of the architecture
        with suppress(ValueError, OSError):
            length = positions(AutoConfig.from_pretrained(model).to_dict())
    return length


def count_parameters(model: str) -> int | None:
    """Parameters of a model by its config, without its weights; `None` if transformers does not know its kind."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    try:
        with torch.device("meta"):
            made = AutoModelForCausalLM.from_config(AutoConfig.from_pretrained(model))
    except (ValueError, OSError, ImportError):
        return None
    return sum(parameter.numel() for parameter in made.parameters())


def positions(config: dict[str, Any]) -> int | None:
    """Tokens that a model takes, by its config; `None` if it does not say."""
    config = config.get("text_config", config)
    length = config.get("max_position_embeddings", config.get("n_positions"))
    rope = config.get("rope_parameters") or config.get("rope_scaling") or {}
    kind = rope.get("rope_type", rope.get("type"))
    if length is None or kind not in ("linear", "dynamic", "yarn"):
        return length  # other kinds of scaling have it already
    before = rope.get("original_max_position_embeddings") if kind == "yarn" else None
    return max(length, int((before or length) * rope["factor"]))


@contextmanager
def explain_damaged_tokenizer(model: str) -> Iterator[None]:
    """Raises a `ValueError` that names the model, for a tokenizer in the block that cannot be read."""
    try:
        yield
    except OSError:
        raise
    except Exception as error:  # each kind of tokenizer has its own for files that are broken
        raise ValueError(f"The tokenizer of {model!r} cannot be loaded: {' '.join(str(error).split())}") from error


@contextmanager
def explain_missing_model(model: str | None) -> Iterator[None]:
    """
    Turns a failed download into an error that names the model which the block loads.

    Raises:
        ValueError: for an `OSError` of a library in the block, if there is no such folder. Those of the system, as
            of a full disk, stay as they are.
    """
    try:
        yield
    except OSError as error:
        if model is None or Path(model).is_dir() or error.errno is not None:
            raise
        reason = " ".join(str(error).split())
        raise ValueError(f"There is no folder {model!r} here, and the Hub did not provide it: {reason}") from error
