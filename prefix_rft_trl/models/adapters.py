"""The model of a stage that trained an adapter, whole, for the stage that goes on from it."""

import shutil
from pathlib import Path

from prefix_rft_trl.utils.files import whole_folder


MERGED, ADAPTER_CONFIG = "merged", "adapter_config.json"


def with_adapter_merged(folder: str) -> str:
    """
    The folder of a trained model; of an adapter, one beneath it with adapter and base in one.

    A second adapter on top of the first would be a model that no engine samples from.

    Args:
        folder (`str`): where a training has saved its model.

    Returns:
        `str`: a folder that holds a whole model.
    """
    if not (Path(folder) / ADAPTER_CONFIG).is_file():
        return folder
    from peft import AutoPeftModelForCausalLM
    from transformers import AutoTokenizer

    merged = Path(folder) / MERGED
    if not merged.is_dir():
        print(f"Merging the adapter in {folder} into {merged}", flush=True)
        model = AutoPeftModelForCausalLM.from_pretrained(folder, dtype="auto").merge_and_unload()
        with whole_folder(merged) as made:
            model.save_pretrained(made)
            AutoTokenizer.from_pretrained(folder).save_pretrained(made)
    return str(merged)


def remove_adapter(folder: Path) -> None:
    """Removes what an earlier training has left in a folder that is trained into again."""
    for name in (ADAPTER_CONFIG, "adapter_model.safetensors"):
        (folder / name).unlink(missing_ok=True)
    shutil.rmtree(folder / MERGED, ignore_errors=True)
