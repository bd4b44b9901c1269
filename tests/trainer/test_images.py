"""Prompts with images: ids, log-probabilities, selection of rows, evaluation, and what is refused."""

from types import SimpleNamespace

import pytest
import torch
from datasets import Dataset
from PIL import Image
from transformers import (
    CLIPVisionConfig,
    LlavaConfig,
    LlavaForConditionalGeneration,
    LlavaProcessor,
    Qwen2Config,
)
from transformers.models.llava.image_processing_pil_llava import LlavaImageProcessorPil

from prefix_rft_trl.sampling.prompt_images import PromptImages


TEMPLATE = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{% for part in m.content %}{% if part.type == 'image' %}<image>"
    "{% else %}{{ part.text }}{% endif %}{% endfor %}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
ANSWERS = ["it is red, and 3", "blue: the number is 12", "a green square", "black"]


@pytest.fixture(scope="module")
def vlm(byte_tokenizer, tmp_path_factory):
    """Folder of an untrained LLaVA, with its processor."""
    tokenizer = byte_tokenizer(
        special_tokens=["<|im_end|>", "<|im_start|>", "<image>"], pad_token="<|im_end|>", eos_token="<|im_end|>"
    )
    pixels = LlavaImageProcessorPil(size={"shortest_edge": 28}, crop_size={"height": 28, "width": 28})
    processor = LlavaProcessor(
        pixels, tokenizer, patch_size=14, vision_feature_select_strategy="default", num_additional_image_tokens=1,
        chat_template=TEMPLATE,
    )  # fmt: skip
    torch.manual_seed(0)
    layers = {"hidden_size": 16, "intermediate_size": 32, "num_attention_heads": 2}
    end = {"eos_token_id": tokenizer.eos_token_id, "pad_token_id": tokenizer.pad_token_id, "bos_token_id": None}
    config = LlavaConfig(
        vision_config=CLIPVisionConfig(**layers, num_hidden_layers=2, image_size=28, patch_size=14),
        text_config=Qwen2Config(
            vocab_size=len(tokenizer), num_hidden_layers=1, num_key_value_heads=2, **layers, **end
        ),
        image_token_index=processor.image_token_id,
        vision_feature_select_strategy="default",
    )
    model = LlavaForConditionalGeneration(config)
    with torch.no_grad():  # large weights: another image then changes what follows it by far more than rounding
        for weight in model.parameters():
            if weight.dim() > 1:
                weight.mul_(10)
    folder = tmp_path_factory.mktemp("vlm")
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    return str(folder)


@pytest.fixture
def rows():
    images = [Image.new("RGB", (28, 28), color) for color in ("red", "blue", "green", "black")]
    prompts = [[{"role": "user", "content": "What is this?" + "!" * 3 * row}] for row in range(4)]
    completions = [[{"role": "assistant", "content": answer}] for answer in ANSWERS]
    return Dataset.from_dict({"prompt": prompts, "completion": completions, "image": images})


def image_logps(trainer, inputs, row):
    """Log-probabilities of a row's completion behind its own image, without padding or other rows."""
    model, processor = trainer.model, trainer.processing_class
    content = [{"type": "image"}, {"type": "text", "text": inputs.inputs[row]["prompt"][0]["content"]}]
    text = processor.apply_chat_template([{"role": "user", "content": content}], add_generation_prompt=True)
    prompt = processor(images=[inputs.inputs[row]["image"]], text=[text], return_tensors="pt")
    completion = torch.tensor([inputs.completion_ids[row]])
    ids = torch.cat([prompt["input_ids"], completion], dim=1)
    with torch.no_grad():
        logits = model(input_ids=ids, attention_mask=torch.ones_like(ids), pixel_values=prompt["pixel_values"]).logits
    logps = logits.log_softmax(-1)[0, prompt["input_ids"].size(1) - 1 : -1]
    return prompt["input_ids"][0].tolist(), logps.gather(-1, completion[0].unsqueeze(-1)).squeeze(-1)


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"prefix_ratio_schedule": "whole"},
        {"num_prefix_generations": 0, "prefix_stage_ratios": [0.5], "prefix_stage_thresholds": [0.99]},
    ],
    ids=["prefixes", "whole", "stages"],
)
def test_rollouts_are_those_of_their_image(make_trainer, record, vlm, rows, settings):
    # Old log-probabilities are made where generation and steps are not aligned, and they are of the model at the start
    aligned = {"steps_per_generation": 2, "gradient_accumulation_steps": 1, "num_iterations": 1}
    trainer = make_trainer(model=vlm, train_dataset=rows, max_steps=2, **aligned, **settings)
    found, generations, scored = [], record(trainer), trainer._generate_and_score_completions

    def generate_and_score(inputs):
        outputs = scored(inputs)
        found.append([image_logps(trainer, generations[-1], row) for row in range(len(inputs))])
        return outputs

    trainer._generate_and_score_completions = generate_and_score
    trainer.train()
    generation = generations[0]
    hybrid = [row for row, length in enumerate(generation.prefix_lengths) if length]
    assert hybrid
    for row, (prompt_ids, logps) in enumerate(found[0]):
        mask = generation.outputs["prompt_mask"][row].bool()
        assert generation.outputs["prompt_ids"][row][mask].tolist() == prompt_ids
        assert prompt_ids.count(trainer.model.config.image_token_id) == 4
        old = generation.outputs["old_per_token_logps"][row, : len(logps)]
        torch.testing.assert_close(old, logps, rtol=1e-5, atol=2e-5)
        answer = trainer._tokenizer(generation.inputs[row]["completion"][0]["content"])["input_ids"]
        length = generation.prefix_lengths[row]
        assert generation.completion_ids[row][:length] == [*answer, trainer._tokenizer.eos_token_id][:length]
    # Another image gives other log-probabilities, so the comparison above notices rows that are mixed up
    first, other = (
        generation.inputs[0],
        next(row for row in generation.inputs if row["image"] != generation.inputs[0]["image"]),
    )
    swapped = SimpleNamespace(inputs=[{**first, "image": other["image"]}], completion_ids=generation.completion_ids)
    of_start = make_trainer(model=vlm, train_dataset=rows)
    assert (image_logps(of_start, swapped, 0)[1] - found[0][0][1]).abs().max() > 1e-3
    trainer.evaluate(rows)
    assert not any(trainer.rollout_batch.prefix_ids)


def test_rows_are_selected_with_their_images():
    calls = []

    def process(chosen):
        calls.append(chosen)
        return [f"image {row}" for row in chosen], {"mm_token_type_ids": [[1, 0] for _ in chosen], "pixel_values": 1}

    images = PromptImages(["image 0", "image 1"], {"mm_token_type_ids": [[1, 0], [1, 0, 0]]}, process)
    assert images.of_rows([0, 1], [[7] * 4, [7] * 3], 2) == (
        ["image 0", "image 1"], {"mm_token_type_ids": [[1, 0, 0, 0], [1, 0, 0]]},
    )  # fmt: skip
    found, fields = images.of_rows([1, 0, 0], [[7] * 3, [7] * 2, [7] * 2], 2)
    assert calls == [[1, 0, 0]]
    assert found == ["image 1", "image 0", "image 0"]
    assert fields == {"mm_token_type_ids": [[1, 0, 0], [1, 0], [1, 0]], "pixel_values": 1}


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"prefix_placement": "prompt"}, "`prefix_placement='prompt'` writes hints"),
        (
            {"demonstration_source": "own", "prefix_prompt_share": 0.5},
            "`demonstration_source='own'` keeps rows in checkpoints, which cannot hold one",
        ),
        ({"use_transformers_continuous_batching": True}, "`use_transformers_continuous_batching` takes text"),
        ({"prefix_prompts": "failed"}, "`prefix_prompts='failed'` knows"),
        ({"prefix_stage_ratios": [0.5], "prefix_stage_prompts": "other"}, "`prefix_stage_prompts='other'` puts"),
    ],
)
def test_what_cannot_have_images_is_refused(make_trainer, vlm, rows, settings, message):
    with pytest.raises(ValueError, match=message):
        make_trainer(model=vlm, train_dataset=rows, **settings)


def test_demonstration_with_a_placeholder_is_refused(make_trainer, vlm, rows):
    texts = [[{"role": "assistant", "content": "see <image> there"}]] * len(rows)
    marked = rows.remove_columns("completion").add_column("completion", texts)
    with pytest.raises(ValueError, match=r"a demonstration has '<image>', which stands for an image"):
        make_trainer(model=vlm, train_dataset=marked)
