"""The groups of a training step of a trainer, and what the policy thinks of each token of their demonstrations.

Plan, rollouts, rewards and advantages are the trainer's own, in training mode; so is the forward pass that the
entropies come from, and the selection of the tokens that are kept.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import takewhile
from typing import TYPE_CHECKING, Any

import torch
from torch.nn.utils.rnn import pad_sequence

from prefix_rft_trl.method.demonstrations import demonstration_ids
from prefix_rft_trl.method.schedules import SLICES
from prefix_rft_trl.method.token_weights import CROSS_ENTROPY, SELECTIONS, prefix_token_mask
from prefix_rft_trl.rollouts import scheduled_bounds

from .records import Group, HybridRollout, Inspection, OnPolicyRollout, Token


if TYPE_CHECKING:
    from prefix_rft_trl.trainer import PrefixGRPOTrainer


@dataclass(frozen=True)
class _Scores:
    """Of the policy, for each token of a completion; shape (tokens,)."""

    entropies: torch.Tensor
    logps: torch.Tensor


@dataclass(frozen=True)
class _Rollout:
    """A rollout of a group as the trainer made it; `noise` only where the selection is by chance."""

    prompt_ids: list[int]
    prefix_ids: list[int]
    completion_ids: list[int]
    demonstration_ids: list[int]
    in_loss: bool
    noise: torch.Tensor | None
    reward: float
    prefix_advantage: float
    advantage: float


def inspect_rows(trainer: "PrefixGRPOTrainer", rows: Sequence[int], at_step: int | None = None) -> Inspection:
    """Generates and scores a group for each row, as in a training step, and reads every token of the hybrid rollouts.

    The kept tokens are those of a forward batch of all hybrid rollouts that are returned.

    Args:
        trainer (`PrefixGRPOTrainer`): on one process, with `num_prefix_generations` of at least 1.
        rows (`Sequence[int]`): indices into its training dataset.
        at_step (`int`, *optional*): optimizer steps done so far, which the length of a prefix depends on. Defaults to
            the middle of the decay.

    Raises:
        ValueError: if a row is not in the dataset, or if the run has fewer steps.
    """
    from tqdm.auto import tqdm

    examples = pick_rows(trainer.train_dataset, rows)
    _go_to_step(trainer, at_step)
    trainer.model.train()
    groups = []
    with torch.no_grad(), trainer.accelerator.autocast():
        for example in tqdm(examples, desc="Generating and scoring", unit="row"):
            if trainer.args.follows_problems:
                _generate(trainer, example)  # the plan looks at what became of a problem before
            groups.append(_generate(trainer, example))
        hybrids = [rollout for group in groups for rollout in group if rollout.prefix_ids]
        shown = iter(_shown_hybrids(trainer, hybrids))
    return Inspection(
        _settings(trainer),
        tuple(
            Group(
                row,
                trainer._tokenizer.decode(group[0].prompt_ids),
                tuple(next(shown) for rollout in group if rollout.prefix_ids),
                tuple(_shown_on_policy(trainer, rollout) for rollout in group if not rollout.prefix_ids),
            )
            for row, group in zip(rows, groups, strict=True)
        ),
    )


def pick_rows(dataset: Any, rows: Sequence[int]) -> list[dict[str, Any]]:
    """The rows of a dataset or of a streaming one, of which no more is read than needed.

    Raises:
        ValueError: for a row that the dataset does not have, naming how many it has.
    """
    if hasattr(dataset, "__len__"):
        check_rows(rows, len(dataset))
        return [dataset[row] for row in rows]
    first = list(dataset.take(max(rows) + 1))
    check_rows(rows, len(first))
    return [first[row] for row in rows]


def check_rows(rows: Iterable[int], number: int) -> None:
    """Raises a ValueError for a row that a dataset of so many rows does not have."""
    for row in rows:
        if not 0 <= row < number:
            raise ValueError(f"there is no row {row}: the dataset has {number} rows, from 0 to {number - 1}.")


def _go_to_step(trainer: "PrefixGRPOTrainer", at_step: int | None) -> None:
    steps = trainer.set_initial_training_values(trainer.args, trainer.get_train_dataloader())[-1]
    if at_step is None:
        at_step = min(trainer.args.prefix_ratio_decay_steps or steps, steps) // 2
    if not 0 <= at_step <= steps:
        raise ValueError(f"there is no step {at_step}: the run has {steps} steps. Set `at_step` from 0 to {steps}.")
    trainer.state.max_steps, trainer.state.global_step = steps, at_step


def _generate(trainer: "PrefixGRPOTrainer", example: dict[str, Any]) -> list[_Rollout]:
    outputs = trainer._generate_and_score_completions([dict(example) for _ in range(trainer.num_generations)])
    rollouts = []
    for place, (prefix_ids, assignment) in enumerate(zip(trainer._prefixes, trainer._assignments, strict=True)):
        prompt_ids = outputs["prompt_ids"][place][outputs["prompt_mask"][place].bool()].tolist()
        completion_ids, in_loss = _completion(trainer, outputs, place)
        rollouts.append(
            _Rollout(
                prompt_ids,
                prefix_ids,
                completion_ids,
                _demonstration(trainer, example["prompt"], prompt_ids, assignment) if prefix_ids else [],
                in_loss,
                outputs["prefix_noise"][place, : len(completion_ids)] if "prefix_noise" in outputs else None,
                trainer._rewards[place].item(),
                outputs["prefix_advantages"][place].item(),
                outputs["advantages"][place].item(),
            )
        )
    return rollouts


def _completion(trainer: "PrefixGRPOTrainer", outputs: dict[str, Any], place: int) -> tuple[list[int], bool]:
    ids, mask = outputs["completion_ids"][place], outputs["completion_mask"][place].bool()
    if mask.any():
        return ids[mask].tolist(), True
    # `mask_truncated_completions` leaves it out of the loss; it has no end of its own before the padding
    length = int((ids != trainer._tokenizer.pad_token_id).nonzero().max()) + 1
    return ids[:length].tolist(), False


def _demonstration(trainer: "PrefixGRPOTrainer", prompt: Any, prompt_ids: list[int], assignment: Any) -> list[int]:
    return demonstration_ids(
        trainer._tokenizer,
        prompt,
        prompt_ids,
        assignment.demonstration,
        stop_ids=trainer.eos_token_ids,
        **{"chat_template": trainer.chat_template, **trainer.chat_template_kwargs},
    )


def _score(trainer: "PrefixGRPOTrainer", prompt_ids: list[int], completion_ids: list[int]) -> _Scores:
    ids = torch.tensor([[*prompt_ids, *completion_ids]], device=trainer.accelerator.device)
    logps, entropies, _ = trainer._get_per_token_logps_and_entropies(
        trainer.model, ids, torch.ones_like(ids), len(completion_ids), compute_entropy=True
    )
    return _Scores(entropies[0].float(), logps[0].float())


def _kept(trainer: "PrefixGRPOTrainer", hybrids: list[_Rollout], scores: list[_Scores]) -> list[list[bool]]:
    """For each hybrid rollout, which of its tokens are prefix tokens that are trained."""
    if not hybrids:
        return []
    entropies = pad_sequence([of_rollout.entropies for of_rollout in scores], batch_first=True)
    in_loss = [
        torch.full_like(of_rollout.entropies, rollout.in_loss)
        for rollout, of_rollout in zip(hybrids, scores, strict=True)
    ]
    lengths = torch.tensor([len(rollout.prefix_ids) for rollout in hybrids], device=entropies.device)
    in_prefix = prefix_token_mask(lengths, pad_sequence(in_loss, batch_first=True))
    noise = [rollout.noise for rollout in hybrids if rollout.noise is not None]
    kept = SELECTIONS[trainer.args.prefix_selection](
        pad_sequence(noise, batch_first=True) if noise else entropies,
        in_prefix,
        trainer.args.prefix_top_entropy_quantile,
        trainer.get_high_entropy_mask,
    )
    return kept.tolist()


def _shown_hybrids(trainer: "PrefixGRPOTrainer", hybrids: list[_Rollout]) -> list[HybridRollout]:
    scores = [_score(trainer, rollout.prompt_ids, rollout.completion_ids) for rollout in hybrids]
    kept = _kept(trainer, hybrids, scores)
    return [_shown_hybrid(trainer, *of_rollout) for of_rollout in zip(hybrids, scores, kept, strict=True)]


def _shown_hybrid(trainer: "PrefixGRPOTrainer", rollout: _Rollout, scores: _Scores, kept: list[bool]) -> HybridRollout:
    length = len(rollout.prefix_ids)
    tokens = _tokens(trainer, rollout.prompt_ids, rollout.completion_ids, scores, kept)
    rest: tuple[Token, ...] = ()
    if length < len(rollout.demonstration_ids):
        of_whole = _score(trainer, rollout.prompt_ids, rollout.demonstration_ids)
        rest = _tokens(trainer, rollout.prompt_ids, rollout.demonstration_ids, of_whole)[length:]
    advantage = None if trainer.args.prefix_loss_type == CROSS_ENTROPY else rollout.prefix_advantage
    return HybridRollout(tokens[:length], tokens[length:], rest, rollout.reward, advantage, rollout.advantage)


def _tokens(
    trainer: "PrefixGRPOTrainer",
    prompt_ids: list[int],
    ids: list[int],
    scores: _Scores,
    kept: list[bool] | None = None,
) -> tuple[Token, ...]:
    texts = token_texts(trainer._tokenizer, ids, before=prompt_ids)
    columns = zip(
        texts, scores.entropies.tolist(), scores.logps.exp().tolist(), kept or [False] * len(ids), strict=False
    )
    return tuple(Token(*values) for values in columns)


def _shown_on_policy(trainer: "PrefixGRPOTrainer", rollout: _Rollout) -> OnPolicyRollout:
    text = trainer._tokenizer.decode(rollout.completion_ids, skip_special_tokens=True)
    return OnPolicyRollout(text, len(rollout.completion_ids), rollout.reward, rollout.advantage)


def _share(trainer: "PrefixGRPOTrainer") -> str:
    args, state = trainer.args, trainer.state
    low, high = scheduled_bounds(args, state.global_step, state.max_steps)
    if args.gives_whole_demonstrations:
        return "all of it"
    if args.prefix_ratio_distribution == "binomial":
        return f"of {SLICES} slices each with probability {low:.2f} ({args.prefix_ratio_schedule} schedule)"
    if args.prefix_ratio_schedule == "adaptive":
        return f"drawn from {low:.2f} to {high:.2f} times the share of failures at the problem"
    return f"drawn from {low:.2f} to {high:.2f} ({args.prefix_ratio_schedule} schedule)"


def _settings(trainer: "PrefixGRPOTrainer") -> tuple[tuple[str, str], ...]:
    args, state = trainer.args, trainer.state
    return (
        ("optimizer step", f"{state.global_step} of {state.max_steps}"),
        ("share of the demonstration", _share(trainer)),
        (
            "tokens kept",
            f"{args.prefix_selection}, quantile {args.prefix_top_entropy_quantile:g} of all that are shown",
        ),
        ("weight, advantage", f"{args.prefix_loss_type}, {args.prefix_advantage}"),
        ("rollouts", f"{trainer.num_prefix_generations} hybrid of {trainer.num_generations}"),
        ("temperature", f"{trainer.temperature:g}"),
        ("seed", str(args.seed)),
    )


_CONTEXT = 8  # tokens; the longest character takes four


def token_texts(tokenizer: Any, ids: Sequence[int], before: Sequence[int] = ()) -> list[str]:
    """The text that each token adds to those before it; together they are the whole text.

    Args:
        tokenizer (`PreTrainedTokenizerBase`): the policy's.
        ids (`Sequence[int]`): the tokens.
        before (`Sequence[int]`): tokens that precede them, such as those of the prompt.

    Returns:
        `list[str]`: one for each of `ids`; empty for a token that only begins a character.
    """
    tokens, first = [*before, *ids], len(before)
    return [
        _added(tokenizer, tokens[max(place - _CONTEXT, 0) : place], tokens[place])
        for place in range(first, len(tokens))
    ]


def _added(tokenizer: Any, context: list[int], token: int) -> str:
    before, after = (
        tokenizer.decode(ids, skip_special_tokens=False, clean_up_tokenization_spaces=False)
        for ids in (context, [*context, token])
    )
    unfinished = after.endswith("\N{REPLACEMENT CHARACTER}")
    agree = (ours == theirs for ours, theirs in zip(before, after, strict=False))
    return "" if unfinished else after[sum(takewhile(bool, agree)) :]
