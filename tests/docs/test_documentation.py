"""Every command that README, docs and recipes show is run, shortened to a step; so is the code of the README."""

import contextlib
import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

import pytest
from transformers import AutoModelForCausalLM, AutoTokenizer

from prefix_rft_trl import lab
from prefix_rft_trl.cli.eval import EPILOG as EPILOG_OF_EVAL
from prefix_rft_trl.cli.inspect import EPILOG
from prefix_rft_trl.cli.main import COMMANDS, main
from prefix_rft_trl.cli.train import USAGE


ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
# Runs for minutes, and is run by this file of tests instead
RUN_ELSEWHERE = {
    "python -m prefix_rft_trl.lab.pretrain": ROOT / "tests" / "lab" / "test_pretrain.py",
    "python benchmarks/generation_paths.py": ROOT / "tests" / "test_benchmark_scripts.py",
    "python benchmarks/gpu.py": ROOT / "tests" / "test_benchmark_scripts.py",
}

# Whose commands run here; those for large models are held to the end of their lines in tests/recipes
SMALL_RECIPES = ["gsm8k", "lab"]
# Flags under which a benchmark takes seconds
A_STEP = ["--steps", "1", "--rounds", "1"]
SMALLEST = {
    "step_time_and_memory": A_STEP,
    "reward_throughput": ["--number", "64", "--repeats", "1"],
    "expected_cost": [],
    "healthy_run": ["--steps", "1", "--measure_rows", "8", "--runs", "healthy", "starved"],
}


def commands_shown() -> dict[str, str]:
    found = {}
    for page in PAGES:
        for block in re.findall(r"```bash\n(.*?)```", page.read_text(), re.DOTALL):
            for line in filter(None, map(str.strip, block.splitlines())):
                found[line.partition("   #")[0].strip()] = page.name
    for recipe in sorted(path for folder in SMALL_RECIPES for path in (ROOT / "recipes" / folder).glob("*.yaml")):
        for line in re.findall(r"^#   (prefix-rft .*)$", recipe.read_text(), re.MULTILINE):
            found[line] = recipe.name
    for line in re.findall(r"^  (prefix-rft .*)$", USAGE, re.MULTILINE):
        found[line] = "help of train"
    for line in re.findall(r"^  (prefix-rft .*)$", EPILOG, re.MULTILINE):
        found[line.replace("runs/lab-prefix-rft", "lab")] = "help of inspect"
    for line in re.findall(r"^  (prefix-rft eval .*(?:lab|base) .*)$", EPILOG_OF_EVAL, re.MULTILINE):
        found[line] = "help of eval"
    return found


def shortened(command: str) -> tuple[str, ...]:
    """What distinguishes a command once it is short: two that differ in steps or seeds are run once."""
    program, *words = shlex.split(command)
    if words[:1] == ["lab"] or command.startswith("python benchmarks/"):
        return (program, words[0])
    if words[:1] == ["compare"]:
        return (program, *compared(words))
    return (command,)


def compared(words: list[str]) -> list[str]:
    """Two of the recipes of a folder: the whole of it is checked, setting by setting, in tests/comparison."""
    return words[1:3] if words[1].endswith(".yaml") else ["recipes/lab/sft.yaml", "recipes/lab/prefix_rft.yaml"]


def distinct(commands: Iterable[str]) -> list[str]:
    return list({shortened(command): command for command in commands}.values())


def run(*command: str, cwd: Path = ROOT) -> None:
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr


def prefix_rft(*arguments: str, cwd: Path = ROOT) -> None:
    """In this process, which has its imports behind it."""
    with contextlib.chdir(cwd):
        assert main(list(arguments)) == 0


@pytest.fixture(scope="session")
def small_run(tmp_path_factory) -> dict[str, list[str]]:
    """What makes a recipe small: a step of the lab, or of a stand-in for a model and data from the Hub."""
    folder = tmp_path_factory.mktemp("stand_in")
    tokenizer = AutoTokenizer.from_pretrained(lab.base_model_path())
    tokenizer.chat_template = "{% for message in messages %}{{ message['content'] }}={% endfor %}"
    tokenizer.save_pretrained(folder)
    AutoModelForCausalLM.from_pretrained(lab.base_model_path()).save_pretrained(folder)
    rows = folder / "rows.jsonl"
    working = "3+4=7;7*2=4;#### 4"
    as_on_the_hub = {"question": "3+4*2", "answer": working}
    converted = {
        "prompt": [{"role": "user", "content": "3+4*2"}],
        "completion": [{"role": "assistant", "content": working}],
        "solution": "4",
    }
    rows.write_text((json.dumps({**as_on_the_hub, **converted}) + "\n") * 8)
    one_step = ["--max_steps", "1", "--per_device_train_batch_size", "72", "--gradient_accumulation_steps", "1"]
    on_a_cpu = ["--use_cpu", "true", "--bf16", "false", "--dtype", "float32", "--max_completion_length", "40"]
    return {
        "model": [str(folder)],
        "recipes/lab": [*one_step, "--measure_rows", "8"],
        "recipes/gsm8k": [
            *one_step,
            "--per_device_train_batch_size",
            "8",
            *on_a_cpu,
            "--model_name_or_path",
            str(folder),
            "--dataset_name",
            str(rows),
        ],
    }


@pytest.fixture
def stand_ins(tmp_path, small_run) -> dict[str, str]:
    """Files in the place of what the shown commands take from the Hub, by the name that they give it."""
    of_sources = {
        "gsm8k": {"question": "How much is 3+4*2?", "answer": "3+4 = <<3+4=7>>7\n7*2 = <<7*2=14>>14\n#### 14"},
        "openr1-math": {
            "prompt": [{"role": "user", "content": "How much is 3+4*2?"}],
            "target": [{"role": "assistant", "content": "<think>3+4*2</think> It is \\boxed{11}."}],
            "reward_model": {"ground_truth": "11"},
        },
        "benchmark": {"problem": "Another problem", "answer": "1"},
    }
    paths = {name: tmp_path / f"{name}.jsonl" for name in of_sources}
    for name, row in of_sources.items():
        paths[name].write_text(json.dumps(row) + "\n")
    return {**{name: str(path) for name, path in paths.items()}, "model": small_run["model"][0]}


def with_stand_ins(arguments: list[str], stand_ins: dict[str, str]) -> list[str]:
    """The arguments of a shown `prefix-rft data`, followed by those that take its data from files."""
    if arguments[0] in stand_ins:
        with_tokenizer = ["--tokenizer", stand_ins["model"]] if "--tokenizer" in arguments else []
        return [*arguments, "--input", stand_ins[arguments[0]], *with_tokenizer]
    arguments = [str(ROOT / word) if word.startswith("recipes/") else word for word in arguments]
    with_model = (
        ["--tokenizer", stand_ins["model"], "--max_completion_tokens", "64"] if "--recipe" in arguments else []
    )
    return [*arguments, "--benchmarks", stand_ins["benchmark"], *with_model]


def the_labs(evaluated: str) -> str:
    """The lab's model, under the name of a trained one: `GRPO=runs/lab/grpo`, or the path alone."""
    name, _, path = evaluated.rpartition("=")
    return f"{name or Path(path).name}=lab"


def evaluate(arguments: list[str], folder: Path) -> None:
    """A shown `prefix-rft eval` with two samples, of the lab's model in the place of those that were trained."""
    small = ["--num_samples", "2", "--num_problems", "2", "--output_dir", str(folder / "runs" / "eval")]
    if arguments[0] == "--compare":
        named = [f"{Path(evaluated).name}=lab" for evaluated in arguments[1:3]]
        prefix_rft("eval", "--model", *named, "--benchmarks", "lab", *small)
        prefix_rft("eval", *arguments, cwd=folder)
        return
    of_lab = [the_labs(word) if "runs/" in word else word for word in arguments]
    prefix_rft("eval", *of_lab, *small)
    assert (folder / "runs" / "eval" / "pass_at_k.png").is_file()


@pytest.mark.parametrize("command", distinct(commands_shown()))
def test_a_command_that_is_shown_runs(command, small_run, stand_ins, tmp_path):
    program, *arguments = shlex.split(command)
    if program == "make":
        run("make", "--dry-run", *arguments)
    elif program == "prefix-rft" and arguments[0] == "lab":
        prefix_rft(*arguments, "--steps", "10", "--output_dir", str(tmp_path))
    elif program == "prefix-rft" and arguments[0] == "compare":
        small = ["--seeds", "1", *small_run["recipes/lab"], "--output_dir", str(tmp_path)]
        prefix_rft("compare", *compared(arguments), *small)
        assert (tmp_path / "report.html").is_file()
    elif program == "prefix-rft" and arguments[0] == "eval":
        evaluate(arguments[1:], tmp_path)
    elif program == "prefix-rft" and arguments[0] == "inspect":
        prefix_rft(*arguments, "--output", str(tmp_path / "page.html"))
        assert (tmp_path / "page.html").is_file()
    elif program == "prefix-rft" and arguments[0] == "recipes":
        of_stand_in = ["--model_name_or_path", "lab", "--model_changes", "{}"] if arguments[1:2] == ["model"] else []
        prefix_rft(*arguments, *of_stand_in, cwd=tmp_path)
    elif program == "prefix-rft" and arguments[0] == "data":
        if arguments[1] == "check":  # of what the command above it wrote
            made = with_stand_ins(["gsm8k", "--output", "data/gsm8k.parquet"], stand_ins)
            prefix_rft("data", *made, cwd=tmp_path)
        prefix_rft("data", *with_stand_ins(arguments[1:], stand_ins), cwd=tmp_path)
    elif program == "prefix-rft":
        recipe = arguments[arguments.index("--config") + 1]
        small = small_run[str(Path(recipe).parent)]
        prefix_rft(*arguments, *small, "--output_dir", str(tmp_path))
    elif program.endswith("pytest"):
        run(sys.executable, "-m", "pytest", *arguments)
    elif command.startswith("python benchmarks/") and Path(arguments[0]).stem in SMALLEST:
        arguments[0] = str(ROOT / arguments[0])
        run(sys.executable, *arguments, *SMALLEST[Path(arguments[0]).stem], cwd=tmp_path)
    else:
        elsewhere = next(tests for start, tests in RUN_ELSEWHERE.items() if command.startswith(start))
        assert elsewhere.is_file()


@pytest.mark.parametrize("page", ["README.md", "docs/quickstart.md", "docs/rewards.md", "docs/evaluation.md"])
def test_the_code_of_a_page_runs(page, tmp_path, monkeypatch):
    code = re.findall(r"```python\n(.*?)```", (ROOT / page).read_text(), re.DOTALL)
    monkeypatch.chdir(tmp_path)
    for block in code:
        exec(block.replace("max_steps=10", "max_steps=1"), {})


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_to_a_file_leads_somewhere(page):
    for target in re.findall(r"\]\((?!https?://)([^)#]+)", page.read_text()):
        assert (page.parent / target).exists(), target


def test_the_readme_names_every_command():
    shown = " ".join(commands_shown())
    assert all(f"prefix-rft {command}" in shown for command in COMMANDS)


def test_make_installs_what_the_test_command_needs():
    recipe = subprocess.run(
        ["make", "--dry-run", "--always-make", "test"], cwd=ROOT, capture_output=True, text=True, check=True,
        env={**os.environ, "MAKEFLAGS": ""},
    ).stdout  # fmt: skip
    order = [recipe.index(word) for word in ("-m venv", 'install --constraint constraints.txt --editable ".[dev]"')]
    assert order == sorted(order)
    assert recipe.rindex("pytest") > order[-1]
