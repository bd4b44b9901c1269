"""Prompt, demonstrations and answer from any columns."""

import pytest

from prefix_rft_trl.data.convert.rows import Unusable
from prefix_rft_trl.data.convert.sources.by_columns import columns, prompt_completion


USER, ASSISTANT = {"role": "user", "content": "1+1?"}, {"role": "assistant", "content": "It is 2."}


def read(row, **options):
    return prompt_completion(list(row), **options).read(row)


@pytest.mark.parametrize(
    ("row", "prompt"),
    [({"prompt": "1+1?\n", "completion": "It is 2."}, "1+1?\n"),
     ({"prompt": [USER], "completion": [ASSISTANT]}, [USER]), ({"messages": [USER, ASSISTANT]}, [USER]),
     ({"messages": [{**USER, "name": None}, {**ASSISTANT, "tool_calls": None}]}, [USER]),
     ({"prompt": [USER], "completion": [{**ASSISTANT, "content": [{"type": "text", "text": "It is 2."}]}]}, [USER])],
)  # fmt: skip
def test_every_sft_format_gives_its_last_answer_as_demonstration(row, prompt):
    problem = read({**row, "answer": 2}, answer_column="answer")
    assert (problem.prompt, problem.demonstrations, problem.solution) == (prompt, ("It is 2.",), "2")


def test_earlier_turns_belong_to_the_prompt():
    problem = read({"messages": [USER, ASSISTANT, USER, ASSISTANT], "solution": "2"})
    assert problem.prompt == [USER, ASSISTANT, USER]
    assert problem.text == "1+1?\n\nIt is 2.\n\n1+1?"


def test_thinking_under_its_own_key_is_not_lost():
    message = {"role": "assistant", "content": "It is 2.", "reasoning_content": "One and one.\n"}
    problem = read({"messages": [USER, message], "solution": "2"})
    assert problem.demonstrations == ("<think>\nOne and one.\n</think>\n\nIt is 2.",)


@pytest.mark.parametrize("completion", [None, "", [], [{"role": "assistant", "content": " "}]])
def test_a_problem_without_a_demonstration_is_read(completion):
    assert read({"prompt": "1+1?", "completion": completion, "solution": "2"}).demonstrations == ()


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ({"messages": [USER], "solution": "2"}, "messages that do not end with an assistant message"),
        ({"messages": None, "solution": "2"}, "messages that do not end with an assistant message"),
        ({"messages": [ASSISTANT, ASSISTANT], "solution": "2"}, "does not end with a user message"),
        ({"prompt": "Q", "completion": [USER, ASSISTANT], "solution": "2"}, "neither text nor one assistant message"),
        ({"prompt": {"text": "Q"}, "completion": "A", "solution": "2"}, "problem that is not text"),
        ({"prompt": [{**USER, "tool_calls": [1]}], "completion": "A", "solution": "2"}, "nor messages of text"),
        ({"prompt": "Q", "completion": "A", "solution": None}, "no answer"),
    ],
)
def test_an_unusable_row_says_why(row, reason):
    with pytest.raises(Unusable, match=reason):
        read(row)


def test_a_missing_column_names_the_flag_that_sets_it():
    with pytest.raises(ValueError, match=r"'solution'.*it has: prompt, completion, gold.*--answer_column"):
        prompt_completion(["prompt", "completion", "gold"])


def test_columns_are_mapped_and_nested_values_too():
    row = {"q": "1+1?", "worked": ["It is 2.", "2!"], "extra": {"gold": {"value": ["2", "two"]}}, "other": 1}
    reader = columns(list(row), "q", "worked", "extra.gold.value")
    problem = reader.read(row)
    assert reader.columns == ["q", "worked", "extra"]
    assert (problem.prompt, problem.demonstrations, problem.solution) == ("1+1?", ("It is 2.", "2!"), ("2", "two"))


def test_a_column_with_a_dot_in_its_name_is_that_column():
    row = {"q": "1+1?", "worked": "2.", "a.b": "2"}
    assert columns(list(row), "q", "worked", "a.b").read(row).solution == "2"
