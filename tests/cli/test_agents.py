"""Recipes with `tools` and `environment_factory`: refusals before a model is loaded, and a run with both."""

import json
import shutil
from pathlib import Path

import pytest
import yaml

from prefix_rft_trl import lab
from prefix_rft_trl.cli.main import main
from prefix_rft_trl.utils.recipe_files import FOLDER


AGENT = FOLDER / "lab-agent" / "prefix_rft.yaml"
ENVIRONMENT = '''
from prefix_rft_trl.lab.agent.calculator import calculate

class Calculator:
    """Counts its calls."""

    def reset(self, solution, **row):
        self.solution, self.calls = solution, 0

    def calculate(self, expression: str) -> str:
        """Calculates.

        Args:
            expression: such as 7*8
        """
        self.calls += 1
        return calculate(expression)

def calls_and_answer(completions, solution, environments, **_):
    assert [environment.solution for environment in environments] == solution
    return [0.1 * environment.calls for environment in environments]
'''


@pytest.fixture
def agent_recipe(tmp_path):
    def write(**changes: object) -> Path:
        settings = {
            **yaml.safe_load((FOLDER / "lab-agent/grpo.yaml").read_text()),
            "output_dir": str(tmp_path / "run"),
        }
        settings |= {"max_steps": 2, "measure_steps": 2, "measure_rows": 12, "per_device_train_batch_size": 16}
        path = tmp_path / "recipe.yaml"
        kept = {name: value for name, value in (settings | changes).items() if value is not None}
        path.write_text(yaml.safe_dump(kept))
        return path

    return write


@pytest.mark.parametrize(
    ("changes", "found"),
    [
        ({"tools": ["calculator"]}, ["`tools` has 'calculator'", "lab_calculate", "dotted path"]),
        ({"tools": [3]}, ["`tools` takes"]),
        ({"tools": ["json.absent"]}, ["'json.absent', which cannot be loaded"]),
        ({"environment_factory": {"shop": "Store"}}, ["`environment_factory`, 'shop', is 'Store'", "dotted path"]),
        ({"environment_factory": '{"shop": }'}, ["environment_factory", "JSON object"]),
        ({"lab_level": "easy"}, ["`tools` is called in conversations", "prompts are text", "`conversational: true`"]),
        ({"tools": None, "reward_funcs": None}, ["no reward"]),
    ],
)
def test_a_setting_that_cannot_be_used_is_refused_with_the_fix(agent_recipe, refusal, monkeypatch, changes, found):
    monkeypatch.setattr("transformers.AutoModelForCausalLM.from_pretrained", None)
    said = refusal("train", "--config", agent_recipe(**changes))
    assert all(part in said for part in found), said


@pytest.mark.parametrize(
    ("template", "found"),
    [
        ("{{ messages[0].content }}", ["`tools` needs a model that calls tools", "has a chat template without"]),
        (None, ["nothing reads the tool calls of", "`response_template`"]),
    ],
)
def test_a_model_that_cannot_call_is_refused(agent_recipe, refusal, tmp_path, monkeypatch, template, found):
    folder = tmp_path / "model"
    shutil.copytree(lab.base_model_path("agent"), folder)
    if template is None:
        config = json.loads((folder / "tokenizer_config.json").read_text())
        del config["response_template"]
        (folder / "tokenizer_config.json").write_text(json.dumps(config))
    else:
        (folder / "chat_template.jinja").write_text(template)
    monkeypatch.setattr("transformers.AutoModelForCausalLM.from_pretrained", None)
    said = refusal("train", "--config", agent_recipe(model_name_or_path=str(folder)))
    assert all(part in said for part in found), said


def test_sft_has_no_rollouts_to_call_tools_in(tmp_path, refusal):
    settings = {"model_name_or_path": "lab", "dataset_name": "lab", "trainer": "sft", "tools": ["lab_calculate"]}
    (tmp_path / "sft.yaml").write_text(yaml.safe_dump(settings | {"use_cpu": True, "bf16": False}))
    said = refusal("train", "--config", tmp_path / "sft.yaml", "--output_dir", tmp_path / "run")
    assert "`tools` is called in rollouts, which `trainer: sft` has none of" in said


@pytest.mark.parametrize("streamed", [False, True])
def test_sft_on_trajectories_is_refused_with_who_can_train_them(tmp_path, refusal, streamed):
    rows = lab.load_dataset("train", 4, level="agent")
    rows.to_json(tmp_path / "rows.jsonl")
    settings = {"model_name_or_path": "lab", "dataset_name": str(tmp_path / "rows.jsonl"), "trainer": "sft"}
    settings |= {"dataset_streaming": streamed, "use_cpu": True, "bf16": False, "max_steps": 1, "measure_steps": 0}
    (tmp_path / "sft.yaml").write_text(yaml.safe_dump(settings))
    said = refusal("train", "--config", tmp_path / "sft.yaml", "--output_dir", tmp_path / "run")
    assert "row 0, column 'completion': the demonstration calls tools, and `trainer: sft`" in said
    assert "`trl sft`" in said


def curve(folder: Path) -> list[dict]:
    return [json.loads(line) for line in (folder / "curve.jsonl").read_text().splitlines()]


def test_a_recipe_with_tools_trains_hybrid_rollouts_whose_calls_are_executed(agent_recipe, tmp_path, capfd):
    method = yaml.safe_load(AGENT.read_text())
    del method["base"], method["output_dir"]
    assert main(["train", "--config", str(agent_recipe(**method))]) == 0
    said = capfd.readouterr().out
    assert f"The model is in {tmp_path / 'run'}. Its answers need the `tools` of its training" in said
    assert "pipeline(" not in said
    lines = curve(tmp_path / "run")
    assert [line["step"] for line in lines] == [0, 2]
    assert lines[1]["prefix/tool_results"] > 0
    assert lines[1]["prefix/tool_results_differ"] == 0
    assert lines[1]["prefix/reward_hybrid"] > 0.5
    assert lines[1]["tools/call_frequency"] > 0


def test_a_recipe_with_an_environment_hands_it_to_the_reward_also_in_measurements(agent_recipe, tmp_path):
    (tmp_path / "my_environment_of_test.py").write_text(ENVIRONMENT)
    named = {"tools": None, "environment_factory": "my_environment_of_test.Calculator"}
    recipe = agent_recipe(**named, reward_funcs=["my_environment_of_test.calls_and_answer"])
    assert main(["train", "--config", str(recipe)]) == 0
    assert [line["step"] for line in curve(tmp_path / "run")] == [0, 2]


def test_an_evaluation_without_the_tools_of_a_run_is_refused(agent_recipe, tmp_path, refusal):
    assert main(["train", "--config", str(agent_recipe(measure_steps=0, max_steps=1))]) == 0
    said = refusal("eval", "--model", tmp_path / "run", "--benchmarks", "lab", "--output_dir", tmp_path / "eval")
    assert "calls no tools" in said
    assert "measure_steps" in said


def test_commands_that_call_no_tools_refuse_a_recipe_with_them_before_they_read_its_rows(
    agent_recipe, tmp_path, refusal, monkeypatch
):
    monkeypatch.setattr("prefix_rft_trl.cli.launch.probed_recipe.load_splits", None)
    recipe = agent_recipe()
    said = refusal("advise", "--config", recipe)
    assert "the recipe has `tools`, and `prefix-rft advise` calls no tools" in said
    said = refusal("data", "sample", "--recipe", recipe, "--output", tmp_path / "sampled.parquet")
    assert "the recipe has `tools`, and `prefix-rft data sample` calls no tools" in said
