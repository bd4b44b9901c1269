"""Prompts and answers that do not fit into a model are reported before it is loaded."""

import json
from pathlib import Path
from typing import Any

import pytest

from prefix_rft_trl import lab
from prefix_rft_trl.cli import eval as evaluation
from prefix_rft_trl.evaluation.engines import Engine, fit_budgets
from prefix_rft_trl.evaluation.eval_benchmarks import find_benchmarks
from prefix_rft_trl.evaluation.sampling import EvalOverrides
from prefix_rft_trl.models.sources import ModelSource, context_length, load_tokenizer
from prefix_rft_trl.utils.errors import UserError


LAB = ModelSource("base", lab.base_model_path())
CONTEXT = 128  # of the lab's model
PROMPTS = ["1+1=", "1+2+3+4=", "2+2="]  # a token is a character


@pytest.fixture
def asked(tmp_path, write_jsonl) -> list[str]:
    file = write_jsonl(*({"prompt": prompt, "solution": "0"} for prompt in PROMPTS), name="sums")
    problems = ["--benchmarks", str(file), "--instruction", "", "--reward", "lab_exact_answer", "--temperature", "0"]
    return ["--model", "lab", *problems, "--backend", "transformers", "--output_dir", str(tmp_path / "eval")]


def fitted(budget: int, is_given: bool = False, context: int | None = CONTEXT) -> tuple[int, int, list[str]]:
    """Budget and need of the lab, whose prompts have 12 tokens each, and what was reported."""
    reported: list[str] = []
    benchmarks = find_benchmarks(["lab"], EvalOverrides(max_new_tokens=budget), None, load_tokenizer(LAB.path))
    (benchmark,), needed = fit_budgets(benchmarks, context, is_given, reported.append)
    return benchmark.sampling.max_new_tokens, needed, reported


def test_a_given_budget_that_does_not_fit_is_refused_before_the_model_is_loaded(asked, no_model_is_loaded):
    with pytest.raises(UserError, match=r"takes 128 tokens.* problem 1 of sums leaves 120 .* is 121\. Lower it"):
        evaluation.run([*asked, "--max_new_tokens", "121"])


def test_a_default_budget_is_cut_to_what_fits_and_reported_once(asked, capsys, tmp_path):
    evaluation.run(asked)
    reported = [line for line in capsys.readouterr().err.splitlines() if "instead of" in line]
    assert reported == [
        "sums: answers have 120 tokens instead of 8192; the longest problem has 8, and the model takes 128."
    ]
    settings = json.loads((tmp_path / "eval" / "base" / "sums" / "settings.json").read_text())
    assert settings["max_new_tokens"] == 120


def test_a_budget_that_fits_is_left_alone():
    assert fitted(CONTEXT - 12, is_given=True) == (CONTEXT - 12, CONTEXT, [])
    assert fitted(30) == (30, 42, [])
    assert fitted(9999, context=None) == (9999, 10011, [])


def test_a_prompt_that_leaves_no_room_is_named_whoever_set_the_budget():
    for context in (12, 7):
        with pytest.raises(ValueError, match=r"problem 0 of lab leaves 0 for an answer.* Leave out that problem"):
            fitted(30, context=context)
    assert fitted(30, context=13)[0] == 1


@pytest.mark.parametrize(
    ("config", "length"),
    [
        ({"max_position_embeddings": 4096}, 4096),
        ({"n_positions": 1024}, 1024),
        ({"text_config": {"max_position_embeddings": 2048}}, 2048),
        ({"max_position_embeddings": 4096, "rope_scaling": {"type": "linear", "factor": 2.0}}, 8192),
        ({"max_position_embeddings": 4096, "rope_parameters": {"rope_type": "default", "rope_theta": 1e4}}, 4096),
        ({"max_position_embeddings": 131072, "rope_scaling": {"rope_type": "llama3", "factor": 8.0}}, 131072),
        ({}, None),
    ],
)
def test_the_context_is_what_the_config_says(tmp_path: Path, config: dict[str, Any], length: int | None):
    (tmp_path / "config.json").write_text(json.dumps(config))
    assert context_length(str(tmp_path)) == length


def test_the_context_of_an_adapter_is_that_of_its_base(tmp_path):
    adapter = ModelSource("adapter", str(tmp_path), lab.base_model_path())
    assert Engine("transformers").context_length(adapter) == CONTEXT


def test_vllm_reserves_memory_for_what_is_asked_unless_the_user_says_how_much(monkeypatch):
    monkeypatch.setattr("prefix_rft_trl.evaluation.engines._has_vllm", lambda: True)
    assert Engine("vllm").with_room_for(42).vllm_kwargs == {"max_model_len": 42}
    own = Engine("vllm", vllm_kwargs={"max_model_len": 64})
    assert own.with_room_for(42).vllm_kwargs == {"max_model_len": 64}
    assert [own.context_length(LAB), Engine("vllm").context_length(LAB)] == [64, CONTEXT]
