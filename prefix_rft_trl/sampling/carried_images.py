"""A GRPOTrainer for batches in which some prompts have images and others none, and for processors without torch."""

from contextlib import AbstractContextManager, nullcontext
from copy import copy
from typing import Any

import numpy
import torch
from trl import GRPOTrainer, data_utils
from trl.trainer import grpo_trainer

from prefix_rft_trl.utils.image_rows import IMAGE_COLUMNS
from prefix_rft_trl.utils.patching import replaced


OF_IMAGES = ("pixel_values", "image_grid_thw", "image_sizes", "image_position_ids", "pixel_attention_mask")


class CarriedImages(GRPOTrainer):
    """Mixin for a [`~trl.GRPOTrainer`] that carries images where TRL 1.16 drops them.

    TRL's processor gets `None` for a prompt without images, which processors refuse (an empty list they take). A model
    gets pixels of no image, which some refuse. Processes without images do not take part in logging those of others. A
    tool loop takes fields that are tensors alone. Whether prompts are messages is read off the prompt or the
    demonstration, which may be text, whichever comes first in a set.
    """

    _prompts_of_batch: list[Any] = []

    def _generate_and_score_completions(self, inputs: list[dict[str, Any]]) -> dict[str, Any]:
        if columns := [name for name in IMAGE_COLUMNS if name in inputs[0]]:
            without: dict[str, Any] = {} if any(row[name] for row in inputs for name in columns) else {"images": []}
            inputs = [row | without for row in inputs]
        with replaced(grpo_trainer, "is_conversational", has_messages_as_prompt):
            return super()._generate_and_score_completions(inputs)

    def _tokenize_prompts(self, prompts: list[Any]) -> tuple[list[list[int]], Any, dict[str, Any]]:
        self._prompts_of_batch = list(map(copy, prompts))  # a tool loop appends messages to them
        prompt_ids, images, fields = super()._tokenize_prompts(prompts)
        return prompt_ids, images, {name: as_tensor(value) for name, value in fields.items()}

    def _fields_of_rows(self, rows: list[int]) -> dict[str, Any]:
        """What the model gets beside the token ids of some prompts of the batch."""
        prompts = [self._prompts_of_batch[row] for row in rows]
        environments: AbstractContextManager[None] = nullcontext()
        if self.environment_factories is not None:
            environments = replaced(self, "_batch_environments", [self._batch_environments[row] for row in rows])
        with environments:
            fields = super()._tokenize_prompts(prompts)[2]
        return {name: as_tensor(value) for name, value in fields.items()}

    def _fields_of_images(self, images: list[list[Any] | None]) -> dict[str, Any]:
        """What the model gets beside the token ids of conversations in which tools have given images."""
        given = [image for of_row in images for image in of_row or []]
        return dict(self.processing_class.image_processor(images=given, return_tensors="pt")) if given else {}

    def _generate(self, prompts: list[Any]) -> tuple:
        *found, images, tool_images = super()._generate(prompts)
        if self._is_vlm and self.accelerator.num_processes > 1:  # TRL logs what all have, or waits for ever
            has_images = torch.tensor([images is not None], device=self.accelerator.device)
            self.log_multimodal = self.args.log_multimodal and len(self.accelerator.gather(has_images).unique()) == 1
        return (*found, images and [of_row or [] for of_row in images], tool_images)

    def _get_per_token_logps_and_entropies(self, model: Any, *args: Any, **named: Any) -> tuple:
        forward = super()._get_per_token_logps_and_entropies
        if named.get("pixel_values") is None:
            return forward(model, *args, **named)
        hook = model.register_forward_pre_hook(without_empty_images, with_kwargs=True)
        try:
            return forward(model, *args, **named)
        finally:
            hook.remove()


def has_messages_as_prompt(example: dict[str, Any]) -> bool:
    return data_utils.is_conversational({"prompt": example.get("prompt")})


def as_tensor(value: Any) -> Any:
    """Arrays, and lists of arrays of one shape, as a tensor; other values as they are."""
    is_list = isinstance(value, list) and value and all(isinstance(item, numpy.ndarray) for item in value)
    if is_list and len({item.shape for item in value}) == 1:
        return torch.from_numpy(numpy.stack(value))
    return torch.from_numpy(value) if isinstance(value, numpy.ndarray) else value


def without_empty_images(model: Any, args: tuple, given: dict[str, Any]) -> tuple[tuple, dict[str, Any]] | None:
    """Takes what is said of images out of a model's arguments, if there are none."""
    pixels = given.get("pixel_values")
    if pixels is None or len(pixels):
        return None
    return args, {name: value for name, value in given.items() if name not in OF_IMAGES}
