"""A model is evaluated with the prompts that it was trained with, whatever recipe and data it was trained by."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml
from transformers import AutoTokenizer

from prefix_rft_trl.cli.launch.trainers import _with_prompts, splits_of
from prefix_rft_trl.cli.main import main
from prefix_rft_trl.evaluation.eval_benchmarks import find_benchmarks
from prefix_rft_trl.evaluation.sampling import EvalOverrides
from prefix_rft_trl.run.settings import RunSettings, settings_of_run
from prefix_rft_trl.sampling.generate import encode_prompts
from prefix_rft_trl.utils.recipe_files import recipe_names


REPOSITORY = Path(__file__).parents[2]
PROBLEMS = {"What is 3 plus 4?": 7, "Let x = 2.\nWhat is 3x?": 6, "Name the first prime.": 2}
DEFAULTS = {
    "dataset_name": None, "dataset_config": None, "dataset_streaming": False, "dataset_train_split": "train",
    "prompt_column": "prompt", "instruction": None, "conversational": False, "reasoning_gym": None,
    "lab_level": "easy", "lab_style": "worked", "lab_corrupted_share": 0.0, "lab_demonstrated_share": 1.0,
    "reward_funcs": None, "reward_kwargs": None, "measure_steps": 0, "measure_max_new_tokens": 512,
}  # fmt: skip


def raw_row(problem: str, answer: int) -> dict[str, Any]:
    """A problem as GSM8K and as OpenR1-Math has it."""
    messages = [{"role": "system", "content": "Of the source."}, {"role": "user", "content": problem}]
    solved = [{"role": "assistant", "content": f"It is \\boxed{{{answer}}}."}]
    return {
        "question": problem, "answer": f"It is so.\n#### {answer}",
        "prompt": messages, "target": solved, "reward_model": {"ground_truth": str(answer)},
    }  # fmt: skip


@pytest.fixture
def raw(tmp_path, monkeypatch) -> Path:
    """The problems as sources have them, and as the benchmark math500, in the folder where commands are run."""
    (tmp_path / "math_benchmarks").mkdir()
    rows = [{"problem": problem, "answer": str(answer)} for problem, answer in PROBLEMS.items()]
    files = {"math_benchmarks/math500.jsonl": rows, "raw.jsonl": [raw_row(*item) for item in PROBLEMS.items()]}
    for name, content in files.items():
        (tmp_path / name).write_text("".join(json.dumps(row) + "\n" for row in content))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PREFIX_RFT_DATA", str(tmp_path))
    return tmp_path / "raw.jsonl"


@pytest.fixture
def asked(tmp_path, text_model) -> Callable[..., tuple[list, list, list]]:
    """Token ids of the problems in training, in an evaluation of the run, and in one of the model before it."""

    def ask(settings: dict[str, Any], benchmark: str, split: str = "train") -> tuple[list, list, list]:
        template = settings.get("model_changes", {}).get("chat_template", "recipes/templates/chatml.jinja")
        tokenizer = AutoTokenizer.from_pretrained(text_model)
        tokenizer.chat_template = None if benchmark == "lab" else (REPOSITORY / template).read_text()
        script_args = SimpleNamespace(**{**DEFAULTS, **settings, "test_share": 0, "dataset_test_file": None})
        training_args = SimpleNamespace(chat_template_kwargs=settings.get("chat_template_kwargs"))
        splits = splits_of(script_args)
        prompts = list(_with_prompts(splits, script_args.dataset_train_split, script_args)["prompt"])
        RunSettings.from_recipe(script_args, training_args, prompts).write(tmp_path / "run")
        trained = list(_with_prompts(splits, split, script_args)["prompt"])
        in_training = encode_prompts(tokenizer, trained, training_args.chat_template_kwargs)
        runs = (settings_of_run(str(tmp_path / "run")), RunSettings(lab_level=script_args.lab_level))
        found = [find_benchmarks(benchmark, EvalOverrides(), run, tokenizer)[0].prompt_ids for run in runs]
        return in_training, *found

    return ask


def with_base(file: Path) -> dict[str, Any]:
    recipe = yaml.safe_load(file.read_text())
    base = recipe.pop("base", None)
    return {**with_base(file.parent / base), **recipe} if base else recipe


def stages(name: str) -> list[dict[str, Any]]:
    recipe = with_base(REPOSITORY / "recipes" / f"{name}.yaml")
    return [{**recipe, **stage} for stage in recipe.get("stages", {"": {}}).values()]


def calls_tools(name: str) -> bool:
    """Whether an evaluation refuses the model of a recipe."""
    return any("tools" in settings for settings in stages(name))


@pytest.mark.parametrize("name", [name for name in recipe_names() if not calls_tools(name)])
def test_a_recipe_is_evaluated_with_its_training_prompts(raw, asked, name):
    for settings in stages(name):
        if settings["dataset_name"] == "lab":
            training, evaluation, before = asked(settings, "lab", "test")
        elif settings["dataset_name"].endswith(".parquet"):
            text = (REPOSITORY / "recipes" / f"{name}.yaml").read_text()
            source, output = re.search(r"prefix-rft data (\S+) --output (\S+)", text).groups()
            assert main(["data", source, "--input", str(raw), "--output", output, "--overwrite"]) == 0
            assert output == settings["dataset_name"]
            training, evaluation, before = asked(settings, "math500")
        else:
            training, evaluation, _ = asked(settings | {"dataset_name": str(raw), "dataset_config": None}, "math500")
            before = training  # its instruction is the recipe's own
        assert training == evaluation
        assert training == before, "the base model is asked otherwise than the model trained from it"


INSTRUCTIONS = [
    ["--system_prompt", "Think.\nThen answer."],
    ["--instruction", "Reason.\n\nBox it."],
    ["--instruction", ""],
    ["--keep_mark", "--system_prompt", "Be brief."],
]
AFTER_THAT_OF_THE_DATA = {"instruction": "Be sure.", "conversational": True}


@pytest.mark.parametrize(
    ("flags", "settings"),
    [
        *((flags, {}) for flags in INSTRUCTIONS),
        *(([*flags, "--plain_text"], {}) for flags in INSTRUCTIONS),
        (["--plain_text"], AFTER_THAT_OF_THE_DATA),
    ],
)
def test_instructions_inside_the_data_are_those_of_the_evaluation(raw, asked, flags, settings):
    assert main(["data", "gsm8k", "--input", str(raw), "--output", "data/made.parquet", *flags]) == 0
    for benchmark in ("math500", "data/made.parquet"):  # as a benchmark itself the data has them already
        training, evaluation, _ = asked({"dataset_name": "data/made.parquet", **settings}, benchmark)
        assert training == evaluation
