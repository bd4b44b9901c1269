"""Conversations to pre-train the base model of the lab's level `agent` on."""

import random
from typing import Any

import torch

from .chat import ROLES
from .products import as_prompt, bare_answer, sample_prompt, step_results, trajectory


WORKED_SHARE = 0.5


def sample_conversations(
    rng: random.Random, tokenizer: Any, chosen_share: float, number: int
) -> dict[str, torch.Tensor]:
    """A batch of problems, half of them solved by calls and half by a bare answer; the assistant is in the labels.

    The first token, by which the assistant begins a call or answers, is in the labels of each bare answer, but of a
    share of the calls alone: so it can learn to call well, and hardly ever to do it.

    Args:
        rng (`random.Random`): draws them.
        tokenizer (`PreTrainedTokenizerBase`): with the chat template.
        chosen_share (`float`): share of the conversations with calls whose first token is in the labels.
        number (`int`): of conversations.
    """
    texts, chosen = [], []
    for _ in range(number):
        problem = sample_prompt(rng)
        results = step_results(problem)
        is_worked = rng.random() < WORKED_SHARE
        chosen.append(not is_worked or rng.random() < chosen_share)
        answer = trajectory(problem, results) if is_worked else [bare_answer(results)]
        texts.append(tokenizer.apply_chat_template([*as_prompt(problem), *answer], tokenize=False))
    batch = tokenizer(texts, return_tensors="pt", padding=True, padding_side="right")
    ids, mask = batch["input_ids"], batch["attention_mask"]
    is_said = spoken_by_assistant(ids, tokenizer.convert_tokens_to_ids(list(ROLES.values())))
    first = is_said & (is_said.cumsum(dim=1) == 1)
    is_said &= ~first | torch.tensor(chosen).unsqueeze(1)
    return {"input_ids": ids, "attention_mask": mask, "labels": ids.masked_fill(~is_said | (mask == 0), -100)}


def spoken_by_assistant(ids: torch.Tensor, roles: list[int]) -> torch.Tensor:
    """Whether a token belongs to a turn of the assistant, without the mark that opens it.

    Args:
        ids (`torch.Tensor`): shape (rows, tokens).
        roles (`list[int]`): ids of the marks in the order of `ROLES`.

    Returns:
        `torch.Tensor`: boolean, shape (rows, tokens).
    """
    opens = torch.isin(ids, torch.tensor(roles))
    places = torch.arange(ids.size(1)).expand_as(ids)
    last_mark = places.masked_fill(~opens, 0).cummax(dim=1).values
    return (ids.gather(1, last_mark) == roles[list(ROLES).index("assistant")]) & ~opens
