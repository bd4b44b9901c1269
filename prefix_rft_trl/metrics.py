"""What a run shows about its prefixes, as sums that are added up over processes before they are divided."""

from collections.abc import Sequence

import torch

from .method.prefixes import Assignment, Prefix
from .rewards.answers import answer_as_word


def token_sums(
    prefix_mask: torch.Tensor,
    kept: torch.Tensor,
    sampled_mask: torch.Tensor,
    entropies: torch.Tensor,
    prefix_advantages: torch.Tensor,
) -> torch.Tensor:
    """Sums over the tokens of a forward batch, to be reduced over processes and read by [`token_metrics`].

    Args:
        prefix_mask, kept, sampled_mask (`torch.Tensor`): boolean, shape (batch, tokens): the prefix tokens, those of
            them that are trained, and the tokens that the policy sampled.
        entropies (`torch.Tensor`): shape (batch, tokens), in nats.
        prefix_advantages (`torch.Tensor`): shape (batch,).
    """
    return torch.stack(
        [
            prefix_mask.sum(),
            kept.sum(),
            sampled_mask.sum(),
            (entropies * kept).sum(),
            (entropies * (prefix_mask & ~kept)).sum(),
            (entropies * sampled_mask).sum(),
            (prefix_advantages.unsqueeze(1) * prefix_mask).sum(),
            torch.tensor(len(prefix_mask), device=prefix_mask.device),
        ]
    ).float()


def token_metrics(sums: torch.Tensor) -> dict[str, float]:
    """The metrics of a forward batch; NaN, which TRL leaves out of its averages, where nothing was counted."""
    prefix, kept, sampled, entropy_kept, entropy_dropped, entropy_sampled, advantage, rollouts = sums.tolist()
    return {
        "prefix/advantage": _ratio(advantage, prefix),
        "prefix/trained_token_share": _ratio(kept, kept + sampled),
        "prefix/trained_tokens": _ratio(kept, rollouts),
        "prefix/kept_share": _ratio(kept, prefix),
        "prefix/entropy_kept": _ratio(entropy_kept, kept),
        "prefix/entropy_dropped": _ratio(entropy_dropped, prefix - kept),
        "policy_entropy": _ratio(entropy_sampled, sampled),
    }


def rollout_rows(
    assignments: Sequence[Assignment],
    prefixes: Sequence[Prefix],
    prefix_texts: Sequence[str],
    answers: Sequence[object],
    completion_ids: Sequence[list[int]],
) -> torch.Tensor:
    """What [`rollout_metrics`] needs of the rollouts of one process, shape (rollouts, 6), float32."""
    columns = zip(assignments, prefixes, prefix_texts, answers, completion_ids, strict=True)
    return torch.tensor(
        [
            [
                assignment.planned,
                len(prefix.ids),
                assignment.ratio,
                holds_answer(text, answer),
                prefix.states_answer,
                len(ids),
            ]
            for assignment, prefix, text, answer, ids in columns
        ]
    )


def rollout_metrics(of_rollouts: torch.Tensor, rewards: torch.Tensor) -> dict[str, float]:
    """The metrics of a generation batch, over the rollouts of all processes.

    Args:
        of_rollouts (`torch.Tensor`): shape (rollouts, 6): whether the plan asks for a hybrid rollout, the length of
            its prefix in tokens (0 if it has none), the drawn ratio, whether the prefix holds the right answer, and
            whether it reaches into the demonstration's last statement of one (both NaN where that cannot be told),
            and the length of the completion in tokens, prefix included.
        rewards (`torch.Tensor`): shape (rollouts,), NaN where a rollout could not be scored.
    """
    planned, lengths, ratios, holds, states, completion_lengths = of_rollouts.unbind(dim=1)
    hybrid = lengths > 0
    return {
        "prefix/demonstration_share": _mean(hybrid[planned > 0]),
        "prefix/ratio": _mean(ratios[hybrid]),
        "prefix/length": _mean(lengths[hybrid]),
        "prefix/tokens": _mean(lengths),
        "prefix/holds_answer": _mean(holds[hybrid]),
        "prefix/states_answer": _mean(states[hybrid]),
        "prefix/reward_hybrid": _mean(rewards[hybrid]),
        "prefix/reward_on_policy": _mean(rewards[~hybrid]),
        "completions/mean_length_on_policy": _mean(completion_lengths[~hybrid]),
    }


def holds_answer(prefix_text: str, answer: object) -> float:
    """1 if a prefix contains the right answer as a word or number of its own, 0 if not, NaN for any other answer.

    Of an answer with a final mark, `... #### 42`, what follows the mark is looked for. Short answers can stand in a
    prefix by accident, so the share of prefixes that hold the answer is an upper bound.
    """
    if not isinstance(answer, (str, int, float)):
        return float("nan")
    word = answer_as_word(answer)
    return float(word is not None and word.search(prefix_text) is not None)


def _mean(values: torch.Tensor) -> float:
    return values.float().nanmean().item()


def _ratio(numerator: float, denominator: float) -> float:
    return numerator / denominator if denominator else float("nan")
