import subprocess
import sys

import pytest

from prefix_rft_trl import lab
from prefix_rft_trl.rewards import FORMAT_REWARDS, REWARDS, gsm8k_final_number, load_reward, required_columns
from prefix_rft_trl.utils.dotted_paths import RECIPE_FOLDERS, look_beside


NEEDED = {
    "get_cosine_scaled_reward": {"max_len": 100},
    "get_soft_overlong_punishment": {"max_completion_len": 10, "soft_punish_cache": 4},
}


def as_messages(*texts: str) -> list[list[dict[str, str]]]:
    return [[{"role": "assistant", "content": text}] for text in texts]


READS = {
    "math_accuracy_reward": ["solution"],
    "gsm8k_final_number": ["answer"],
    "lab_exact_answer": ["solution"],
    "lab_shown_work": ["solution"],
    "lab_final_number": ["solution"],
    "reasoning_gym_score": ["entry"],
    "accuracy_reward": ["solution"],
    "reasoning_accuracy_reward": ["solution"],
    "get_cosine_scaled_reward": ["solution"],
}


@pytest.mark.parametrize("name", REWARDS)
def test_every_registered_reward_loads_with_a_name_for_the_log_and_the_columns_that_it_reads(name):
    reward = load_reward(name, NEEDED.get(name))
    assert callable(reward)
    assert isinstance(reward.__name__, str)
    assert required_columns(reward) == READS.get(name, [])


def test_required_columns_are_parameters_without_default_and_declared_ones():
    def reward(prompts, completions, level, *, answer, hint=None, log_extra=None, **columns): ...

    assert required_columns(reward) == ["level", "answer"]
    reward.solution_column, reward.required_columns = "answer", ("entry", "level")
    assert required_columns(reward) == ["level", "answer", "entry"]
    assert required_columns(load_reward("math_accuracy_reward", {"solution_column": "gold"})) == ["gold"]


def test_format_rewards_are_registered_and_say_nothing_about_correctness():
    assert FORMAT_REWARDS.issubset(REWARDS)
    assert "get_soft_overlong_punishment" in FORMAT_REWARDS
    assert "lab_step_by_step" in FORMAT_REWARDS
    assert not FORMAT_REWARDS & {"math_accuracy_reward", "accuracy_reward", "lab_exact_answer"}


def test_steps_are_rewarded_whether_or_not_they_are_right():
    assert load_reward("lab_step_by_step")(completions=["3+4=7;#7", "3+4=8;#8", "#7", ""]) == [1.0, 1.0, 0.0, 0.0]


def test_listing_the_rewards_waits_for_no_slow_import():
    code = "import sys; from prefix_rft_trl.rewards import REWARDS, load_reward; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert not {"torch", "transformers", "trl", "datasets", "math_verify", "pebble"} & set(loaded)


def test_a_dotted_path_loads_that_function():
    assert load_reward("prefix_rft_trl.lab.exact_answer_reward") is lab.exact_answer_reward


@pytest.mark.parametrize("name", ["nope", "prefix_rft_trl.rewards.nope", "no_such_module.nope"])
def test_an_unknown_reward_lists_the_known_ones(name):
    with pytest.raises(ValueError, match="gsm8k_final_number") as error:
        load_reward(name)
    assert name in str(error.value)


def test_a_class_is_constructed_with_its_arguments():
    reward = load_reward("math_accuracy_reward", {"time_limit": 2, "num_workers": 3, "solution_column": "answer"})
    assert (reward.verifier.time_limit, reward.verifier.num_workers, reward.solution_column) == (2, 3, "answer")
    assert load_reward("math_accuracy_reward").solution_column == "solution"
    assert reward.__name__ == "math_accuracy_reward"


def test_functions_classes_and_factories_in_a_file_of_the_working_folder_load(tmp_path, monkeypatch):
    (tmp_path / "my_made_rewards.py").write_text(
        "def short(completions, **kwargs): return [1.0]\n"
        "class Constant:\n"
        "    def __init__(self, value=0.0): self.value = value\n"
        "    def __call__(self, completions, **columns): return [self.value] * len(completions)\n"
        "def get_constant(value): return Constant(value)\n"
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.path", [])
    assert load_reward("my_made_rewards.short")(["a"]) == [1.0]
    assert load_reward("my_made_rewards.Constant", {"value": 2.0})(["a"]) == [2.0]
    assert load_reward("my_made_rewards.Constant")(["a"]) == [0.0]
    assert load_reward("my_made_rewards.get_constant", {"value": 3.0})(["a", "b"]) == [3.0, 3.0]


def test_a_reward_beside_the_recipe_is_found_and_hides_no_package(tmp_path, monkeypatch):
    for folder in ("recipes", "here"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "colorsys.py").write_text("raise AssertionError('it hides a package')")
        (tmp_path / folder / "made_for_two.py").write_text(f"def score(completions, **_): return [{folder!r}]")
    (tmp_path / "here" / "made_here.py").write_text("def score(completions, **_): return ['here']")
    monkeypatch.chdir(tmp_path / "here")
    monkeypatch.setattr("sys.path", [*sys.path])
    monkeypatch.setenv(RECIPE_FOLDERS, "")
    look_beside(tmp_path / "recipes" / "recipe.yaml")
    assert load_reward("made_for_two.score")([""]) == ["recipes"]
    assert load_reward("made_here.score")([""]) == ["here"]
    with pytest.raises(ValueError, match=r"Cannot load the reward 'colorsys.score'"):
        load_reward("colorsys.score")
    assert sys.path[-2:] == [str(tmp_path / "recipes"), str(tmp_path / "here")]


@pytest.mark.parametrize("name", ["..made.score", ".score", "a..b", "a.b!", "", "a b.c"])
def test_a_name_that_is_no_dotted_path_is_unknown(name):
    with pytest.raises(ValueError, match="Unknown reward"):
        load_reward(name)


@pytest.mark.parametrize(
    ("name", "arguments", "found"),
    [
        ("get_soft_overlong_punishment", None, "max_completion_len"),
        ("get_soft_overlong_punishment", {"max_completion_len": 10}, "soft_punish_cache"),
        ("get_cosine_scaled_reward", {"max_len": 10, "nonsense": 1}, "nonsense"),
        ("math_accuracy_reward", {"timeout": 5}, "time_limit"),
        ("gsm8k_final_number", {"nonsense": 1}, "nonsense"),
    ],
)
def test_wrong_arguments_are_reported_with_the_reward_and_the_setting(name, arguments, found):
    with pytest.raises(ValueError, match="reward_kwargs") as error:
        load_reward(name, arguments)
    assert name in str(error.value)
    assert found in str(error.value)


def test_overlong_answers_are_punished_as_in_dapo():
    reward = load_reward("get_soft_overlong_punishment", NEEDED["get_soft_overlong_punishment"])
    lengths = [6, 7, 9, 10, 11]
    found = reward(completions=["a"] * 5, completion_ids=[[0] * length for length in lengths])
    assert found == [0.0, -0.25, -0.75, -1.0, -1.0]


def test_repeated_words_are_punished_in_proportion():
    reward = load_reward("get_repetition_penalty_reward", {"ngram_size": 2, "max_penalty": -1.0})
    assert reward(completions=["a", "b"], completion_ids=[[1, 2, 3, 4], [5, 5, 5, 5, 5]]) == [0.0, -0.75]


def test_trl_rewards_accept_text_as_well_as_messages():
    reward = load_reward("think_format_reward")
    texts = ["<think>a</think>b", "a</think>b", "b"]
    assert reward(completions=texts) == reward(completions=as_messages(*texts)) == [1.0, 0.0, 0.0]


def test_trl_rewards_receive_columns_and_loggers():
    logged = {}
    rewards = load_reward("accuracy_reward")(
        completions=[r"So \boxed{4}", *as_messages(r"So \boxed{5}"), r"So \boxed{6}"],
        solution=["$4$", "$4$", "no such thing"],
        log_extra=lambda name, values: logged.update({name: values}),
    )
    assert rewards == [1.0, 0.0, None]
    assert all(len(values) == 3 for values in logged.values())
    assert logged


def test_cosine_scaling_accepts_text():
    reward = load_reward("get_cosine_scaled_reward", {"max_len": 100})
    short, long, wrong = reward(
        completions=[r"$\boxed{4}$"] * 2 + [r"$\boxed{5}$"],
        solution=["$4$"] * 3,
        completion_ids=[[0], [0] * 99, [0]],
    )
    assert 1.0 >= short > long >= 0.5 > -0.5 > wrong


@pytest.mark.parametrize(
    ("response", "gold", "reward"),
    [
        ("so it is 1,234.", "<<1+1=2>> #### 1234", 1.0),
        ("#### 7 and then 8 more", "#### 8", 1.0),
        ("#### 7", "#### 8", 0.0),
        ("first 8, then 7", "#### 8", 0.0),
        ("no number", "#### 8", 0.0),
        ("it is -3", "#### -3", 1.0),
        ("2.50", "#### 2.5", 1.0),
        ("8", "no number", None),
    ],
)
def test_the_last_number_is_compared_with_the_one_after_the_mark(response, gold, reward):
    assert gsm8k_final_number([response], answer=[gold]) == [reward]
    assert gsm8k_final_number(as_messages(response), answer=[gold]) == [reward]
