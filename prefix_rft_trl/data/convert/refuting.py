"""Which wrong answers are wrong: for those whose text alone does not tell, the verifier does."""

from collections.abc import Sequence


def refuted(answers: Sequence[str], solutions: Sequence[str | tuple[str, ...]]) -> list[bool]:
    """Whether each answer is another than the right ones.

    An answer that the verifier could not judge counts as right, so that no right one passes for wrong; one whose right
    answer it cannot read is compared by its text, which differs.
    """
    if not answers:
        return []
    from prefix_rft_trl.rewards.golds import acceptable_golds
    from prefix_rft_trl.rewards.verification.verifier import Verdict, Verifier

    pairs = [(answer, acceptable_golds(solution)) for answer, solution in zip(answers, solutions, strict=True)]
    with Verifier() as verifier:
        verdicts = verifier.verify(pairs, progress="Checking damaged answers")
    return [verdict in (Verdict.DIFFERENT, Verdict.UNREADABLE_GOLD) for verdict in verdicts]
