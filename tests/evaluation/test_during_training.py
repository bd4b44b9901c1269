"""`eval_strategy: steps` with benchmarks: the scores of a checkpoint, by the code of `prefix-rft eval`."""

import json
import math
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml

from prefix_rft_trl.cli.main import main
from prefix_rft_trl.evaluation import during_training
from prefix_rft_trl.evaluation.during_training import TrainingVLLMSampler
from prefix_rft_trl.evaluation.samples import Sample
from prefix_rft_trl.evaluation.sampling import Sampling
from prefix_rft_trl.evaluation.scores import compute_scores
from prefix_rft_trl.run.settings import RUN_SETTINGS, settings_of_run


LAB = Path(__file__).parents[2] / "recipes" / "lab"
SMALL = [
    "--max_steps", "4", "--measure_steps", "0", "--per_device_train_batch_size", "16",
    "--learning_rate", "2e-3", "--report_to", "none", "--logging_steps", "2",
]  # fmt: skip
BENCHMARK = ["--eval_benchmarks", "lab", "--eval_num_samples", "3", "--eval_num_problems", "20"]
EVERY_2 = ["--eval_strategy", "steps", "--eval_steps", "2", "--save_strategy", "steps", "--save_steps", "2"]
FIGURES = ("avg", "pass", "majority", "answered", "truncated", "tokens")


def train(recipe: Path, folder: Path, *arguments: object) -> int:
    return main(["train", "--config", str(recipe), *SMALL, "--output_dir", str(folder), *map(str, arguments)])


def evaluated(folder: Path, samples: int, problems: int, *models: Path) -> list[dict[str, Any]]:
    """The scores of models on the lab, by `prefix-rft eval`."""
    asked = ["--benchmarks", "lab", "--num_samples", str(samples), "--num_problems", str(problems)]
    assert main(["eval", "--model", *map(str, models), *asked, "--output_dir", str(folder)]) == 0
    results = json.loads((folder / "results.json").read_text())
    return [results[model.name]["lab"] for model in models]


def logged(checkpoint: Path) -> list[dict[str, Any]]:
    history = json.loads((checkpoint / "trainer_state.json").read_text())["log_history"]
    return [line for line in history if "eval_lab/avg" in line]


@pytest.mark.parametrize("recipe", ["prefix_rft", "sft"])
def test_an_evaluation_of_training_is_that_of_its_checkpoint(tmp_path, recipe):
    model = tmp_path / "model"
    best = ["--load_best_model_at_end", "true", "--metric_for_best_model", "eval_lab/avg"]
    assert train(LAB / f"{recipe}.yaml", model, *BENCHMARK, *EVERY_2, *best) == 0
    lines = logged(model)
    assert [line["step"] for line in lines] == [2, 4]

    checkpoints = [model / "checkpoint-2", model / "checkpoint-4"]
    found = evaluated(tmp_path / "eval", 3, 20, *checkpoints)
    assert found[0] != found[1], "the model has changed in between"
    for line, figures in zip(lines, found, strict=True):
        of_checkpoint = (
            figures["mean"]["mean"], figures["pass_at_k"][2], figures["majority"], figures["answered"],
            figures["truncated"], figures["mean_tokens"],
        )  # fmt: skip
        assert tuple(line[f"eval_lab/{name}"] for name in FIGURES) == of_checkpoint


def test_two_processes_share_the_samples_and_log_the_figures_of_one(tmp_path):
    two_cpus = {
        "compute_environment": "LOCAL_MACHINE", "num_machines": 1, "machine_rank": 0, "distributed_type": "MULTI_GPU",
        "use_cpu": True, "mixed_precision": "no",
    }  # fmt: skip
    (tmp_path / "two_cpus.yaml").write_text(yaml.safe_dump(two_cpus))
    launched = ["--accelerate_config", tmp_path / "two_cpus.yaml", "--num_processes", "2", "--main_process_port", "0"]
    many = ["--eval_benchmarks", "lab", "--eval_num_samples", "20", "--eval_num_problems", "30"]  # 3 chunks
    line = ["train", "--config", LAB / "prefix_rft.yaml", *SMALL, "--max_steps", "2", *many, *EVERY_2, *launched]
    command = [sys.executable, "-m", "prefix_rft_trl.cli.main", *map(str, line), "--output_dir", tmp_path / "model"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=200, cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    checkpoint = tmp_path / "model" / "checkpoint-2"
    assert (checkpoint / "place_in_run_1.pt").is_file(), "two processes have trained"
    (figures,) = evaluated(tmp_path / "eval", 20, 30, checkpoint)
    (line,) = logged(checkpoint)
    assert line["eval_lab/avg"] == figures["mean"]["mean"]
    assert line["eval_lab/pass"] == figures["pass_at_k"][-1]


@pytest.mark.parametrize(
    ("flags", "parts"),
    [
        (BENCHMARK, ["`eval_benchmarks` are asked by `eval_strategy: steps`"]),
        (["--eval_benchmarks", "aime", "--eval_strategy", "steps"], ["There is no benchmark 'aime'", "aime24"]),
    ],
)
def test_a_wrong_setting_is_an_error_before_training(tmp_path, capsys, flags, parts):
    assert train(LAB / "prefix_rft.yaml", tmp_path, *flags) == 2
    said = capsys.readouterr().err
    assert all(part in said for part in parts), said


def test_a_run_records_how_it_asks(tmp_path):
    recipe = {
        **yaml.safe_load((LAB / "prefix_rft.yaml").read_text()),
        "reward_funcs": ["math_accuracy_reward", "lab_exact_answer"],
        "instruction": "Work it out:",
        "max_completion_length": 48,
        "max_steps": 1,
    }
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    assert train(tmp_path / "recipe.yaml", tmp_path / "model", "--max_steps", "1") == 0
    assert (tmp_path / "model" / RUN_SETTINGS).is_file()
    (tmp_path / "model" / "checkpoint-1").mkdir(exist_ok=True)
    run = settings_of_run(str(tmp_path / "model" / "checkpoint-1"))
    assert (run.instruction, run.conversational, run.reward) == ("Work it out:", False, "math_accuracy_reward")
    assert (run.max_new_tokens, run.lab_level) == (48, "hard")


def test_a_score_that_is_unknown_is_not_logged_and_makes_no_best_model(monkeypatch):
    samples = [Sample(0, 0, "9", None, None, 3, False)]
    scores = {"mine": compute_scores(samples, lambda completions: [])}
    monkeypatch.setattr(during_training, "measure", lambda *given: scores)
    logged: dict[str, float] = {}
    metrics: dict[str, float] = {}
    trainer = SimpleNamespace(log=logged.update, processing_class=None)
    during_training.BenchmarkCallback(trainer, []).on_evaluate(None, None, None, metrics)
    assert logged.keys() == {"eval_mine/truncated", "eval_mine/tokens", "eval_benchmark_seconds"}
    assert math.isnan(metrics["eval_mine/avg"])
    assert not metrics["eval_mine/avg"] > -math.inf


class Generation:
    """Stands in for TRL's `VLLMGeneration` on one process."""

    mode, tensor_parallel_size = "colocate", 1
    temperature, top_p, top_k, min_p, repetition_penalty, max_completion_length = 0.7, 0.8, 20, 0.1, 1.2, 99
    generation_kwargs = {"stop": ["#"]}

    def __init__(self) -> None:
        self.llm = SimpleNamespace(generate=self.decode)
        self.events: list[Any] = []

    def sync_weights(self) -> None:
        self.events.append("weights")

    def generate(self, prompts: list[list[int]], images: None, num_generations: int) -> tuple:
        params = SimpleNamespace(seed=None, max_tokens=self.max_completion_length, temperature=self.temperature)
        self.events.append((self.top_p, self.top_k, self.min_p, self.repetition_penalty, self.generation_kwargs))
        return prompts, self.llm.generate(prompts, sampling_params=params), None, None

    def decode(self, prompts: list[list[int]], sampling_params: Any) -> list[list[int]]:
        return [[params.seed, params.max_tokens, params.temperature] for params in sampling_params]


def test_the_vllm_engine_of_training_has_its_own_settings_back_after_an_evaluation():
    generation = Generation()
    trainer = SimpleNamespace(vllm_generation=generation, state=SimpleNamespace(global_step=5), _last_loaded_step=4)
    sampler, sampling = TrainingVLLMSampler(trainer), Sampling(temperature=0.5, top_p=0.9, max_new_tokens=7)
    assert sampler([[1], [1], [2]], sampling, [10, 11, 12]) == [[10, 7, 0.5], [11, 7, 0.5], [12, 7, 0.5]]
    assert generation.events == ["weights", (0.9, 0, None, 1.0, {})]
    sampler([[1]], sampling, [10])
    assert generation.events.count("weights") == 1, "the engine has those of this step"
    assert generation.temperature == 0.7
    assert generation.generation_kwargs == {"stop": ["#"]}
    assert generation.llm.generate == generation.decode
