"""A sharded run that resumes from a checkpoint ends where the unbroken one does."""

import json

import pytest
import torch


@pytest.mark.parametrize("kind", ["fsdp2", "zero2"])
def test_resumed_run_ends_with_the_weights_of_the_unbroken_one(trained, kind):
    folder = trained(kind)
    unbroken, resumed = (torch.load(folder / name / "weights.pt") for name in ("unbroken", "resumed"))
    assert unbroken.keys() == resumed.keys()
    assert all(torch.equal(weight, resumed[name]) for name, weight in unbroken.items())


@pytest.mark.parametrize("kind", ["fsdp2", "zero2"])
def test_only_the_remaining_steps_are_made(trained, kind):
    folder = trained(kind)
    unbroken, resumed = (
        [json.loads(part.read_text()) for part in sorted((folder / name).glob("rollouts-*.json"))]
        for name in ("unbroken", "resumed")
    )
    assert [len(batches) for batches in resumed] == [2, 2]
    assert [batches[2:] for batches in unbroken] == resumed
