"""Gold answers that cannot be read, and demonstrations that end in another answer or never reach theirs."""

import pytest

from prefix_rft_trl.data.check.answer_checks import arrives_at


@pytest.mark.parametrize(
    ("replaced", "kind"),
    [
        ({"solution": None}, "gold_missing"),
        ({"solution": "  "}, "gold_missing"),
        ({"solution": "what?"}, "gold_unreadable"),
        ({"completion": r"So \boxed{41}."}, "answer_disagrees"),
        ({"completion": "He eats one of them, so there"}, "answer_missing"),
        ({"completion": r"So \boxed{slow}."}, "answer_unverified"),
    ],
)
def test_each_fault_of_an_answer_is_reported_with_its_row_and_nothing_else(check, clean_row, replaced, kind):
    report = check([clean_row(2), clean_row(3), clean_row(4, **replaced), clean_row(5)])
    assert {found: report.rows_with(found) for found in report.findings} == {kind: [2]}
    assert report.exit_code == 1


def test_a_gold_that_is_read_in_part_is_reported_and_no_problem(check, clean_row):
    row = clean_row(4, completion=r"So \boxed{1, 2, ..., 9}.", solution="1, 2, ..., 9")
    report = check([clean_row(2), row])
    assert report.rows_with("gold_read_in_part") == [1]
    assert "1, 2, ..., 9" in report.findings["gold_read_in_part"][0].note
    assert report.exit_code == 0


def test_of_several_demonstrations_the_wrong_one_is_named(check, clean_row):
    row = clean_row(5, completion=[r"So \boxed{4}.", r"So \boxed{9}.", "#### 4"])
    (finding,) = check([clean_row(2) | {"completion": [r"\boxed{1}"]}, row]).findings["answer_disagrees"]
    assert (finding.row, finding.note) == (1, "demonstration 2 of 3 ends in '9', gold is '4'")


def test_any_of_several_golds_is_enough(check, clean_row):
    rows = [clean_row(2, solution=["one", "1"]), clean_row(3, solution=["2"])]
    assert check(rows).exit_code == 0


def test_answers_behind_a_custom_marker_are_read(check, clean_row):
    row = clean_row(2, completion="work => 1")
    assert check([row]).rows_with("answer_missing") == [0]
    assert any("--answer_markers" in note for note in check([row]).notes)
    assert check([row], markers=("=>",)).exit_code == 0


@pytest.mark.parametrize(
    ("replaced", "message"),
    [
        ({"prompt": ""}, "no row has a prompt in column 'prompt'"),
        ({"completion": None}, "no row has a demonstration in column 'completion'"),
        ({"solution": ""}, "no row has a gold answer in column 'solution' that can be read"),
        ({"solution": "?"}, "no row has a gold answer in column 'solution' that can be read"),
    ],
)
def test_a_column_without_any_usable_value_makes_the_dataset_unusable(check, clean_row, replaced, message):
    report = check([clean_row(number, **replaced) for number in (2, 3)])
    assert (report.exit_code, report.unusable) == (2, [message])


@pytest.mark.parametrize(
    ("working", "answer"),
    [("48 + 16 = <<48+16=64>>64 points.", "66"), ("so the stockings cost 162+45 = $207.00", "1035"),
     ("each load costs 40/160 = $0.25", "25"), ("12 and 21", "2")],
)  # fmt: skip
def test_a_final_number_missing_from_the_working_is_found(working, answer):
    assert not arrives_at(working, answer)


@pytest.mark.parametrize(
    ("working", "answer"),
    [("she has 5.", "5"), ("that is $1,234.50 in all", "1234.5"), ("17 000/5 = 3 400.", "3400"), ("so x=-7", "-7"),
     ("2400/200 = 12 200-kilobyte videos", "12"), ("costs .75 each", "0.75"), ("no number at all", "12"),
     ("2 and 3", "x+1"), ("2 and 3", r"\frac{1}{2}")],
)  # fmt: skip
def test_a_final_number_in_the_working_and_other_answers_are_not(working, answer):
    assert arrives_at(working, answer)


@pytest.mark.parametrize(
    ("prompt", "completion", "note"),
    [
        (r"1+1? Answer in \boxed{}.", "It is 2.\n#### 2", r"the prompt asks for \boxed{}, and the demonstration ends"),
        (r"1+1? Answer in \boxed{}.", "The answer is 2.", r"the prompt asks for \boxed{}, and"),
        ("1+1? Put the answer after ####.", r"So \boxed{2}.", "asks for ####, and the demonstration ends: So"),
        ("1+1? Put the answer after ####.", ["#### 2", r"\boxed{2}"], "the demonstration 2 of 2 ends"),
        ([{"role": "user", "content": r"Use \boxed{}."}], [{"role": "assistant", "content": "Answer: 2"}], "Answer:"),
        (r"1+1? Answer in \boxed{}.", r"\boxed{2}", ""),
        ("1+1? Put the answer after ####.", "\\boxed{2}\n#### 2", ""),
        ("1+1?", "#### 2", ""),
    ],
)  # fmt: skip
def test_a_demonstration_that_does_not_answer_as_its_prompt_asks_is_found(check, prompt, completion, note):
    found = check([{"prompt": prompt, "completion": completion, "solution": "2"}]).findings.get("answer_form", [])
    assert [finding.row for finding in found] == ([0] if note else [])
    assert all(note in finding.note for finding in found)


def test_the_instruction_of_a_recipe_asks_too(check, clean_row):
    rows = [clean_row(3), clean_row(4, completion="4-1=3\n#### 3")]
    assert check(rows, instruction=r"Use \boxed{}.").rows_with("answer_form") == [1]
    assert check(rows, instruction="Put the answer after ####.").rows_with("answer_form") == [0]
    assert not check(rows).rows_with("answer_form")


def test_boxes_that_no_prompt_asks_for_are_a_remark(check, clean_row):
    def is_noted(**options):
        return any("no prompt asks for it" in note for note in check([clean_row(3)], **options).notes)

    assert is_noted()
    assert not is_noted(instruction=r"Use \boxed{}.")
