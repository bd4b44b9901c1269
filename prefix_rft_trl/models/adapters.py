"""Merging an adapter into its base model."""

import json
import re
import shutil
from pathlib import Path
from typing import Any

from prefix_rft_trl.utils.files import atomic_folder

from .model_files import ADAPTER_CONFIG, read_adapter_config
from .sources import ModelSource, fingerprint


ADAPTER_NAMES = ("lora_target_modules", "lora_target_parameters", "lora_modules_to_save")
MERGED, RECORD = "merged", "merged_from.json"


def merge_adapter(folder: str, base: str | None = None, output: str | Path | None = None) -> str:
    """
    Merges an adapter into its base, unless that has been done before.

    A merged model runs alike in every engine and can carry a second adapter. Several processes may call this at once:
    the output appears complete, and all of them get the same.

    Args:
        folder (`str`): the folder of an adapter; of any other model it is returned as it is. With `base` it may be an
            adapter's name on the Hub.
        base (`str`, *optional*): the base model; defaults to the one that the adapter names.
        output (`str` or `Path`, *optional*): where the merged model is written; defaults to `<folder>/merged`.

    Returns:
        `str`: the folder of a full model.

    Raises:
        ValueError: if the output holds a merge of another adapter or base.
    """
    if base is not None and not Path(folder).is_dir():
        from huggingface_hub import snapshot_download

        folder = snapshot_download(folder)
    config = Path(folder) / ADAPTER_CONFIG
    if not config.is_file():
        return folder
    merged = Path(output or Path(folder) / MERGED)
    own_base = read_adapter_config(config)["base_model_name_or_path"]
    source = ModelSource(merged.name, folder, base or own_base)
    record = {"adapter": fingerprint(Path(folder)), "base": source.base}
    if not merged.is_dir():
        _merge(source, merged, record)
    has_record = (merged / RECORD).is_file()  # 0.6.0 left none, and merged into the adapter's own base
    recorded = (
        json.loads((merged / RECORD).read_text(encoding="utf-8")) if has_record else {**record, "base": own_base}
    )
    if recorded != record:
        raise ValueError(
            f"{str(merged)!r} was merged from another adapter or base than {folder!r} on {source.base!r}. Remove it "
            "to merge again."
        )
    return str(merged)


def module_names(given: str | list[str] | None) -> str | list[str] | None:
    """The modules to adapt, one name as a list: PEFT reads text other than `all-linear` as a regular expression."""
    return [given] if isinstance(given, str) and re.fullmatch(r"[\w.]+", given) else given


def check_adapter_names(model: str, settings: Any, trust_remote_code: bool = False) -> None:
    """Check that a model has what an adapter is to adapt or train, before its weights are loaded.

    PEFT passes over the names that a model lacks as long as it has one of them.

    Args:
        model (`str`): folder, or name on the Hub.
        settings (`ModelConfig`): those of the adapter.
        trust_remote_code (`bool`, *optional*, defaults to `False`): a model with code of its own is not checked.

    Raises:
        ValueError: naming the setting, the first name that the model lacks, and the names that it has.
    """
    given = {name: getattr(settings, name) for name in ADAPTER_NAMES}
    if trust_remote_code or not any(isinstance(names, list) for names in given.values()):
        return
    import torch
    import transformers

    config = transformers.AutoConfig.from_pretrained(model, revision=settings.model_revision)
    architecture = getattr(transformers, next(iter(config.architectures or []), ""), None)
    if architecture is None:
        return
    with torch.device("meta"):
        empty = architecture(config)
    modules = dict(empty.named_modules())
    parameters = [name for name, _ in empty.named_parameters()]
    linear = {name.rpartition(".")[2] for name, module in modules.items() if isinstance(module, torch.nn.Linear)}
    for setting, names in given.items():
        known = parameters if setting == "lora_target_parameters" else list(modules)
        for name in names if isinstance(names, list) else []:
            if not any(f".{one}".endswith(f".{name}") for one in known):
                raise ValueError(
                    f"`{setting}` names {name!r}, which the model does not have. Its linear modules are: "
                    f"{', '.join(sorted(linear))}."
                )


def remove_adapter(folder: Path) -> None:
    """Removes the adapter that an earlier training left in a folder, and its merged model."""
    for name in (ADAPTER_CONFIG, "adapter_model.safetensors"):
        (folder / name).unlink(missing_ok=True)
    shutil.rmtree(folder / MERGED, ignore_errors=True)


def _merge(source: ModelSource, merged: Path, record: dict[str, str | None]) -> None:
    from peft import PeftModel
    from transformers import AutoModelForCausalLM, AutoTokenizer

    print(f"Merging the adapter in {source.path} into {merged}", flush=True)
    model = AutoModelForCausalLM.from_pretrained(source.base, dtype="auto")
    with atomic_folder(merged) as partial:
        PeftModel.from_pretrained(model, source.path).merge_and_unload().save_pretrained(partial)
        AutoTokenizer.from_pretrained(source.tokenizer_path).save_pretrained(partial)
        (partial / RECORD).write_text(json.dumps(record) + "\n", encoding="utf-8")
