"""A sharded run that resumes from a checkpoint, also from its last one, ends where the unbroken one does."""

import json

import pytest
import torch


STEPS_LEFT = {"resumed": 2, "finished": 0}
pytestmark = [pytest.mark.parametrize("kind", ["fsdp2", "zero2"]), pytest.mark.parametrize("name", STEPS_LEFT)]


def test_resumed_run_ends_with_the_weights_of_the_unbroken_one(trained, kind, name):
    folder = trained(kind)
    unbroken, resumed = (torch.load(folder / run / "weights.pt") for run in ("unbroken", name))
    assert unbroken.keys() == resumed.keys()
    assert all(torch.equal(weight, resumed[key]) for key, weight in unbroken.items())


def test_only_the_remaining_steps_are_made(trained, kind, name):
    folder = trained(kind)
    unbroken, resumed = (
        [json.loads(part.read_text()) for part in sorted((folder / run).glob("rollouts-*.json"))]
        for run in ("unbroken", name)
    )
    assert [len(batches) for batches in resumed] == [STEPS_LEFT[name]] * 2
    assert [batches[4 - STEPS_LEFT[name] :] for batches in unbroken] == resumed
