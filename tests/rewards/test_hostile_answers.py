"""Workers are warm before the clock starts; there is one more than answers that run into the time limit."""

import json
import subprocess
import sys
import threading

import pytest

from prefix_rft_trl.rewards import MathAccuracyReward


HARMLESS = {"different", "refused", "timeout"}


@pytest.fixture
def ready(verifier):
    verifier.verify([(f"x + {number}", (f"{number} + x",)) for number in range(20)])
    return verifier


def assert_still_verifies(verifier, variable: str) -> None:
    pairs = [
        (f"{variable} + 1", (f"1 + {variable}",)),
        (r"\frac{\sqrt{8}}{4}", (r"\frac{\sqrt{2}}{2}",)),
        (variable, ("z",)),
    ]
    assert verifier.verify(pairs) == ["equal", "equal", "different"]


def test_the_hostile_answers_are_many_and_large(hostile):
    assert len(hostile.HOSTILE) >= 40
    assert max(len(answer or "") for answer in hostile.HOSTILE.values()) >= 1_000_000


def test_all_are_scored_in_the_time_of_one(ready, hostile):
    verdicts, seconds = hostile.score_all(
        lambda answers: ready.verify([(answer, (hostile.GOLD,)) for answer in answers])
    )
    assert seconds < ready.time_limit + 2
    assert set(verdicts.values()) <= HARMLESS
    assert {name for name, verdict in verdicts.items() if verdict == "timeout"} >= set(hostile.SLOW)
    assert_still_verifies(ready, "y")


def test_responses_that_box_them_are_scored_off_the_main_thread(ready, hostile):
    reward = MathAccuracyReward(time_limit=ready.time_limit)
    reward.verifier = ready
    found, logged = {}, {}

    def score(answers: list[str | None]) -> list[float | None]:
        responses = [rf"So it is $\boxed{{{answer}}}$, I think." for answer in answers]
        return reward(completions=responses, solution=[r"\sqrt{44}"] * len(answers), log_metric=logged.__setitem__)

    thread = threading.Thread(target=lambda: found.update(all=hostile.score_all(score)))
    thread.start()
    thread.join(timeout=60)
    rewards, seconds = found["all"]
    assert seconds < ready.time_limit + 2
    assert set(rewards.values()) == {0.0}
    assert logged["math_accuracy/timeout"] >= len(hostile.SLOW) / len(hostile.HOSTILE)
    assert logged["math_accuracy/crashed"] == 0.0
    assert_still_verifies(ready, "w")


@pytest.mark.parametrize(
    ("beginning", "repeated"),
    [
        ("#### 5", " "),
        ("The answer is 5", "\n"),
        (r"\boxed{5^\circ", " "),
        ("", "<think>"),
        ("", r"\boxed{"),
        (r"\boxed{5}", r"\boxed "),
        ("<answer>", "{"),
        ("", "answer is $"),
        (r"\boxed{", "7"),
        ("", "1,111 "),
    ],
)
def test_degenerate_responses_are_read_in_linear_time(ready, growth, beginning, repeated):
    reward = MathAccuracyReward()
    reward.verifier = ready

    def score(text: str) -> None:
        responses = [f"{number} {text}" for number in range(20)]
        assert set(reward(completions=responses, solution=[r"\sqrt{44}"] * 20)) == {0.0}

    text_of = lambda size: beginning + repeated * (size // len(repeated))  # noqa: E731
    assert not growth.superlinear_growth(score, text_of, (200_000,))


def test_two_processes_score_them_at_once(hostile):
    command = [sys.executable, hostile.__file__, "8"]
    processes = [subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    for process in processes:
        assert process.stdout.readline() == "ready\n"
    for process in processes:
        process.stdin.write("go\n")
        process.stdin.flush()
    for process in processes:
        output, _ = process.communicate(timeout=60)
        assert process.returncode == 0
        result = json.loads(output)
        assert result["seconds"] < 8 + 2
        assert set(result["verdicts"].values()) <= HARMLESS
        assert result["after"] == ["equal", "equal", "different"]
