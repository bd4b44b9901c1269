import pytest

from prefix_rft_trl.comparison.budgets import Rollouts, rollouts


RL = {"num_generations": 8, "per_device_train_batch_size": 64, "max_steps": 120}


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        (RL, Rollouts(7680, 960)),
        (RL | {"gradient_accumulation_steps": 2, "num_iterations": 4}, Rollouts(3840, 480)),
        ({f"rft.{key}": value for key, value in RL.items()} | {"sft.max_steps": 9}, Rollouts(7680, 960)),
        (RL | {"rft.num_generations": 4, "rft.max_steps": 60}, Rollouts(3840, 960)),
        ({"max_steps": 120, "per_device_train_batch_size": 64}, None),
        ({"num_generations": 8, "num_train_epochs": 3, "max_steps": -1, "per_device_train_batch_size": 64}, None),
    ],
)
def test_rollouts_are_counted_from_the_stages_that_sample(settings, expected):
    assert rollouts(settings) == expected
