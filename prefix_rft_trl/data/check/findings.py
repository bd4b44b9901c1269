"""Kinds of findings, which of them are problems, and what to do about each."""

from dataclasses import dataclass


@dataclass(frozen=True)
class FindingKind:
    """One kind of finding.

    Attributes:
        title (`str`): what is counted.
        advice (`str`): the effect on a run, or what to do.
        needs (`tuple[str, ...]`): what a check needs to look for it: a column, benchmarks, a tokenizer, a budget.
        is_problem (`bool`): whether a dataset with it is not clean; the others are reported only.
        of_trajectories (`bool`): whether it is about demonstrations with tool calls, and shown where there are some.
    """

    title: str
    advice: str
    needs: tuple[str, ...] = ()
    is_problem: bool = True
    of_trajectories: bool = False


@dataclass(frozen=True)
class Finding:
    """A finding in a row of the dataset; rows are counted from 0."""

    kind: str
    row: int
    note: str


_ANSWER, _DEMONSTRATION, _BENCHMARKS = ("answer column",), ("demonstration column",), ("benchmarks",)
_BOTH = _ANSWER + _DEMONSTRATION
_TOOLS = (*_DEMONSTRATION, "tools")
_TEXT = ("prompts of text alone",)

KINDS = {
    "prompt_unusable": FindingKind("prompt empty, or neither text nor messages",
        "The run stops at the row, or trains on nothing. Remove it."),
    "prompt_refused": FindingKind("prompt that the chat template refuses, or without a token",
        "The trainer refuses the dataset.", ("tokenizer",)),
    "demonstration_unusable": FindingKind("demonstration neither text nor messages of the assistant",
        "The trainer refuses the dataset. Fix the row.", _DEMONSTRATION),
    "no_demonstration": FindingKind("no demonstration, or an empty one",
        "All rollouts of these rows are on-policy.", _DEMONSTRATION, is_problem=False),
    "demonstration_is_prompt": FindingKind("demonstration that is its prompt",
        "The prompt is trained as its own demonstration.", _DEMONSTRATION),
    "no_prefix": FindingKind("demonstration that gives no prefix",
        "A single token, or it starts with its answer or with a token that ends a completion: the row is plain GRPO.",
        (*_DEMONSTRATION, "tokenizer")),
    "demonstration_cut": FindingKind("text behind a token that ends a completion",
        "The demonstration is cut there, and the rest is never seen.", (*_DEMONSTRATION, "tokenizer")),
    "several_demonstrations": FindingKind("several demonstrations",
        "One is drawn for each hybrid rollout.", _DEMONSTRATION, is_problem=False),
    "gold_missing": FindingKind("gold answer missing",
        "The reward of these rows is None: they cost rollouts and teach nothing.", _ANSWER),
    "gold_unreadable": FindingKind("gold answer that does not parse",
        "The reward of these rows is None. Fix the answer, or use another reward.", _ANSWER),
    "gold_read_in_part": FindingKind("gold answer with a part that is not read as mathematics",
        "It is compared as text: only a response that writes it the same way is right.", _ANSWER, is_problem=False),
    "answer_disagrees": FindingKind("demonstration's final answer is not the gold",
        "The policy imitates a wrong answer, or the gold is wrong.", _BOTH),
    "answer_missing": FindingKind("demonstration states no final answer",
        "Cut off, or in a form that the reward does not read (--answer_markers).", _BOTH),
    "answer_form": FindingKind("demonstration does not answer as its prompt asks",
        "The policy is asked for one form and shown another. Change the instruction, or the demonstrations.",
        _DEMONSTRATION),
    "answer_unverified": FindingKind("demonstration's final answer cannot be compared in time",
        "The reward would count it as wrong.", _BOTH),
    "answer_unworked": FindingKind("demonstration's final number does not occur in its working",
        "Another unit, a slip in the working, or a wrong gold. Review each.", _BOTH, is_problem=False),
    "duplicate": FindingKind("same prompt as an earlier row",
        "Remove one, or merge them into a row with a list of demonstrations.", _TEXT),
    "conflicting_gold": FindingKind("same prompt as an earlier row, other gold",
        "One of the two golds is wrong.", (*_TEXT, *_ANSWER)),
    "benchmark_exact": FindingKind("problem of a benchmark",
        "Scores on that benchmark mean nothing. Remove the row.", _BENCHMARKS),
    "benchmark_overlap": FindingKind("13 words in a row of a benchmark's problem",
        "Review each: the same problem reworded, or a shared phrase.", _BENCHMARKS),
    "benchmark_phrase": FindingKind("13 words of a benchmark that more than 10 rows have",
        "Phrases of the genre; ignored as in the usual analyses.", _BENCHMARKS, is_problem=False),
    "template_token": FindingKind("token of a chat template inside a text",
        "It reads as the end of a turn. Store the text without its template."),
    "prompt_too_long": FindingKind("prompt does not fit",
        "Remove the row, or raise the budget.", ("prompt budget",)),
    "demonstration_too_long": FindingKind("demonstration does not fit",
        "It is cut, and its end is never seen; with complete demonstrations it is left out.",
        (*_DEMONSTRATION, "completion budget")),
    "no_place_for_thinking": FindingKind("demonstration's thinking has no place in the chat template",
        "The run stops at the row.", ("tokenizer",)),
    "call_unreadable": FindingKind("tool call that cannot be read",
        "The trainer refuses the dataset. Fix the call: a name, and arguments as an object or as JSON.",
        _DEMONSTRATION, of_trajectories=True),
    "call_without_result": FindingKind("tool call without a result",
        "Within a demonstration the trainer refuses it; at its end it is given only if the demonstration is given "
        "whole. Add the message of the tool, or remove the call.", _DEMONSTRATION, of_trajectories=True),
    "result_without_call": FindingKind("result without a tool call",
        "It answers nothing that was called. Remove it, or fix its name or `tool_call_id`.",
        _DEMONSTRATION, of_trajectories=True),
    "tool_missing": FindingKind("call of a tool that is not there",
        "The trainer refuses the dataset. Add it to `tools` (--tools) or to the environment, or remove the row.",
        _TOOLS, of_trajectories=True),
    "arguments_misfit": FindingKind("arguments that do not fit the tool's signature",
        "The call fails when it is executed, and its error is what the policy reads. Fix the arguments, or the tool.",
        _TOOLS, of_trajectories=True),
    "turn_refused": FindingKind("turn that the chat template refuses",
        "The template does not write it behind its prompt. Give the model one that does (`model_changes`).",
        ("tokenizer",), of_trajectories=True),
    "call_unread": FindingKind("tool call that its chat template does not give back",
        "Read back from what it writes, it is another call, or none. Change its arguments to what it can write.",
        ("tokenizer", "parser of tool calls"), of_trajectories=True),
    "result_differs": FindingKind("result that differs when the tools are executed",
        "Served prefixes go on from the real one. Fix the row, or see `prefix_tool_results`.",
        (*_TOOLS, "--execute"), of_trajectories=True),
    "one_turn": FindingKind("demonstration of one turn, with `prefix_unit: turn`",
        "It has no prefix: all of its rollouts are on-policy. Set `prefix_unit: token` for a part of the turn.",
        ("prefix_unit: turn",), is_problem=False, of_trajectories=True),
}  # fmt: skip
