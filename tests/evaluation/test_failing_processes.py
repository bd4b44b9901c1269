"""Several processes share an evaluation: what fails in one of them ends it, and is said."""

import shutil
import time
from pathlib import Path

import psutil

from prefix_rft_trl import lab
from prefix_rft_trl.cli.main import main


def test_an_error_in_a_process_ends_the_evaluation_with_what_it_is(tmp_path, capsys):
    model = tmp_path / "model"
    shutil.copytree(lab.base_model_path(), model)
    weights = model / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    line = ["eval", "--model", str(model), "--benchmarks", "lab", "--num_samples", "16", "--num_problems", "4"]
    before, started = set(psutil.Process().children(recursive=True)), time.monotonic()
    assert (
        main([*line, "--batch_size", "16", "--data_parallel_size", "2", "--output_dir", str(tmp_path / "eval")]) == 2
    )
    assert time.monotonic() - started < 120
    assert f"prefix-rft eval: The model {model} could not be loaded" in capsys.readouterr().err
    left = [child for child in psutil.Process().children(recursive=True) if child not in before]
    still = [child.cmdline() for child in left if child.status() != psutil.STATUS_ZOMBIE]
    assert [line for line in still if "spawn_main" in " ".join(line)] == []
    assert not list(Path(tmp_path / "eval").rglob("samples-*.parquet"))
