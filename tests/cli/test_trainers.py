from types import SimpleNamespace

from prefix_rft_trl.cli.launch.trainers import _find_held_out
from prefix_rft_trl.data.loading import load_splits
from prefix_rft_trl.rewards import MathAccuracyReward


SCRIPT = {
    "reward_funcs": ["math_accuracy_reward", "lab_exact_answer"], "reward_kwargs": None, "measure_steps": 1,
    "dataset_train_split": "train", "measure_split": "test", "measure_rows": 9, "measure_max_new_tokens": 8,
    "prompt_column": "prompt", "instruction": None, "conversational": False,
}  # fmt: skip


def find(rewards: list | None = None, processes: int = 1, **settings):
    script_args = SimpleNamespace(**{**SCRIPT, **settings})
    return _find_held_out(
        load_splits("lab"),
        script_args,
        SimpleNamespace(world_size=processes, demonstration_column="completion", chat_template_kwargs=None),
        rewards,
    )


def test_a_reward_with_workers_is_shared_by_training_and_measuring():
    reward = MathAccuracyReward()
    assert find([reward]).reward is reward
    assert isinstance(find().reward, MathAccuracyReward)


def test_all_rewards_are_measured_on_a_share_of_the_rows_for_each_process():
    held_out = find(processes=2)
    assert [reward.__name__ for reward in held_out.further_rewards] == ["exact_answer_reward"]
    assert [len(chunk.places) for chunk in held_out.chunks] == [5, 4]
    assert [held_out.seeds(chunk)[0] for chunk in held_out.chunks] == [0, 1]
    assert len(set(held_out.seeds(held_out.chunks[0]))) == 5, "vLLM would draw the same for each"
