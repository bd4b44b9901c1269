import sys

import pytest

from prefix_rft_trl.cli.launch.training_script import main
from prefix_rft_trl.data.gym import load_splits


@pytest.fixture
def without_reasoning_gym(monkeypatch):
    for name in [name for name in sys.modules if name.partition(".")[0] == "reasoning_gym"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "reasoning_gym", None)


def test_missing_package_is_named_with_the_line_that_installs_it(without_reasoning_gym):
    with pytest.raises(ValueError, match=r'pip install "prefix_rft_trl\[reasoning_gym\]"'):
        load_splits("reasoning_gym/chain_sum")


def test_training_says_so_before_anything_is_loaded(without_reasoning_gym, tmp_path, capsys):
    flags = ["--dataset_name", "reasoning_gym/chain_sum", "--reward_funcs", "reasoning_gym_score"]
    place = [
        "--model_name_or_path",
        "no/such/model",
        "--output_dir",
        str(tmp_path),
        "--use_cpu",
        "true",
        "--bf16",
        "false",
    ]
    assert main([*flags, *place]) == 2
    assert "pip install" in capsys.readouterr().err
