"""What a trainer prints of its logs, and that everything else still gets all of them."""

import pytest
from transformers import PrinterCallback, ProgressCallback
from trl import GRPOConfig

from prefix_rft_trl.run.printed_log import FiguresProgress, figures_text


LOGS = {
    "num_tokens": 300.0, "reward": 0.187512, "clip_ratio/low_mean": 0.0, "loss": -0.0138, "policy_entropy": 0.5,
    "entropy": 0.3, "learning_rate": 1e-06, "prefix/ratio": None, "trained_tokens": 11520.0, "epoch": 0.5,
    "completions/mean_length": 6.75, "completions/min_length": 3.0, "total_flos": 1e20, "step_time": 1.5,
}  # fmt: skip


@pytest.fixture(autouse=True)
def terminal(monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")


def test_figures_that_matter_are_in_one_order_and_fit_the_terminal():
    lines = figures_text(LOGS, 20, 120).splitlines()
    assert " ".join(line.strip() for line in lines) == (
        "step 20/120: loss=-0.0138 reward=0.1875 completions/mean_length=6.75 policy_entropy=0.5 "
        "trained_tokens=11520 learning_rate=1e-06 step_time=1.5"
    )
    assert len(lines) == 2
    assert max(map(len, lines)) <= 80
    assert all(line.startswith("  ") for line in lines[1:])


@pytest.mark.parametrize(
    ("logs", "expected"),
    [
        ({"eval_accuracy": 0.25, "eval_length": 31.0, "epoch": 0.1}, "eval_accuracy=0.25 eval_length=31"),
        ({"eval_loss": 1.0, "eval_runtime": 2.0}, "eval_loss=1"),
        ({"eval_amc/avg": 0.5, "eval_amc/pass": 0.75, "eval_benchmark_seconds": 3.0}, "eval_amc/avg=0.5"),
        ({"train_runtime": 60.25, "train_loss": 0.125, "total_flos": 1e20}, "train_runtime=60.25 train_loss=0.125"),
        ({"loss": 0.5, "grad_norm": float("nan"), "reward": float("inf")}, "loss=0.5 reward=inf grad_norm=nan"),
        ({"entropy": 0.5, "kl": 0.125}, "entropy=0.5 kl=0.125"),
        ({"prefix/tool_results": 8.0, "prefix/tool_results_differ": 0.0, "loss": 0.5}, "loss=0.5"),
        (
            {"prefix/tool_results": 8.0, "prefix/tool_results_differ": 1.5, "loss": 0.5},
            "loss=0.5 prefix/tool_results=8 prefix/tool_results_differ=1.5",
        ),
        ({"prefix/trained_tokens": 2.0, "entropy": 0.5, "kl": 0.125}, "prefix/trained_tokens=2 kl=0.125"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_figures_of_measurements_benchmarks_and_summaries(logs, expected):
    assert figures_text(logs, 1, 2) == f"step 1/2: {expected}"


@pytest.mark.parametrize("bar", [True, False], ids=["bar", "no bar"])
def test_the_dozen_is_printed_and_the_state_holds_all(make_trainer, capsys, tmp_path, bar):
    trainer = make_trainer(tmp_path, disable_tqdm=not bar, max_steps=1, save_strategy="no")
    capsys.readouterr()
    trainer.train()
    printed = capsys.readouterr().out
    assert "step 1/1: loss=" in printed
    assert "clip_ratio/" not in printed
    assert max(map(len, printed.splitlines())) <= 80
    assert "clip_ratio/low_mean" in trainer.state.log_history[0]


@pytest.mark.parametrize(
    "settings", [{"log_all": True}, {"config_class": GRPOConfig}], ids=["log_all", "TRL's config"]
)
@pytest.mark.parametrize("printer", [ProgressCallback, PrinterCallback])
def test_all_is_printed_as_trl_does_if_asked_for(make_trainer, capsys, tmp_path, settings, printer):
    bar = printer is ProgressCallback
    trainer = make_trainer(tmp_path, disable_tqdm=not bar, max_steps=1, save_strategy="no", **settings)
    assert printer in [type(callback) for callback in trainer.callback_handler.callbacks]
    trainer.train()
    assert "'clip_ratio/low_mean'" in capsys.readouterr().out


def test_a_printer_of_the_user_stays(make_trainer, tmp_path):
    class Mine(PrinterCallback): ...

    mine = Mine()
    trainer = make_trainer(tmp_path, others={"callbacks": [mine]})
    assert mine in trainer.callback_handler.callbacks


def test_bar_shows_the_latest_accuracy(make_trainer, capsys, tmp_path):
    trainer = make_trainer(tmp_path, disable_tqdm=False)
    progress = next(one for one in trainer.callback_handler.callbacks if isinstance(one, FiguresProgress))
    trainer.state.is_world_process_zero = True
    progress.on_train_begin(trainer.args, trainer.state, trainer.control)
    progress.on_log(trainer.args, trainer.state, trainer.control, logs={"eval_accuracy": 0.4375})
    assert "held-out accuracy 0.438" in capsys.readouterr().err
