"""Rollouts in TRL's tool loop that begin with turns of a demonstration."""

import math
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pandas as pd
import pytest
import torch
from datasets import Dataset
from transformers import Qwen2ForCausalLM

from prefix_rft_trl.sampling import hybrid
from prefix_rft_trl.trajectories import served_turns


@pytest.mark.parametrize("unit", ["token", "turn"])
def test_rows_hold_what_the_template_gives_for_the_turns(
    run_tools: Callable[..., Any], demonstrations: SimpleNamespace, unit: str
) -> None:
    run = run_tools(prefix_unit=unit, max_steps=2)
    assert len(run.batches) == 2
    for batch in run.batches:
        assert not any(prefix.ids for prefix in batch.prefixes[2:])
        for row, prefix in enumerate(batch.prefixes[:2]):
            whole = [piece for piece in prefix.pieces if piece.is_complete]
            assert len(whole) == len(prefix.spans) - (unit == "token") == 2
            demonstrated = batch.completions[row][:4]
            assert [message["role"] for message in demonstrated] == ["assistant", "tool"] * 2
            rendered = run.trainer._tokenizer.apply_chat_template(
                [*batch.prompts[row], *demonstrated], tools=[demonstrations.add], add_generation_prompt=True,
                tokenize=True, return_dict=False,
            )  # fmt: skip
            assert (batch.prompt_ids[row] + batch.completion_ids[row])[: len(rendered)] == rendered
            inside = batch.outputs["prefix_mask"][row].nonzero().flatten().tolist()
            assert [batch.outputs["completion_ids"][row][place].item() for place in inside] == prefix.ids
            assert all(batch.tool_mask[row][place] for place in inside)
            assert len(inside) == sum(len(piece.ids) for piece in prefix.pieces)
            assert len(batch.completion_ids[row]) <= 150


def test_served_turns_cost_no_decoding(run_tools: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    written, forced_tokens = [], []
    generate, limit = Qwen2ForCausalLM.generate, hybrid.limit_new_tokens

    def counting(model: Any, *args: Any, input_ids: torch.Tensor, **named: Any) -> torch.Tensor:
        found = generate(model, *args, input_ids=input_ids, **named)
        is_end = found[:, input_ids.size(1) :] == model.config.eos_token_id
        written.append(int((is_end.cumsum(dim=1) - is_end.int() == 0).sum()))
        return found

    def noting(trainer: Any, budgets: list[int], forced: list[list[int]]) -> Any:
        forced_tokens.append(sum(map(len, forced)))  # a part of the prefix, at the places that pad shorter prompts
        return limit(trainer, budgets, forced)

    monkeypatch.setattr(Qwen2ForCausalLM, "generate", counting)
    monkeypatch.setattr(hybrid, "limit_new_tokens", noting)
    run = run_tools()
    (batch,) = run.batches
    # One call for the on-policy rows, and one for the last turn, which is cut: none for the two that are whole
    assert len(written) == 2
    (logged,) = run.logged("sampling/decoded_tokens")
    assert logged == sum(written) - sum(forced_tokens) > 0
    rows = zip(batch.tool_mask, batch.prefixes, strict=True)
    assert logged == sum(sum(mask) - len(prefix.ids) for mask, prefix in rows)


@pytest.mark.parametrize("results", ["real", "demonstration", "on_policy"])
def test_results_that_differ(run_tools: Callable[..., Any], demonstrations: SimpleNamespace, results: str) -> None:
    executed: list[int] = []

    def add(a: int, b: int) -> str:
        """Adds two numbers.

        Args:
            a: first summand
            b: second summand
        """
        executed.append(a + b)
        return str(a + b)

    run = run_tools(demonstrations.sums("ninety"), {"tools": [add]}, prefix_tool_results=results)
    (batch,) = run.batches
    assert run.logged("prefix/tool_results_differ") == [0 if results == "demonstration" else 2]
    assert run.logged("prefix/tool_results") == [2 if results == "on_policy" else 4]
    assert run.logged("prefix/turns_not_served") == [4 if results == "on_policy" else 0]
    assert len(executed) == {"real": 4, "demonstration": 0, "on_policy": 2}[results]
    for messages, prefix in zip(batch.completions[:2], batch.prefixes[:2], strict=True):
        assert (messages[1]["content"] == "ninety") == (results == "demonstration")
        assert len(prefix.spans) == (1 if results == "on_policy" else 3)
        assert prefix.share == pytest.approx(len(prefix.ids) / prefix.demonstration_length)


def test_evaluation_has_no_prefix(make_tool_trainer: Callable[..., Any], demonstrations: SimpleNamespace) -> None:
    trainer = make_tool_trainer(per_device_eval_batch_size=4)
    trainer.model.eval()
    trainer._prepare_inputs([demonstrations.sums()[0]] * 4)
    assert not any(prefix.ids for prefix in trainer.rollout_batch.prefixes)


def test_gradient_is_of_served_and_sampled_tokens_alone(run_tools: Callable[..., Any]) -> None:
    (batch,) = run_tools(prefix_selection="random").batches
    noise, mask = batch.outputs["prefix_noise"], batch.outputs["prefix_mask"]
    assert torch.equal(noise != 0, mask)
    assert not (mask & (batch.outputs["tool_mask"] == 0)).any()


def test_a_whole_demonstration_ends_its_rollout(run_tools: Callable[..., Any]) -> None:
    run = run_tools(prefix_ratio_schedule="whole", prefix_top_entropy_quantile=1.0)
    (batch,) = run.batches
    assert run.logged("sampling/decoded_tokens") == [sum(map(sum, batch.tool_mask[2:]))]
    for messages, prefix in zip(batch.completions[:2], batch.prefixes[:2], strict=True):
        assert len(messages) == 5
        assert prefix.share == 1
        assert messages[-1]["content"].startswith("The sum is")


def test_a_demonstration_of_one_turn_has_a_prefix_in_tokens_alone(
    run_tools: Callable[..., Any], demonstrations: SimpleNamespace, caplog: pytest.LogCaptureFixture
) -> None:
    rows = demonstrations.sums().to_list()
    rows[0]["completion"] = rows[0]["completion"][-1:]
    settings = {"shuffle_dataset": False, "max_steps": 2}
    for unit, share in (("token", 1.0), ("turn", 0.0)):
        caplog.clear()
        run = run_tools(Dataset.from_list(rows), prefix_unit=unit, **settings)
        assert run.logged("prefix/demonstration_share") == [share, 1.0]
        assert ("1 of 8 rows have demonstrations of one turn" in caplog.text) == (unit == "turn")
        first = run.batches[0].prefixes[0]
        assert bool(first.ids) == (unit == "token")
        assert not first.pieces


def test_rows_of_which_none_has_two_turns_are_refused_in_turns(
    make_tool_trainer: Callable[..., Any], demonstrations: SimpleNamespace
) -> None:
    rows = [row | {"completion": "The sum is 8."} for row in demonstrations.sums().to_list()]
    with pytest.raises(ValueError, match=r"have one turn, of which `prefix_unit='turn'` gives no prefix"):
        make_tool_trainer(Dataset.from_list(rows), prefix_unit="turn")


def test_tables_and_printed_rollouts_show_the_turns(
    run_tools: Callable[..., Any], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    run = run_tools(log_completions=True, num_completions_to_print=4)
    (batch,) = run.batches
    table = pd.read_parquet(next(tmp_path.glob("completions/*.parquet")))
    assert table["prefix_turns"].tolist() == [3, 3, 0, 0]
    assert table["prefix_length"].tolist() == [len(prefix.ids) for prefix in batch.prefixes]
    for characters, messages, prefix in zip(
        table["prefix_characters"], batch.completions, batch.prefixes, strict=True
    ):
        if prefix.ids:
            assert messages[-1]["content"][:characters] == run.trainer._tokenizer.decode(prefix.pieces[-1].ids)
        else:
            assert characters == 0
    printed = capsys.readouterr().out
    assert f"hybrid, prefix of {len(batch.prefixes[0].ids)} tokens in 3 turns" in printed
    assert 'assistant: I add. {"name": "add", "arguments": {"a":' in printed
    assert "hint" not in printed


def test_lengths_of_on_policy_rollouts_leave_out_results(make_tool_trainer: Callable[..., Any]) -> None:
    trainer = make_tool_trainer()
    call = '<tool_call>\n{"name": "add", "arguments": {"a": 1, "b": 2}}\n</tool_call>'
    turn = [*trainer._tokenizer(call)["input_ids"], trainer._tokenizer.eos_token_id]
    generate = trainer.accelerator.unwrap_model(trainer.model).generate

    def call_and_end(*args: Any, input_ids: torch.Tensor, **named: Any) -> torch.Tensor:
        ids = turn if len(trainer.rollout_batch.tool_tokens) == 0 and trainer._tool_rounds is None else turn[-1:]
        return torch.cat([input_ids, torch.tensor([ids] * len(input_ids))], dim=1)

    assert callable(generate)
    trainer.model.generate = call_and_end
    trainer.args.num_prefix_generations = 0
    trainer.train()
    (length,) = [
        entry["completions/mean_length_on_policy"] for entry in trainer.state.log_history if "reward" in entry
    ]
    assert length == len(turn) + 1
    (mean,) = [entry["completions/mean_length"] for entry in trainer.state.log_history if "reward" in entry]
    assert mean == length


def test_turns_that_begin_with_line_breaks_are_served(
    run_tools: Callable[..., Any],
    demonstrations: SimpleNamespace,
    byte_tokenizer: Callable[..., Any],
    save_tiny_model: Callable[..., Path],
    tool_model: Path,
) -> None:
    special = ["<|im_end|>", "<|im_start|>", "<tool_call>", "</tool_call>"]
    tokenizer = byte_tokenizer(["\n\n\n"] * 9, special, pad_token=special[0], eos_token=special[0])
    tokenizer.chat_template = (tool_model / "chat_template.jinja").read_text()
    rows = demonstrations.sums().to_list()
    for row in rows:
        for message in row["completion"][::2]:
            message["content"] = "\n\n" + message["content"]
    model = save_tiny_model(tokenizer, "line_breaks")
    run = run_tools(Dataset.from_list(rows), model=str(model), max_completion_length=400)
    (batch,) = run.batches
    for row, prefix in enumerate(batch.prefixes[:2]):
        assert [tokenizer.decode(piece.ids)[:3] for piece in prefix.pieces] == ["\n\nI", "\n\n\n", "\n\nT"]
        assert len(prefix.spans) == 3
        for (start, end), piece in zip(prefix.spans, prefix.pieces, strict=True):
            assert batch.completion_ids[row][start:end] == piece.ids


def test_rollouts_that_are_all_whole_trajectories_are_sft(
    run_tools: Callable[..., Any], demonstrations: SimpleNamespace
) -> None:
    whole = {"prefix_ratio_schedule": "whole", "num_generations": 2, "num_prefix_generations": 2}
    law = {"prefix_loss_type": "cross_entropy", "prefix_loss_coef": 1.0, "prefix_top_entropy_quantile": 1.0}
    run = run_tools(max_completion_length=400, learning_rate=0.0, beta=0.0, **whole, **law)
    assert run.logged("sampling/decoded_tokens") == [0]
    model, tokenizer = run.trainer.model, run.trainer._tokenizer
    losses = []
    for prompt in {row[0]["content"]: row[:1] for row in run.batches[0].prompts}.values():
        a, b, c = map(int, prompt[0]["content"].removesuffix("?").split("+"))
        messages = [*prompt, *demonstrations.sum_of_three(a, b, c)]
        named = {"tools": [demonstrations.add], "tokenize": True, "return_dict": False}
        ids = tokenizer.apply_chat_template(messages, **named)
        is_of_assistant = [False] * len(ids)
        for number, message in enumerate(messages):
            if message["role"] == "assistant":
                before = tokenizer.apply_chat_template(messages[:number], add_generation_prompt=True, **named)
                end = len(tokenizer.apply_chat_template(messages[: number + 1], **named))
                end = next(place for place in range(end, 0, -1) if ids[place - 1] == tokenizer.eos_token_id)
                is_of_assistant[len(before) : end] = [True] * (end - len(before))
        with torch.no_grad():
            logps = model(torch.tensor([ids])).logits[0, :-1].log_softmax(-1)
        of_ids = logps.gather(1, torch.tensor(ids[1:])[:, None])[:, 0]
        losses += [-logp for logp, counts in zip(of_ids.tolist(), is_of_assistant[1:], strict=True) if counts]
    assert run.logged("loss") == [pytest.approx(sum(losses) / len(losses), rel=1e-4)]


def test_calls_that_are_not_read_back_are_counted(
    run_tools: Callable[..., Any], demonstrations: SimpleNamespace, caplog: pytest.LogCaptureFixture
) -> None:
    def half(number: float) -> str:
        """Halves a number.

        Args:
            number: to halve
        """
        return str(number / 2)

    def row(number: float) -> dict[str, Any]:
        calling = {"role": "assistant", "content": "", "tool_calls": [demonstrations.call("half", number=number)]}
        ends = [{"role": "tool", "name": "half", "content": "1.5"}, {"role": "assistant", "content": "It is halved."}]
        return {"prompt": [{"role": "user", "content": "Halve it."}], "completion": [calling, *ends]}

    rows = [row(math.nan if number == 1 else 3.0) for number in range(130)]  # every third is encoded before
    run = run_tools(Dataset.from_list(rows), {"tools": [half]}, shuffle_dataset=False, max_steps=2)
    assert run.logged("prefix/turns_not_read") == [0, 2]
    assert [bool(batch.prefixes[0].ids) for batch in run.batches] == [True, False]
    assert caplog.text.count("are read otherwise") == 1


def test_a_process_without_rows_takes_part_with_a_prompt_without_images(
    make_tool_trainer: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    trainer, asked, left = make_tool_trainer(), [], iter([True, True, False])
    monkeypatch.setattr(type(trainer.accelerator), "num_processes", 2)
    monkeypatch.setattr(trainer, "_processes_left", lambda active: next(left))
    monkeypatch.setattr(served_turns, "sample_continuations", lambda *args: asked.append(args[2]))
    trainer._wait_for_other_processes()
    assert asked == [[[trainer._tokenizer.eos_token_id]]] * 2
