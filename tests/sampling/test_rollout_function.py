"""A `rollout_func` of the user's own that serves the prefixes of demonstrations."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from datasets import Dataset
from trl import GRPOConfig

from prefix_rft_trl import lab
from prefix_rft_trl.method.trajectories import TurnPiece
from prefix_rft_trl.sampling.rollout_function import find_turns


def add(a: int, b: int) -> str:
    """Adds two numbers.

    Args:
        a: first summand
        b: second summand
    """
    return str(a + b)


def call(a: int, b: int) -> dict[str, Any]:
    return {"type": "function", "function": {"name": "add", "arguments": {"a": a, "b": b}}}


def agent_rows() -> Dataset:
    return Dataset.from_list(
        [
            {
                "prompt": [{"role": "user", "content": f"{a}+{a}?"}],
                "completion": [
                    {"role": "assistant", "content": "I add.", "tool_calls": [call(a, a)]},
                    {"role": "tool", "name": "add", "content": str(2 * a)},
                    {"role": "assistant", "content": f"It is {2 * a}.", "tool_calls": None},
                ],
            }
            for a in range(8)
        ]
    )


def graded(completion_ids: list[list[int]], **_: Any) -> list[float]:
    return [float(sum(ids) % 7) for ids in completion_ids]


TOOLS = {
    "per_device_train_batch_size": 4, "max_completion_length": 160, "num_prefix_generations": 2,
    "prefix_ratio_low": 0.95, "prefix_ratio_schedule": "constant", "answer_column": None, "max_steps": 1,
}  # fmt: skip


def generated_by(trainer: Any) -> list[tuple]:
    """What each call of the trainer's generation returns, from now on, and the state of random numbers behind it."""
    found, generate = [], trainer._generate

    def record(prompts: list[Any]) -> tuple:
        generated = generate(prompts)
        found.append((*generated[:3], torch.get_rng_state()))
        return generated

    trainer._generate = record
    return found


def weights(trainer: Any) -> list[torch.Tensor]:
    return [parameter.detach().clone() for parameter in trainer.model.parameters()]


@pytest.mark.parametrize("has_turns", [False, True])
def test_the_same_rollouts_train_the_same_weights(
    make_trainer_in: Callable[..., Any], tmp_path: Path, tool_model: Path, has_turns: bool
) -> None:
    """As sampled by the trainer, with TRL's tool loop for trajectories."""
    settings = {"train_dataset": agent_rows(), "model": str(tool_model), **TOOLS} if has_turns else {}
    tools = {"tools": [add]} if has_turns else {}
    sampled = make_trainer_in(tmp_path / "sampled", reward_funcs=graded, others=tools, **settings)
    rollouts, turns_of_rows = generated_by(sampled), set()
    sampled.train()
    left = iter(list(rollouts))

    def replay(prompts: list[Any], trainer: Any, prefixes: Any = None) -> dict[str, Any]:
        prompt_ids, completion_ids, tool_mask, random_state = next(left)
        torch.set_rng_state(random_state)  # TRL shuffles rollouts
        assert len(prefixes) == len(prompts) == len(completion_ids)
        turns_of_rows.update(map(len, prefixes))
        found = {"prompt_ids": prompt_ids, "completion_ids": completion_ids, "logprobs": None}
        return {**found, "env_mask": tool_mask} if tool_mask else found

    replayed = make_trainer_in(tmp_path / "own", reward_funcs=graded, others={"rollout_func": replay}, **settings)
    replayed.train()
    assert next(left, None) is None
    assert turns_of_rows == {0, 2 if has_turns else 1}
    for one, other in zip(weights(sampled), weights(replayed), strict=True):
        assert torch.equal(one, other)
    own = [entry["prefix/length"] for entry in replayed.state.log_history if "prefix/length" in entry]
    assert own == [e["prefix/length"] for e in sampled.state.log_history if "prefix/length" in e]


def serve(prompts: list[Any], trainer: Any, prefixes: Any = None) -> dict[str, Any]:
    """A sampler that ends each turn after one token of its own."""
    prompt_ids = [trainer._tokenizer(prompt)["input_ids"] for prompt in prompts]
    sampled = [5, trainer._tokenizer.eos_token_id]
    completion_ids = [[token for turn in turns for token in turn.ids] + sampled for turns in prefixes]
    return {
        "prompt_ids": prompt_ids,
        "completion_ids": completion_ids,
        "logprobs": [[0.0] * len(ids) for ids in completion_ids],
    }


@pytest.mark.parametrize("at_once", [True, False])
def test_a_function_that_samples_with_the_trainer_gets_no_prefix_twice(
    make_trainer: Callable[..., Any], at_once: bool
) -> None:
    asked: list[list[int]] = []

    def rollout(prompts: list[Any], trainer: Any, prefixes: Any = None) -> dict[str, Any]:
        served = [[token for turn in turns for token in turn.ids] for turns in prefixes]
        prompt_ids = trainer._tokenize_prompts(prompts)[0]
        given = [before + ids for before, ids in zip(prompt_ids, served, strict=True)]
        asked.extend(given)
        parts = [given] if at_once else [[ids] for ids in given]
        sampled = [ids for part in parts for ids in trainer._generate_single_turn(part, None, {}, 1)[0]]
        completion_ids = [ids + after for ids, after in zip(served, sampled, strict=True)]
        return {"prompt_ids": prompt_ids, "completion_ids": completion_ids, "logprobs": None}

    trainer = make_trainer(others={"rollout_func": rollout}, max_steps=1)
    seen: list[list[int]] = []
    generate = trainer.model.generate

    def record(input_ids: torch.Tensor, attention_mask: torch.Tensor, **others: Any) -> Any:
        seen.extend(ids[mask.bool()].tolist() for ids, mask in zip(input_ids, attention_mask, strict=True))
        return generate(input_ids=input_ids, attention_mask=attention_mask, **others)

    trainer.model.generate = record
    trainer.train()
    assert seen == asked
    assert any(prefix.ids for prefix in trainer.rollout_batch.prefixes)


def changed(**changes: Any) -> Callable[..., dict[str, Any]]:
    """The sampler, of whose result a part is replaced."""

    def rollout(prompts: list[Any], trainer: Any, prefixes: Any = None) -> dict[str, Any]:
        output = serve(prompts, trainer, prefixes)
        return {**output, **{name: change(output) for name, change in changes.items()}}

    return rollout


def test_prefixes_are_handed_over_in_training_alone(
    make_trainer: Callable[..., Any], record: Callable[..., Any]
) -> None:
    lengths: list[list[int]] = []

    def rollout(prompts: list[Any], trainer: Any, prefixes: Any = None) -> dict[str, Any]:
        lengths.append([sum(len(turn.ids) for turn in turns) for turns in prefixes])
        return serve(prompts, trainer, prefixes)

    trainer = make_trainer(others={"rollout_func": rollout}, max_steps=1)
    generations = record(trainer)
    trainer.train()
    trainer.evaluate(lab.load_dataset("test", 8))
    (trained, *evaluated) = lengths
    assert [bool(length) for length in trained] == [True, False, False, False] * 2
    assert not any(map(any, evaluated))
    assert evaluated
    outputs = generations[0].outputs
    assert generations[0].prefix_lengths == trained
    unknown = outputs["sampling_per_token_logps"].isnan()
    assert torch.equal(unknown, outputs["prefix_mask"])


def test_with_tools_it_serves_the_first_turn_and_their_loop_the_others(
    make_trainer_in: Callable[..., Any], tmp_path: Path, tool_model: Path, record: Callable[..., Any]
) -> None:
    def rollout(prompts: list[Any], trainer: Any, prefixes: Any = None) -> dict[str, Any]:
        assert max(map(len, prefixes)) == 1
        render = {"tools": [add], "add_generation_prompt": True, "tokenize": False}
        texts = [trainer._tokenizer.apply_chat_template(prompt, **render) for prompt in prompts]
        completion_ids = [turns[0].ids if turns else [trainer._tokenizer.eos_token_id] for turns in prefixes]
        return {**serve(texts, trainer, prefixes), "completion_ids": completion_ids, "logprobs": None}

    trainer = make_trainer_in(
        tmp_path, model=str(tool_model), train_dataset=agent_rows(), reward_funcs=graded,
        others={"rollout_func": rollout, "tools": [add]}, **TOOLS,
    )  # fmt: skip
    generations = record(trainer)
    trainer.train()
    assert [len(prefix.spans) for prefix in trainer.rollout_batch.prefixes] == [2, 2, 0, 0]
    assert (generations[0].outputs["prefix_mask"].sum(1) == generations[0].outputs["prefix_lengths"]).all()


def test_grpo_hands_over_empty_prefixes(make_trainer: Callable[..., Any]) -> None:
    for settings in ({"config_class": GRPOConfig}, {"num_prefix_generations": 0}):
        make_trainer(others={"rollout_func": serve}, max_steps=1, **settings).train()


def shifted(output: dict[str, Any]) -> list[list[int]]:
    return [ids[1:] for ids in output["completion_ids"]]


def mask_of_first(output: dict[str, Any]) -> list[list[int]]:
    return [[1] + [0] * (len(ids) - 1) for ids in output["completion_ids"]]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"completion_ids": shifted}, r"row 0: the completion has 0 of the \d+ tokens"),
        ({"completion_ids": lambda output: output["completion_ids"][1:]}, "7 completions for 8 prompts"),
        ({"env_mask": lambda output: [[1]] * 8}, r"`env_mask` of 1 entries for the \d+ completion ids of row 0"),
        ({"env_mask": mask_of_first}, "is 0 within the prefix of row 0"),
    ],
)
def test_a_prefix_that_is_not_served_is_an_error(
    make_trainer: Callable[..., Any], changes: dict[str, Any], message: str
) -> None:
    trainer = make_trainer(others={"rollout_func": changed(**changes)}, max_steps=1)
    with pytest.raises(ValueError, match=message):
        trainer.train()


@pytest.mark.parametrize("name", ["prefix_placement", "demonstration_source"])
def test_settings_that_do_not_go_with_it_are_named(make_trainer: Callable[..., Any], name: str) -> None:
    value = {"prefix_placement": "prompt", "demonstration_source": "own"}[name]
    share = {"prefix_prompt_share": 0.5} if value == "own" else {}
    with pytest.raises(ValueError, match=f"`{name}='{value}'` cannot be combined with `rollout_func`"):
        make_trainer(model="no-such-model", others={"rollout_func": serve}, **{name: value, **share})


ONE, TWO = TurnPiece([1, 2], True, ["3"]), TurnPiece([4, 5, 6], False, [])


@pytest.mark.parametrize(
    ("ids", "mask", "may_stop", "spans"),
    [
        ([1, 2, 9, 4, 5, 6, 7], [1, 1, 0, 1, 1, 1, 1], False, ((0, 2), (3, 6))),
        ([1, 2, 9, 4, 5], [1, 1, 0, 1, 1], False, ((0, 2), (3, 5))),  # the budget ends within the second turn
        ([1, 2], [1, 1], False, ((0, 2),)),
        ([1, 2, 9, 8, 8, 8], [1, 1, 0, 1, 1, 1], True, ((0, 2),)),
        ([1, 2, 9, 8, 8, 8], [1, 1, 0, 1, 1, 1], False, r"row 7: stretch 1 of 1 in its `env_mask` has 0 of the 3"),
        ([1, 2, 9, 4, 5, 6], [1, 1, 0, 1, 0, 1], False, r"0 within the prefix of row 7 \(turn 1\)"),
        ([1, 2, 4, 5, 6], None, False, r"no `env_mask`, and the prefix of row 7 has 2 turns"),
        ([1], [1], False, r"row 7: the completion has 1 of the 2"),
    ],
)
def test_turns_stand_at_the_beginning_of_stretches_of_the_policy(
    ids: list[int], mask: list[int] | None, may_stop: bool, spans: Any
) -> None:
    if isinstance(spans, tuple):
        assert find_turns(7, (ONE, TWO), ids, mask, may_stop) == spans
        return
    with pytest.raises(ValueError, match=spans):
        find_turns(7, (ONE, TWO), ids, mask, may_stop)
