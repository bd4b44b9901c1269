from prefix_rft_trl.data.convert.corruption import refuted


def test_an_equal_answer_in_other_words_is_not_refuted():
    answers = [r"\frac{0}{7}", r"\frac{5}{4}", "12", r"\text{even}"]
    solutions = ["0", r"\frac{3}{4}", ("11", "12"), r"\text{odd}"]
    assert refuted(answers, solutions) == [False, True, False, True]


def test_without_answers_no_verifier_is_started(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "prefix_rft_trl.rewards.verification.verifier", None)
    assert refuted([], []) == []
