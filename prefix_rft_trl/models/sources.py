"""The models that are evaluated: found and checked before anything is loaded, adapters with their base."""

import hashlib
import json
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from prefix_rft_trl import lab


CONFIG, ADAPTER_CONFIG = "config.json", "adapter_config.json"


_NAME = re.compile(r"^\w[\w.-]*$")

_ON_HUB = re.compile(r"^[\w.-]+(/[\w.-]+)?$")

_DECIDES = re.compile(
    r"^(?:(?:adapter_|pytorch_)?model.*\.(?:safetensors|bin)|(?:adapter_|generation_)?config\.json)$"
)


@dataclass(frozen=True)
class Source:
    """
    Where a model comes from.

    Attributes:
        name (`str`): what it is called in tables, and the name of its folder of samples.
        path (`str`): its folder, or its name on the Hub.
        base (`str`, *optional*): of an adapter, the model that it was made for.
    """

    name: str
    path: str
    base: str | None = None

    @property
    def tokenizer_path(self) -> str:
        has_own = self.base is None or (Path(self.path) / "tokenizer_config.json").is_file()
        return self.path if has_own else str(self.base)

    @property
    def fingerprint(self) -> str:
        """Differs for other weights, of the base too; of a model on the Hub it is the name."""
        folders = [folder for folder in (self.path, self.base) if folder is not None]
        return " on ".join(_fingerprint(Path(folder)) if Path(folder).is_dir() else folder for folder in folders)


def _fingerprint(folder: Path) -> str:
    digest = hashlib.blake2b(digest_size=8)
    for file in sorted(path for path in folder.iterdir() if _DECIDES.match(path.name)):
        digest.update(file.name.encode())
        with file.open("rb") as content:
            digest.update(hashlib.file_digest(content, "blake2b").digest())
    return digest.hexdigest()


def find_models(given: Iterable[str], base: str | None = None, lab_level: str = "easy") -> list[Source]:
    """The models of a command line: folders, names on the Hub or `lab`, each as it is or as `NAME=MODEL`.

    Raises:
        ValueError: for a folder that is no model, an adapter without its base, or two models of the same name.
    """
    sources = []
    for part in given:
        name, is_named, path = ("", "", part) if Path(part).exists() else part.partition("=")
        if is_named and not _NAME.match(name):
            raise ValueError(f"A model is called by letters, digits, dots, dashes and underscores, found {name!r}.")
        sources.append(_find(name if is_named else None, path if is_named else part, base, lab_level))
    names = [source.name for source in sources]
    twice = {name for name in names if names.count(name) > 1}
    if twice:
        raise ValueError(
            f"Two models are called {', '.join(sorted(twice))}. Call them differently: --model NAME=PATH NAME=PATH."
        )
    return sources


def _find(name: str | None, path: str, base: str | None, lab_level: str) -> Source:
    if path == "lab":
        return Source(name or "base", lab.base_model_path(lab_level))
    folder = Path(path)
    if not folder.is_dir():
        if folder.is_file() or not _ON_HUB.match(path):
            raise ValueError(f"{path!r} is no folder of a model, and no name on the Hub either.")
        if _lacks_in_its_folder(folder):
            raise ValueError(f"There is no model {path!r}: the folder {str(folder.parent)!r} holds none of that name.")
        return Source(name or folder.name, path, _base_on_hub(path, base, lab_level))
    name = name or folder.resolve().name
    if (folder / ADAPTER_CONFIG).is_file():
        return Source(name, path, _base_of(folder / ADAPTER_CONFIG, base, lab_level))
    if not (folder / CONFIG).is_file():
        beneath = sorted(
            file.parent.name for pattern in (CONFIG, ADAPTER_CONFIG) for file in folder.glob(f"*/{pattern}")
        )
        hint = f" There are models in it: {', '.join(beneath)}." if beneath else ""
        raise ValueError(f"The folder {path!r} is no model: it has no {CONFIG} and no {ADAPTER_CONFIG}.{hint}")
    return Source(name, path)


def _lacks_in_its_folder(path: Path) -> bool:
    """Whether there is the folder that a path is in, so that it is no name on the Hub, and not the path itself."""
    return not path.exists() and path.parent.is_dir() and str(path.parent) != "."


def _base_on_hub(path: str, given: str | None, lab_level: str) -> str | None:
    from transformers.utils import cached_file

    try:
        config = cached_file(path, ADAPTER_CONFIG, _raise_exceptions_for_missing_entries=False)
    except OSError:  # no network: whether it is a model at all is said when it is loaded
        config = None
    return None if config is None else _base_of(Path(config), given, lab_level)


def _base_of(config: Path, given: str | None, lab_level: str) -> str:
    base = given or json.loads(config.read_text()).get("base_model_name_or_path")
    if not base:
        raise ValueError(
            f"{config.parent} is an adapter that does not say of which model. Name it: --base_model MODEL."
        )
    if base == "lab":
        return lab.base_model_path(lab_level)
    is_of_this_machine = Path(base).is_absolute() or (Path(base).parent.name and Path(base).parent.is_dir())
    if not (Path(base) / CONFIG).is_file() and (is_of_this_machine or not _ON_HUB.match(base)):
        raise ValueError(
            f"{config.parent} is an adapter of {base!r}, which is no folder of a model here. Name it: "
            "--base_model MODEL."
        )
    return base


@contextmanager
def naming_model(model: str | None) -> Iterator[None]:
    """
    Names the model if the block cannot load it.

    Args:
        model (`str`): a folder, or a name on the Hub.

    Raises:
        ValueError: for an `OSError`, if there is no such folder.
    """
    try:
        yield
    except OSError as error:
        if model is None or Path(model).is_dir():
            raise
        reason = " ".join(str(error).split())
        raise ValueError(
            f"There is no folder {model!r} here, and it could not be had from the Hub either: {reason}"
        ) from error
