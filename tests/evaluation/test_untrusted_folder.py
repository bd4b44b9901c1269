"""Evaluating a model runs nothing that its folder names."""

import json
import runpy
import shutil
import sys
from pathlib import Path

import pytest
import torch

from prefix_rft_trl.cli.eval import _lab_level
from prefix_rft_trl.cli.main import main
from prefix_rft_trl.data.loading import load_splits
from prefix_rft_trl.models.adapters import merge_adapter
from prefix_rft_trl.models.sources import find_models, load_tokenizer
from prefix_rft_trl.run.folder import FileList, why_incomplete
from prefix_rft_trl.run.settings import RunSettings, settings_of_run


ADAPTER = {
    "peft_type": "LORA", "task_type": "CAUSAL_LM", "base_model_name_or_path": "lab", "target_modules": ["q_proj"],
    "megatron_config": {"hidden_size": 1}, "megatron_core": "evil_module",
}  # fmt: skip


@pytest.fixture
def folder(tmp_path, text_model, monkeypatch):
    """A model's folder, with a module that leaves a canary when it is imported or called."""
    monkeypatch.chdir(tmp_path)
    shutil.copytree(text_model, tmp_path / "model")
    evil = f"open({str(tmp_path / 'canary')!r}, 'w')\ndef get_evil(**_): ...\ndef evil(completions, **_): ...\n"
    for place in (tmp_path, tmp_path / "model"):
        (place / "evil_module.py").write_text(evil)
    (tmp_path / "problems.jsonl").write_text(json.dumps({"problem": "1 + 1?", "answer": "2"}) + "\n")
    yield tmp_path / "model"
    assert not (tmp_path / "canary").exists()
    assert "evil_module" not in sys.modules


CODE = [
    ("subprocess.Popen", {"args": ["touch", "{canary}"]}),
    ("subprocess.run", {"args": "touch {canary}", "shell": True}),
    ("os.system", {}),
    ("os.mkdir", {"path": "{canary}"}),
    ("builtins.exec", {"source": "open('{canary}', 'w')"}),
    ("builtins.open", {"file": "{canary}", "mode": "w"}),
    ("pathlib.Path", {}),
    ("logging.FileHandler", {"filename": "{canary}"}),
    ("runpy.run_path", {"path_name": "evil_module.py"}),
    ("evil_module.evil", {}),
    ("evil_module.get_evil", {"anything": 1}),
    ("model.evil_module.evil", {}),
    ("prefix_rft_trl.cli.main.main", {}),
    ("prefix_rft_trl.data.gym.scoring.ReasoningGymScore", {"unchecked_tasks": ["countdown"]}),
    ("trl.rewards.get_soft_overlong_punishment", {}),
    (".evil", {}),
    ("..evil_module", {}),
    ("a reward", {}),
    ("", {}),
]


@pytest.mark.parametrize("place", ["model", "."])
@pytest.mark.parametrize(("reward", "arguments"), CODE)
def test_a_reward_that_is_code_is_not_taken_from_a_folder(
    folder, place, reward, arguments, no_model_is_loaded, capsys
):
    canary = str(folder.parent / "canary")
    arguments = json.loads(json.dumps(arguments).replace("{canary}", canary))
    settings = {"reward": reward, "reward_kwargs": arguments}
    (folder.parent / place / "run_settings.json").write_text(json.dumps(settings))
    line = ["eval", "--model", "model", "--benchmarks", "problems.jsonl", "--output_dir", "out"]
    if not reward:  # none is named
        assert settings_of_run("model").reward_kwargs == {}
        return
    assert main(line) == 2
    error = capsys.readouterr().err
    assert f"run_settings.json names the reward {reward!r}, which is code" in error
    assert f"--reward {reward}" in error


@pytest.mark.parametrize(
    "content",
    [{"reward": ["os.system"]}, {"reward": {"a": 1}}, {"reward_kwargs": [1]}, {"reward_kwargs": "os.system"},
     {"instruction": 5}, {"max_new_tokens": "open('canary', 'w')"}, {"chat_template_kwargs": "{{ 1 }}"},
     {"lab_level": ["/etc"]}, {"conversational": "yes"}],
)  # fmt: skip
def test_settings_of_another_type_are_refused_by_name(folder, content, no_model_is_loaded, capsys):
    (folder / "run_settings.json").write_text(json.dumps(content))
    assert main(["eval", "--model", "model", "--benchmarks", "problems.jsonl"]) == 2
    assert f"model/run_settings.json: `{next(iter(content))}` takes" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("content", "message"),
    [({"max_new_tokens": -5}, "`max_new_tokens` must be at least 1, found -5"),
     ({"max_new_tokens": 0}, "`max_new_tokens` must be at least 1, found 0"),
     ({"lab_level": "../hard"},
      "Unknown `lab_level`: '../hard'. Known: easy, hard, hard_third, hard_half, sums, agent."),
     ({"reward_kwargs": {"time_limit": 1e18}}, "`time_limit` must be a positive number of seconds"),
     ({"reward_kwargs": {"time_limit": float("nan")}}, "`time_limit` takes a number, found nan"),
     ({"reward_kwargs": {"time_limit": "5"}}, "`time_limit` takes a number"),
     ({"reward_kwargs": {"answer_markers": [5]}}, "`answer_markers` takes"),
     ({"reward_kwargs": {"solution_column": ["answer"]}}, "`solution_column` takes text")],
)  # fmt: skip
def test_values_that_no_recipe_could_have_are_refused_by_name(folder, content, message, no_model_is_loaded, capsys):
    (folder / "run_settings.json").write_text(json.dumps(content))
    assert main(["eval", "--model", "model", "--benchmarks", "problems.jsonl"]) == 2
    assert f"model/run_settings.json: {message}" in " ".join(capsys.readouterr().err.split())


@pytest.mark.parametrize("model", ["gpt2", "", "it=gpt2", "owner/name", "model/config.json"])
def test_settings_belong_to_a_folder_and_not_to_a_name(folder, model):
    for place in (folder.parent, folder.parent / "owner", folder):
        place.mkdir(exist_ok=True)
        (place / "run_settings.json").write_text(json.dumps({"lab_level": "hard"}))
    assert settings_of_run(model) is None
    assert _lab_level([model]) == "easy"
    assert settings_of_run("model").lab_level == "hard"


def test_the_folder_above_is_that_above_the_working_folder_too(folder, monkeypatch):
    (folder.parent / "run_settings.json").write_text(json.dumps({"lab_level": "hard"}))
    monkeypatch.chdir(folder)
    assert settings_of_run(".").lab_level == "hard"


def test_of_the_arguments_of_a_registered_reward_only_harmless_ones_are_taken(folder):
    given = {"answer_markers": ["so:"], "num_workers": 10**6, "unchecked_tasks": ["countdown"], "time_limit": 2}
    (folder / "run_settings.json").write_text(json.dumps({"reward": "math_accuracy_reward", "reward_kwargs": given}))
    found = settings_of_run(str(folder))
    assert (found.reward, found.reward_kwargs) == (
        "math_accuracy_reward",
        {"answer_markers": ["so:"], "time_limit": 2},
    )


def test_the_file_that_settings_come_from_is_not_written(tmp_path):
    RunSettings(reward="math_accuracy_reward", file="elsewhere").write(tmp_path)
    assert "elsewhere" not in (tmp_path / "run_settings.json").read_text()


@pytest.mark.parametrize(
    "template",
    ["{{ ''.__class__.__mro__[1].__subclasses__() }}", "{{ cycler.__init__.__globals__.os.mkdir('canary') }}",
     "{{ messages.__class__.__base__ }}", "{{ lipsum.__globals__['os'].mkdir('canary') }}",
     "{{ '{0.__class__.__init__.__globals__}'.format(messages) }}", "{% include '/etc/passwd' %}"],
)  # fmt: skip
def test_a_chat_template_reaches_nothing_but_the_messages(folder, template):
    tokenizer = load_tokenizer(str(folder))
    tokenizer.chat_template = template
    try:
        text = tokenizer.apply_chat_template([{"role": "user", "content": "1"}], tokenize=False)
    except Exception:
        text = ""
    assert not any(word in text for word in ("class", "root:", "globals"))


def test_a_folder_of_data_runs_no_script(folder):
    data = folder.parent / "data"
    data.mkdir()
    shutil.copy(folder / "evil_module.py", data / "data.py")
    shutil.copy(folder.parent / "problems.jsonl", data / "train.jsonl")
    assert load_splits("data")["train"]["answer"] == ["2"]


COMMANDS = ["data check rows.jsonl", "data columns --input rows.jsonl --output out.jsonl"]


@pytest.mark.parametrize("command", COMMANDS)
def test_rows_of_payloads_are_read_checked_and_converted_as_text(folder, command):
    payloads = runpy.run_path(str(Path(__file__).parents[1] / "rewards" / "code_payloads.py"))["PAYLOADS"]
    texts = [text.replace("{canary}", str(folder.parent / "canary")) for text in payloads if len(text) < 500]
    rows = [{"problem": f"{text}?", "solution": rf"So \boxed{{{text}}}", "answer": text} for text in texts]
    (folder.parent / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    line = "--prompt_column problem --demonstration_column solution --answer_column answer"
    assert main([*command.split(), *line.split()]) in (0, 1)


class Evil:
    def __init__(self, canary):
        self.canary = canary

    def __reduce__(self):
        return open, (self.canary, "w")


def test_a_checkpoint_is_resumed_without_running_its_pickles(folder, capsys):
    line = ["train", "--model_name_or_path", "lab", "--dataset_name", "lab", "--reward_funcs", "lab_exact_answer",
            "--use_cpu", "true", "--bf16", "false", "--save_steps", "1", "--report_to", "none",
            "--per_device_train_batch_size", "8", "--max_completion_length", "8", "--output_dir", "run"]  # fmt: skip
    assert main([*line, "--max_steps", "1"]) == 0
    checkpoint = folder.parent / "run" / "checkpoint-1"
    pickles = [file for file in checkpoint.iterdir() if file.suffix in (".pt", ".pth", ".bin")]
    assert len(pickles) >= 4
    for file in pickles:
        torch.save({"state": Evil(str(folder.parent / "canary"))}, file)
    (checkpoint / "checkpoint_files.json").unlink()
    assert main([*line, "--max_steps", "2", "--resume_from_checkpoint", str(checkpoint)]) != 0
    assert "Weights only load failed" in capsys.readouterr().err


def test_an_adapter_imports_no_module_that_its_configuration_names(folder):
    (folder / "adapter_config.json").write_text(json.dumps(ADAPTER))
    for use in (lambda: find_models([str(folder)], "lab"), lambda: merge_adapter(str(folder))):
        with pytest.raises(ValueError, match="PEFT imports the module 'evil_module'"):
            use()


@pytest.mark.parametrize("name", ["/etc/passwd", "../model.safetensors", "a/../../b", "/dev/zero"])
def test_the_files_that_a_checkpoint_lists_lie_in_it(tmp_path, name):
    names = {name: 1, "trainer_state.json": 2}
    listed = {"order": 1, "sizes": names, "checksums": names}
    (tmp_path / "checkpoint_files.json").write_text(json.dumps(listed))
    (tmp_path / "trainer_state.json").write_text('{"global_step": 1}')
    assert FileList.read(tmp_path) is None
    assert why_incomplete(tmp_path) == "its checkpoint_files.json cannot be read."
