"""`prefix-rft advise` from a recipe to the table, the page and the advised recipe, and what it refuses."""

from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from prefix_rft_trl.advice.probe import PROBE
from prefix_rft_trl.advice.probe_result import ProbeResult
from prefix_rft_trl.cli.launch.arguments import is_setting
from prefix_rft_trl.cli.launch.probed_recipe import default_folder, probed_stage, read_probed_recipe
from prefix_rft_trl.cli.launch.recipe import Recipe, load_recipe
from prefix_rft_trl.cli.main import main
from prefix_rft_trl.evaluation.engines import Engine
from prefix_rft_trl.utils.recipe_files import FOLDER


LAB = str(FOLDER / "lab" / "prefix_rft.yaml")
TINY = ["--num_problems", "3", "--num_samples", "4", "--num_continuations", "1", "--backend", "transformers"]


@pytest.fixture
def advise(monkeypatch, tmp_path) -> Callable[..., int]:
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.chdir(tmp_path)

    def run(*arguments: str, config: str = LAB) -> int:
        return main(["advise", "--config", config, *TINY, *arguments])

    return run


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("advise") / "lab"
    assert main(["advise", "--config", LAB, *TINY, "--lab_level", "easy", "--folder", str(folder)]) == 0
    return folder


def test_it_prints_a_table_and_writes_a_page_and_a_recipe(finished, advise, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(Engine, "load", lambda *_: pytest.fail("it samples again"))
    output = tmp_path / "advised.yaml"
    given = ["--lab_level", "easy", "--folder", str(finished), "--device", "h100", "--output", str(output)]
    assert advise(*given) == 0
    said = capsys.readouterr().out
    assert (
        max(len(line) for line in said.splitlines() if str(finished) not in line and str(tmp_path) not in line) <= 80
    )
    assert "advice.html" in said
    assert "advised.yaml" in said
    assert (finished / "advice.html").read_text().lower().startswith("<!doctype html>")
    assert load_recipe(output).items() >= {"dataset_name": "lab", "lab_level": "easy"}.items()
    assert Recipe.read(["--config", str(output)]).trainings(is_setting), "it can be trained"
    found = ProbeResult.read(finished / PROBE)
    assert (found.device, found.max_steps, found.rollouts) == ("H100", 100, 6400)
    assert found.memory_gb == pytest.approx(0.09, abs=0.05)
    assert advise(*given) == 0
    assert capsys.readouterr().out == said
    assert ProbeResult.read(finished / PROBE) == found


def test_the_folder_has_the_name_of_the_recipe(advise, tmp_path):
    path = tmp_path / "mine.yaml"
    settings = {**yaml.safe_load(Path(LAB).read_text()), "max_completion_length": 12, "num_generations": 2}
    path.write_text(yaml.safe_dump({**settings, "per_device_train_batch_size": 8}))
    assert advise(config=str(path)) == 0
    assert (tmp_path / "runs" / "advise-mine" / PROBE).is_file()


@pytest.mark.parametrize(
    ("recipe", "folder"),
    [("recipes/lab/prefix_rft.yaml", "advise-lab-prefix_rft"), ("gsm8k/prefix_rft", "advise-gsm8k-prefix_rft")],
)
def test_recipes_of_the_same_name_have_folders_of_their_own(recipe, folder):
    assert default_folder(Recipe.read(["--config", recipe])) == Path("runs") / folder


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (["--num_samples", "2"], "num_samples was 4 and is 2"),
        (["--seed", "1"], "seed was 0 and is 1"),
        (["--temperature", "0.7"], "temperature was 1.0 and is 0.7"),
        (["--num_problems", "0"], "`num_problems` is at least 1"),
        (["--learning_rat", "1"], "unknown setting 'learning_rat'"),
        (["--output", "advised.txt"], "its name ends in .yaml"),
        (["--output", LAB], "the output is the recipe"),
        (["--guess_rate", "25"], "`--guess_rate` is a share from 0 to below 1"),
        (["--dataset_name", "nowhere.jsonl"], "nowhere.jsonl"),
        (["--model_name_or_path", "no/such/model/here"], "no/such/model/here"),
        (["--reward_funcs", "no_reward"], "no_reward"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_it_refuses_in_a_sentence(finished, advise, capsys, monkeypatch, given, said):
    monkeypatch.setattr(Engine, "load", lambda *_: pytest.fail("the model was loaded"))
    assert advise("--lab_level", "easy", "--folder", str(finished), *given) == 2
    shown = capsys.readouterr().err
    assert shown.startswith("prefix-rft advise: ")
    assert said in shown
    assert "Traceback" not in shown


def test_the_output_is_no_base_of_the_recipe(finished, advise, tmp_path, capsys):
    base, own = tmp_path / "base.yaml", tmp_path / "own.yaml"
    base.write_text(Path(LAB).read_text())
    own.write_text("base: base.yaml\nlab_level: easy\n")
    assert advise("--folder", str(finished), "--output", str(base), config=str(own)) == 2
    assert "the output is a `base` of the recipe" in capsys.readouterr().err
    assert base.read_text() == Path(LAB).read_text()


def test_a_device_that_is_not_known_is_refused(advise, capsys):
    with pytest.raises(SystemExit) as stopped:
        advise("--device", "abacus")
    assert stopped.value.code == 2
    assert "h100" in capsys.readouterr().err


def test_of_stages_the_rollouts_are_probed_from_the_first_model():
    path = FOLDER / "lab" / "sft_then_rft.yaml"
    stage = probed_stage(Recipe.read(["--config", str(path)]))
    assert stage.trainer == "prefix_grpo"
    assert stage.settings["model_name_or_path"] == "lab"


def test_sft_has_the_budget_of_its_measurements():
    probed = read_probed_recipe(Recipe.read(["--config", str(FOLDER / "lab" / "sft.yaml")]))
    assert probed.subject.max_completion_length == 56
    assert probed.subject.num_generations == 8
    assert probed.rollouts is None
    assert probed.steps == 60


def test_rollouts_are_those_of_all_processes():
    path = ["--config", str(FOLDER / "lab" / "grpo.yaml"), "--use_cpu", "false", "--num_processes", "4"]
    found = read_probed_recipe(Recipe.read(path))
    assert found.rollouts == 4 * 6400
    in_epochs = read_probed_recipe(Recipe.read([*path, "--max_steps", "-1", "--num_train_epochs", "1"]))
    assert (in_epochs.steps, in_epochs.rollouts) == (16, 512 * 8)


def test_answers_that_are_trained_on_twice_are_sampled_once():
    path = ["--config", str(FOLDER / "lab" / "grpo.yaml"), "--num_iterations", "2"]
    assert read_probed_recipe(Recipe.read(path)).rollouts == 3200


def test_plain_grpo_finds_demonstrations_too():
    probed = read_probed_recipe(Recipe.read(["--config", str(FOLDER / "lab" / "grpo.yaml")]))
    assert len(probed.subject.demonstrations) == 512
