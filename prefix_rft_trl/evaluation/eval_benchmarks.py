"""Benchmarks as they are put to a model: its problems, instruction, template, budget and verifier."""

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

from prefix_rft_trl.data.benchmarks import BENCHMARKS
from prefix_rft_trl.data.loading import with_prompts
from prefix_rft_trl.rewards.answers import MARKERS
from prefix_rft_trl.run.settings import RunSettings

from .asking import Asking
from .benchmark import Benchmark
from .problems import LAB, problems_of
from .verifier import find_verifier


INSTRUCTION = "Please reason step by step, and put your final answer within \\boxed{}."
# Budgets, in tokens, of who names none and has no run that does. Temperature 1 as in training.
BUDGET_OF_LAB, BUDGET = 56, 8192
SAMPLES_OF_PAPER = {"aime24": 32, "aime25": 32, "amc": 32}  # avg@32; one sample for the others


def find_benchmarks(
    names: str | Iterable[str], asking: Asking, run: RunSettings | None, has_template: bool
) -> list[Benchmark]:
    """
    The benchmarks as they are put to one model.

    Args:
        names (`str` or `Iterable[str]`): registered names, paths of files, names of datasets on the Hub, or `lab`;
            several in one text stand between commas.
        asking (`Asking`): what the command line says.
        run (`RunSettings`, *optional*): of the run that has made the model.
        has_template (`bool`): whether its tokenizer has a chat template.

    Raises:
        ValueError: for an unknown benchmark, a file without the columns, or a reward that reads others.
    """
    names = [part for name in ([names] if isinstance(names, str) else names) for part in name.split(",") if part]
    found = [_find(name, asking, run or RunSettings(), has_template) for name in names]
    if not found:
        raise ValueError("No benchmark is named: `--benchmarks` takes names and files.")
    called = [benchmark.name for benchmark in found]
    twice = {name for name in called if called.count(name) > 1}
    if twice:
        raise ValueError(f"Two benchmarks are called {', '.join(sorted(twice))}: evaluate them in two commands.")
    return found


def _find(name: str, asking: Asking, run: RunSettings, has_template: bool) -> Benchmark:
    is_lab = name == LAB
    title = name if name in BENCHMARKS or is_lab else Path(name).stem
    rows = problems_of(name, asking, asking.lab_level or run.lab_level)
    if asking.num_problems is not None:
        rows = rows.select(range(min(asking.num_problems, len(rows))))
    instruction = _first(asking.instruction, run.instruction, "" if is_lab else INSTRUCTION)
    conversational = bool(_first(asking.conversational, run.conversational, has_template and not is_lab))
    if asking.instruction and not isinstance(rows[0]["prompt"], str):
        raise ValueError(f"The prompts of {name} are messages, which no `instruction` is put into. Leave it out.")
    rows = with_prompts(rows, "prompt", instruction or None, conversational)
    reward, reward_kwargs = find_verifier(name, title, rows, asking, run)
    sampling = replace(
        asking.sampling,
        num_samples=asking.num_samples or SAMPLES_OF_PAPER.get(title, 1),
        max_new_tokens=asking.max_new_tokens or run.max_new_tokens or (BUDGET_OF_LAB if is_lab else BUDGET),
    )
    markers = getattr(reward, "answer_markers", MARKERS)
    template_kwargs = _first(asking.chat_template_kwargs, run.chat_template_kwargs, {})
    return Benchmark(title, rows, reward, sampling, markers, template_kwargs, reward_kwargs)


def _first(*values: Any) -> Any:
    return next((value for value in values if value is not None), None)
