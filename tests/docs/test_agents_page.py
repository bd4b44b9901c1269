"""The page "Agents", from the row that it shows to a trained step, with a tiny model in place of the one it names."""

import json
import re
import shlex
import sys
from pathlib import Path

import pytest

from prefix_rft_trl import PrefixGRPOConfig
from prefix_rft_trl.cli.main import main


ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "agents.md").read_text()
MODEL = "Qwen/Qwen2.5-1.5B-Instruct"
SMALL = {
    "max_steps": 1, "use_cpu": True, "bf16": False, "report_to": "none", "save_strategy": "no", "logging_steps": 1,
    "max_completion_length": 250, "per_device_train_batch_size": 4, "num_generations": 4, "num_prefix_generations": 4,
    "prefix_ratio_low": 0.9, "gradient_checkpointing": False,
}  # fmt: skip


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", PAGE, re.DOTALL)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the tools of the page, and rows like its own."""
    (row,), (tools, *_) = blocks("json"), blocks("python")
    shown = json.loads(row)
    rows = [
        {**shown, "prompt": [{"role": "user", "content": f"Problem {number}: 17 + 25 + 8?"}]} for number in range(8)
    ]
    tmp_path.joinpath("trajectories.jsonl").write_text("".join(json.dumps(each) + "\n" for each in rows))
    tmp_path.joinpath("my_tools.py").write_text(tools)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "my_tools", raising=False)
    yield tmp_path
    sys.modules.pop("my_tools", None)


def run_script(code: str, model: Path, settings: str = "") -> dict:
    small = "".join(f", {name}={value!r}" for name, value in SMALL.items())
    code = code.replace(f'"{MODEL}"', repr(str(model))).replace(
        ", max_completion_length=1024, max_steps=200", small + settings
    )
    assert str(model) in code
    assert small in code
    found: dict = {}
    exec(code, found)
    return found


def logged(trainer, name: str) -> list[float]:
    return [entry[name] for entry in trainer.state.log_history if name in entry]


def test_tools_reward_and_script_take_thirty_lines_at_most():
    lines = [line for block in blocks("python")[:2] for line in block.splitlines() if line.strip()]
    assert len(lines) <= 30


def test_the_script_of_the_page_trains_on_turns_that_it_serves(folder, tool_model):
    trainer = run_script(blocks("python")[1], tool_model)["trainer"]
    assert logged(trainer, "prefix/tool_results")[0] >= 4
    assert logged(trainer, "prefix/tool_results_differ") == [0]
    assert [len(prefix.spans) > 1 for prefix in trainer.rollout_batch.prefixes] == [True] * 4


def test_the_recipe_of_the_page_trains_and_is_checked(folder, tool_model, capsys):
    recipe = blocks("yaml")[0].replace(MODEL, str(tool_model))
    folder.joinpath("agent.yaml").write_text(recipe.replace("1024", "250").replace("200", "1"))
    (checked,) = re.findall(r"`prefix-rft (data check --recipe [^`]*)`", PAGE)
    assert main(shlex.split(checked)) == 0
    assert "8 of them with tool calls" in capsys.readouterr().out
    flags = [word for name, value in SMALL.items() for word in (f"--{name}", str(value))]
    assert main([*shlex.split(blocks("bash")[0])[1:], *flags, "--measure_steps", "0"]) == 0
    (state,) = folder.glob("runs/agent/trainer_state.json")
    assert [entry["prefix/tool_results_differ"] for entry in json.loads(state.read_text())["log_history"][:1]] == [0]


def test_the_command_of_the_page_finds_its_row_clean(folder, tool_model, capsys):
    command = blocks("bash")[1].replace("\\\n", "")
    program, *words = shlex.split(command)
    assert program == "prefix-rft"
    assert main([str(tool_model) if word == MODEL else word for word in words]) == 0
    assert "8 of them with tool calls" in capsys.readouterr().out


def test_the_rollout_function_of_the_page_serves_its_prefixes(folder, tool_model):
    script = blocks("python")[1].replace("tools=[add]", "rollout_func=rollout")
    script = script.replace("from my_tools", "from rollouts import rollout\nfrom my_tools")
    folder.joinpath("rollouts.py").write_text(blocks("python")[2])
    trainer = run_script(script, tool_model)["trainer"]
    assert [len(prefix.spans) > 1 for prefix in trainer.rollout_batch.prefixes] == [True] * 4


def test_the_settings_of_the_page_are_there():
    named = set(re.findall(r"`(prefix_\w+)(?:`|:)", PAGE)) - {"prefix_rft_trl"}
    assert named
    assert named <= set(vars(PrefixGRPOConfig("out", use_cpu=True, bf16=False)))
