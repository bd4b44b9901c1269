"""`prefix-rft compare` on each folder of recipes: its checks pass, with stand-ins for what comes from the Hub."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from prefix_rft_trl.cli import compare
from prefix_rft_trl.cli.launch.inheritance import read_with_bases
from prefix_rft_trl.cli.main import main
from prefix_rft_trl.comparison.spec import SPECIFICATION
from prefix_rft_trl.utils.errors import UserError
from prefix_rft_trl.utils.recipe_files import FOLDER, recipe_names


FOLDERS = sorted({name.split("/")[0] for name in recipe_names()})
ON_A_CPU = {
    "use_cpu": True,
    "bf16": False,
    "dtype": "float32",
    "gradient_accumulation_steps": 1,
}


@pytest.fixture(scope="session")
def gsm8k(tmp_path_factory: pytest.TempPathFactory, byte_tokenizer: Any, save_tiny_model: Any) -> dict[str, str]:
    """A folder with files of problems as GSM8K has them, and a model."""
    folder = tmp_path_factory.mktemp("gsm8k")
    for split, numbers in (("train", range(16)), ("test", range(16, 20))):
        rows = [{"question": f"{number}+1?", "answer": f"One more.\n#### {number + 1}"} for number in numbers]
        (folder / f"{split}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    tokenizer = byte_tokenizer(special_tokens=["<end>"], pad_token="<end>", eos_token="<end>")
    tokenizer.chat_template = "{% for message in messages %}{{ message['content'] }}\n{% endfor %}"
    return {"dataset_name": str(folder), "model_name_or_path": str(save_tiny_model(tokenizer, "chat_model"))}


@pytest.fixture
def with_stand_ins(stand_ins, problems, gsm8k, tmp_path) -> Callable[[str], Path]:
    """Copies a folder of recipes, for the CPU and with stand-ins for model and data."""

    def change(settings: dict[str, Any], folder: str) -> dict[str, Any]:
        model = settings.get("model_name_or_path")
        own = gsm8k if folder == "gsm8k" else {"dataset_name": problems, "model_name_or_path": str(stand_ins[model])}
        if "demonstration_dataset_name" in settings:
            own["demonstration_dataset_name"] = problems
        every = [settings, *settings.get("stages", {}).values()]
        for stage in every:
            if "use_vllm" in stage:
                stage["use_vllm"] = False
            if "max_steps" in stage:
                stage["max_steps"] = 2
        rows = {"per_device_train_batch_size": settings.get("num_generations", 8)}
        return {**settings, **own, **ON_A_CPU, **rows}

    def copy(folder: str) -> Path:
        copied = tmp_path / folder
        copied.mkdir()
        for file in (FOLDER / folder).glob("*.yaml"):
            is_recipe = file.name != SPECIFICATION
            contents = dict(read_with_bases(file)[0]) if is_recipe else yaml.safe_load(file.read_text())
            if is_recipe and contents["model_name_or_path"] != "lab":
                contents = change(contents, folder)
            if "map" in contents:  # of its planes, all alike, one
                contents["map"]["planes"] = contents["map"]["planes"][-1:]
                contents["map"]["claims"] = []
            (copied / file.name).write_text(yaml.safe_dump(contents, sort_keys=False))
        return copied

    return copy


@pytest.mark.parametrize("folder", FOLDERS)
def test_the_checks_of_a_comparison_pass(folder, with_stand_ins, tiny_smollm2, tmp_path, monkeypatch, capsys):
    seen: list[Any] = []

    def stop(jobs: list[Any], *others: Any, **options: Any) -> None:
        seen.extend(jobs)
        raise UserError("The checks have passed.")

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(compare, "run_jobs", stop)
    monkeypatch.setattr(compare, "call_in_process", lambda function, *given: compare.find_measured_problems(*given))
    recipes = with_stand_ins(folder)
    assert main(["compare", str(recipes), "--seeds", "1", "--output_dir", str(tmp_path / "runs")]) == 2
    assert "The checks have passed." in (said := capsys.readouterr().err), said
    known = {name.split("/")[1] for name in recipe_names() if name.startswith(f"{folder}/")}
    assert {job.trial.path.stem for job in seen} == known - {"boxed"}


def test_the_recipes_of_gsm8k_train_and_are_compared(gsm8k, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    small = {**ON_A_CPU, "per_device_train_batch_size": 8, "num_generations": 4, "max_steps": 1}
    small |= {"max_completion_length": 24, "measure_max_new_tokens": 8, "save_strategy": "no", **gsm8k}
    flags = [word for name, value in small.items() for word in (f"--{name}", json.dumps(value).strip('"'))]
    assert main(["compare", "recipes/gsm8k", "--seeds", "1", "--output_dir", "runs", *flags]) == 0
    rows = json.loads(Path("runs/results.json").read_text())["tables"][0]["rows"]
    assert [row["label"] for row in rows] == ["SFT", "RFT (Dr. GRPO)", "Prefix-RFT"]
    for row in rows:
        (run,) = row["experiments"][0]["runs"]
        assert [line["step"] for line in run["curve"]] == [0, 1]
