"""Without reasoning-gym, every way in names the command that installs it."""

import sys

import pytest

from prefix_rft_trl.cli.launch.training_script import main
from prefix_rft_trl.data.gym import load_splits


@pytest.fixture
def without_reasoning_gym(monkeypatch):
    for name in [name for name in sys.modules if name.partition(".")[0] == "reasoning_gym"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "reasoning_gym", None)


def test_loading_names_the_command_that_installs_the_package(without_reasoning_gym):
    with pytest.raises(ValueError, match=r'pip install "prefix_rft_trl\[reasoning_gym\]"'):
        load_splits("reasoning_gym/chain_sum")


def test_training_stops_before_a_model_is_loaded(without_reasoning_gym, tmp_path, capsys):
    flags = ["--dataset_name", "reasoning_gym/chain_sum", "--reward_funcs", "reasoning_gym_score"]
    flags += ["--model_name_or_path", "no/such/model", "--output_dir", str(tmp_path)]
    assert main([*flags, "--use_cpu", "true", "--bf16", "false"]) == 2
    assert "pip install" in capsys.readouterr().err
