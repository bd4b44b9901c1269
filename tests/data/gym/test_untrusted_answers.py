"""No answer runs in a scorer, none reads the right answer, and a scorer that would let it is noticed."""

import runpy
from pathlib import Path

import pytest

from prefix_rft_trl.data.gym import scoring
from prefix_rft_trl.data.gym.evaluators import find_evaluators
from prefix_rft_trl.data.gym.generating import make_row
from prefix_rft_trl.data.gym.grammars import GRAMMARS
from prefix_rft_trl.data.gym.scoring import REFUSED, UNCHECKED, ReasoningGymScore, score_answer
from prefix_rft_trl.data.gym.tasks import make_task, registered_tasks


reasoning_gym = pytest.importorskip("reasoning_gym")

PAYLOADS = runpy.run_path(str(Path(__file__).parents[2] / "rewards" / "code_payloads.py"))["PAYLOADS"]
ENDLESS = "10**10**10"  # arithmetic that only the time limit ends
MOST_FOR_LETTERS = 0.25  # of scorers that give parts for letters in their place
TASKS = sorted(set(registered_tasks()) - {"composite"})


def make_entry(task, **options):
    item = make_task(task, options, seed=5)[0]
    return make_row(item, task, options)["entry"]


@pytest.mark.parametrize("task", TASKS)
def test_no_payload_runs_or_scores(task, tmp_path):
    canary, entry = tmp_path / "canary", make_entry(task)
    for payload in PAYLOADS:
        answer = payload.replace("{canary}", str(canary)).replace("{{", "{").replace("}}", "}")
        if answer == ENDLESS and GRAMMARS.get(task) and "*" in GRAMMARS[task].characters:
            continue
        try:
            score = score_answer(answer, entry)
        except Exception:  # which the worker counts
            score = 0.0
        assert not canary.exists(), answer
        assert score == REFUSED or score <= MOST_FOR_LETTERS, answer
        assert score == REFUSED or task not in GRAMMARS or answer.isalpha(), answer


def test_every_scorer_that_may_evaluate_text_has_a_grammar():
    """Fails where a new reasoning-gym has a new evaluator: its task is refused until it is in `GRAMMARS`."""
    found = {task: find_evaluators(make_task(task, {})) for task in TASKS}
    assert {task for task, evaluators in found.items() if evaluators} == {*GRAMMARS} - {"game_of_life_halting"}
    assert {"eval", "sympy.parsing.sympy_parser.parse_expr"} <= set().union(*found.values())


RIGHT = [
    ("countdown", "50 + 20 + 67 - 55", {"numbers": [67, 50, 20, 55], "target": 82}, 1.0),
    ("countdown", "50 * (20 + 67", {"numbers": [67, 50, 20], "target": 82}, 0.01),
    ("puzzle24", "(4*8 - 6)- 2", {"numbers": [4, 8, 6, 2]}, 1.0),
    ("puzzle24", "6*4*1*1", {"numbers": [4, 8, 6, 2]}, REFUSED),
    ("puzzle24", "4 ** 2 + 8", {"numbers": [4, 2, 8]}, REFUSED),
    ("simple_integration", "X**2 + C", {"integrand": "2*X", "variable": "X"}, 1.0),
    ("simple_integration", "1.5*X**2", {"integrand": "3.0*X", "variable": "X"}, 1.0),
    ("simple_integration", "Integral(2*X, X)", {"integrand": "2*X", "variable": "X"}, REFUSED),
    ("simple_integration", "y**2", {"integrand": "2*X", "variable": "X"}, REFUSED),
    ("intermediate_integration", "-exp(-x)*sin(x)/2 + log(x)", {"integrand": "1/x", "variable": "x"}, 0.0),
    ("intermediate_integration", "log(x) + C", {"integrand": "1/x", "variable": "x"}, 1.0),
    ("polynomial_multiplication", "9*x*y + 3", {"variables": ["x", "y"]}, 1.0),
    ("polynomial_multiplication", "9*x*y + 3", {"variables": ["x"]}, REFUSED),
    ("spiral_matrix", "[3, 9]", {}, 0.1),
    ("string_insertion", "['A', 'B']", {}, 0.1),
]
GOLDS = {"polynomial_multiplication": "9*x*y + 3", "spiral_matrix": "3 9", "string_insertion": "AB"}


@pytest.mark.parametrize(("task", "answer", "metadata", "score"), RIGHT)
def test_what_the_grammar_allows_is_scored_as_before(task, answer, metadata, score):
    item = {"question": "?", "answer": GOLDS.get(task, "1"), "metadata": {"source_dataset": task, **metadata}}
    assert score_answer(answer, make_row(item, task, {})["entry"]) == score


UNTRUSTED_ROWS = [
    ("bitwise_arithmetic", "1", {"problem": "{code}"}, "0"),
    ("bitwise_arithmetic", "1", {"problem": "[0x1 for _ in [{code}]]"}, "0"),
    ("simple_integration", "x", {"integrand": "{code}", "variable": "x"}, "1"),
    ("simple_integration", "x", {"integrand": "1", "variable": "__import__"}, "1"),
    ("intermediate_integration", "x", {"integrand": "1+0*{code}", "variable": "x"}, "1"),
    ("polynomial_multiplication", "x", {"variables": ["x"]}, "{code}"),
    ("polynomial_multiplication", "exec", {"variables": ["exec"]}, "x"),
    ("number_sorting", "[1]", {"direction": "ascending"}, "[1, {code}]"),
]


@pytest.mark.parametrize(("task", "answer", "metadata", "gold"), UNTRUSTED_ROWS)
def test_what_a_datasets_entry_has_evaluated_follows_the_grammar_too(task, answer, metadata, gold, tmp_path):
    code = f"open({str(tmp_path / 'canary')!r}, 'w')"
    metadata = {name: value.replace("{code}", code) if isinstance(value, str) else value for name, value in
                metadata.items()}  # fmt: skip
    item = {"question": "?", "answer": gold.replace("{code}", code), "metadata": metadata}
    entry = repr({"task": task, "options": {}, "item": item})
    assert score_answer(answer, entry) == REFUSED
    assert not (tmp_path / "canary").exists()


# Scorers that a later version could bring. Those below reach an evaluator by another way each.


def by_eval(self, answer, entry):
    return eval(answer)


def by_an_alias(self, answer, entry):
    run = eval
    return run(answer)


def by_an_import(self, answer, entry):
    from sympy import sympify

    return sympify(answer)


def by_map(self, answer, entry):
    return sum(map(exec, [answer]))


def by_a_format(self, answer, entry):
    return len(answer.format(entry))


def by_attributes(self, answer, entry):
    return getattr(entry, answer)


def by_a_method(self, answer, entry):
    return self.helper(answer)


def by_files(self, answer, entry):
    return len(open(answer).read())


@pytest.mark.parametrize(
    "scorer",
    [by_eval, by_an_alias, by_an_import, by_map, by_a_format, by_attributes, by_a_method, by_files],
    ids=lambda scorer: scorer.__name__,
)
def test_a_new_evaluator_is_found_and_its_task_refused(scorer, monkeypatch):
    task_class = registered_tasks()["gcd"][0]
    for function in (scorer, by_eval):
        monkeypatch.setattr(function, "__module__", task_class.__module__)
    monkeypatch.setattr(task_class, "score_answer", scorer)
    monkeypatch.setattr(task_class, "helper", by_eval, raising=False)
    scoring._evaluators.cache_clear()
    entry = make_entry("gcd")
    assert score_answer("1", entry) == UNCHECKED
    with pytest.raises(ValueError, match=r"task 'gcd' may run an answer as code.*unchecked_tasks: \[gcd\]"):
        ReasoningGymScore(num_workers=1).check_row({"entry": entry})
    mixed = make_entry("composite", datasets=[{"name": "gcd"}])
    with pytest.raises(ValueError, match="task 'gcd' may run"):
        ReasoningGymScore(num_workers=1).check_row({"entry": mixed})
    ReasoningGymScore(num_workers=1, unchecked_tasks="gcd").check_row({"entry": entry})
    scoring._evaluators.cache_clear()


@pytest.mark.parametrize(
    "entry", ["", "[" * 100_000, "{'task': 'gcd'}", "open('canary', 'w')", "{'task': 1, 'options'"]
)
def test_an_entry_of_another_form_is_refused_in_a_sentence(entry):
    with pytest.raises(ValueError, match=r"a row's 'entry' is .*Name the task"):
        ReasoningGymScore(num_workers=1).check_row({"entry": entry})


def test_an_entry_of_no_task_is_refused_and_one_of_an_empty_mixture_is_not_scored():
    reward = ReasoningGymScore(num_workers=1)
    with pytest.raises(ValueError, match="no task \"\\['gcd'\\]\""):
        reward.check_row({"entry": "{'task': ['gcd'], 'options': {}, 'item': {}}"})
    reward.check_row({"entry": "{'task': 'composite', 'options': {}, 'item': {}}"})
