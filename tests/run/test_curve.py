"""Learning curves of short runs of the lab's recipes, and the cost that they record."""

import json
from itertools import pairwise
from pathlib import Path

import pytest
from transformers import TrainerCallback
from transformers.integrations import integration_utils

from prefix_rft_trl import PrefixGRPOTrainer
from prefix_rft_trl.cli.main import main
from prefix_rft_trl.comparison.curves import VIEWS, Method, Style, draw
from prefix_rft_trl.comparison.results import Run
from prefix_rft_trl.method.token_weights import PrefixTokenRule
from prefix_rft_trl.run import CurveWriter, curve, is_finished, read_curve
from prefix_rft_trl.sft import CountingSFTTrainer


RECIPES = Path(__file__).parents[2] / "recipes" / "lab"
SMALL = {
    "lab_level": "easy", "max_steps": 5, "measure_steps": 2, "measure_rows": 8, "measure_max_new_tokens": 8,
    "logging_steps": 3, "per_device_train_batch_size": 8, "disable_tqdm": "true",
}  # fmt: skip
ENTROPY = next(view for view in VIEWS if view.name == "entropy")
GRPO_ONLY = {"num_generations": 4, "max_completion_length": 40}


def train(recipe: str, folder: Path, **settings) -> list[dict]:
    settings = {**SMALL, **({} if recipe == "sft" else GRPO_ONLY), **settings, "output_dir": folder}
    flags = [str(part) for name, value in settings.items() for part in (f"--{name}", value)]
    assert main(["train", "--config", str(RECIPES / f"{recipe}.yaml"), *flags]) == 0
    return read_curve(folder)


@pytest.fixture
def counted(monkeypatch) -> list[tuple[str, int, float]]:
    """("generated" or "trained", optimizer steps done before, tokens), counted in the batches of the trainers.

    The sampled tokens of a generation batch are shared out among its micro-batches, in which rollouts that are left
    out have no tokens any more.
    """
    found: list[tuple[str, int, float]] = []
    selected_prefix_tokens, sampled_for_each_rollout = 0, 0.0
    generate, grpo_loss, sft_loss, weigh = (
        PrefixGRPOTrainer._generate_and_score_completions,
        PrefixGRPOTrainer.compute_loss,
        CountingSFTTrainer.compute_loss,
        PrefixTokenRule.apply,
    )

    def sampled_tokens(batch) -> int:
        return int(batch["completion_mask"].sum() - sum(batch.get("prefix_lengths", [])))

    def count_generated(trainer, inputs):
        nonlocal sampled_for_each_rollout
        outputs = generate(trainer, inputs)
        sampled_for_each_rollout = sampled_tokens(outputs) / len(outputs["completion_mask"])
        found.append(("generated", trainer.state.global_step, sampled_tokens(outputs)))
        return outputs

    def note_selected(rule, batch, logps, entropies, selected, *others):
        nonlocal selected_prefix_tokens
        selected_prefix_tokens = int((batch["prefix_mask"] & selected).sum())
        return weigh(rule, batch, logps, entropies, selected, *others)

    def count_grpo(trainer, model, inputs, *args, **named):
        nonlocal selected_prefix_tokens
        selected_prefix_tokens = 0
        loss = grpo_loss(trainer, model, inputs, *args, **named)
        sampled = sampled_for_each_rollout * len(inputs["completion_mask"])
        found.append(("trained", trainer.state.global_step, sampled + selected_prefix_tokens))
        return loss

    def count_sft(trainer, model, inputs, *args, **named):
        found.append(("trained", trainer.state.global_step, int((inputs["labels"] != -100).sum())))
        return sft_loss(trainer, model, inputs, *args, **named)

    monkeypatch.setattr(PrefixTokenRule, "apply", note_selected)
    monkeypatch.setattr(PrefixGRPOTrainer, "_generate_and_score_completions", count_generated)
    monkeypatch.setattr(PrefixGRPOTrainer, "compute_loss", count_grpo)
    monkeypatch.setattr(CountingSFTTrainer, "compute_loss", count_sft)
    return found


def tokens_until(step: int, kind: str, counted: list[tuple[str, int, float]]) -> float:
    return sum(tokens for found, before, tokens in counted if found == kind and before < step)


FEW_SFT_ROWS = {"lab_demonstrated_share": 0.02, "gradient_accumulation_steps": 2}  # 10 rows: 8 and 2, then again


@pytest.mark.parametrize(
    ("recipe", "settings"),
    [
        ("grpo", {}),
        ("prefix_rft", {"gradient_accumulation_steps": 2}),
        ("luffy", {"gradient_accumulation_steps": 2}),
        ("prefix_rft", {"num_iterations": 2, "logging_steps": 1}),
        ("grpo", {"steps_per_generation": 2, "logging_steps": 1, "max_steps": 4}),
        ("sft", {}),
        ("sft", FEW_SFT_ROWS),
    ],
    ids=lambda value: value if isinstance(value, str) else ",".join(value),
)
def test_recorded_tokens_are_those_of_the_batches(recipe, settings, counted, tmp_path):
    lines = train(recipe, tmp_path, **settings)
    last = settings.get("max_steps", 5)
    assert [line["step"] for line in lines] == sorted({0, 2, 4, last})
    assert lines[0]["generated_tokens"] == lines[0]["trained_tokens"] == 0
    for line in lines[1:]:
        for kind in ("generated", "trained"):
            expected = tokens_until(line["step"], kind, counted)
            assert line[f"{kind}_tokens"] == pytest.approx(expected, rel=1e-5), (kind, line)
    assert (lines[-1]["generated_tokens"] > 0) == (recipe != "sft")
    assert lines[-1]["trained_tokens"] > 0


MEASURED = {"accuracy", "length", "seconds", "generated_tokens", "trained_tokens"}


@pytest.mark.parametrize(
    ("recipe", "logged"), [("sft", {"loss"}), ("prefix_rft", {"loss", "policy_entropy", "prefix/length"})]
)
def test_new_run_replaces_a_curve_with_lines_of_what_was_measured_and_logged(recipe, logged, tmp_path):
    (tmp_path / "curve.jsonl").write_text('{"step": 0}\n{"step": 100}\n')
    lines = train(recipe, tmp_path, max_steps=4, logging_steps=10, overwrite=True)
    assert [line["step"] for line in lines] == [0, 2, 4], "the last step is measured once"
    assert all(set(line) >= MEASURED for line in lines)
    assert "loss" not in lines[0]
    assert all(set(line) >= logged for line in lines[1:])
    assert is_finished(tmp_path)


class State:
    """A trainer's state as far as a curve reads it."""

    is_world_process_zero, max_steps = True, 5

    def __init__(self, step: int = 0):
        self.global_step, self.log_history = step, []


def test_seconds_are_those_of_training_without_the_measuring(tmp_path, monkeypatch):
    now = 0.0

    def measure(model) -> dict[str, float]:
        nonlocal now
        now += 3600
        return {"accuracy": 0.5}

    logged: list[dict[str, float]] = []
    monkeypatch.setattr(curve.time, "perf_counter", lambda: now)
    writer = CurveWriter(str(tmp_path), 2, measure, lambda logs, first, last: (0.0, 0.0), logged.append)
    writer.on_train_begin(None, State(), None)
    for step in range(1, 6):
        now += 1
        writer.on_log(None, State(step), None, logs={"loss": 0.0})
    assert [line["seconds"] for line in read_curve(tmp_path)] == [0, 2, 4, 5]
    assert now == 4 * 3600 + 5
    assert logged == [{"eval_accuracy": 0.5}] * 4


@pytest.mark.parametrize("recipe", ["prefix_rft", "sft"])
def test_measuring_does_not_change_the_run(recipe, assert_same_weights, tmp_path):
    train(recipe, tmp_path / "measured", max_steps=3, learning_rate=1e-3)
    train(recipe, tmp_path / "not", max_steps=3, learning_rate=1e-3, measure_steps=0)
    assert not (tmp_path / "not" / "curve.jsonl").exists()
    assert_same_weights(tmp_path / "measured", tmp_path / "not")


@pytest.mark.parametrize("settings", [{}, {"num_iterations": 2, "logging_steps": 1}], ids=["", "within a batch"])
def test_curve_of_a_resumed_run_has_each_step_once(tmp_path, counted, settings):
    settings = {"save_strategy": "steps", "save_steps": 3, **settings}
    first = train("prefix_rft", tmp_path, max_steps=3, **settings)
    with (tmp_path / "curve.jsonl").open("a") as file:  # it was killed after its checkpoint
        file.write(json.dumps({**first[-1], "step": 4}) + "\n" + '{"step": 5')
    lines = train("prefix_rft", tmp_path, max_steps=5, resume_from_checkpoint="last", **settings)
    assert [line["step"] for line in lines] == [0, 2, 3, 4, 5]
    assert lines[:3] == first
    assert all(before["seconds"] < after["seconds"] for before, after in pairwise(lines))
    for line in lines[1:]:
        expected = tokens_until(line["step"], "trained", counted)
        assert line["trained_tokens"] == pytest.approx(expected, rel=1e-5)


def test_curve_can_start_at_a_resume(tmp_path):
    train("sft", tmp_path, max_steps=2, measure_steps=0, save_strategy="steps", save_steps=2)
    lines = train("sft", tmp_path, max_steps=4, resume_from_checkpoint="last")
    assert [line["step"] for line in lines] == [2, 4]


def test_only_the_main_process_writes_but_all_measure(tmp_path, monkeypatch):
    monkeypatch.setattr(State, "is_world_process_zero", False)
    measured: list[object] = []
    logged: list[dict[str, float]] = []
    measure = lambda model: measured.append(model) or {}  # noqa: E731
    writer = CurveWriter(str(tmp_path), 1, measure, lambda *logs: (0.0, 0.0), logged.append)
    writer.on_train_begin(None, State(), None)
    assert len(measured) == len(logged) == 1
    assert not (tmp_path / "curve.jsonl").exists()


def test_a_line_holds_null_for_what_is_no_number(tmp_path):
    measured = {"accuracy": 0.5, "nan": float("nan"), "infinity": float("inf")}
    writer = CurveWriter(str(tmp_path), 1, lambda model: measured, lambda *logs: (0.0, 0.0), lambda logs: None)
    writer.on_train_begin(None, State(), None)
    (line,) = read_curve(tmp_path)
    assert (line["accuracy"], line["nan"], line["infinity"]) == (0.5, None, None)


@pytest.mark.parametrize("recipe", ["grpo", "prefix_rft"])
def test_entropy_is_null_where_no_rollout_was_trained(recipe, tmp_path, monkeypatch):
    (tmp_path / "constant_reward.py").write_text(
        "def constant_reward(completions, **columns):\n    return [1.0] * len(completions)\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    settings = {"reward_funcs": "constant_reward.constant_reward", "logging_steps": 1, "measure_steps": 3}
    lines = train(recipe, tmp_path / "run", max_steps=3, report_to="tensorboard", **settings)
    assert lines[-1]["policy_entropy"] is None
    assert lines[-1]["compute/rows"] == 0
    assert not {"entropy", "compute/padding", "prefix/kept_share"} & {*lines[-1]}
    assert draw([Method(recipe, Style.numbered(0), [Run(0, lines)])], ENTROPY, threshold=0.5) is None
    state = json.loads((tmp_path / "run" / "trainer_state.json").read_text())
    unknown = {name for log in state["log_history"] for name, value in log.items() if value is None}
    assert not unknown, "trackers warn of each"


# Trackers and the trainer's state


Scalars = dict[str, list[tuple[int, float]]]


@pytest.fixture
def tracked(monkeypatch) -> Scalars:
    """(step, value) by tag, as trackers get them from `report_to: json`, which stands for one of them."""
    found: Scalars = {}

    class Tracker(TrainerCallback):
        def on_log(self, args, state, control, logs=None, **kwargs):
            for tag, value in integration_utils.rewrite_logs(logs).items():
                found.setdefault(tag, []).append((state.global_step, value))

    monkeypatch.setitem(integration_utils.INTEGRATION_TO_CALLBACK, "json", Tracker)
    return found


def measured_values(lines: list[dict], name: str) -> list[tuple[int, float]]:
    return [(line["step"], line[name]) for line in lines]


@pytest.mark.parametrize("recipe", ["prefix_rft", "grpo", "sft"])
def test_trackers_and_state_hold_the_accuracy_of_the_curve(recipe, tracked, tmp_path):
    lines = train(recipe, tmp_path, report_to="json", learning_rate=1e-3)
    assert [line["step"] for line in lines] == [0, 2, 4, 5]
    for name in ("accuracy", "length"):
        assert tracked[f"eval/{name}"] == measured_values(lines, name)
    assert [step for step, _ in tracked["train/loss"]] == [2, 3, 4, 5], "no figure of training is logged twice"
    history = json.loads((tmp_path / "trainer_state.json").read_text())["log_history"]
    found = [(log["step"], log["eval_accuracy"]) for log in history if "eval_accuracy" in log]
    assert found == measured_values(lines, "accuracy")


def test_each_reward_of_a_recipe_is_tracked(tracked, tmp_path):
    lines = train("../quickstart/prefix_rft", tmp_path, max_steps=2, report_to="json")
    assert tracked["eval/step_by_step_reward"] == measured_values(lines, "step_by_step_reward")


def test_resumed_run_tracks_each_measurement_once(tracked, tmp_path):
    settings = {"save_strategy": "steps", "save_steps": 2, "report_to": "json"}
    train("prefix_rft", tmp_path, max_steps=2, **settings)
    lines = train("prefix_rft", tmp_path, max_steps=4, resume_from_checkpoint="last", **settings)
    assert tracked["eval/accuracy"] == measured_values(lines, "accuracy")
    history = json.loads((tmp_path / "trainer_state.json").read_text())["log_history"]
    assert [log["step"] for log in history if "eval_accuracy" in log] == [0, 2, 4]


def test_event_file_of_tensorboard_holds_the_accuracy_of_the_curve(tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    lines = train("prefix_rft", tmp_path, report_to="tensorboard")
    (file,) = tmp_path.rglob("events.out.tfevents.*")
    events = EventAccumulator(str(file)).Reload()
    found = [(event.step, event.value) for event in events.Scalars("eval/accuracy")]
    assert found == measured_values(lines, "accuracy")
