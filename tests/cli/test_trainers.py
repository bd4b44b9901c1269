from types import SimpleNamespace

from prefix_rft_trl.cli.launch.trainers import _held_out
from prefix_rft_trl.data.loading import load_splits
from prefix_rft_trl.rewards import MathAccuracyReward


def test_a_reward_with_workers_is_shared_by_training_and_measuring():
    script_args = SimpleNamespace(
        reward_funcs=["math_accuracy_reward"],
        reward_kwargs=None,
        measure_steps=1,
        measure_split="test",
        measure_rows=2,
        measure_max_new_tokens=8,
        prompt_column="prompt",
        instruction=None,
        conversational=False,
    )
    reward = MathAccuracyReward()
    assert _held_out(load_splits("lab"), script_args, SimpleNamespace(), [reward]).reward is reward
    assert isinstance(_held_out(load_splits("lab"), script_args, SimpleNamespace()).reward, MathAccuracyReward)
