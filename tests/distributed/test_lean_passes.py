"""What two processes leave out of their passes changes no step, where one of them or both have nothing to train."""

import json

import pytest
import torch


@pytest.mark.parametrize("case", ["idle", "uneven_steps"])
@pytest.mark.parametrize("kind", ["ddp", "fsdp2", "zero1", "zero2", "zero3"])
def test_lean_passes_make_the_steps_of_padded_ones(trained, start, kind, case):
    lean, padded = (trained(kind) / f"{case}_{way}" for way in ("lean", "padded"))
    one, two = (torch.load(folder / "weights.pt") for folder in (lean, padded))
    step = torch.cat([(two[name] - start[name]).flatten() for name in two])
    apart = torch.cat([(one[name] - two[name]).flatten() for name in two])
    assert step.norm() > 1e-3
    assert apart.norm() <= 1e-5 * step.norm()
    found, expected = (json.loads((folder / "log.json").read_text()) for folder in (lean, padded))
    assert [entry["loss"] for entry in found] == pytest.approx([entry["loss"] for entry in expected], abs=1e-6)
    assert min(entry.get("compute/rows", 1.0) for entry in found) < min(
        entry.get("compute/rows", 1.0) for entry in expected
    )
