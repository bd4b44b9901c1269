"""What a run whose prompts have images cannot be combined with."""

from itertools import islice
from typing import Any

from transformers import PreTrainedTokenizerBase, ProcessorMixin

from prefix_rft_trl.utils.image_rows import images_of_dataset


WITHOUT_IMAGES = (  # setting, value, why it cannot be combined with images, value that can
    (
        "prefix_placement",
        "prompt",
        "writes hints into prompts, while TRL prepares the images of the loss for the prompts without them",
        "completion",
    ),
    ("demonstration_source", "own", "stores what the policy solved as token ids, without images", "dataset"),
    (
        "prefix_stage_prompts",
        "other",
        "puts another problem in the place of one whose image TRL has read already",
        "same",
    ),
    ("prefix_prompts", "failed", "knows a problem by its text, which several images may share", "all"),
    ("prefix_ratio_schedule", "adaptive", "knows a problem by its text, which several images may share", "cosine"),
)


def refuse_other_processors(processor: Any) -> None:
    """Raises a ValueError if a processing class has no tokenizer; it may be missing."""
    if not (processor is None or isinstance(processor, (PreTrainedTokenizerBase, ProcessorMixin))):
        raise ValueError(
            f"Hybrid rollouts are spliced from tokens, and the processing class is a {type(processor).__name__}. Pass "
            "the tokenizer or the processor of the model as `processing_class`, or set `num_prefix_generations=0`."
        )


def refuse_with_images(dataset: Any, columns: list[str], args: Any, processor: Any) -> None:
    """Raises a ValueError, of one sentence and a remedy, if images and a setting do not go together.

    Args:
        dataset: with the prompts in the column `prompt`, which may have images in their messages.
        columns (`list[str]`): of the dataset.
        args: the settings.
        processor: the processing class; `None` if it is not known.
    """
    if isinstance(processor, ProcessorMixin) and args.use_transformers_continuous_batching:
        raise ValueError(
            "`use_transformers_continuous_batching` takes text, and the processing class is a "
            f"{type(processor).__name__}. Set it to false, or use vLLM (`use_vllm=True`)."
        )
    rows = list(islice(dataset, 1))
    found = images_of_dataset(columns, rows[0] if rows else {})
    if found is None:
        return
    if isinstance(processor, PreTrainedTokenizerBase):
        raise ValueError(
            f"The training dataset has {found}, and the processing class is a {type(processor).__name__}, which reads "
            "text alone. Pass the processor of the model as `processing_class`, or remove them."
        )
    if rows and isinstance(rows[0].get("prompt"), str):
        raise ValueError(
            f"The training dataset has {found}, and its prompts are text, which has no place for an image. Make them "
            "messages: `[{'role': 'user', 'content': ...}]`, with `conversational: true` in a recipe."
        )
    for name, value, reason, remedy in WITHOUT_IMAGES:
        if getattr(args, name) == value:
            raise ValueError(
                f"The training dataset has {found}, and `{name}={value!r}` {reason}. Set it to {remedy!r}, "
                "or remove them."
            )
