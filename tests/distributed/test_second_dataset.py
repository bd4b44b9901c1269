"""Demonstrations of a second dataset: two processes train what one does, in one micro-batch or in several."""

import json

import pytest
import torch


@pytest.mark.parametrize("kind", ["ddp", "fsdp2"])
@pytest.mark.parametrize("cut", ["whole", "cut"])
@pytest.mark.parametrize("normalization", ["tokens", "prompts"])
def test_two_processes_train_what_one_does(trained, start, kind, cut, normalization):
    one, two = trained("one") / f"{normalization}_of_whole", trained(kind) / f"{normalization}_of_{cut}"
    weights, of_two = (torch.load(folder / "weights.pt") for folder in (one, two))
    moved = sum(float((weights[name].double() - start[name]).square().sum()) for name in start if name in weights)
    apart = sum(float((weights[name].double() - of_two[name].double()).square().sum()) for name in weights)
    assert moved**0.5 > 1e-3
    assert apart**0.5 <= 1e-4 * moved**0.5
    logs, logs_of_two = (json.loads((folder / "log.json").read_text()) for folder in (one, two))
    for log, log_of_two in zip(logs, logs_of_two, strict=True):
        assert log["demonstrations/rows"] == 6
        for name in (name for name in log if name.startswith("demonstrations/") or name == "prefix/trained_tokens"):
            assert log_of_two[name] == pytest.approx(log[name])
    assert [log["demonstrations/epoch"] for log in logs] == pytest.approx([6 / 5, 12 / 5, 18 / 5])
