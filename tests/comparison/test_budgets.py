import pytest

from prefix_rft_trl.comparison.statistics import Budget, budget


RL = {"num_generations": 8, "per_device_train_batch_size": 64, "max_steps": 120}
SFT = {"trainer": "sft", "per_device_train_batch_size": 32, "max_steps": 9}
WHOLE = {"prefix_ratio_schedule": "whole", "num_prefix_generations": 1}


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        (RL, Budget(960, 7680, 0)),
        ({name: value for name, value in RL.items() if name != "num_generations"}, Budget(960, 7680, 0)),
        (RL | {"num_prefix_generations": 1}, Budget(960, 7680, 0)),
        (RL | WHOLE, Budget(960, 6720, 960)),
        (RL | WHOLE | {"num_generations": 9, "per_device_train_batch_size": 72}, Budget(960, 7680, 960)),
        (RL | {"gradient_accumulation_steps": 2, "num_iterations": 4}, Budget(480, 3840, 0)),
        (SFT, Budget(0, 0, 288)),
        (
            {f"sft.{name}": value for name, value in SFT.items()}
            | {f"rft.{name}": value for name, value in RL.items()},
            Budget(960, 7680, 288),
        ),
        (RL | {"sft.trainer": "sft", "sft.max_steps": 60, "rft.num_generations": 4}, Budget(1920, 7680, 3840)),
        (RL | {"max_steps": -1, "num_train_epochs": 3}, None),
        ({"max_steps": 9}, None),
    ],
)
def test_what_a_run_is_given_is_counted_from_its_settings(settings, expected):
    assert budget(settings) == expected
