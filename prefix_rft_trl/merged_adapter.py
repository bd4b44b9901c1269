"""The model of a stage that trained an adapter, whole, for the stage that goes on from it."""

from pathlib import Path


MERGED = "merged"


def with_adapter_merged(folder: str) -> str:
    """
    The folder of a trained model; of an adapter, one beneath it with adapter and base in one.

    A second adapter on top of the first would be a model that no engine samples from.

    Args:
        folder (`str`): where a training has saved its model.

    Returns:
        `str`: a folder that holds a whole model.
    """
    if not (Path(folder) / "adapter_config.json").is_file():
        return folder
    from peft import AutoPeftModelForCausalLM
    from transformers import AutoTokenizer

    merged = Path(folder) / MERGED
    print(f"Merging the adapter in {folder} into {merged}", flush=True)
    model = AutoPeftModelForCausalLM.from_pretrained(folder, dtype="auto").merge_and_unload()
    model.save_pretrained(merged)
    AutoTokenizer.from_pretrained(folder).save_pretrained(merged)
    return str(merged)
