"""Every command that README, docs, recipes and help texts show: run, shortened to a step, or parsed where it is large.

`bash` blocks are run. `shell` and `text` blocks, for GPUs, the Hub or a reader's own data, are parsed to their ends;
those of docs/scaling.md in test_scaling_recipes.py, those of the large recipes in tests/recipes.
"""

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
from prefix_rft_trl.cli import advise, data, data_check, data_sample, eval
from prefix_rft_trl.cli.eval import EPILOG as EPILOG_OF_EVAL
from prefix_rft_trl.cli.inspect import EPILOG
from prefix_rft_trl.cli.launch.arguments import split_launcher_flags
from prefix_rft_trl.cli.launch.recipe import Recipe
from prefix_rft_trl.cli.main import COMMANDS, main
from prefix_rft_trl.cli.train import USAGE


ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
PAGES += sorted((ROOT / "docs" / "methods").glob("*.md"))
README_HEADINGS = """Install, Quickstart, Your own data, Which method?, Use it in your script,
    Agents and images, Train from a recipe,
Data and rewards, Scale, Evaluate, Compare, Limitations"""
SMALL_RECIPES = ["gsm8k", "lab", "lab-agent", "quickstart"]
# Commands that take minutes or follow each other, and the test file that runs them instead
OWN_DATA = ROOT / "tests" / "docs" / "test_your_data.py"
RUN_ELSEWHERE = {
    "prefix-rft init my.jsonl": OWN_DATA,
    "prefix-rft data check --recipe my/": OWN_DATA,
    "prefix-rft compare my": OWN_DATA,
    "prefix-rft train --config agent.yaml": ROOT / "tests" / "docs" / "test_agents_page.py",
    "prefix-rft data check trajectories.jsonl": ROOT / "tests" / "docs" / "test_agents_page.py",
    "prefix-rft train --config my/": OWN_DATA,
    "prefix-rft lab --real": ROOT / "tests" / "cli" / "test_real_lab.py",
    "prefix-rft compare recipes/smollm2": ROOT / "tests" / "recipes" / "test_real_model_recipes.py",
    "python -m prefix_rft_trl.lab.pretrain": ROOT / "tests" / "lab" / "test_pretrain.py",
    "python benchmarks/compute.py": ROOT / "tests" / "test_benchmark_scripts.py",
    "python benchmarks/generation_paths.py": ROOT / "tests" / "test_benchmark_scripts.py",
    "python benchmarks/gpu.py": ROOT / "tests" / "test_benchmark_scripts.py",
    "python benchmarks/step_shares.py": ROOT / "tests" / "test_benchmark_scripts.py",
    "python benchmarks/packing.py": ROOT / "tests" / "passes" / "test_packing.py",
}
# Flags under which a benchmark takes seconds
A_STEP = ["--steps", "1", "--rounds", "1"]
BENCHMARK_FLAGS = {
    "step_time_and_memory": A_STEP,
    "reward_throughput": ["--number", "64", "--repeats", "1"],
    "expected_cost": [],
    "falls_back": ["--steps", "1", "--runs", "base", "half", "--measure_rows", "8"],
    "healthy_run": ["--steps", "1", "--measure_rows", "8", "--runs", "healthy", "starved"],
}


def lines_of_blocks(page: Path, languages: str) -> list[str]:
    blocks = re.findall(rf"```(?:{languages})\n(.*?)```", page.read_text(), re.DOTALL)
    lines = [line.strip() for block in blocks for line in re.sub(r"\\\n\s*", "", block).splitlines()]
    return [line for line in lines if line]


def commands_to_run() -> list[str]:
    found = [line.partition("   #")[0].strip() for page in PAGES for line in lines_of_blocks(page, "bash")]
    for recipe in sorted(path for folder in SMALL_RECIPES for path in (ROOT / "recipes" / folder).glob("*.yaml")):
        found += re.findall(r"^#   (prefix-rft .*)$", recipe.read_text(), re.MULTILINE)
    found += re.findall(r"^  (prefix-rft .*)$", USAGE, re.MULTILINE)
    found += [
        line.replace("runs/lab-prefix-rft", "lab") for line in re.findall(r"^  (prefix-rft .*)$", EPILOG, re.MULTILINE)
    ]
    found += re.findall(r"^  (prefix-rft eval .*(?:lab|base) .*)$", EPILOG_OF_EVAL, re.MULTILINE)
    return found


def commands_to_parse() -> list[str]:
    pages = [page for page in PAGES if page.name != "scaling.md"]
    lines = [line for page in pages for line in lines_of_blocks(page, "shell|text")]
    return [line for line in lines if line.startswith(("prefix-rft ", "sbatch ", "accelerate "))]


def distinct(commands: Iterable[str]) -> list[str]:
    """Commands that differ in steps or seeds only are run once."""

    def shortened(command: str) -> tuple[str, ...]:
        program, *words = shlex.split(command)
        if command.startswith(tuple(RUN_ELSEWHERE)):
            return (command,)
        if words[:1] == ["lab"] or command.startswith("python benchmarks/"):
            return (program, words[0])
        return (program, *compared(words)) if words[:1] == ["compare"] else (command,)

    return list({shortened(command): command for command in commands}.values())


def compared(words: list[str]) -> list[str]:
    """Two recipes stand in for a folder, whose settings are all checked in tests/recipes/test_compared_folders.py."""
    first = "grpo" if words[1] == "recipes/quickstart" else "sft"
    return words[1:3] if words[1].endswith(".yaml") else [f"recipes/lab/{first}.yaml", "recipes/lab/prefix_rft.yaml"]


def run(*command: str, cwd: Path = ROOT) -> None:
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr


def prefix_rft(*arguments: str, cwd: Path = ROOT) -> None:
    """In this process, which has its imports behind it."""
    with contextlib.chdir(cwd):
        assert main(list(arguments)) == 0


@pytest.fixture(scope="session")
def small_run(tmp_path_factory) -> dict[str, list[str]]:
    """Flags that make a recipe small: a step of the lab, or with stand-ins for model and data from the Hub."""
    folder = tmp_path_factory.mktemp("stand_in")
    tokenizer = AutoTokenizer.from_pretrained(lab.base_model_path())
    tokenizer.chat_template = "{% for message in messages %}{{ message['content'] }}={% endfor %}"
    tokenizer.save_pretrained(folder)
    AutoModelForCausalLM.from_pretrained(lab.base_model_path()).save_pretrained(folder)
    working = "3+4=7;7*2=4;#### 4"
    published = {"question": "3+4*2", "answer": working}
    converted = {
        "prompt": [{"role": "user", "content": "3+4*2"}],
        "completion": [{"role": "assistant", "content": working}],
        "solution": "4",
    }
    data = folder / "data"
    data.mkdir()
    (data / "train.jsonl").write_text((json.dumps({**published, **converted}) + "\n") * 8)
    held_out = {"question": "2+4*2", "answer": "#### 2", "prompt": [{"role": "user", "content": "2+4*2"}]}
    (data / "test.jsonl").write_text(json.dumps({**held_out, "solution": "2"}) + "\n")
    one_step = ["--max_steps", "1", "--per_device_train_batch_size", "72", "--gradient_accumulation_steps", "1"]
    cpu = "--per_device_train_batch_size 8 --use_cpu true --bf16 false --dtype float32 --measure_max_new_tokens 40"
    files = ["--dataset_name", str(data), "--dataset_test_file", str(data / "test.jsonl")]
    stand_ins = ["--model_name_or_path", str(folder), *files]
    return {
        "model": [str(folder)],
        "recipes/lab": [*one_step, "--measure_rows", "8"],
        "recipes/lab-agent": [*one_step, "--measure_rows", "8"],
        "recipes/quickstart": [*one_step, "--measure_rows", "8"],
        "recipes/gsm8k": [*one_step, *cpu.split(), *stand_ins],
    }


@pytest.fixture
def stand_ins(tmp_path, small_run) -> dict[str, str]:
    """Files in place of what the commands read from the Hub, by its name."""
    rows = {
        "gsm8k": {"question": "How much is 3+4*2?", "answer": "3+4 = <<3+4=7>>7\n7*2 = <<7*2=14>>14\n#### 14"},
        "openr1-math": {
            "prompt": [{"role": "user", "content": "How much is 3+4*2?"}],
            "target": [{"role": "assistant", "content": "<think>3+4*2</think> It is \\boxed{11}."}],
            "reward_model": {"ground_truth": "11"},
        },
        "benchmark": {"problem": "Another problem", "answer": "1"},
    }
    paths = {name: tmp_path / f"{name}.jsonl" for name in rows}
    for name, row in rows.items():
        lines = (json.dumps(row).replace("How much is", f"{number}. How much is") for number in range(32))
        paths[name].write_text("".join(f"{line}\n" for line in lines))  # as many rows as a step takes
    return {**{name: str(path) for name, path in paths.items()}, "model": small_run["model"][0]}


def with_stand_ins(arguments: list[str], stand_ins: dict[str, str]) -> list[str]:
    """The arguments of `prefix-rft data`, followed by those that read its data from files."""
    if arguments[0] in stand_ins:
        tokenizer = ["--tokenizer", stand_ins["model"]] if "--tokenizer" in arguments else []
        return [*arguments, "--input", stand_ins[arguments[0]], "--split", "train", *tokenizer]
    model = ["--tokenizer", stand_ins["model"], "--max_completion_tokens", "64"] if "--recipe" in arguments else []
    arguments = [str(ROOT / word) if word.startswith("recipes/") else word for word in arguments]
    return [*arguments, "--benchmarks", stand_ins["benchmark"], *model]


def evaluate(arguments: list[str], folder: Path) -> None:
    """Runs `prefix-rft eval` with two samples, of the lab's model in place of the trained ones."""

    def lab_model(model: str) -> str:
        name, _, path = model.rpartition("=")
        return f"{name or Path(path).name}=lab"

    small = ["--num_samples", "2", "--num_problems", "2", "--output_dir", str(folder / "runs" / "eval")]
    if arguments[0] == "--compare":
        prefix_rft("eval", "--model", *map(lab_model, arguments[1:3]), "--benchmarks", "lab", *small)
        prefix_rft("eval", *arguments, cwd=folder)
        return
    prefix_rft("eval", *(lab_model(word) if "runs/" in word else word for word in arguments), *small)
    assert (folder / "runs" / "eval" / "pass_at_k.png").is_file()


@pytest.mark.parametrize("command", distinct(commands_to_run()))
def test_a_shown_command_runs(command, small_run, stand_ins, tmp_path):
    program, *arguments = shlex.split(command)
    subcommand = arguments[0] if program == "prefix-rft" else None
    if elsewhere := [tests for start, tests in RUN_ELSEWHERE.items() if command.startswith(start)]:
        assert elsewhere[0].is_file()
    elif program == "make":
        run("make", "--dry-run", *arguments)
    elif subcommand == "lab":
        prefix_rft(*arguments, "--steps", "10", "--output_dir", str(tmp_path))
    elif subcommand == "compare":
        small = ["--seeds", "1", *small_run["recipes/lab"], "--output_dir", str(tmp_path)]
        prefix_rft("compare", *compared(arguments), *small)
        assert (tmp_path / "report.html").is_file()
    elif subcommand == "eval":
        evaluate(arguments[1:], tmp_path)
    elif subcommand == "inspect":
        prefix_rft(*arguments, "--output", str(tmp_path / "page.html"))
        assert (tmp_path / "page.html").is_file()
    elif subcommand == "advise":
        prefix_rft(*arguments, "--num_problems", "2", "--num_samples", "2", cwd=tmp_path)
        assert list(tmp_path.glob("runs/advise-*/advice.html"))
    elif subcommand == "completion":
        prefix_rft(*arguments)
    elif subcommand == "recipes":
        stand_in = ["--model_name_or_path", "lab", "--model_changes", "{}"] if arguments[1:2] == ["model"] else []
        prefix_rft(*arguments, *stand_in, cwd=tmp_path)
    elif subcommand == "data" and arguments[1] == "sample":
        prefix_rft(*arguments, "--num_problems", "8", cwd=tmp_path)
    elif subcommand == "data":
        if arguments[1] == "check":  # the outputs of the commands above it
            for output in ("data/gsm8k.parquet", "data/gsm8k-test.parquet"):
                prefix_rft("data", *with_stand_ins(["gsm8k", "--output", output], stand_ins), cwd=tmp_path)
        prefix_rft("data", *with_stand_ins(arguments[1:], stand_ins), cwd=tmp_path)
    elif subcommand:
        recipe = Path(arguments[arguments.index("--config") + 1])
        budget = ["--max_length" if recipe.stem == "sft" else "--max_completion_length", "40"]
        small = [*small_run[str(recipe.parent)], *(budget if recipe.parent.name == "gsm8k" else [])]
        prefix_rft(*arguments, *small, "--output_dir", str(tmp_path))
    elif program.endswith("pytest"):
        run(sys.executable, "-m", "pytest", *arguments)
    else:
        assert command.startswith("python benchmarks/")
        script = str(ROOT / arguments[0])
        run(sys.executable, script, *arguments[1:], *BENCHMARK_FLAGS[Path(script).stem], cwd=tmp_path)


@pytest.mark.parametrize("command", dict.fromkeys(commands_to_parse()))
def test_a_shown_command_that_is_too_large_to_run_parses(command, monkeypatch):
    monkeypatch.chdir(ROOT)
    program, subcommand, *words = shlex.split(command, comments=True)
    assert program == "prefix-rft", "no test parses this program"
    if subcommand == "eval":
        assert eval._parser().parse_args(words).model
    elif subcommand == "advise":
        assert advise._parser().parse_known_args(words)[0].config
    elif subcommand == "data" and words[0] == "check":
        data_check._parser().parse_args(words[1:])
    elif subcommand == "data" and words[0] == "sample":
        data_sample._parser().parse_args(words[1:])
    elif subcommand == "data":
        data.make_parser().parse_args(words)
    elif subcommand == "compare":  # its checks: tests/recipes/test_compared_folders.py
        assert (ROOT / words[0] / "comparison.yaml").is_file()
    else:
        assert subcommand == "train"
        split_launcher_flags(Recipe.read(words))


def test_the_shown_commands_are_found():
    shown = " ".join(commands_to_run())
    assert all(f"prefix-rft {command}" in shown for command in COMMANDS)
    assert len(commands_to_parse()) >= 4


@pytest.mark.parametrize(
    "page", ["README.md", *(f"docs/{name}.md" for name in ("quickstart", "rewards", "evaluation", "migrating"))]
)
def test_the_python_code_of_a_page_runs(page, tmp_path, monkeypatch):
    code = re.findall(r"```python\n(.*?)```", (ROOT / page).read_text(), re.DOTALL)
    assert code
    monkeypatch.chdir(tmp_path)
    for block in code:
        exec(block.replace("max_steps=10", "max_steps=1"), {})


def anchors(page: Path) -> list[str]:
    headings = re.findall(r"^#+ (.*)$", page.read_text(), re.MULTILINE)
    return [re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_leads_to_a_file_and_a_heading(page):
    for path, anchor in re.findall(r"\]\((?!https?://)([^)#]*)(?:#([^)]*))?\)", page.read_text()):
        target = page.parent / path if path else page
        assert target.exists(), path
        assert not anchor or anchor in anchors(target), f"{path}#{anchor}"


def test_no_documented_import_is_deeper_than_a_package_front():
    notebooks = sorted((ROOT / "notebooks").glob("*.ipynb"))
    deep = re.compile(r"(?:from|import) (prefix_rft_trl\.\w+\.[\w.]+)")
    assert [(page.name, name) for page in PAGES + notebooks for name in deep.findall(page.read_text())] == []


def test_the_readme_has_its_headings_in_the_order_in_which_a_reader_needs_them():
    headings = re.findall(r"^##+ (.*)$", (ROOT / "README.md").read_text(), re.MULTILINE)
    assert headings == re.split(r",\s+", README_HEADINGS)


@pytest.mark.parametrize(
    ("target", "steps"),
    [
        ("test", ["-m venv", 'install --constraint constraints.txt --editable ".[dev]"', "pytest"]),
        ("docs", ["-m venv", '--editable ".[docs]"', "mkdocs build --strict"]),
    ],
)
def test_make_installs_what_it_needs_first(target, steps):
    commands = subprocess.run(
        ["make", "--dry-run", "--always-make", target], cwd=ROOT, capture_output=True, text=True, check=True,
        env={**os.environ, "MAKEFLAGS": ""},
    ).stdout  # fmt: skip
    order = [commands.rindex(step) for step in steps]
    assert order == sorted(order)
