"""Without reasoning-gym, a run names the command that installs it."""

import sys

import pytest

from prefix_rft_trl.cli.launch.training_script import main


@pytest.fixture
def without_reasoning_gym(monkeypatch):
    for name in [name for name in sys.modules if name.partition(".")[0] == "reasoning_gym"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "reasoning_gym", None)


def test_training_stops_before_a_model_is_loaded(without_reasoning_gym, tmp_path, capsys):
    flags = ["--dataset_name", "reasoning_gym/chain_sum", "--reward_funcs", "reasoning_gym_score"]
    flags += ["--model_name_or_path", "no/such/model", "--output_dir", str(tmp_path)]
    assert main([*flags, "--use_cpu", "true", "--bf16", "false"]) == 2
    assert 'pip install "prefix_rft_trl[reasoning_gym]"' in capsys.readouterr().err
