"""What DeepSpeed before 0.19.0 would silently train on a part of is refused, and nothing else."""

import json
from pathlib import Path

import pytest

from prefix_rft_trl.run.deepspeed import refuse_dropped_micro_batches


RECIPES = Path(__file__).parents[2] / "recipes"
LAB = RECIPES / "lab" / "prefix_rft.yaml"


def zero(stage: int, device: str | None = "cpu", **others) -> dict:
    offload = {} if device is None else {"offload_optimizer": {"device": device}}
    return {"zero_optimization": {"stage": stage, **offload, **others}, "gradient_accumulation_steps": "auto"}


class Plugin:
    """As of accelerate, of which only this is read."""

    def __init__(self, config: dict):
        self.deepspeed_config = config


@pytest.mark.parametrize("stage", [1, 2])
@pytest.mark.parametrize("version", ["0.18.5", "0.18.9+cu128", "0.9.3"])
@pytest.mark.parametrize("given", ["dict", "file", "path", "plugin"])
def test_a_run_that_would_lose_micro_batches_is_refused_with_the_way_out(tmp_path, stage, version, given):
    (tmp_path / "zero.json").write_text(json.dumps(zero(stage)))
    config = {
        "dict": zero(stage),
        "file": str(tmp_path / "zero.json"),
        "path": tmp_path / "zero.json",
        "plugin": Plugin(zero(stage)),
    }[given]
    with pytest.raises(ValueError, match="loses micro-batches") as refused:
        refuse_dropped_micro_batches(config, 4, version)
    said = str(refused.value)
    for part in (f"DeepSpeed {version}", f"ZeRO-{stage}", "'cpu'", "gradient_accumulation_steps=4", "2604.23747"):
        assert part in said
    assert "deepspeed>=0.19.0" in said


@pytest.mark.parametrize(
    ("config", "steps", "version"),
    [
        (zero(2), 4, "0.19.0"),
        (zero(1), 4, "0.19.8"),
        (zero(2), 4, "0.20.0"),
        (zero(2), 1, "0.18.5"),
        (zero(3), 4, "0.18.5"),
        (zero(0), 4, "0.18.5"),
        (zero(2, "none"), 4, "0.18.5"),
        (zero(2, None), 4, "0.18.5"),
        (zero(2, None, cpu_offload=False), 4, "0.18.5"),
        ({"train_batch_size": "auto"}, 4, "0.18.5"),
    ],
)
def test_what_loses_nothing_is_let_through(config, steps, version):
    refuse_dropped_micro_batches(config, steps, version)


@pytest.mark.parametrize("config", [zero(2, None, cpu_offload=True), zero(2, "nvme")])
def test_other_ways_to_offload_are_seen(config):
    with pytest.raises(ValueError, match="loses micro-batches"):
        refuse_dropped_micro_batches(config, 2, "0.18.5")


@pytest.fixture
def older_deepspeed(monkeypatch):
    """The version alone is older: what is refused never gets as far as DeepSpeed."""
    monkeypatch.setattr("prefix_rft_trl.run.deepspeed.version", lambda name: "0.18.5")
    monkeypatch.setenv("ACCELERATE_USE_DEEPSPEED", "false")  # what the arguments leave there is taken back


def test_prefix_rft_train_refuses_it_before_the_model_is_loaded(capsys, older_deepspeed, tmp_path):
    from prefix_rft_trl.cli.launch import training_script

    file = RECIPES / "deepspeed" / "zero2_offload.json"
    arguments = ["--config", str(LAB), "--deepspeed", str(file), "--model_name_or_path", "no/such/model"]
    small = ["--per_device_train_batch_size", "8", "--gradient_accumulation_steps", "4"]
    assert training_script.main([*arguments, *small, "--output_dir", str(tmp_path)]) == 2
    said = capsys.readouterr().err
    assert said.startswith("prefix-rft train: DeepSpeed 0.18.5 loses micro-batches")
