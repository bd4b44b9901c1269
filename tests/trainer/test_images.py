"""Prompts with images: what the engine and the model see of each row, and what is refused."""

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import pytest
import torch
from datasets import Dataset
from PIL import Image
from trl import GRPOConfig
from trl.trainer import grpo_trainer

from prefix_rft_trl import PrefixGRPOConfig
from prefix_rft_trl.sampling.prompt_images import PromptImages


ANSWERS = ["it is red, and 3", "blue: the number is 12", "a green square", "black"]
COLORS = ["red", "blue", "green", "black"]
KEYS = ["prompt", "completion"]
STAGES = {"num_prefix_generations": 0, "prefix_stage_ratios": [0.5], "prefix_stage_thresholds": [0.99]}
# Old log-probabilities are made where generation and steps are not aligned, and they are of the model at the start
UNALIGNED = {"steps_per_generation": 2, "gradient_accumulation_steps": 1}


def picture(color: str, width: int = 1) -> Image.Image:
    return Image.new("RGB", (28 * width, 28), color)


def dataset(**columns: Any) -> Dataset:
    """Rows whose prompts all differ, by default with an image each, of different colors and widths."""
    prompts = [[{"role": "user", "content": "What is this?" + "!" * 3 * row}] for row in range(4)]
    completions = [[{"role": "assistant", "content": answer}] for answer in ANSWERS]
    images = columns or {"image": [picture(color, 1 + row % 3) for row, color in enumerate(COLORS)]}
    return Dataset.from_dict({"prompt": prompts, "completion": completions, **images})


def images_of(row: dict[str, Any]) -> list[Image.Image]:
    return row["images"] or [] if "images" in row else [row["image"]] if row["image"] is not None else []


class Alone:
    """A row by itself, by the model's processor: neither padding nor other rows."""

    def __init__(self, trainer: Any, row: dict[str, Any]) -> None:
        self.trainer, processor = trainer, trainer.processing_class
        parts = [*({"type": "image"} for _ in images_of(row)), {"type": "text", "text": row["prompt"][0]["content"]}]
        messages = [{"role": "user", "content": parts}]
        text = processor.apply_chat_template(messages, tools=trainer.tools or None, add_generation_prompt=True)
        given = processor(images=images_of(row) or None, text=[text], return_tensors="pt")
        self.ids, self.pixels = given["input_ids"][0].tolist(), given.get("pixel_values")
        answer = trainer._tokenizer(row["completion"][0]["content"])["input_ids"]
        self.answer = [*answer, trainer._tokenizer.eos_token_id]
        self.others = {name: given[name] for name in ("pixel_values", "image_grid_thw") if name in given}

    def logps(self, completion: list[int]) -> torch.Tensor:
        """Log-probabilities of a completion."""
        ids = torch.tensor([self.ids + completion])
        if "image_grid_thw" in self.others:
            self.others["mm_token_type_ids"] = (ids == self.trainer.model.config.image_token_id).long()
        with torch.no_grad():
            logits = self.trainer.model(input_ids=ids, attention_mask=torch.ones_like(ids), **self.others).logits
        logps = logits.log_softmax(-1)[0, len(self.ids) - 1 : -1]
        return logps.gather(-1, torch.tensor(completion).unsqueeze(-1)).squeeze(-1)


@dataclass
class Seen:
    """What a trainer samples from and trains on, row by row: token ids without padding.

    Pixels and types of tokens are compared with those of the row whose prompt the ids begin with.
    """

    trainer: Any
    generated: list[list[int]] = field(default_factory=list)
    trained: list[list[int]] = field(default_factory=list)
    is_generating: bool = False

    def __post_init__(self) -> None:
        self.model, self.rows = self.trainer.model, [Alone(self.trainer, row) for row in self.trainer.train_dataset]
        self._generate, self.model.generate = self.model.generate, self.generate
        self.hook = self.model.register_forward_pre_hook(self.forward, with_kwargs=True)

    def generate(self, *args: Any, **given: Any) -> Any:
        self.generated += self.compare(**given)
        for ids in self.generated:
            row = self.owner(ids)
            if not self.trainer.tools:  # whose demonstrations are of several turns
                assert ids[len(row.ids) :] == row.answer[: len(ids) - len(row.ids)]
        self.is_generating = True
        found = self._generate(*args, **given)
        self.is_generating = False
        return found

    def forward(self, model: Any, args: tuple, given: dict[str, Any]) -> None:
        if not self.is_generating:
            found = self.compare(**given)
            self.trained += found if torch.is_grad_enabled() else []

    def owner(self, ids: list[int]) -> Alone:
        return next(row for row in self.rows if ids[: len(row.ids)] == row.ids)

    def compare(self, input_ids, attention_mask, pixel_values=None, mm_token_type_ids=None, **others: Any) -> Any:
        found = [ids[mask.bool()].tolist() for ids, mask in zip(input_ids, attention_mask, strict=True)]
        owners = map(self.owner, found)
        if pixels := [row.pixels for row in owners if row.pixels is not None]:
            torch.testing.assert_close(pixel_values, torch.cat(pixels))
        else:
            assert pixel_values is None or not len(pixel_values)
        if mm_token_type_ids is not None:
            assert torch.equal(mm_token_type_ids, (input_ids == self.model.config.image_token_id).long())
        return found


@pytest.mark.parametrize(
    ("kind", "settings"),
    [
        ("llava", {}),
        ("grids", {}),
        ("grids", {"prefix_ratio_schedule": "whole", "trim_padding": False}),
        ("grids", STAGES),
    ],
    ids=["llava", "grids", "whole", "stages"],
)
def test_each_row_is_sampled_and_trained_behind_its_own_image(make_trainer, record, tiny_vlm, kind, settings):
    rows = dataset()
    trainer = make_trainer(model=tiny_vlm(kind), train_dataset=rows, **UNALIGNED, **settings)
    seen, expected, generations, score = Seen(trainer), [], record(trainer), trainer._generate_and_score_completions

    def score_and_compare(inputs):
        outputs = score(inputs)
        if len(expected) < len(inputs):
            for row, ids in zip(inputs, generations[0].completion_ids, strict=True):
                alone = Alone(trainer, row)
                expected.append((alone, alone.logps(ids)))
        return outputs

    trainer._generate_and_score_completions = score_and_compare
    trainer.train()
    generation = generations[0]
    assert any(generation.prefix_lengths)
    for row, (alone, logps) in enumerate(expected):
        mask = generation.outputs["prompt_mask"][row].bool()
        assert generation.outputs["prompt_ids"][row][mask].tolist() == alone.ids
        old = generation.outputs["old_per_token_logps"][row, : len(logps)]
        torch.testing.assert_close(old, logps, rtol=1e-5, atol=2e-5)
        length = generation.prefix_lengths[row]
        assert generation.completion_ids[row][:length] == alone.answer[:length]
        assert alone.ids + generation.completion_ids[row] in seen.trained
    # Another image gives other log-probabilities, so the comparison above notices rows that are mixed up
    seen.hook.remove()
    row, ids = generation.inputs[0], generation.completion_ids[0]
    own, other = (Alone(trainer, {**row, "image": image}).logps(ids) for image in (row["image"], picture("white", 2)))
    assert (own - other).abs().max() > 1e-3
    trainer.evaluate(rows)
    assert not any(trainer.rollout_batch.prefix_ids)


@pytest.mark.parametrize(
    ("kind", "config_class", "columns"),
    [
        ("llava", GRPOConfig, {"images": [[picture("red"), picture("blue", 2)], [], None, [picture("green", 3)]]}),
        ("grids", PrefixGRPOConfig, {"images": [[picture("red"), picture("blue", 2)], [], None, [picture("green")]]}),
        ("grids", PrefixGRPOConfig, {"image": [picture("red"), None, None, None]}),
    ],
)
def test_a_prompt_may_have_several_images_or_none(make_trainer, tiny_vlm, kind, config_class, columns):
    named = {"per_device_train_batch_size": 4, "gradient_accumulation_steps": 2, "max_completion_length": 16}
    trainer = make_trainer(config_class=config_class, model=tiny_vlm(kind), train_dataset=dataset(**columns), **named)
    seen = Seen(trainer)
    trainer.train()
    numbers = Counter(ids.count(trainer.model.config.image_token_id) > 0 for ids in seen.trained)
    assert numbers[True] > 0 < numbers[False]
    if config_class is PrefixGRPOConfig:
        assert any(ids not in [row.ids for row in seen.rows] for ids in seen.generated)
    trainer.evaluate(dataset(**columns))


def test_a_demonstration_may_be_text(make_trainer, tiny_vlm, monkeypatch):
    # TRL looks at the prompt or at the demonstration, whichever a set of strings has first
    monkeypatch.setattr(
        grpo_trainer, "is_conversational", lambda row: all(isinstance(row.get(name, []), list) for name in KEYS)
    )
    rows = dataset().remove_columns("completion").add_column("completion", ANSWERS)
    trainer = make_trainer(model=tiny_vlm("llava"), train_dataset=rows, max_completion_length=8, max_steps=1)
    trainer.train()
    assert any(trainer.rollout_batch.prefix_ids)


def test_accumulated_steps_and_trimmed_padding_train_alike(train, tiny_vlm):
    named = {"model": tiny_vlm("grids"), "train_dataset": dataset(), "max_completion_length": 24, "max_steps": 1}
    named["optim"] = "sgd"  # Adam would make the rounding of a gradient near zero a step
    parts = {"per_device_train_batch_size": 4, "gradient_accumulation_steps": 2}
    one, other = train(trim_padding=False, **named), train(**parts, **named)
    assert any(one.generations[0].prefix_lengths)
    weights = dict(other.trainer.model.named_parameters())
    for name, weight in one.trainer.model.named_parameters():
        torch.testing.assert_close(weights[name], weight, rtol=1e-5, atol=1e-6, msg=lambda m, n=name: f"{n}: {m}")


def test_a_run_resumes_to_the_same_weights(train_and_resume, tiny_vlm):
    unbroken, _ = train_and_resume(model=tiny_vlm("grids"), train_dataset=dataset(), max_completion_length=24)
    assert any(unbroken.generations[-1].prefix_lengths)


def look(color: str) -> list[dict[str, Any]] | str:
    """Shows a color.

    Args:
        color: of the picture
    """
    return f"It is {color}."


@pytest.mark.parametrize("settings", [{}, {"num_prefix_generations": 0}], ids=["prefixes", "plain"])
def test_rows_keep_their_images_in_a_tool_loop(make_trainer, tiny_vlm, settings):
    def trajectory(color: str, calls: int) -> list[dict[str, Any]]:
        call = {"type": "function", "function": {"name": "look", "arguments": {"color": color}}}
        turn = {"role": "assistant", "content": "", "tool_calls": [call]}
        last = {"role": "assistant", "content": f"{color}, as I said", "tool_calls": None}
        return [*[turn, {"role": "tool", "name": "look", "content": look(color)}] * calls, last]

    rows = dataset().remove_columns("completion").select(range(2))
    rows = rows.add_column("completion", [trajectory(color, calls) for color, calls in (("red", 2), ("blue", 1))])
    trainer = make_trainer(
        model=tiny_vlm("grids"), train_dataset=rows, others={"tools": [look]}, max_completion_length=190, max_steps=1,
        prefix_ratio_schedule="constant", prefix_ratio_low=0.9, answer_column=None, **settings,
    )  # fmt: skip
    seen = Seen(trainer)
    trainer.train()
    texts = [trainer._tokenizer.decode(ids[len(seen.owner(ids).ids) :]) for ids in seen.generated]
    # Hybrid rows are sampled in the tool loop, behind both calls or the only one; served turns are not
    assert sorted(text.count("It is") for text in texts if text) == ([] if settings else [1, 2])


def test_rows_are_selected_with_their_images():
    calls = []

    def process(chosen):
        calls.append(chosen)
        return {"mm_token_type_ids": [[1, 0] for _ in chosen], "pixel_values": 1}

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
        ({"padding_free": True}, "`padding_free=True` packs text only"),
        ({"prefix_prompts": "failed"}, "`prefix_prompts='failed'` knows"),
        ({"prefix_ratio_schedule": "adaptive"}, "`prefix_ratio_schedule='adaptive'` knows"),
        ({"prefix_stage_ratios": [0.5], "prefix_stage_prompts": "other"}, "`prefix_stage_prompts='other'` puts"),
    ],
)
def test_what_cannot_have_images_is_refused(make_trainer, tiny_vlm, settings, message):
    with pytest.raises(ValueError, match=message):
        make_trainer(model=tiny_vlm("llava"), train_dataset=dataset(), **settings)


def test_demonstration_with_a_placeholder_is_refused(make_trainer, tiny_vlm):
    texts = [[{"role": "assistant", "content": "see <image> there"}]] * 4
    marked = dataset().remove_columns("completion").add_column("completion", texts)
    with pytest.raises(ValueError, match=r"a demonstration has '<image>', which stands for an image"):
        make_trainer(model=tiny_vlm("llava"), train_dataset=marked)
