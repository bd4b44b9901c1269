"""Run all checks of a dataset in one pass over its rows."""

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from prefix_rft_trl.data.benchmarks import BenchmarkProblem
from prefix_rft_trl.data.row_scan import prompt_fault
from prefix_rft_trl.data.texts import problem_text
from prefix_rft_trl.rewards.answers import MARKERS
from prefix_rft_trl.utils.image_rows import images_of_dataset

from .answer_checks import AnswerCheck, AnswerFormCheck
from .check_report import Report
from .checked_rows import CallCheck, Columns, RowCheck, read_rows
from .common_ends import CommonEnds, common_ends
from .duplicates import DuplicateCheck
from .findings import KINDS, Finding
from .lengths import Budgets, LengthCheck
from .measures import Measure, TokenMeasure
from .overlap import OverlapCheck
from .template_tokens import TemplateTokenCheck


if TYPE_CHECKING:
    from datasets import Dataset

    from prefix_rft_trl.rewards.verification.verifier import Verifier


_PROMPT_SAMPLE = 1_000  # prompts in which the common instruction is looked for


def check_dataset(
    dataset: "Dataset",
    columns: Columns,
    verifier: "Verifier",
    benchmarks: Mapping[str, Sequence[BenchmarkProblem]] | None = None,
    measure: Measure | None = None,
    budgets: Budgets | None = None,
    markers: tuple[str, ...] = MARKERS,
    rows_per_step: int | None = None,
    instruction: str | None = None,
    numbers: Sequence[int] | None = None,
    held_out: int = 0,
    calls: CallCheck | None = None,
) -> Report:
    """Checks a dataset row by row.

    Args:
        dataset (`Dataset`): its rows.
        columns (`Columns`): its columns, which exist.
        verifier (`Verifier`): reads gold answers, and compares answers with them.
        benchmarks (`Mapping[str, Sequence[BenchmarkProblem]]`, *optional*): problems that the dataset must not hold.
        measure (`Measure`, *optional*): unit of lengths; defaults to characters.
        budgets (`Budgets`, *optional*): room for a row, in tokens.
        markers (`tuple[str, ...]`): markers of a final answer outside a box.
        rows_per_step (`int`, *optional*): rows without which a run makes no step.
        instruction (`str`, *optional*): text that the run appends to each prompt.
        numbers (`Sequence[int]`, *optional*): by which rows are named; defaults to counting from 0.
        held_out (`int`): how many of the rows are not trained on.
        calls (`CallCheck`, *optional*): compares tool calls with their tools and the chat template.
    """
    from tqdm.auto import tqdm

    benchmarks, measure = benchmarks or {}, measure or Measure()
    tokens = measure if isinstance(measure, TokenMeasure) else None
    budgets = budgets if budgets and tokens else Budgets()
    answers = AnswerCheck(verifier, markers) if columns.answer else None
    forms, lengths = AnswerFormCheck(instruction), LengthCheck(measure, budgets)
    first: dict[str, Any] = next(iter(dataset), {})
    is_text = images_of_dataset(dataset.column_names, {"prompt": first.get(columns.prompt)}) is None
    checks: list[RowCheck] = [
        *([DuplicateCheck(verifier)] if is_text else []),
        OverlapCheck(benchmarks, _prompt_ends(dataset, columns.prompt)),
        TemplateTokenCheck(tokens.special_tokens if tokens else ()),
        lengths,
        forms,
        *([answers] if answers else []),
        *([calls] if calls else []),
    ]
    findings: list[Finding] = []
    prompts, demonstrations, trajectories = 0, 0, 0
    others = calls.columns(dataset.column_names) if calls else []
    read = dataset.select_columns(list(dict.fromkeys([*columns.names, *others])))
    values = tqdm(read, desc="Reading rows", leave=False, disable=None)
    for row in read_rows(values, columns, numbers or range(len(dataset))):
        prompts += row.prompt is not None
        demonstrations += len(row.demonstrations)
        trajectories += len(row.trajectories)
        findings += row.findings
        for check in checks:
            findings += check.read(row)
    for check in checks:
        findings += check.finish()
    findings.sort(key=lambda finding: finding.row)
    by_kind = {kind: [finding for finding in findings if finding.kind == kind] for kind in KINDS}
    available = {
        "prompts of text alone": is_text,
        "answer column": columns.answer,
        "demonstration column": columns.demonstration,
        "benchmarks": benchmarks,
        "tokenizer": tokens,
        "prompt budget": budgets.prompt_room is not None,
        "completion budget": budgets.completion is not None,
        "tools": False,
        "parser of tool calls": False,
        "--execute": False,
        "prefix_unit: turn": False,
        **(calls.available if calls else {}),
    }
    return Report(
        rows=len(dataset),
        held_out=held_out,
        demonstrations=demonstrations,
        trajectories=trajectories,
        findings={kind: found for kind, found in by_kind.items() if found},
        unchecked={kind: f"no {need}" for kind, about in KINDS.items() for need in about.needs if not available[need]},
        unit=measure.unit,
        lengths=lengths.lengths,
        benchmarks={name: len(problems) for name, problems in benchmarks.items()},
        notes=[*_notes(bool(benchmarks), answers, demonstrations, forms), *(calls.notes if calls else ())],
        unusable=[
            *_why_unusable(columns, prompts, demonstrations, lengths, answers),
            *_why_no_training(len(dataset) - held_out, rows_per_step, budgets),
            *(calls.why_unusable() if calls else ()),
        ],
    )


def _prompt_ends(dataset: "Dataset", column: str) -> CommonEnds:
    step = max(1, len(dataset) // _PROMPT_SAMPLE)
    prompts = dataset.select(range(0, len(dataset), step)).select_columns([column])
    return common_ends([problem_text(row[column]) for row in prompts if prompt_fault(row[column]) is None])


def _notes(
    has_benchmarks: bool, answers: AnswerCheck | None, demonstrations: int, forms: AnswerFormCheck
) -> Iterator[str]:
    if not has_benchmarks:
        yield "Overlap with evaluation benchmarks was not checked: no benchmark was given (--benchmarks)."
    if answers and demonstrations and not answers.stated:
        yield (
            "Not one demonstration states its final answer in a box or after a marker. If they use another marker, "
            "name it with --answer_markers."
        )
    if forms.is_unasked_box:
        yield (
            r"Most demonstrations answer in \boxed{}, and no prompt asks for it: rollouts without a prefix may answer "
            "otherwise. A recipe asks with `instruction`, a conversion with --instruction."
        )


def _why_unusable(
    columns: Columns, prompts: int, demonstrations: int, lengths: LengthCheck, answers: AnswerCheck | None
) -> Iterator[str]:
    if not prompts:
        yield f"no row has a prompt in column '{columns.prompt}'"
    elif "prompts" not in lengths.lengths:
        yield "the tokenizer encodes no prompt"
    if columns.demonstration and not demonstrations:
        yield f"no row has a demonstration in column '{columns.demonstration}'"
    elif "demonstrations" in lengths.lengths and not lengths.with_prefix:
        yield "no row has a demonstration that gives a prefix"
    if answers and not answers.readable:
        yield f"no row has a gold answer in column '{columns.answer}' that can be read"


def _why_no_training(rows: int, rows_per_step: int | None, budgets: Budgets) -> Iterator[str]:
    if rows_per_step and rows < rows_per_step:
        yield f"it has {rows} rows to train on, and a step takes {rows_per_step}"
    if budgets.prompt_room is not None and budgets.prompt_room <= 0:
        yield "the completion budget leaves no room for a prompt in the model's positions"
