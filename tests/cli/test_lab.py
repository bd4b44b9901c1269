import json

import pytest
from matplotlib.image import imread

from prefix_rft_trl.cli.lab import run
from prefix_rft_trl.cli.main import main


def test_the_quickstart_makes_a_table_a_picture_and_two_models(tmp_path, capsys):
    assert run(["--steps", "10", "--output_dir", str(tmp_path), "--seed", "1"]) == 0
    captured = capsys.readouterr()
    results = json.loads((tmp_path / "results.json").read_text())
    for method, label in (("grpo", "GRPO"), ("prefix_rft", "Prefix-RFT")):
        assert f"{label:<12}{results[method]['accuracy']:>10.2f}" in captured.out
        assert f"{label:<10} is in {tmp_path / method}" in captured.out
        assert (tmp_path / method / "model.safetensors").is_file()
        assert label in captured.err  # its line of progress
    assert f'"text-generation", "{tmp_path}/prefix_rft"' in captured.out
    height, width, _ = imread(tmp_path / "curves.png").shape
    assert width > height > 300


def test_a_run_that_fails_says_why_and_where_to_read_on(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("ACCELERATE_MIXED_PRECISION", "no such precision")
    assert main(["lab", "--steps", "10", "--output_dir", str(tmp_path)]) == 2
    assert "log.txt" in capsys.readouterr().err


def test_too_few_steps_are_refused(capsys):
    assert main(["lab", "--steps", "1"]) == 2
    assert "--steps" in capsys.readouterr().err


@pytest.mark.parametrize("flag", ["--steps", "--seed", "--output_dir"])
def test_help_tells_each_flag(flag, capsys):
    with pytest.raises(SystemExit):
        run(["--help"])
    assert flag in capsys.readouterr().out
