"""Likelihood of demonstrations in the curve: what it is, of which demonstrations, and that it is the same for all."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from accelerate import Accelerator
from transformers import AutoModelForCausalLM, AutoTokenizer

from prefix_rft_trl import lab
from prefix_rft_trl.cli.main import main
from prefix_rft_trl.evaluation import demonstration_likelihood
from prefix_rft_trl.evaluation.demonstration_likelihood import DemonstrationLikelihood, find_demonstrations
from prefix_rft_trl.run import read_curve


RECIPES = Path(__file__).parents[2] / "recipes" / "lab"
LONG_PROMPT = "1+1+1+1+1+1="


@pytest.fixture
def trainer(base_model) -> SimpleNamespace:
    model, tokenizer = AutoModelForCausalLM.from_pretrained(base_model), AutoTokenizer.from_pretrained(base_model)
    return SimpleNamespace(accelerator=Accelerator(cpu=True), model=model.train(), processing_class=tokenizer)


def one_by_one(trainer: Any, rows: list[dict[str, str]]) -> float:
    total, tokens = 0.0, 0
    for row in rows:
        prompt, ids = (trainer.processing_class(row[name], return_tensors="pt")["input_ids"] for name in row)
        with torch.no_grad():
            logps = trainer.model.eval()(torch.cat([prompt, ids], 1)).logits.double().log_softmax(-1)[0, :-1]
        total += logps[-ids.size(1) :].gather(1, ids[0][:, None]).sum().item()
        tokens += ids.size(1)
    return total / tokens


ROWS = [
    {"prompt": "3+4=", "completion": "3+4=7;#7"},
    {"prompt": LONG_PROMPT, "completion": "1+1=2;2+1=3;3+1=4;4+1=5;5+1=6;#6"},
    {"prompt": "9-2=", "completion": "#7"},
    {"prompt": LONG_PROMPT, "completion": "#6"},
]


@pytest.mark.parametrize("tokens_per_pass", [1, 90, 8192])
def test_it_is_the_mean_over_all_tokens_of_the_demonstrations(trainer, monkeypatch, tokens_per_pass):
    monkeypatch.setattr(demonstration_likelihood, "TOKENS_PER_PASS", tokens_per_pass)
    likelihood = DemonstrationLikelihood(trainer, find_demonstrations(ROWS, "completion"), budget=40)
    assert len(likelihood.passes) == {1: 4, 90: 2, 8192: 1}[tokens_per_pass]
    found = likelihood.measure()
    assert trainer.model.training, "the mode of the model is as before"
    assert found == {"demonstration_logp": pytest.approx(one_by_one(trainer, ROWS), rel=1e-5)}


def test_those_beyond_the_budget_or_the_positions_are_left_out(trainer):
    demonstrations = find_demonstrations(ROWS, "completion")
    in_budget = DemonstrationLikelihood(trainer, demonstrations, budget=8).measure()["demonstration_logp"]
    short = [row for row in ROWS if len(row["completion"]) <= 8]
    assert len(short) == 3
    assert in_budget == pytest.approx(one_by_one(trainer, short), rel=1e-5)
    trainer.model.config.max_position_embeddings = 12
    in_positions = DemonstrationLikelihood(trainer, demonstrations, budget=40).measure()["demonstration_logp"]
    assert in_positions == pytest.approx(one_by_one(trainer, [ROWS[0], ROWS[2]]), rel=1e-5)
    assert DemonstrationLikelihood(trainer, demonstrations, budget=1).measure() == {}
    assert DemonstrationLikelihood(trainer, [], budget=40).measure() == {}


@pytest.mark.parametrize("tokens_per_pass", [1, 8192])
def test_two_processes_find_what_one_finds(trainer, monkeypatch, tokens_per_pass):
    monkeypatch.setattr(demonstration_likelihood, "TOKENS_PER_PASS", tokens_per_pass)
    likelihood = DemonstrationLikelihood(trainer, find_demonstrations(ROWS[:3], "completion"), budget=40)
    alone, one, sums = likelihood.measure(), trainer.accelerator, []

    def reduce(total: torch.Tensor, reduction: str) -> torch.Tensor:
        sums.append(total)
        return torch.stack(sums).sum(0)

    for rank in range(2):
        shared = {"num_processes": 2, "process_index": rank, "reduce": reduce, "device": one.device}
        trainer.accelerator = SimpleNamespace(**shared, autocast=one.autocast, unwrap_model=lambda model: model)
        found = likelihood.measure()  # of the first process alone, then of both
    assert found["demonstration_logp"] == pytest.approx(alone["demonstration_logp"], rel=1e-6)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("a;#1", ["a;#1"]),
        (["", "b;#1", "c;#1"], ["b;#1"]),
        ([{"role": "assistant", "content": "d"}], ["d"]),
        (None, []),
        ("", []),
        (3, []),
        ([{"role": "user", "content": "e"}], []),
    ],
)
def test_first_demonstration_of_each_row_counts(value, expected):
    found = find_demonstrations([{"prompt": "p", "completion": value}, {"prompt": "q"}], "completion")
    assert [(prompt, message["content"]) for prompt, message in found] == [("p", text) for text in expected]


SMALL = {
    "max_steps": 2, "measure_steps": 2, "measure_rows": 6, "measure_max_new_tokens": 56, "logging_steps": 1,
    "per_device_train_batch_size": 8, "disable_tqdm": "true", "lab_level": "easy",
}  # fmt: skip
GRPO_ONLY = {"num_generations": 4, "max_completion_length": 40}


def curve_of(recipe: str, folder: Path, **settings: Any) -> list[dict[str, Any]]:
    settings = {**SMALL, **({} if recipe == "sft" else GRPO_ONLY), **settings, "output_dir": folder}
    flags = [str(part) for name, value in settings.items() for part in (f"--{name}", value)]
    assert main(["train", "--config", str(RECIPES / f"{recipe}.yaml"), *flags]) == 0
    return read_curve(folder)


def test_all_trainers_write_the_same_number_into_the_curve_and_the_log(tmp_path, trainer):
    expected = one_by_one(trainer, [dict(row) for row in lab.load_dataset("test", 6).remove_columns("solution")])
    curves = {recipe: curve_of(recipe, tmp_path / recipe) for recipe in ("sft", "grpo", "prefix_rft")}
    for recipe, lines in curves.items():
        assert lines[0]["demonstration_logp"] == pytest.approx(expected, rel=1e-4), recipe
        state = json.loads((tmp_path / recipe / "trainer_state.json").read_text())
        logged = [log["eval_demonstration_logp"] for log in state["log_history"] if "eval_accuracy" in log]
        assert logged == [line["demonstration_logp"] for line in lines]
    for recipe in ("sft", "prefix_rft"):  # demonstrations are learned; plain GRPO had nothing to learn from
        assert curves[recipe][1]["demonstration_logp"] > curves[recipe][0]["demonstration_logp"], recipe


def test_demonstrations_of_training_rows_stand_in_for_held_out_problems_without_any(tmp_path, trainer):
    rows = [dict(row) for row in lab.load_dataset("train", 40)]
    (tmp_path / "train.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    held_out = [{"prompt": row["prompt"], "solution": row["solution"]} for row in lab.load_dataset("test", 3)]
    (tmp_path / "test.jsonl").write_text("".join(json.dumps(row) + "\n" for row in held_out))
    files = {"dataset_name": tmp_path / "train.jsonl", "dataset_test_file": tmp_path / "test.jsonl"}
    (first, *_) = curve_of("grpo", tmp_path / "run", **files, measure_rows=3)
    expected = one_by_one(trainer, [{name: row[name] for name in ("prompt", "completion")} for row in rows[:3]])
    assert first["demonstration_logp"] == pytest.approx(expected, rel=1e-4)
