"""A step in micro-batches is the step in one: none of them is lost, however the model is sharded."""

import pytest
import torch


SHARDINGS = ["fsdp2", "zero1", "zero2", "zero3"]
FILES = [
    "zero1.json", "zero2.json", "zero2_offload.json", "zero3.json", "zero3_offload.json", "zero3_offload.yaml",
]  # fmt: skip
# A cross-entropy is a mean over the complete step
CASES = [(kind, "") for kind in SHARDINGS] + [(kind, "_cross_entropy") for kind in SHARDINGS if kind != "fsdp2"]


def assert_same_step(folder, other, start):
    one, two = (torch.load(path / "weights.pt") for path in (folder, other))
    step = torch.cat([(one[name] - start[name]).flatten() for name in one])
    apart = torch.cat([(one[name] - two[name]).flatten() for name in one])
    assert step.norm() > 1e-3
    assert apart.norm() <= 1e-5 * step.norm()


@pytest.mark.parametrize(("kind", "loss"), CASES)
def test_four_micro_batches_of_two_make_the_step_of_one_of_eight(trained, start, kind, loss):
    folder = trained(kind)
    assert_same_step(folder / f"one_by_eight{loss}", folder / f"four_by_two{loss}", start)


@pytest.mark.parametrize("kind", SHARDINGS)
def test_packed_micro_batches_make_the_same_step(trained, start, kind):
    assert_same_step(trained(kind) / "one_by_eight", trained(kind) / "packed", start)


@pytest.mark.parametrize("file", FILES)
def test_every_recipe_file_accumulates_the_same_step(trained, start, file):
    assert_same_step(trained("one") / "one_by_eight", trained(file[:5]) / file, start)
