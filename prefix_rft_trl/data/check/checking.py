"""All checks of a dataset, in one pass over its rows."""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from prefix_rft_trl.data.benchmarks import Problem
from prefix_rft_trl.rewards.answers import MARKERS
from prefix_rft_trl.rewards.verification.equivalence import Verdict

from .answer_checks import AnswerCheck, AnswerVerifier
from .check_report import Report
from .findings import Columns, Finding, Row, read_rows
from .lengths import Budgets, Characters, LengthCheck, Measure, Tokens
from .overlap import CommonEnds, OverlapCheck, common_ends
from .texts import around, excerpt, numbered, problem_text, prompt_fault, prompt_texts, solution_texts


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


def normalized(text: str) -> str:
    """A text without differences of white space and case."""
    return " ".join(text.split()).casefold()


class DuplicateCheck:
    """Compares the prompt of each row with those of all rows before it."""

    def __init__(self, verifier: AnswerVerifier) -> None:
        self._verifier = verifier
        self._first: dict[str, tuple[int, tuple[str, ...]]] = {}
        self._doubtful: list[tuple[Finding, int, tuple[str, ...], tuple[str, ...]]] = []

    def read(self, row: Row) -> Iterator[Finding]:
        if row.prompt is None:
            return
        text = problem_text(row.prompt)
        first, golds = self._first.setdefault(normalized(text), (row.number, row.golds))
        if first == row.number:
            return
        finding = Finding("duplicate", row.number, f"as row {first}: {excerpt(text)}")
        if golds and row.golds and not set(golds) & set(row.golds):
            self._doubtful.append((finding, first, golds, row.golds))
        else:
            yield finding

    def finish(self) -> Iterator[Finding]:
        """The pairs whose golds are written differently: are they different?"""
        verdicts = self._verifier.verify([(own[0], golds) for _, _, golds, own in self._doubtful])
        for (finding, first, golds, own), verdict in zip(self._doubtful, verdicts, strict=True):
            if verdict is Verdict.DIFFERENT:
                note = f"as row {first}, where the gold is {excerpt(golds[0], 30)!r}, here {excerpt(own[0], 30)!r}"
                yield Finding("conflicting_gold", finding.row, note)
            else:
                yield finding


_NAMED = (
    "<s>", "</s>", "<bos>", "<eos>", "<pad>", "<unk>", "[INST]", "[/INST]", "<<SYS>>", "<</SYS>>",
    "<start_of_turn>", "<end_of_turn>", "[SYSTEM_PROMPT]", "[/SYSTEM_PROMPT]",
)  # fmt: skip

_BAR = "[|\uff5c]"  # DeepSeek's is the full-width one

_BETWEEN_BARS = rf"<{_BAR}[A-Za-z][\w\u2581 -]{{1,40}}{_BAR}>"

_OF_REASONING = {"<think>", "</think>"}


class TemplateTokenCheck:
    """Looks for the tokens of the usual templates, and for those of a tokenizer, in all texts of a row."""

    def __init__(self, special_tokens: Iterable[str] = ()) -> None:
        own = [token for token in special_tokens if len(token) > 2 and not token.isalnum()]
        named = sorted({*_NAMED, *own} - _OF_REASONING, key=len, reverse=True)
        self._pattern = re.compile("|".join([*map(re.escape, named), _BETWEEN_BARS]))

    def read(self, row: Row) -> Iterator[Finding]:
        for place, text in _texts_of(row):
            found = self._pattern.search(text)
            if found:
                note = f"{found.group()} in the {place}: {around(text, found.start(), found.end())}"
                yield Finding("template_token", row.number, note)

    def finish(self) -> Iterator[Finding]:
        return iter(())


def _texts_of(row: Row) -> Iterator[tuple[str, str]]:
    if row.prompt is not None:
        yield from (("prompt", text) for text in prompt_texts(row.prompt))
    for number, message in enumerate(row.demonstrations, 1):
        yield numbered("demonstration", number, len(row.demonstrations)), message["content"]
    yield from (("gold answer", text) for text in solution_texts(row.solution))
