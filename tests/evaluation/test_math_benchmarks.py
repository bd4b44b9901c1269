"""Benchmarks from local files, with a stand-in for the model: how often it is right is what the figures say.

The files of the usual benchmarks are there where PREFIX_RFT_DATA names a folder that has them.
"""

import json
import os
from pathlib import Path
from typing import Any

import pytest

from prefix_rft_trl.cli.main import main
from prefix_rft_trl.evaluation.samples import Sample
from prefix_rft_trl.evaluation.scores import compute_scores
from prefix_rft_trl.rewards import math_accuracy_reward


FILES = sorted((Path(os.environ.get("PREFIX_RFT_DATA", "")) / "math_benchmarks").glob("*.jsonl"))
INSTRUCTION = "Please reason step by step, and put your final answer within \\boxed{}"
NUM_SAMPLES = 4
WRONG = [("Therefore it is \\boxed{-98765.4321}.", True), ("I do not know.", True), ("Let me think about", False)]


def right_of(problem: int) -> int:
    """How many of its answers are right: the first ones."""
    return problem % (NUM_SAMPLES + 1)


def answer_to(problem: int, gold: Any, sample: int) -> tuple[str, bool]:
    if sample >= right_of(problem):
        return WRONG[(problem + sample) % len(WRONG)]
    gold = gold[0] if isinstance(gold, list) else gold
    return rf"Therefore the answer is $\boxed{{{str(gold).replace('$', '')}}}$.", True


def with_known_answers(golds_by_problem: dict[str, Any], places: dict[str, int]):
    def answer_of(prompt: str, sample: int) -> tuple[str, bool]:
        problem = prompt.removesuffix(f"\n{INSTRUCTION}")
        assert problem != prompt
        return answer_to(places[problem], golds_by_problem[problem], sample)

    return answer_of


def expected_of(golds: list[Any], scored: list[int]) -> dict[str, Any]:
    """The scores of what the stand-in answers; tests of the estimates compare them with their definitions."""
    samples = []
    for problem, gold in enumerate(golds):
        for number in range(NUM_SAMPLES):
            text, ends = answer_to(problem, gold, number)
            is_right = number < right_of(problem)
            answer = str(is_right) if "boxed" in text else None
            reward = float(is_right) if problem in scored else None
            samples.append(Sample(problem, number, text, answer, reward, len(text.encode()) + ends, not ends))
    return compute_scores(samples, math_accuracy_reward).as_json()


def evaluate(files: list[Path], model: Path, output_dir: Path, answer_by) -> dict[str, dict[str, Any]]:
    rows = [row for file in files for row in rows_of(file)]
    places = {row["problem"]: place for file in files for place, row in enumerate(rows_of(file))}
    answer_by(with_known_answers({row["problem"]: row["answer"] for row in rows}, places))
    line = ["--benchmarks", *map(str, files), "--num_samples", str(NUM_SAMPLES), "--backend", "transformers"]
    assert main(["eval", "--model", f"known={model}", *line, "--output_dir", str(output_dir)]) == 0
    return json.loads((output_dir / "results.json").read_text())["known"]


def rows_of(file: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]


def check_figures(file: Path, found: dict[str, Any]) -> list[Any]:
    """Compares the figures of a file with what they must be; returns the right answers that were not read."""
    golds = [row["answer"] for row in rows_of(file)]
    expected = expected_of(golds, found["problem_indices"])
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        assert found[name] == pytest.approx(value, abs=1e-12), name
    return [gold for problem, gold in enumerate(golds) if problem not in found["problem_indices"]]


@pytest.mark.skipif(not ("PREFIX_RFT_DATA" in os.environ and FILES), reason="PREFIX_RFT_DATA has no math_benchmarks")
def test_the_usual_benchmarks_report_the_share_that_the_model_knows(tmp_path, text_model, answer_by):
    found = evaluate(FILES, text_model, tmp_path / "eval", answer_by)
    assert list(found) == [file.stem for file in FILES]
    for file in FILES:
        figures, unscored = found[file.stem], check_figures(file, found[file.stem])
        print(f"{file.stem}: avg@4 {figures['mean']['mean']} of {figures['problems']} problems, but for {unscored}")
        assert len(unscored) <= 0.005 * len(rows_of(file))


@pytest.fixture
def of_all_kinds(write_jsonl) -> list[Path]:
    """Golds as text, numbers, lists, and all of these in one file with one that cannot be read."""
    text = ["\\frac{1}{2}", "$x=3$", "(-1, 4]", "Tuesday", "1,234", "0.5"]
    golds = {"text": text, "numbers": [3, 0, -17, 250, 8], "decimals": [142.0, 0.25, -3.5]}
    golds |= {"lists": [["\\frac{1}{3}", "1/3"], ["12"], ["7", "seven"]]}
    golds["mixed"] = ["2\\sqrt{3}", 5, None, ["9", "10"], 2.5, "x^2+1"]
    return [
        write_jsonl(*({"problem": f"What is {name} {row}?", "answer": gold} for row, gold in enumerate(of)), name=name)
        for name, of in golds.items()
    ]


def test_golds_of_all_kinds_report_the_share_that_the_model_knows(tmp_path, text_model, answer_by, of_all_kinds):
    found = evaluate(of_all_kinds, text_model, tmp_path / "eval", answer_by)
    assert list(found) == [file.stem for file in of_all_kinds]
    for file in of_all_kinds:
        assert check_figures(file, found[file.stem]) == ([None] if file.stem == "mixed" else [])


def test_registered_names_are_read_from_the_folder_that_the_environment_names(
    tmp_path, text_model, answer_by, write_jsonl, monkeypatch, capsys
):
    (tmp_path / "math_benchmarks").mkdir()
    for name in ("aime24", "math500"):
        write_jsonl({"problem": "1+1", "answer": "2"}, {"problem": "2+2", "answer": 4}).rename(
            tmp_path / "math_benchmarks" / f"{name}.jsonl"
        )
    monkeypatch.setenv("PREFIX_RFT_DATA", str(tmp_path))
    sampler = answer_by(lambda prompt, sample: ("\\boxed{4}" if sample % 2 else "\\boxed{5}", True))
    line = ["eval", "--model", f"half={text_model}", "--benchmarks", "aime24,math500", "--output_dir", str(tmp_path)]
    assert main(line) == 0
    found = json.loads((tmp_path / "results.json").read_text())["half"]
    # As in the paper: 32 samples for AIME, one for MATH-500
    assert {name: figures["num_samples"] for name, figures in found.items()} == {"aime24": 32, "math500": 1}
    assert found["aime24"]["of_problems"] == [0, 0.5]
    assert found["math500"]["of_problems"] == [0, 0]
    assert sampler.asked == {f"1+1\n{INSTRUCTION}": 33, f"2+2\n{INSTRUCTION}": 33}
    assert "25.0" in capsys.readouterr().out
