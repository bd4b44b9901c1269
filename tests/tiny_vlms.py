"""Untrained models that see, with their processors: one with a fixed number of tokens for an image, one with grids."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import trl
from transformers import (
    CLIPVisionConfig,
    LlavaConfig,
    LlavaForConditionalGeneration,
    LlavaProcessor,
    PaddleOCRVLProcessor,
    PreTrainedModel,
    PreTrainedTokenizerFast,
    ProcessorMixin,
    Qwen2Config,
    Qwen2VLConfig,
    Qwen2VLForConditionalGeneration,
)
from transformers.models.llava.image_processing_pil_llava import LlavaImageProcessorPil
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil


ENDS = ["<|im_end|>", "<|im_start|>"]
OF_QWEN = ["<|image_pad|>", "<|video_pad|>", "<|vision_start|>", "<|vision_end|>", "<tool_call>", "</tool_call>"]
TEMPLATE = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{% for part in m.content %}"
    "{% if part.type == 'image' %}[<image>]{% else %}{{ part.text }}{% endif %}{% endfor %}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
PATCH = 14  # pixels
LAYERS = {"hidden_size": 16, "intermediate_size": 32, "num_attention_heads": 2}


def save_tiny_vlm(kind: str, folder: Path, byte_tokenizer: Callable[..., PreTrainedTokenizerFast]) -> str:
    """Saves an untrained model and its processor.

    Args:
        kind (`str`): `"llava"`, whose images have 4 tokens each and one row of pixels, or `"grids"`, whose images have
            as many tokens as they are large, rows of pixels for each patch, a grid, and types of tokens, with the chat
            template of Qwen3-VL, which has tools.
    """
    torch.manual_seed(0)
    model, processor = {"llava": _llava, "grids": _with_grids}[kind](byte_tokenizer)
    with torch.no_grad():  # large weights: another image then changes what follows it by far more than rounding
        for weight in model.parameters():
            if weight.dim() > 1:
                weight.mul_(10)
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    return str(folder)


def _ends(tokenizer: PreTrainedTokenizerFast) -> dict[str, Any]:
    return {"eos_token_id": tokenizer.eos_token_id, "pad_token_id": tokenizer.pad_token_id, "bos_token_id": None}


def _llava(byte_tokenizer: Callable[..., PreTrainedTokenizerFast]) -> tuple[PreTrainedModel, ProcessorMixin]:
    tokenizer = byte_tokenizer(special_tokens=[*ENDS, "<image>"], pad_token=ENDS[0], eos_token=ENDS[0])
    pixels = LlavaImageProcessorPil(size={"shortest_edge": 28}, crop_size={"height": 28, "width": 28})
    processor = LlavaProcessor(
        pixels, tokenizer, patch_size=PATCH, vision_feature_select_strategy="default", num_additional_image_tokens=1,
        chat_template=TEMPLATE,
    )  # fmt: skip
    config = LlavaConfig(
        vision_config=CLIPVisionConfig(**LAYERS, num_hidden_layers=2, image_size=28, patch_size=PATCH),
        text_config=Qwen2Config(
            vocab_size=len(tokenizer), num_hidden_layers=1, num_key_value_heads=2, **LAYERS, **_ends(tokenizer)
        ),
        image_token_index=processor.image_token_id,
        vision_feature_select_strategy="default",
    )
    return LlavaForConditionalGeneration(config), processor


def _with_grids(byte_tokenizer: Callable[..., PreTrainedTokenizerFast]) -> tuple[PreTrainedModel, ProcessorMixin]:
    template = (Path(trl.__file__).parent / "chat_templates" / "qwen3_vl.jinja").read_text()
    tokenizer = byte_tokenizer(
        [template], [*ENDS, *OF_QWEN], pad_token=ENDS[0], eos_token=ENDS[0],
        extra_special_tokens={"image_token": OF_QWEN[0]},
    )  # fmt: skip
    pixels = Qwen2VLImageProcessorPil(
        patch_size=PATCH, temporal_patch_size=1, merge_size=1, size={"shortest_edge": PATCH**2, "longest_edge": 10_000}
    )
    processor = PaddleOCRVLProcessor(pixels, tokenizer, chat_template=template)  # Qwen2-VL's needs torchvision
    image, video, start, end = tokenizer.convert_tokens_to_ids(OF_QWEN[:4])
    config = Qwen2VLConfig(
        vision_config={
            "depth": 1, "embed_dim": 16, "hidden_size": 16, "num_heads": 2, "mlp_ratio": 2, "patch_size": PATCH,
            "spatial_merge_size": 1, "temporal_patch_size": 1,
        },
        text_config={
            **LAYERS, **_ends(tokenizer), "vocab_size": len(tokenizer), "num_hidden_layers": 1,
            "num_key_value_heads": 2,
            "rope_parameters": {"rope_type": "default", "rope_theta": 10_000.0, "mrope_section": [2, 1, 1]},
        },
        image_token_id=image, video_token_id=video, vision_start_token_id=start, vision_end_token_id=end,
        tie_word_embeddings=False, **_ends(tokenizer),
    )  # fmt: skip
    return Qwen2VLForConditionalGeneration(config), processor
