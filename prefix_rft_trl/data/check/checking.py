"""All checks of a dataset, in one pass over its rows."""

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from prefix_rft_trl.data.benchmarks import Problem
from prefix_rft_trl.rewards.answers import MARKERS

from .answer_checks import AnswerCheck, AnswerVerifier
from .budgets import Budgets, LengthCheck
from .check_report import Report
from .common_ends import CommonEnds, common_ends
from .duplicates import DuplicateCheck
from .findings import Finding
from .measures import Characters, Measure, Tokens
from .overlap import OverlapCheck
from .rows import Columns, Row, read_rows
from .template_tokens import TemplateTokenCheck
from .texts import problem_text, prompt_fault


if TYPE_CHECKING:
    from datasets import Dataset

_SAMPLE = 1_000  # prompts among which instructions are looked for


class Check(Protocol):
    """Looks at rows one by one; what takes all of them is found at the end."""

    def read(self, row: Row) -> Iterator[Finding]: ...

    def finish(self) -> Iterator[Finding]: ...


def check_dataset(
    dataset: "Dataset",
    columns: Columns,
    verifier: AnswerVerifier,
    benchmarks: Mapping[str, Sequence[Problem]] | None = None,
    measure: Measure | None = None,
    budgets: Budgets | None = None,
    markers: tuple[str, ...] = MARKERS,
) -> Report:
    """What is wrong with a dataset, row by row.

    Args:
        dataset (`Dataset`): its rows.
        columns (`Columns`): which columns hold what; they exist.
        verifier (`AnswerVerifier`): reads gold answers, and compares answers with them.
        benchmarks (`Mapping[str, Sequence[Problem]]`, *optional*): problems that the dataset must not hold.
        measure (`Measure`, *optional*): what lengths are counted in; defaults to characters.
        budgets (`Budgets`, *optional*): what rows have to fit into, in tokens.
        markers (`tuple[str, ...]`): what a final answer stands behind where there is no box.
    """
    from tqdm.auto import tqdm

    measure = measure or Characters()
    budgets = (budgets or Budgets()) if isinstance(measure, Tokens) else Budgets()
    answers = AnswerCheck(verifier, markers) if columns.answer else None
    lengths = LengthCheck(measure, budgets)
    checks: list[Check] = [
        DuplicateCheck(verifier),
        OverlapCheck(benchmarks or {}, _ends_of_prompts(dataset, columns)),
        TemplateTokenCheck(measure.special_tokens if isinstance(measure, Tokens) else ()),
        lengths,
        *([answers] if answers else []),
    ]
    findings: list[Finding] = []
    usable, demonstrations = 0, 0
    values = tqdm(dataset.select_columns(columns.names), desc="Reading rows", leave=False, disable=None)
    for row in read_rows(values, columns):
        usable += row.prompt is not None
        demonstrations += len(row.demonstrations)
        findings += row.findings
        for check in checks:
            findings += check.read(row)
    for check in checks:
        findings += check.finish()
    report = Report(
        rows=len(dataset),
        demonstrations=demonstrations,
        findings=_by_kind(findings),
        unchecked=_unchecked(columns, benchmarks, measure, budgets),
        unit=measure.unit,
        lengths=lengths.lengths,
        benchmarks={name: len(problems) for name, problems in (benchmarks or {}).items()},
        notes=list(_notes(benchmarks, measure, answers, demonstrations)),
    )
    report.unusable = list(_why_unusable(columns, usable, demonstrations, answers))
    return report


def _ends_of_prompts(dataset: "Dataset", columns: Columns) -> CommonEnds:
    step = max(1, len(dataset) // _SAMPLE)
    prompts = dataset.select(range(0, len(dataset), step)).select_columns([columns.prompt])
    texts = [problem_text(row[columns.prompt]) for row in prompts if prompt_fault(row[columns.prompt]) is None]
    return common_ends(texts)


def _by_kind(findings: list[Finding]) -> dict[str, list[Finding]]:
    by_kind: dict[str, list[Finding]] = {}
    for finding in sorted(findings, key=lambda finding: finding.row):
        by_kind.setdefault(finding.kind, []).append(finding)
    return by_kind


def _unchecked(columns: Columns, benchmarks: Any, measure: Measure, budgets: Budgets) -> dict[str, str]:
    unchecked: dict[str, str] = {}
    if not columns.answer:
        unchecked |= dict.fromkeys(("gold_missing", "gold_unreadable", "conflicting_gold"), "no answer column")
    if not (columns.answer and columns.demonstration):
        unchecked |= dict.fromkeys(("answer_disagrees", "answer_missing", "answer_unverified"), "no column")
        unchecked["answer_unworked"] = "no column"
    if not columns.demonstration:
        of_demonstrations = ("demonstration_unusable", "no_demonstration", "several_demonstrations")
        unchecked |= dict.fromkeys((*of_demonstrations, "demonstration_too_long"), "no demonstration column")
    if not benchmarks:
        unchecked |= dict.fromkeys(("benchmark_exact", "benchmark_overlap", "benchmark_phrase"), "no benchmarks")
    if not isinstance(measure, Tokens):
        unchecked["no_place_for_thinking"] = "no tokenizer"
    if budgets.of_prompt is None:
        unchecked["prompt_too_long"] = "no budget"
    if budgets.completion is None:
        unchecked["demonstration_too_long"] = "no budget"
    return unchecked


def _notes(benchmarks: Any, measure: Measure, answers: AnswerCheck | None, demonstrations: int) -> Iterator[str]:
    if not benchmarks:
        yield "Overlap with evaluation benchmarks was not checked: no benchmark was given (--benchmarks)."
    if isinstance(measure, Tokens) and measure.joined_messages:
        yield "The tokenizer has no chat template: messages are counted by their texts alone."
    if answers and demonstrations and not answers.stated:
        yield (
            "Not one demonstration states its final answer in a box or after a marker. If they have another marker, "
            "name it with --answer_markers."
        )


def _why_unusable(columns: Columns, usable: int, demonstrations: int, answers: AnswerCheck | None) -> Iterator[str]:
    if not usable:
        yield f"no row has a prompt in column '{columns.prompt}'"
    if columns.demonstration and not demonstrations:
        yield f"no row has a demonstration in column '{columns.demonstration}'"
    if answers and not answers.readable:
        yield f"no row has a gold answer in column '{columns.answer}' that can be read"
