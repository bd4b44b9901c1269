"""`prefix-rft data check` on demonstrations with tool calls, with tools in a file of the user's own."""

import json
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
import yaml
from transformers import AutoTokenizer

from prefix_rft_trl.cli import data_check
from prefix_rft_trl.rewards.verification.verifier import Verifier
from prefix_rft_trl.utils.errors import UserError


TOOLS = '''
import asyncio


def add(a: int, b: int) -> str:
    """Adds two numbers.

    Args:
        a: first summand
        b: second summand
    """
    return str(a + b)


async def shout(text: str) -> str:
    """Writes in capital letters.

    Args:
        text: to write
    """
    await asyncio.sleep(0)
    return text.upper()


def fail(why: str) -> str:
    """Fails.

    Args:
        why: the reason
    """
    raise ValueError(why)


class Counter:
    """Counts from a number of the row."""

    def reset(self, start: int, **columns: object) -> None:
        if start < 0:
            raise ValueError("cannot start below 0")
        self.count = start

    def increase(self, by: int) -> str:
        """Increases the count.

        Args:
            by: how much
        """
        self.count += by
        return str(self.count)


def undescribed(a, b):
    return a
'''


def call(name: str, **arguments: Any) -> dict[str, Any]:
    return {"type": "function", "function": {"name": name, "arguments": arguments}}


def calling(*calls: dict[str, Any]) -> dict[str, Any]:
    return {"role": "assistant", "content": "", "tool_calls": list(calls)}


def result(content: str, name: str | None = "add") -> dict[str, Any]:
    return {"role": "tool", "name": name, "content": content}


def row(number: int, *messages: dict[str, Any], start: int = 0) -> dict[str, Any]:
    said = {"role": "assistant", "content": "That is all."}
    return {
        "prompt": [{"role": "user", "content": f"Problem {number}."}],
        "completion": [*messages, said],
        "start": start,
    }


CLEAN = [row(number, calling(call("add", a=number, b=2)), result(str(number + 2))) for number in range(6)]
FAULTS = {
    "tool_missing": row(10, calling(call("subtract", a=3, b=1)), result("2", "subtract")),
    "arguments_misfit": row(11, calling(call("add", a=3)), result("{'error': 'it failed'}")),
    "call_without_result": row(12, calling(call("add", a=3, b=1))),
    "result_without_call": row(13, result("4")),
    "call_unreadable": row(14, calling({"type": "function", "function": {"name": None, "arguments": {}}})),
    "call_unread": row(15, calling(call("shout", text="a</tool_call>")), result("A</TOOL_CALL>", "shout")),
    "result_differs": row(16, calling(call("add", a=3, b=1)), result("5")),
}


@pytest.fixture(scope="module", autouse=True)
def _one_worker_and_no_benchmarks():
    with Verifier(num_workers=1) as worker, pytest.MonkeyPatch.context() as patch:
        patch.setattr("prefix_rft_trl.rewards.verification.verifier.Verifier", lambda num_workers: nullcontext(worker))
        patch.delenv("PREFIX_RFT_DATA", raising=False)
        yield


@pytest.fixture
def check(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., tuple[int, dict[str, Any], str]]:
    """Checks rows in a folder with the tools; returns the exit code, the JSON report and what was printed."""
    monkeypatch.chdir(tmp_path)
    tmp_path.joinpath("my_tools_to_check.py").write_text(TOOLS)
    tmp_path.joinpath("my_broken_tools.py").write_text("def add(:")

    def run(rows: list[dict[str, Any]], *flags: str) -> tuple[int, dict[str, Any], str]:
        tmp_path.joinpath("rows.jsonl").write_text("".join(json.dumps(each) + "\n" for each in rows))
        code = data_check.run(["rows.jsonl", "--answer_column", "none", *flags, "--json", "report.json"])
        report = (
            json.loads(tmp_path.joinpath("report.json").read_text())
            if tmp_path.joinpath("report.json").is_file()
            else {}
        )
        return code, report, capsys.readouterr().out

    return run


def named(*names: str) -> list[str]:
    return ["--tools", *(f"my_tools_to_check.{name}" for name in names)]


def kinds(report: dict[str, Any]) -> dict[str, list[int]]:
    return {kind: about["rows"] for kind, about in report["findings"].items() if about["rows"]}


def test_each_fault_is_found_in_its_row_and_nowhere_else(check: Callable[..., Any], tool_model: Path) -> None:
    flags = [*named("add", "shout"), "--tokenizer", str(tool_model), "--execute"]
    code, report, printed = check([*CLEAN, *FAULTS.values()], *flags)
    expected = {kind: [len(CLEAN) + place] for place, kind in enumerate(FAULTS)}
    expected["result_differs"] += [expected["tool_missing"][0], expected["arguments_misfit"][0]]
    assert {kind: sorted(rows) for kind, rows in kinds(report).items()} == {
        kind: sorted(rows) for kind, rows in expected.items()
    }
    assert code == 1
    assert "column 'completion', demonstration, turn 0 calls 'subtract'; its tools are: add, shout" in printed
    assert "add(a=3, b=1) gives '4', and the demonstration has '5'" in printed
    assert report["trajectories"] == len(CLEAN) + 4  # the others cannot be read


def test_clean_rows_are_clean_and_their_tokens_are_those_of_the_trainer(
    check: Callable[..., Any], tool_model: Path
) -> None:
    code, report, printed = check(CLEAN, *named("add"), "--tokenizer", str(tool_model), "--execute")
    assert (code, kinds(report)) == (0, {})
    tokenizer = AutoTokenizer.from_pretrained(tool_model)
    conversation = [*CLEAN[0]["prompt"], *CLEAN[0]["completion"]]
    text = tokenizer.apply_chat_template(conversation, tokenize=False).partition("<|im_start|>assistant\n")[2].rstrip()
    assert report["lengths"]["demonstrations"]["minimum"] == len(tokenizer(text)["input_ids"])
    assert "6 of them with tool calls" in printed


def test_results_share_the_budget_of_a_completion(check: Callable[..., Any], tool_model: Path) -> None:
    flags = [*named("add"), "--tokenizer", str(tool_model)]
    longest = check(CLEAN, *flags)[1]["lengths"]["demonstrations"]["maximum"]
    for budget, found in ((longest, []), (longest - 1, ["demonstration_too_long"])):
        assert list(kinds(check(CLEAN, *flags, "--max_completion_tokens", str(budget))[1])) == found


def test_without_tools_or_execution_it_says_what_is_not_checked(check: Callable[..., Any]) -> None:
    code, report, printed = check([*CLEAN, FAULTS["tool_missing"], FAULTS["result_differs"]])
    assert (code, kinds(report)) == (0, {})
    unchecked = {kind: about["unchecked"] for kind, about in report["findings"].items() if about["unchecked"]}
    assert unchecked.items() >= {"tool_missing": "no tools", "call_unread": "no tokenizer"}.items()
    assert "call of a tool that is not there" in printed


def test_data_without_tool_calls_is_reported_as_before(check: Callable[..., Any]) -> None:
    code, _, printed = check([{"prompt": f"Problem {number}.", "completion": "That is all."} for number in range(4)])
    assert code == 0
    assert "tool" not in printed


def test_environments_are_reset_with_the_row_and_executed(check: Callable[..., Any]) -> None:
    right = row(
        1,
        calling(call("increase", by=2)),
        result("5", "increase"),
        calling(call("increase", by=1)),
        result("6", "increase"),
        start=3,
    )
    wrong = row(2, calling(call("increase", by=2)), result("5", "increase"), start=0)
    refused = row(3, calling(call("increase", by=2)), result("5", "increase"), start=-1)
    flags = ["--environment_factory", "my_tools_to_check.Counter"]
    assert kinds(check([right, wrong, refused], *flags)[1]) == {}
    _, report, printed = check([right, wrong, refused], *flags, "--execute")
    assert kinds(report) == {"result_differs": [1, 2]}
    assert "cannot start below 0" in printed


def test_tools_that_wait_or_raise_are_executed_as_in_training(check: Callable[..., Any]) -> None:
    calls = calling(call("shout", text="a"), call("fail", why="no"))
    failed, shouted = result("{'error': 'no'}", "fail"), result("A", "shout")
    whispered = result("a", "shout")
    rows = [row(1, calls, failed, shouted), row(2, calls, shouted, failed), row(3, calls, failed, whispered)]
    code, report, _ = check(rows, *named("shout", "fail"), "--execute")
    assert (code, kinds(report)) == (1, {"result_differs": [2]}), (
        "TRL answers async calls last; the order is no matter"
    )


@pytest.mark.parametrize(
    ("ids", "answers", "found"),
    [
        (("one", "two"), ("two", "one"), []),
        (("one", "two"), ("one", "three"), ["call_without_result", "result_without_call"]),
        ((None, None), ("any", "other"), []),
    ],
)
def test_results_may_name_their_calls_by_id(
    check: Callable[..., Any], ids: tuple[Any, Any], answers: tuple[str, str], found: list[str]
) -> None:
    calls = calling(*({**call("add", a=number, b=1), "id": name} for number, name in enumerate(ids)))
    results = ({**result("1", None), "tool_call_id": name} for name in answers)
    assert sorted(kinds(check([row(1, calls, *results)])[1])) == found


@pytest.mark.parametrize("arguments", ["[1]", "null", "{bad", "3"])
def test_arguments_that_are_no_object_are_one_finding(check: Callable[..., Any], arguments: str) -> None:
    unreadable = {"type": "function", "function": {"name": "add", "arguments": arguments}}
    assert kinds(check([row(1, calling(unreadable), result("1"))])[1]) == {"call_unreadable": [0]}
    readable = {"type": "function", "function": {"name": "add", "arguments": '{"a": 1, "b": 2}'}}
    assert kinds(check([row(1, calling(readable), result("3"))], *named("add"), "--execute")[1]) == {}


def test_the_column_of_sft_describes_tools_too(check: Callable[..., Any]) -> None:
    numbers = {"a": {"type": "integer"}, "b": {"type": "integer"}}
    parameters = {"type": "object", "properties": numbers, "required": ["a", "b"]}
    schema = {"type": "function", "function": {"name": "add", "description": "", "parameters": parameters}}
    rows = [
        {**each, "tools": json.dumps([schema])}
        for each in (*CLEAN, FAULTS["tool_missing"], FAULTS["arguments_misfit"])
    ]
    _, report, printed = check(rows)
    assert kinds(report) == {"tool_missing": [6], "arguments_misfit": [7]}
    assert "GRPO does not read it" in printed


def test_a_template_without_tool_calls_makes_the_dataset_unusable(
    check: Callable[..., Any], tmp_path: Path, text_model: Path
) -> None:
    template = "{% for m in messages %}[{{ m.role }}]{{ m.content }}{% endfor %}"
    AutoTokenizer.from_pretrained(text_model, chat_template=template).save_pretrained(tmp_path / "plain")
    code, report, _ = check(CLEAN, *named("add"), "--tokenizer", "plain")
    assert code == 2
    assert "writes no tool calls" in report["unusable"][0]
    assert kinds(report) == {"turn_refused": [*range(6)]}


def test_a_recipe_in_turns_counts_demonstrations_of_one_turn(
    check: Callable[..., Any], tmp_path: Path, tool_model: Path
) -> None:
    settings = {
        "model_name_or_path": str(tool_model), "dataset_name": "rows.jsonl", "prefix_unit": "turn",
        "tools": ["my_tools_to_check.add"], "max_completion_length": 400, "per_device_train_batch_size": 8,
    }  # fmt: skip
    tmp_path.joinpath("recipe.yaml").write_text(yaml.safe_dump(settings))
    code, report, _ = check([*CLEAN, row(20)], "--recipe", "recipe.yaml")
    assert kinds(report) == {"one_turn": [6]}
    assert code == 0
    code, report, _ = check([row(20), row(21)], "--recipe", "recipe.yaml")
    assert code == 2
    assert any("one turn" in reason for reason in report["unusable"])


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--execute"], "--execute needs the tools"),
        (named("nothing"), "my_tools_to_check.nothing"),
        (named("undescribed"), "cannot be described to the model"),
        (["--tools", "add"], "dotted path"),
        (["--environment_factory", "{"], "is no JSON"),
        (["--environment_factory", "my_tools_to_check.Nothing"], "my_tools_to_check.Nothing"),
        (["--tools", "my_broken_tools.add"], "`tools` has 'my_broken_tools.add', which cannot be loaded: SyntaxError"),
        ([*named("add"), "--demonstration_column", "none"], "Name the column"),
    ],
)
def test_tools_that_cannot_be_loaded_are_named(check: Callable[..., Any], flags: list[str], said: str) -> None:
    with pytest.raises(UserError, match=said):
        check(CLEAN, *flags)


def test_tools_may_be_named_one_flag_each(check: Callable[..., Any]) -> None:
    together, apart = (check(CLEAN, *flags)[1] for flags in (named("add", "fail"), [*named("add"), *named("fail")]))
    assert kinds(apart) == kinds(together)
    assert "tool_missing" not in kinds(apart)


def test_an_environment_that_cannot_be_made_is_a_finding(check: Callable[..., Any]) -> None:
    code, report, printed = check(CLEAN, "--environment_factory", "my_tools_to_check.add", "--execute")
    assert (code, kinds(report)) == (1, {"result_differs": [*range(len(CLEAN))]})
    assert "the environment cannot be made and reset: TypeError" in printed
