from pathlib import Path
from types import SimpleNamespace

import pytest

from prefix_rft_trl.utils import deepspeed


RECIPES = Path(__file__).parents[2] / "recipes"
WITH_DEEPSPEED = SimpleNamespace(deepspeed_plugin=object())


def install_deepspeed(monkeypatch, version: str) -> None:
    monkeypatch.setattr(deepspeed, "version", lambda name: version)


@pytest.mark.parametrize("version", ["0.18.9+cu128", "0.9.3"])
def test_deepspeed_that_loses_micro_batches_is_refused(monkeypatch, version):
    install_deepspeed(monkeypatch, version)
    with pytest.raises(ValueError, match=r"DeepSpeed 0\.\S+ can silently lose .*install deepspeed>=0\.19"):
        deepspeed.refuse_old_deepspeed(WITH_DEEPSPEED)


@pytest.mark.parametrize(
    ("version", "arguments"),
    [
        *((newer, WITH_DEEPSPEED) for newer in ("0.19.0", "0.19.8", "1.0")),
        *(("0.18.5", without) for without in (SimpleNamespace(deepspeed_plugin=None), object())),
    ],
)
def test_newer_deepspeed_and_a_run_without_it_are_accepted(monkeypatch, version, arguments):
    install_deepspeed(monkeypatch, version)
    deepspeed.refuse_old_deepspeed(arguments)


@pytest.mark.parametrize("recipe", ["prefix_rft", "sft"])
def test_train_refuses_old_deepspeed_before_the_model_is_loaded(monkeypatch, capsys, tmp_path, recipe):
    from prefix_rft_trl.cli.launch import training_script

    install_deepspeed(monkeypatch, "0.18.5")
    monkeypatch.setenv("ACCELERATE_USE_DEEPSPEED", "false")  # the arguments set it, for all later tests
    line = ["--config", RECIPES / "lab" / f"{recipe}.yaml", "--model_name_or_path", "no/such/model"]
    line += ["--deepspeed", RECIPES / "deepspeed" / "zero2_offload.json", "--output_dir", tmp_path]
    assert training_script.main(list(map(str, line))) == 2
    assert capsys.readouterr().err.startswith("prefix-rft train: DeepSpeed 0.18.5 can silently lose micro-batches")
