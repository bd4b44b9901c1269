"""Prompts of an earlier row, with the same gold or another."""


def test_white_space_and_case_do_not_hide_a_duplicate(check, clean_row):
    first = clean_row(5)
    report = check([clean_row(2), first, clean_row(3), {**first, "prompt": f"  {first['prompt'].upper()}\n"}])
    (finding,) = report.findings["duplicate"]
    assert finding.row == 3
    assert finding.note.startswith("as row 1: TOM HAS 5")


def test_every_repetition_names_the_first_row(check, clean_row):
    report = check([clean_row(5)] * 3)
    assert [(found.row, found.note[:8]) for found in report.findings["duplicate"]] == [
        (1, "as row 0"),
        (2, "as row 0"),
    ]


def test_another_sign_is_another_problem(check, clean_row):
    rows = [clean_row(5, prompt=prompt) for prompt in ("What is 3+2-1?", "What is 3-2+1?")]
    assert check(rows).exit_code == 0


def test_another_gold_for_the_same_prompt_is_a_conflict(check, clean_row):
    report = check([clean_row(5), clean_row(5, solution="7", completion="#### 7")])
    assert set(report.findings) == {"conflicting_gold"}
    (finding,) = report.findings["conflicting_gold"]
    assert (finding.row, finding.note) == (1, "as row 0, where the gold is '4', here '7'")


def test_a_common_gold_is_no_conflict(check, clean_row):
    report = check([clean_row(5, solution=["four", "4"]), clean_row(5, solution=["4"])])
    assert set(report.findings) == {"duplicate"}


def test_messages_with_the_same_problem_are_duplicates(check, clean_row):
    problem = {"role": "user", "content": "5-1?"}
    prompts = [[problem], [{"role": "system", "content": "Be brief."}, problem]]
    assert check([clean_row(5, prompt=prompt) for prompt in prompts]).rows_with("duplicate") == [1]
