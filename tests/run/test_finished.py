"""Finished runs that are resumed, and what a run has added up, over a resume."""

import shutil
from pathlib import Path

import pandas as pd
import pytest
from trl import SFTConfig

from prefix_rft_trl import PrefixGRPOTrainer, lab
from prefix_rft_trl.cli.main import main
from prefix_rft_trl.run import last_checkpoint, read_curve
from prefix_rft_trl.run.folder import ENVIRONMENT, STATE
from prefix_rft_trl.sft import CountingSFTTrainer


RECIPES = Path(__file__).parents[2] / "recipes" / "lab"
OF_TIME = {"step_time", "train_runtime", "train_samples_per_second", "train_steps_per_second"}


@pytest.fixture(scope="module")
def make_sft_trainer():
    def make(folder: Path, **settings) -> CountingSFTTrainer:
        rows = lab.load_dataset("train", 32).select_columns(["prompt", "completion"])
        args = SFTConfig(
            str(folder), use_cpu=True, bf16=False, report_to="none", per_device_train_batch_size=8,
            save_strategy="steps", save_steps=1, **settings,
        )  # fmt: skip
        return CountingSFTTrainer(lab.base_model_path(), args, train_dataset=rows)

    return make


@pytest.fixture(params=["grpo", "sft"])
def make(request, make_trainer, make_sft_trainer):
    return make_trainer if request.param == "grpo" else make_sft_trainer


def logged(trainer) -> list[dict]:
    return [{name: value for name, value in log.items() if name not in OF_TIME} for log in trainer.state.log_history]


ENDS = {
    "max_steps": {"max_steps": 3},
    "within an epoch": {"num_train_epochs": 0.75, "max_steps": -1},
    "at the end of an epoch": {"num_train_epochs": 1, "max_steps": -1},
    "below a checkpoint": {"max_steps": 2},
}


@pytest.mark.parametrize("end", ENDS)
def test_finished_run_trains_no_step_and_logs_what_it_logged(make, end, assert_same_weights, tmp_path):
    settings = {"logging_steps": 2, **ENDS[end]}
    finished = make(tmp_path, **settings)
    finished.train()
    last = finished.state.global_step
    for _ in range(2):
        resumed = make(tmp_path, **settings)
        resumed.training_step = None  # is not called
        resumed.train("last")
        assert_same_weights(resumed, finished)
        assert logged(resumed) == logged(finished)
        assert last_checkpoint(tmp_path) == str(tmp_path / f"checkpoint-{last}")
    fewer = make(tmp_path, **{**settings, "num_train_epochs": 1, "max_steps": last - 1})
    fewer.train("last")
    assert fewer.state.global_step == last
    more = make(tmp_path, **{**settings, "num_train_epochs": 3, "max_steps": last + 2})
    more.train("last")
    assert more.state.global_step == last + 2


@pytest.mark.parametrize("step", [1, 2, 4])
def test_what_is_logged_after_a_resume_covers_the_steps_before_it(make, step, tmp_path):
    settings = {"logging_steps": 3, "max_steps": 5}
    unbroken = make(tmp_path / "unbroken", **settings)
    unbroken.train()
    resumed = make(tmp_path / "resumed", **settings)
    resumed.train(str(tmp_path / "unbroken" / f"checkpoint-{step}"))
    assert logged(resumed) == logged(unbroken)
    assert resumed.state.log_history[-1]["train_runtime"] > 0


def test_finished_run_keeps_its_last_table_of_completions(make_trainer, tmp_path):
    settings = {"log_completions": True, "logging_steps": 2, "max_steps": 2}
    make_trainer(tmp_path, **settings).train()
    table = tmp_path / "completions" / "completions_00002.parquet"
    before = pd.read_parquet(table)
    make_trainer(tmp_path, **settings).train("last")
    pd.testing.assert_frame_equal(pd.read_parquet(table), before)
    assert len(before) > 0


def test_finished_run_has_its_best_model(make_trainer, assert_same_weights, tmp_path):
    class Scored(PrefixGRPOTrainer):
        def evaluate(self, *args, **kwargs):
            metrics = {"eval_loss": float(self.state.global_step)}  # the first is the best
            self.callback_handler.on_evaluate(self.args, self.state, self.control, metrics)
            return metrics

    settings = {
        "max_steps": 3, "load_best_model_at_end": True, "metric_for_best_model": "loss", "greater_is_better": False,
        "eval_strategy": "steps", "eval_steps": 1,
    }  # fmt: skip
    finished, resumed = (make_trainer(tmp_path, Scored, **settings) for _ in range(2))
    finished.train()
    resumed.train("last")
    for trainer in (finished, resumed):
        assert_same_weights_as_checkpoint(trainer, tmp_path / "checkpoint-1")


def assert_same_weights_as_checkpoint(trainer, checkpoint: Path) -> None:
    from safetensors.torch import load_file

    saved = load_file(checkpoint / "model.safetensors")
    assert all((weight == saved[name]).all() for name, weight in trainer.model.named_parameters() if name in saved)


# On the command line

SMALL = {
    "lab_level": "easy", "max_steps": 4, "measure_steps": 2, "measure_rows": 4, "measure_max_new_tokens": 8,
    "per_device_train_batch_size": 8, "disable_tqdm": "true", "save_strategy": "steps", "save_steps": 2,
}  # fmt: skip


def exit_code(folder: Path, **settings) -> int:
    flags = [str(part) for name, value in {**SMALL, **settings}.items() for part in (f"--{name}", value)]
    line = ["--config", str(RECIPES / "sft.yaml"), "--resume_from_checkpoint", "last", "--output_dir", str(folder)]
    return main(["train", *line, *flags])


def train(folder: Path, **settings) -> list[dict]:
    assert exit_code(folder, **settings) == 0
    return read_curve(folder)


@pytest.fixture(scope="module")
def finished_folder(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("finished") / "run"
    train(folder)
    return folder


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


@pytest.mark.parametrize("lost", [(), ("checkpoint-4",), ("checkpoint-2", "checkpoint-4")], ids=str)
def test_nothing_of_a_finished_run_is_written_again(finished_folder, lost, tmp_path, capsys):
    folder = shutil.copytree(finished_folder, tmp_path / "run")
    for name in lost:
        shutil.rmtree(folder / name)
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
    train(folder)
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*")} == before
    assert f"The run in {folder} is finished: nothing is left to train." in capsys.readouterr().out


@pytest.mark.parametrize("lost", ["model.safetensors", STATE, "README.md"])
def test_what_a_finished_run_lacks_is_written(finished_folder, lost, tmp_path):
    folder = shutil.copytree(finished_folder, tmp_path / "run")
    (folder / lost).unlink()
    train(folder)
    found, expected = contents(folder), contents(finished_folder)
    assert found.keys() == expected.keys()
    assert all(found[name] == expected[name] for name in found.keys() - {STATE, ENVIRONMENT, "training_args.bin"})


def test_point_of_the_curve_that_a_finished_run_lacks_is_measured(finished_folder, tmp_path):
    folder = shutil.copytree(finished_folder, tmp_path / "run")
    (folder / STATE).unlink()
    lines = (folder / "curve.jsonl").read_text().splitlines(keepends=True)
    (folder / "curve.jsonl").write_text("".join(lines[:-1]))
    found, expected = train(folder), read_curve(finished_folder)
    assert [{**line, "seconds": 0, "epoch": 0} for line in found] == [
        {**line, "seconds": 0, "epoch": 0} for line in expected
    ]


def test_finished_run_with_more_steps_counts_as_unfinished_until_it_has_made_them(
    finished_folder, tmp_path, monkeypatch
):
    folder = shutil.copytree(finished_folder, tmp_path / "run")
    monkeypatch.setattr(CountingSFTTrainer, "save_model", lambda *args, **kwargs: 1 / 0)
    assert exit_code(folder, max_steps=6) == 1
    assert not (folder / STATE).exists()
