"""Prompts that come twice."""


def test_a_prompt_that_differs_in_white_space_and_case_alone_is_a_duplicate(check, clean_row):
    first = clean_row(5)
    report = check([clean_row(2), first, clean_row(3), {**first, "prompt": f"  {first['prompt'].upper()}\n"}])
    (finding,) = report.findings["duplicate"]
    assert finding.row == 3
    assert finding.note.startswith("as row 1: TOM HAS 5")


def test_each_repetition_names_the_first_row(check, clean_row):
    report = check([clean_row(5)] * 3)
    assert [(found.row, found.note[:8]) for found in report.findings["duplicate"]] == [
        (1, "as row 0"),
        (2, "as row 0"),
    ]


def test_signs_make_another_problem(check, clean_row):
    rows = [clean_row(5, prompt=prompt) for prompt in ("What is 3+2-1?", "What is 3-2+1?")]
    assert check(rows).exit_code == 0


def test_another_gold_for_the_same_prompt_is_told_as_what_it_is(check, clean_row):
    report = check([clean_row(5), clean_row(5, solution="7", completion="#### 7")])
    assert set(report.findings) == {"conflicting_gold"}
    (finding,) = report.findings["conflicting_gold"]
    assert (finding.row, finding.note) == (1, "as row 0, where the gold is '4', here '7'")


def test_one_gold_in_common_is_no_conflict(check, clean_row):
    report = check([clean_row(5, solution=["four", "4"]), clean_row(5, solution=["4"])])
    assert set(report.findings) == {"duplicate"}


def test_the_same_question_in_messages_is_a_duplicate_of_the_text(clean_row):
    from prefix_rft_trl.data.check.duplicates import DuplicateCheck
    from prefix_rft_trl.data.check.checked_rows import CheckedRow

    check = DuplicateCheck(None)  # golds are the same: nothing to verify
    messages = [{"role": "user", "content": "What is 1+1?"}]
    found = [
        list(check.read(CheckedRow(number, prompt, [], "2", ("2",)))) for number, prompt in enumerate([messages] * 2)
    ]
    assert [len(findings) for findings in found] == [0, 1]
