import pickle

import pytest

from prefix_rft_trl.rewards import MathAccuracyReward, Verdict, load_reward, math_accuracy_reward


class Scripted:
    """Stands in for workers: each answer is its own verdict."""

    def verify(self, pairs):
        self.pairs = pairs
        return [Verdict(answer or "different") for answer, _ in pairs]


class Log:
    def __init__(self):
        self.metrics, self.columns = {}, {}
        self.loggers = {"log_metric": self.metrics.__setitem__, "log_extra": self.columns.__setitem__}


def messages(content) -> list[dict]:
    return [{"role": "assistant", "content": content}]


def make_reward(verifier, **settings) -> MathAccuracyReward:
    made = MathAccuracyReward(**settings)
    made.verifier = verifier
    return made


@pytest.fixture
def reward(verifier):
    return make_reward(verifier)


@pytest.fixture
def scripted():
    return make_reward(Scripted())


RESPONSES = [
    (r"So $\frac{2}{4} = \boxed{\frac{2}{4}}$.", r"\dfrac{1}{2}", 1.0),
    (r"So $\frac{2}{4} = \boxed{\frac{2}{3}}$.", r"\dfrac{1}{2}", 0.0),
    (r"It is \boxed{\text{(A)}}.", "A", 1.0),
    (r"It is \boxed{B}.", "A", 0.0),
    *((r"\boxed{42}", gold, 1.0) for gold in ("$42$", r"$\boxed{42}$", "6 * 7 = <<6*7=42>>42\n#### 42")),
    *((r"\boxed{42}", gold, 1.0) for gold in (42, 42.0, ["41", "42"])),
    (r"\boxed{42}", ["41", "???"], 0.0),
    ("6 * 7 = 42\n#### 42", "#### 42", 1.0),
    ("The answer is $x + 1$.", "1 + x", 1.0),
    (r"<think>\boxed{42}</think> I do not know.", "42", 0.0),
    (r"<think>\boxed{41}</think> \boxed{42}", "42", 1.0),
    ("6 * 7 = 42", "42", 0.0),
    ("", "42", 0.0),
    *((r"\boxed{42}", no_gold, None) for no_gold in (None, "", [], "???")),
    (r"\boxed{???}", "???", None),
    ("nothing", r"\frac{1}{2", None),
]


def test_text_and_messages_are_rewarded_alike(reward):
    texts, solutions, expected = (list(column) for column in zip(*RESPONSES, strict=True))
    assert reward(completions=texts, solution=solutions) == expected
    assert reward(completions=[messages(text) for text in texts], solution=solutions) == expected
    parts = [messages([{"type": "text", "text": text[:3]}, {"type": "text", "text": text[3:]}]) for text in texts]
    assert reward(completions=parts, solution=solutions) == expected
    assert reward(prompts=["?"] * len(texts), completions=texts, solution=solutions, trainer_state=None) == expected


def test_the_last_message_counts_and_one_without_text_states_no_answer(reward):
    two_turns = [*messages(r"\boxed{41}"), {"role": "user", "content": r"\boxed{40}?"}, *messages(r"\boxed{42}")]
    without_text = [[], messages(None), messages([]), messages([{"type": "image"}]), [{"role": "assistant"}]]
    rewards = reward(completions=[two_turns, *without_text], solution=["42"] * 6)
    assert rewards == [1.0, 0.0, 0.0, 0.0, 0.0, 0.0]


def test_an_empty_batch_gives_no_rewards_and_logs_nothing(reward):
    log = Log()
    assert reward(completions=[], solution=[], **log.loggers) == []
    assert log.metrics == {}


def test_only_equal_is_rewarded_and_an_unreadable_gold_gives_none(scripted):
    verdicts = ["equal", "different", "unreadable_gold", "timeout", "refused", "crashed"]
    completions = [rf"\boxed{{{verdict}}}" for verdict in verdicts]
    assert scripted(completions=completions, solution=["1"] * 6) == [1.0, 0.0, None, 0.0, 0.0, 0.0]


def test_shares_of_unverified_answers_are_logged(scripted):
    counts = {"equal": 7, "different": 3, "unreadable_gold": 4, "timeout": 3, "refused": 2, "crashed": 1}
    completions = [rf"\boxed{{{name}}}" for name, number in counts.items() for _ in range(number)]
    log = Log()
    scripted(completions=[*completions, "", "", "", "", ""], solution=["1"] * 25, **log.loggers)
    shares = {"unreadable_gold": 4 / 25, "timeout": 3 / 25, "refused": 2 / 25, "crashed": 1 / 25, "no_answer": 5 / 25}
    assert log.metrics == pytest.approx({f"math_accuracy/{name}": share for name, share in shares.items()})


def test_extracted_answers_go_to_the_completions_table(reward):
    log = Log()
    completions = [r"\boxed{ 42 }", "#### 7", "nothing", r"\boxed{" + "7" * 10_000 + "}", r"\boxed{}"]
    reward(completions=completions, solution=["42"] * 5, **log.loggers)
    assert log.columns == {"extracted_answer": ["42", "7", "", "7" * 80, ""]}


def test_column_of_the_right_answers_is_settable(reward):
    reward.solution_column = "answer"
    assert reward(completions=[r"\boxed{42}"], answer=["#### 42"], solution=["41"]) == [1.0]


def test_a_missing_column_is_reported_with_those_that_exist(reward):
    with pytest.raises(ValueError, match="'solution'") as error:
        reward(completions=[r"\boxed{42}"], prompts=["?"], answer=["42"])
    assert "prompts, answer" in str(error.value)
    assert "solution_column" in str(error.value)


@pytest.mark.parametrize(
    ("markers", "rewards"),
    [
        (("####", "answer is", "answer:"), [1.0, 1.0, 0.0, 1.0]),
        (["so x ="], [0.0, 0.0, 1.0, 1.0]),
        ("so x =", [0.0, 0.0, 1.0, 1.0]),
        ((), [0.0, 0.0, 0.0, 1.0]),
    ],
)
def test_markers_are_settable(verifier, markers, rewards):
    reward = make_reward(verifier, answer_markers=markers)
    completions = ["#### 42", "The answer is 42.", "So x = 42.", r"\boxed{42}"]
    assert reward(completions=completions, solution=["42"] * 4) == rewards


def test_columns_of_different_lengths_are_an_error(reward):
    with pytest.raises(ValueError, match="shorter"):
        reward(completions=["a", "b"], solution=["42"])


def test_a_copy_keeps_the_settings_and_no_workers(reward):
    reward(completions=[r"\boxed{x + 1}"], solution=["1 + x"])
    assert reward.verifier.workers.is_running
    reward.answer_markers, reward.solution_column = ("so",), "answer"
    copy = pickle.loads(pickle.dumps(reward))
    assert (copy.answer_markers, copy.solution_column) == (("so",), "answer")
    assert (copy.verifier.num_workers, copy.verifier.time_limit) == (4, 8.0)
    assert not copy.verifier.workers.is_running
    assert copy.__name__ == "math_accuracy_reward"


def test_constructing_it_starts_no_worker_and_gives_it_its_name_in_the_log():
    for made in (MathAccuracyReward(), load_reward("math_accuracy_reward")):
        assert not made.verifier.workers.is_running
        assert made.__name__ == math_accuracy_reward.__name__ == "math_accuracy_reward"
