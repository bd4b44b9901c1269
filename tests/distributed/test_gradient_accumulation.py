"""A step in micro-batches is the step in one: none of them is lost, however the model is shared out."""

import pytest
import torch
from transformers import AutoModelForCausalLM

from prefix_rft_trl import lab


SHARDINGS = ["fsdp2", "zero1", "zero2", "zero3"]
FILES = [
    "zero1.json", "zero2.json", "zero2_offload.json", "zero3.json", "zero3_offload.json", "zero3_offload.yaml",
]  # fmt: skip


@pytest.fixture(scope="module")
def start():
    return AutoModelForCausalLM.from_pretrained(lab.base_model_path()).state_dict()


def assert_same_step(folder, other, start):
    one, two = (torch.load(path / "weights.pt") for path in (folder, other))
    step = torch.cat([(one[name] - start[name]).flatten() for name in one])
    apart = torch.cat([(one[name] - two[name]).flatten() for name in one])
    assert step.norm() > 1e-3
    assert apart.norm() <= 1e-5 * step.norm()


@pytest.mark.parametrize("kind", SHARDINGS)
def test_four_micro_batches_of_two_make_the_step_of_one_of_eight(trained, start, kind):
    folder = trained(kind)
    assert_same_step(folder / "one_by_eight", folder / "four_by_two", start)


@pytest.mark.parametrize("kind", [kind for kind in SHARDINGS if kind != "fsdp2"])
def test_so_they_do_with_a_cross_entropy_which_is_a_mean_over_the_whole_step(trained, start, kind):
    folder = trained(kind)
    assert_same_step(folder / "one_by_eight_cross_entropy", folder / "four_by_two_cross_entropy", start)


@pytest.mark.parametrize("file", FILES)
def test_so_they_do_with_every_file_of_the_recipes(trained, start, file):
    assert_same_step(trained("one") / "one_by_eight", trained(file[:5]) / file, start)
