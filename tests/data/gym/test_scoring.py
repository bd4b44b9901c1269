"""reasoning-gym's own scorers as a reward that no answer can stop."""

import ast
import json
import threading
import time
from decimal import Decimal

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from prefix_rft_trl.data.gym.generating import make_row, read_entry, to_literal
from prefix_rft_trl.data.gym.scoring import ReasoningGymScore, score_answer, stated_answer
from prefix_rft_trl.data.gym.tasks import make_task, registered_tasks
from prefix_rft_trl.data.gym.worked import WORKED


reasoning_gym = pytest.importorskip("reasoning_gym")

SLOW = {"futoshiki", "knight_swap", "composite"}
WITHOUT_AN_ANSWER = {"boxnet", "graph_color", "propositional_logic", "rubiks_cube", "rush_hour"}


def make_rows(task, number=3, **options):
    made = make_task(task, options, seed=5, size=number)
    return [make_row(made[place], task, options) for place in range(number)]


@pytest.fixture(scope="module")
def reward():
    made = ReasoningGymScore(num_workers=1, time_limit=2)
    yield made
    made.workers.close()


def test_gold_and_demonstration_of_every_task_score_one():
    below_one, demonstrated = {}, set()
    for task in sorted(set(registered_tasks()) - SLOW - WITHOUT_AN_ANSWER):
        (row,) = make_rows(task, 1)
        if "Integral(" in row["solution"]:  # not solved
            assert score_answer(row["solution"], row["entry"]) == "refused"
        elif score_answer(row["solution"].strip(), row["entry"]) != 1:
            below_one[task] = row["solution"]
        if row["completion"] is not None:
            demonstrated.add(task)
            assert score_answer(stated_answer(row["completion"]), row["entry"]) == 1, task
    assert below_one == {}
    assert demonstrated == set(WORKED)


def test_any_of_several_right_answers_scores_one(reward):
    rows = make_rows("graph_color")
    colours = [read_entry(row["entry"])[2]["metadata"]["possible_answer"] for row in rows]
    right = [f"<answer>{json.dumps(colouring)}</answer>" for colouring in colours]
    assert [row["solution"] for row in rows] == [None] * 3
    assert reward(right, entry=[row["entry"] for row in rows]) == [1.0] * 3


def test_the_scorer_gets_the_options_of_its_problem(reward):
    responses, entries = [], []
    for places in (1, 3):  # of the operands; the scorer allows a difference of one in the last of them
        row = make_rows("decimal_arithmetic", 1, min_num_decimal_places=places, max_num_decimal_places=places)[0]
        responses.append(f"<answer>{Decimal(row['solution']) + Decimal('0.05')}</answer>")
        entries.append(row["entry"])
    assert reward(responses, entry=entries) == [1.0, 0.0]


@pytest.mark.parametrize(
    ("response", "answer"),
    [("<answer>42</answer>", "42"), ("So <answer>41</answer>, no: <answer>\n 4\n2 </answer>.", "4\n2"),
     (r"<answer>41</answer>, no, \boxed{42}", "42"), (r"So \boxed{42}", "42"), ("The answer is 42.", "42"),
     ("<think><answer>41</answer></think> #### 42", "42"), ("<think><answer>41</answer></think> So it is.", None),
     ("<think><answer>41</think> So it is.</answer>", None), ("<answer></answer>", ""),
     ("</answer><answer>42", None), ("42", None), ("", None)],
)  # fmt: skip
def test_the_answer_is_read_from_its_last_statement(response, answer):
    assert stated_answer(response) == answer


def test_wrong_and_missing_answers_score_zero_in_every_format(reward):
    row = make_rows("gcd", 1)[0]
    responses = [f"<answer>{row['solution']}</answer>", "<answer>0</answer>", row["solution"], "<answer>0</answer>"]
    messages = [[{"role": "assistant", "content": text}] for text in responses]
    in_parts = [[{"role": "assistant", "content": [{"type": "text", "text": text}]}] for text in responses]
    for completions in (responses, messages, in_parts):
        assert reward(completions, entry=[row["entry"]] * 4, solution=["no"] * 4) == [1.0, 0.0, 0.0, 0.0]


def test_hostile_answers_do_not_affect_the_others(reward):
    rows = make_rows("polynomial_multiplication", 8)
    hostile = ["9**9**9**9", "__import__('os')._exit(1)", "(" * 3000, "9" * 100_000, "\x00", "exit()", "x.(", "[]"]
    responses = [f"<answer>{text}</answer>" for text in hostile]
    responses += [f"<answer>{row['solution']}</answer>" for row in rows]
    logged, columns = {}, {}
    start = time.monotonic()
    logs = {"log_metric": logged.__setitem__, "log_extra": columns.__setitem__}
    scores = reward(responses, entry=[row["entry"] for row in rows * 2], **logs)
    assert time.monotonic() - start < 15  # a worker is started anew
    assert scores == [0.0] * 8 + [1.0] * 8
    assert logged["reasoning_gym/timeout"] == 1 / 16
    assert logged["reasoning_gym/refused"] == 7 / 16
    assert logged["reasoning_gym/no_answer"] == 0
    assert [len(text) for text in columns["extracted_answer"]][:4] == [10, 25, 80, 80]
    assert reward(responses[8:], entry=[row["entry"] for row in rows]) == [1.0] * 8


def test_a_scorer_that_raises_scores_zero_and_is_counted(reward):
    row, logged = make_rows("gcd", 1)[0], {}
    broken = row["entry"].replace("'answer'", "'anwser'")
    responses = ["<answer>1</answer>", "none", f"<answer>{row['solution']}</answer>"]
    scores = reward(responses, entry=[broken, broken, row["entry"]], log_metric=logged.__setitem__)
    assert scores == [0.0, 0.0, 1.0]
    assert logged["reasoning_gym/raised"] == pytest.approx(1 / 3)
    assert logged["reasoning_gym/no_answer"] == pytest.approx(1 / 3)


def test_the_reward_works_from_another_thread(reward):
    row, found = make_rows("gcd", 1)[0], []
    response = f"<answer>{row['solution']}</answer>"
    thread = threading.Thread(target=lambda: found.append(reward([response], entry=[row["entry"]])))
    thread.start()
    thread.join()
    assert found == [[1.0]]


def test_a_dataset_without_entries_is_refused(reward):
    with pytest.raises(ValueError, match=r"no column 'entry'.*`dataset_name: reasoning_gym/<task>`.*solution"):
        reward(["<answer>1</answer>"], solution=["1"])


@pytest.mark.parametrize("settings", [{"num_workers": 0}, {"time_limit": 0}, {"time_limit": float("nan")}])
def test_an_invalid_setting_is_refused(settings):
    (name,) = settings
    with pytest.raises(ValueError, match=f"`{name}` .* found {settings[name]}"):
        ReasoningGymScore(**settings)


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: (
        st.lists(inner)
        | st.lists(inner).map(tuple)
        | st.dictionaries(st.text() | st.integers(), inner)
        | st.sets(st.integers(), max_size=1)
    ),
    max_leaves=10,
)


@given(value=values)
def test_an_entry_reaches_its_scorer_unchanged(value):
    back = ast.literal_eval(repr(to_literal(value)))
    assert back == value
    assert repr(back) == repr(value)


def test_numpy_values_become_literals():
    value = {"word": np.str_("a"), "number": np.int64(3), "list": [np.float64(0.5)]}
    assert repr(to_literal(value)) == "{'word': 'a', 'number': 3, 'list': [0.5]}"
