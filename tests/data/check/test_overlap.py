"""Contamination: the same problem, 13 words in a row, and phrases that are no contamination."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prefix_rft_trl.data.benchmarks import BenchmarkProblem
from prefix_rft_trl.data.check.common_ends import common_ends
from prefix_rft_trl.data.check.overlap import NgramIndex


LONG = (
    "Every morning Aya walks nine kilometers around the lake at a constant speed of $s$ kilometers per hour, "
    "then drinks tea for $t$ minutes. Find the number of minutes the whole walk takes her."
)
SHORT = "What is $1+1$?"
INSTRUCTION = "\nPlease reason step by step, and put your final answer within \\boxed{}"
BENCHMARKS = {
    "aime99": [BenchmarkProblem("Unrelated.", "1"), BenchmarkProblem(LONG, "204")],
    "short": [BenchmarkProblem(SHORT, "2")],
}


def sliding(text: str, length: int) -> set[str]:
    words = re.sub(r"[^a-z0-9]+", " ", text.lower()).split()
    return {" ".join(words[start : start + length]) for start in range(len(words) - length + 1)}


REWORDED = LONG.replace("Every morning Aya", "Each evening Ben").replace("tea", "a coffee").upper()
SHARED, RUNS = len(sliding(REWORDED, 13) & sliding(LONG, 13)), len(sliding(LONG, 13))

words = st.lists(st.sampled_from("abc"), max_size=60).map(" ".join)


@given(words, st.lists(words, min_size=1, max_size=3))
def test_the_index_finds_exactly_the_shared_runs(text, problems):
    expected = {
        number: runs for number, problem in enumerate(problems) if (runs := sliding(text, 13) & sliding(problem, 13))
    }
    assert NgramIndex(problems).shared(text) == expected


@pytest.mark.parametrize("offset", range(13))
def test_a_run_of_exactly_13_words_is_found_at_any_offset(offset):
    problem = " ".join(f"word{number}" for number in range(13))
    text = " ".join(["other"] * offset) + f" {problem} end"
    assert NgramIndex([problem]).shared(text) == {0: {problem}}
    assert NgramIndex([problem]).shared(text.replace("word12", "word99")) == {}


@pytest.mark.parametrize(
    ("parts", "kind", "note"),
    [
        ({"prompt": LONG}, "benchmark_exact", "aime99 1"),
        ({"prompt": LONG.upper().replace(" ", "  ")}, "benchmark_exact", "aime99 1"),
        ({"prompt": LONG.replace("$", "")}, "benchmark_exact", "aime99 1"),
        ({"prompt": f"Question 7. {LONG} Answer in meters."}, "benchmark_exact", "aime99 1"),
        ({"prompt": SHORT}, "benchmark_exact", "short 0"),
        ({"prompt": "what is 1 + 1?"}, "benchmark_exact", "short 0"),
        ({"prompt": LONG, "completion": f"{LONG} \\boxed{{2}}"}, "benchmark_exact", "aime99 1"),
        ({"prompt": REWORDED}, "benchmark_overlap", f"prompt has {SHARED} of the {RUNS} runs of 13 words of aime99 1"),
        ({"completion": f"A like problem: {LONG} Here \\boxed{{2}}."}, "benchmark_overlap", "demonstration has"),
    ],
)
def test_a_problem_of_a_benchmark_is_reported_once(check, clean_row, parts, kind, note):
    report = check([clean_row(2), clean_row(3, **parts)], benchmarks=BENCHMARKS)
    assert set(report.findings) == {kind}
    (finding,) = report.findings[kind]
    assert finding.row == 1
    assert finding.note.startswith(note)


def test_a_benchmark_problem_before_the_instruction_of_all_prompts_is_exact(check, clean_row):
    rows = [clean_row(number) for number in range(2, 20)] + [clean_row(20, prompt=SHORT)]
    rows = [{**row, "prompt": row["prompt"] + INSTRUCTION} for row in rows]
    assert check(rows, benchmarks=BENCHMARKS).rows_with("benchmark_exact") == [18]


def test_an_instruction_that_the_benchmark_has_too_is_no_overlap(check, clean_row):
    instruction = f"{INSTRUCTION}, as a whole number or as a fraction in lowest terms."
    problems = [
        BenchmarkProblem(f"How long is a rope of {number} feet cut in two?{instruction}", "1") for number in range(20)
    ]
    rows = [clean_row(number, prompt=clean_row(number)["prompt"] + instruction) for number in range(2, 8)]
    assert check(rows, benchmarks={"ropes": problems}).exit_code == 0


def rows_with_a_phrase(clean_row, times):
    phrase = "around the lake at a constant speed of s kilometers per hour then drinks"
    assert len(phrase.split()) >= 13
    return [clean_row(number, prompt=f"Runner {number} goes {phrase} water.") for number in range(2, 2 + times)]


def test_a_phrase_of_more_than_ten_rows_is_no_problem(check, clean_row):
    few, many = rows_with_a_phrase(clean_row, 10), rows_with_a_phrase(clean_row, 11)
    assert check(few, benchmarks=BENCHMARKS).rows_with("benchmark_overlap") == list(range(10))
    report = check(many, benchmarks=BENCHMARKS)
    assert report.rows_with("benchmark_phrase") == list(range(11))
    assert report.exit_code == 0


def test_most_of_a_problem_counts_in_any_number_of_rows(check, clean_row):
    variants = [LONG.replace("Every morning", f"At {number} sharp") for number in range(2, 16)]
    rows = [clean_row(number, prompt=variant) for number, variant in enumerate(variants)]
    assert len(check(rows, benchmarks=BENCHMARKS).rows_with("benchmark_overlap")) == 14


@given(st.lists(st.text("ab \n", max_size=6), min_size=8, max_size=20), st.text("xy ", max_size=8))
def test_common_ends_are_those_of_half_the_texts_and_end_at_white_space(texts, end):
    texts = [text + end for text in texts]
    distinct = set(texts)
    ends = common_ends(texts)
    if len(distinct) < 8:
        assert (ends.prefix, ends.suffix) == ("", "")
    assert 2 * sum(text.startswith(ends.prefix) for text in distinct) >= len(distinct)
    assert 2 * sum(text.endswith(ends.suffix) for text in distinct) >= len(distinct)
    assert ends.prefix == "" or ends.prefix[-1].isspace()
    assert ends.suffix == "" or ends.suffix[0].isspace()


def test_the_common_ends_are_removed():
    texts = [f"Solve this: how many sides has polygon {number}? Think first." for number in range(30)]
    ends = common_ends([*texts, "Something else entirely"])
    assert "7?" in ends.without_them(texts[7])
    assert ends.without_them("Something else entirely") == {"Something else entirely"}


def test_of_uniform_problems_the_instruction_alone_is_removed_too():
    texts = [f"Calculate.\nHow many sides has polygon {number}, exactly?\nThink first." for number in range(30)]
    found = common_ends(texts).without_them(texts[7])
    assert "How many sides has polygon 7, exactly?" in {text.strip() for text in found}
    assert "How many toes?" in {
        text.strip() for text in common_ends(texts).without_them("How many toes?\nThink first.")
    }
