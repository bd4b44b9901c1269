"""Short runs of the lab's recipes in this process, and what they write down about themselves."""

import json
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from prefix_rft_trl import PrefixGRPOTrainer
from prefix_rft_trl.cli.main import main
from prefix_rft_trl.run import curve
from prefix_rft_trl.run.folder import has_ended, read_curve
from prefix_rft_trl.sft import CountingSFTTrainer


RECIPES = Path(__file__).parents[2] / "recipes" / "lab"
SMALL = {
    "lab_level": "easy",
    "max_steps": 5,
    "measure_steps": 2,
    "measure_rows": 8,
    "logging_steps": 3,
    "per_device_train_batch_size": 8,
    "measure_max_new_tokens": 8,
    "disable_tqdm": "true",
}
OF_GRPO = {"num_generations": 4, "max_completion_length": 40}


def train(recipe: str, folder: Path, **settings) -> list[dict]:
    settings = {**SMALL, **({} if recipe == "sft" else OF_GRPO), **settings, "output_dir": folder}
    flags = [str(part) for name, value in settings.items() for part in (f"--{name}", value)]
    assert main(["train", "--config", str(RECIPES / f"{recipe}.yaml"), *flags]) == 0
    return read_curve(folder)


@pytest.fixture
def counted(monkeypatch) -> list[tuple[str, int, int]]:
    """("generated" or "trained", optimizer steps done before, tokens), counted from the batches of the trainers."""
    found: list[tuple[str, int, int]] = []
    kept_in_prefix: list[int] = []
    generate, of_grpo, of_sft = (
        PrefixGRPOTrainer._generate_and_score_completions,
        PrefixGRPOTrainer.compute_loss,
        CountingSFTTrainer.compute_loss,
    )

    def generate_and_count(trainer, inputs):
        outputs = generate(trainer, inputs)
        given = outputs["prefix_lengths"].sum() if "prefix_lengths" in outputs else 0
        found.append(("generated", trainer.state.global_step, int(outputs["completion_mask"].sum() - given)))
        return outputs

    def weigh_and_count(name, logps, old_logps, of_continuation, of_prefix, in_prefix, kept, gamma):
        kept_in_prefix.append(int((in_prefix & kept).sum()))
        return weigh(name, logps, old_logps, of_continuation, of_prefix, in_prefix, kept, gamma)

    def count_grpo(trainer, model, inputs, *args, **named):
        kept_in_prefix[:] = [0]
        loss = of_grpo(trainer, model, inputs, *args, **named)
        given = inputs["prefix_lengths"].sum() if "prefix_lengths" in inputs else 0
        tokens = int(inputs["completion_mask"].sum() - given) + kept_in_prefix[-1]
        found.append(("trained", trainer.state.global_step, tokens))
        return loss

    def count_sft(trainer, model, inputs, *args, **named):
        found.append(
            ("trained", trainer.state.global_step, sum(i != -100 for i in inputs["labels"].flatten().tolist()))
        )
        return of_sft(trainer, model, inputs, *args, **named)

    from prefix_rft_trl import trainer as trainer_module

    weigh = trainer_module.weigh_prefix_tokens
    monkeypatch.setattr(trainer_module, "weigh_prefix_tokens", weigh_and_count)
    monkeypatch.setattr(PrefixGRPOTrainer, "_generate_and_score_completions", generate_and_count)
    monkeypatch.setattr(PrefixGRPOTrainer, "compute_loss", count_grpo)
    monkeypatch.setattr(CountingSFTTrainer, "compute_loss", count_sft)
    return found


def up_to(counted: list[tuple[str, int, int]], what: str, step: int) -> int:
    return sum(tokens for kind, before, tokens in counted if kind == what and before < step)


SFT_OF_FEW_ROWS = {"lab_demonstrated_share": 0.02, "gradient_accumulation_steps": 2}  # 10 rows: 8 and 2, then again


@pytest.mark.parametrize(
    ("recipe", "settings"),
    [
        ("grpo", {}),
        ("prefix_rft", {"gradient_accumulation_steps": 2}),
        ("luffy", {"gradient_accumulation_steps": 2}),
        ("prefix_rft", {"num_iterations": 2, "logging_steps": 1}),
        ("grpo", {"steps_per_generation": 2, "logging_steps": 1, "max_steps": 4}),
        ("sft", {}),
        ("sft", SFT_OF_FEW_ROWS),
    ],
    ids=lambda value: value if isinstance(value, str) else ",".join(value),
)
def test_tokens_are_those_of_the_batches(recipe, settings, counted, tmp_path):
    lines = train(recipe, tmp_path, **settings)
    last = settings.get("max_steps", 5)
    assert [line["step"] for line in lines] == sorted({0, 2, 4, last})
    assert lines[0]["generated_tokens"] == lines[0]["trained_tokens"] == 0
    for line in lines[1:]:
        for what in ("generated", "trained"):
            assert line[f"{what}_tokens"] == pytest.approx(up_to(counted, what, line["step"]), rel=1e-5), (what, line)
    assert (lines[-1]["generated_tokens"] > 0) == (recipe != "sft")
    assert lines[-1]["trained_tokens"] > 0


def test_a_run_ends_with_a_line_and_one_that_divides_its_steps_has_one_alone(tmp_path):
    lines = train("sft", tmp_path, max_steps=4, logging_steps=10)
    assert [line["step"] for line in lines] == [0, 2, 4]
    assert all({"accuracy", "length", "seconds", "generated_tokens", "trained_tokens"} <= set(line) for line in lines)
    assert all("loss" in line for line in lines[1:])
    assert has_ended(tmp_path)


def test_seconds_are_those_of_training_without_the_measuring(tmp_path, monkeypatch):
    now = [0.0]
    monkeypatch.setattr(curve.time, "perf_counter", lambda: now[0])
    of_sft = CountingSFTTrainer.compute_loss

    def takes_a_second(*args, **named):
        now[0] += 1
        return of_sft(*args, **named)

    def takes_an_hour(*args, **named):
        now[0] += 3600
        return {"accuracy": 0.5, "length": 1.0}

    monkeypatch.setattr(CountingSFTTrainer, "compute_loss", takes_a_second)
    monkeypatch.setattr("prefix_rft_trl.evaluation.during_training.measure_held_out", takes_an_hour)
    lines = train("sft", tmp_path)
    assert [line["seconds"] for line in lines] == [0, 2, 4, 5]
    assert now[0] == 4 * 3600 + 5


@pytest.mark.parametrize("recipe", ["prefix_rft", "sft"])
def test_measuring_changes_nothing_in_a_run(recipe, tmp_path):
    train(recipe, tmp_path / "measured", max_steps=3, learning_rate=1e-3)
    train(recipe, tmp_path / "not", max_steps=3, learning_rate=1e-3, measure_steps=0)
    assert not (tmp_path / "not" / "curve.jsonl").exists()
    with_it, without = (load_file(tmp_path / name / "model.safetensors") for name in ("measured", "not"))
    assert with_it.keys() == without.keys()
    assert all(torch.equal(with_it[name], without[name]) for name in with_it)


def test_a_run_that_is_resumed_has_each_step_once(tmp_path, counted):
    saved = {"save_strategy": "steps", "save_steps": 3, "max_steps": 3}
    first = train("prefix_rft", tmp_path, **saved)
    with (tmp_path / "curve.jsonl").open("a") as file:  # it had gone on beyond its checkpoint when it was killed
        file.write(json.dumps({**first[-1], "step": 4}) + "\n" + '{"step": 5')
    lines = train("prefix_rft", tmp_path, **{**saved, "max_steps": 5}, resume_from_checkpoint="last")
    assert [line["step"] for line in lines] == [0, 2, 3, 4, 5]
    assert lines[:3] == first
    assert all(before["seconds"] < after["seconds"] for before, after in pairwise(lines))
    for line in lines[1:]:
        assert line["trained_tokens"] == pytest.approx(up_to(counted, "trained", line["step"]), rel=1e-5)


def test_a_run_that_is_resumed_without_a_curve_starts_one_where_it_is(tmp_path):
    train("sft", tmp_path, max_steps=2, measure_steps=0, save_strategy="steps", save_steps=2)
    lines = train("sft", tmp_path, max_steps=4, resume_from_checkpoint="last")
    assert [line["step"] for line in lines] == [2, 4]


def test_a_run_that_starts_over_starts_its_curve_over(tmp_path):
    (tmp_path / "curve.jsonl").write_text('{"step": 0}\n{"step": 100}\n')
    assert [line["step"] for line in train("sft", tmp_path, max_steps=2)] == [0, 2]


def test_a_line_has_what_the_trainer_has_logged_since_the_line_before(tmp_path):
    lines = train("prefix_rft", tmp_path, max_steps=4)
    assert "loss" not in lines[0]
    assert all({"policy_entropy", "prefix/length", "loss"} <= set(line) for line in lines[1:])


def test_another_process_than_the_first_writes_nothing(tmp_path):
    class State:
        global_step, max_steps, is_world_process_zero = 0, 2, False

    def tokens(logs: dict, first: int, last: int) -> tuple[float, float]:
        return 0.0, 0.0

    measured: list[Callable] = []
    writer = curve.CurveWriter(str(tmp_path), 1, lambda model: measured.append(model) or {}, tokens)
    writer.on_train_begin(None, State(), None)
    assert len(measured) == 1  # every process measures its share
    assert not (tmp_path / "curve.jsonl").exists()
