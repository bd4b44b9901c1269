"""Prefixes as hints in the prompt, on the real path: sampled from, scored behind and trained behind one prompt."""

from types import SimpleNamespace

import pytest
import torch

from prefix_rft_trl import PrefixGRPOConfig
from prefix_rft_trl.method.prefixes import NO_PREFIX
from prefix_rft_trl.rollouts import groups_before, plan_rollouts
from prefix_rft_trl.run.success_history import SuccessHistory


TEMPLATE = "{hint}{prompt}"
HINTS = {
    "prefix_placement": "prompt",
    "prefix_hint_template": TEMPLATE,
    "num_prefix_generations": 4,
    "prefix_shared_in_group": True,
}
BUDGET, CLIP = 40, 0.2


@pytest.fixture
def sampled_prompts(monkeypatch):
    """Collects the prompts, without padding, that the model is to continue."""

    def watch(trainer):
        found, generate = [], trainer.model.generate

        def generate_and_note(*args, input_ids, attention_mask, **named):
            found.append([ids[mask.bool()].tolist() for ids, mask in zip(input_ids, attention_mask, strict=True)])
            return generate(*args, input_ids=input_ids, attention_mask=attention_mask, **named)

        monkeypatch.setattr(trainer.model, "generate", generate_and_note)
        return found

    return watch


@pytest.fixture
def make_config(tmp_path):
    return lambda **settings: PrefixGRPOConfig(
        output_dir=str(tmp_path), use_cpu=True, bf16=False, report_to="none", **settings
    )


def prompt_ids(outputs):
    masks = outputs["prompt_mask"].bool()
    return [ids[mask].tolist() for ids, mask in zip(outputs["prompt_ids"], masks, strict=True)]


def hints_of(trainer):
    return [prefix.hint for prefix in trainer.rollout_batch.prefixes]


# Sampling


CASES = {
    "all_rows": {},
    "one_row": {"num_prefix_generations": 1},
    "own_hints": {"prefix_shared_in_group": False},
    "half": {"prefix_prompt_share": 0.5},
    "slices": {"prefix_ratio_distribution": "binomial"},
    "plain_in_loss": {"prefix_hint_in_loss": False},
}


@pytest.mark.parametrize("settings", CASES.values(), ids=CASES)
def test_a_rollout_is_sampled_and_trained_behind_its_hint(make_trainer, train, sampled_prompts, settings):
    asked = []

    def reward(prompts, completions, **others):
        asked.append(prompts)
        return [sum(map(ord, text)) % 11 / 10 for text in completions]

    trainer = make_trainer(reward_funcs=reward, max_steps=1, log_completions=True, **{**HINTS, **settings})
    sampled = sampled_prompts(trainer)
    run = train(trainer=trainer)
    plain = [row["prompt"] for row in run.generation.inputs]
    assert asked == [plain]
    hints, guided = hints_of(trainer), 0
    for row, (hint, demonstration) in enumerate(zip(hints, run.input_ids("completion"), strict=True)):
        in_share = settings.get("prefix_prompt_share", 1.0) == 1.0 or row >= 4
        if row % 4 >= settings.get("num_prefix_generations", 4) or not in_share:
            assert hint is None
        elif hint is not None:  # no slice may be drawn
            assert hint.ids == demonstration[: len(hint.ids)]
            assert hint.prompt == trainer._tokenizer.decode(hint.ids) + plain[row]
            guided += 1
    assert guided >= 2
    shown = [prompt if hint is None else hint.prompt for prompt, hint in zip(plain, hints, strict=True)]
    assert sampled == [run.ids(shown)]
    trained = plain if settings.get("prefix_hint_in_loss") is False else shown
    assert prompt_ids(run.generation.outputs) == run.ids(trained)
    assert run.generation.prefix_lengths == [0] * 8
    assert list(trainer._logs["prompt"]) == shown
    assert list(trainer._logs["extra"]["hybrid"]) == [hint is not None for hint in hints]
    lengths = [len(hint.ids) for hint in hints if hint]
    assert run.logged("prefix/length") == pytest.approx([sum(lengths) / len(lengths)])
    assert run.logged("prefix/tokens") == [0.0]
    rewards = [reward for reward, hint in zip(trainer.rollout_batch.rewards.tolist(), hints, strict=True) if hint]
    assert run.logged("prefix/reward_hybrid") == pytest.approx([sum(rewards) / len(rewards)])


def test_messages_get_their_hint_from_the_chat_template(train, chat_model, lab_rows, as_message):
    rows = lab_rows(prompt=as_message("user"), completion=as_message("assistant"))
    settings = {**HINTS, "prefix_hint_template": "{prompt} {hint}!", "max_steps": 1}
    run = train(model=chat_model, train_dataset=rows, **settings)
    tokenizer = run.trainer._tokenizer
    texts = tokenizer.batch_decode(prompt_ids(run.generation.outputs))
    for row, hint, text in zip(run.generation.inputs, hints_of(run.trainer), texts, strict=True):
        (question,), (answer,) = row["prompt"], row["completion"]
        given = tokenizer.decode(hint.ids)
        assert answer["content"].startswith(given)
        assert f"<|im_start|>user\n{question['content']} {given}!<|im_end|>" in text


def test_evaluation_and_prompts_without_demonstration_are_plain(make_trainer, train, lab_rows, sampled_prompts):
    rows = lab_rows(completion=[None if row % 2 else "3+4=7;#7" for row in range(16)])
    settings = {"max_steps": 1, "per_device_train_batch_size": 64, "per_device_eval_batch_size": 4}
    trainer = make_trainer(train_dataset=rows, others={"eval_dataset": rows.select([0])}, **HINTS, **settings)
    sampled = sampled_prompts(trainer)
    run = train(trainer=trainer)
    prefixes = trainer.rollout_batch.prefixes
    assert [prefix is NO_PREFIX for prefix in prefixes] == [not row["completion"] for row in run.generation.inputs]
    trainer.evaluate()
    assert sampled[-1] == run.ids([rows[0]["prompt"]] * 4)


def test_a_hint_ends_before_the_answer(train):
    run = train(**HINTS, prefix_exclude_answer=True, prefix_ratio_low=0.95, max_steps=1)
    assert run.logged("prefix/states_answer") == [0.0]
    assert not any("#" in hint.prompt for hint in hints_of(run.trainer))


# The policy that sampled is the policy behind the hint


STALE = {"per_device_train_batch_size": 4, "steps_per_generation": 2, "learning_rate": 0.0, "max_steps": 2}


@pytest.mark.parametrize("beta", [0.0, 0.1])
def test_the_first_ratio_is_one_behind_the_prompt_that_was_sampled_from(train, completion_scores, beta):
    run = train(**HINTS, **STALE, beta=beta, prefix_prompt_share=0.5)
    outputs = run.generation.outputs
    assert any(hints_of(run.trainer))
    logps, _ = completion_scores(run.trainer.model, outputs)
    for name in ["old_per_token_logps"] + ["ref_per_token_logps"] * bool(beta):
        difference = (outputs[name] - logps)[outputs["completion_mask"].bool()]
        assert difference.abs().max() < 1e-4
    assert run.logged("clip_ratio/region_mean") == [0.0, 0.0]


@pytest.mark.parametrize("settings", [{}, STALE, {"pad_to_multiple_of": 8}, {"trim_padding": False}])
def test_old_probabilities_are_those_behind_the_hint_where_the_loss_has_none(train, completion_scores, settings):
    half = {**HINTS, "prefix_hint_in_loss": False, "prefix_prompt_share": 0.5}
    run = train(**{"learning_rate": 0.0, "max_steps": 1, **half, **settings})
    outputs, hints = run.generation.outputs, hints_of(run.trainer)
    shown = [
        row["prompt"] if hint is None else hint.prompt for row, hint in zip(run.generation.inputs, hints, strict=True)
    ]
    ids = [torch.tensor(row) for row in run.ids(shown)]
    left = {"batch_first": True, "padding_side": "left"}
    hinted = {
        **outputs,
        "prompt_ids": torch.nn.utils.rnn.pad_sequence(ids, **left),
        "prompt_mask": torch.nn.utils.rnn.pad_sequence([torch.ones_like(row) for row in ids], **left),
    }
    mask, old_logps = outputs["completion_mask"].bool(), outputs["old_per_token_logps"]
    (behind_hint, _), (behind_plain, _) = (completion_scores(run.trainer.model, batch) for batch in (hinted, outputs))
    assert (old_logps - behind_hint)[mask].abs().max() < 1e-4
    guided = torch.tensor([hint is not None for hint in hints])
    assert (old_logps - behind_plain)[mask & ~guided[:, None]].abs().max() < 1e-4
    assert (old_logps - behind_plain)[mask & guided[:, None]].abs().max() > 0.01
    if "pad_to_multiple_of" in settings:
        assert outputs["prompt_ids"].shape == outputs["prompt_mask"].shape
        assert outputs["prompt_ids"].size(1) % 8 == 0


def test_a_server_samples_each_row_behind_its_own_hint(make_trainer, train, serve):
    settings = {"prefix_shared_in_group": False, "prefix_ratio_schedule": "constant", "prefix_hint_in_loss": False}
    trainer = make_trainer(**{**HINTS, **settings, "max_steps": 1})
    sampler = serve(trainer)
    run = train(trainer=trainer)
    ((prompts, generations),) = sampler.requests
    assert (prompts, generations) == (run.ids([hint.prompt for hint in hints_of(trainer)]), 1)
    assert len({tuple(ids) for ids in prompts}) > 2
    assert prompt_ids(run.generation.outputs) == run.input_ids("prompt")


def test_a_success_behind_a_hint_is_none_of_the_policy(make_trainer, train):
    """Of the history that later prefixes go by, and of the gate of this step."""

    def reward(completions, **others):
        return [1.0, 0.0, 0.0, 0.0, 1.0, 1.0, 0.0, 0.0]

    settings = {**HINTS, "num_prefix_generations": 1, "prefix_gate": 0.0, "prefix_ratio_schedule": "adaptive"}
    run = train(trainer=make_trainer(reward_funcs=reward, max_steps=1, **settings))
    assert [bool(hint) for hint in hints_of(run.trainer)] == [True, False, False, False] * 2
    assert list(run.trainer._success_history.last.values()) == [0.0, pytest.approx(1 / 3)]
    in_loss = run.generation.outputs["tool_mask"].bool().any(dim=1).tolist()
    assert in_loss == [True] * 4 + [False] + [True] * 3
    expected = [0.75, -0.25, -0.25, -0.25, 0.0, 2 / 3, -1 / 3, -1 / 3]
    assert run.generation.outputs["advantages"].tolist() == pytest.approx(expected)


# The loss


@pytest.mark.parametrize("in_loss", [True, False])
@pytest.mark.parametrize("advantage", ["group", "on_policy"])
@pytest.mark.parametrize("number", [4, 1])
def test_the_gradient_is_that_of_the_formula(
    make_double_trainer, train, completion_scores, assert_loss_and_gradient, in_loss, advantage, number
):
    def reward(completions, **others):
        return [sum(map(ord, text)) % 8 / 8 for text in completions]

    settings = {**HINTS, "num_prefix_generations": number, "prefix_hint_in_loss": in_loss, "max_steps": 1}
    trainer = make_double_trainer(
        reward_funcs=reward, prefix_advantage=advantage, learning_rate=0.0, per_device_train_batch_size=16, **settings
    )
    generation = train(trainer=trainer).generation
    outputs, is_hinted = generation.outputs, [hint is not None for hint in hints_of(trainer)]
    logps, _ = completion_scores(trainer.model, outputs)
    rewards = trainer.rollout_batch.rewards.tolist()
    expected, clipped, terms = 0.0, 0, 0
    for row, ids in enumerate(generation.completion_ids):
        group = range(row - row % 4, row - row % 4 + 4)
        counted = [rewards[other] for other in group if advantage == "group" or not is_hinted[other]]
        a = rewards[row] - (sum(counted) / len(counted) if counted else 0.0)
        for position in range(len(ids)):
            logp = logps[row, position]
            old_logp = logp.detach() if in_loss else outputs["old_per_token_logps"][row, position]
            ratio = torch.exp(logp - old_logp)
            term = torch.min(a * ratio, a * ratio.clamp(1 - CLIP, 1 + CLIP))
            terms, clipped = terms + 1, clipped + (term.item() != (a * ratio).item())
            expected = expected - term / (len(rewards) * BUDGET)
    assert_loss_and_gradient(trainer, dict(outputs), expected)
    assert in_loss == (clipped == 0)
    assert clipped < terms / 2


def test_hints_in_the_loss_and_out_of_it_train_apart(train):
    weights = []
    for in_loss in (True, False):
        run = train(**HINTS, prefix_hint_in_loss=in_loss, learning_rate=1e-2)
        weights.append(torch.cat([weight.flatten() for weight in run.trainer.model.parameters()]))
    assert not torch.equal(*weights)


@pytest.mark.parametrize("in_loss", [True, False])
def test_a_run_resumes_within_a_generation_batch(train_and_resume, in_loss):
    settings = {"gradient_accumulation_steps": 1, "steps_per_generation": 4, "per_device_train_batch_size": 4}
    train_and_resume(**HINTS, **settings, prefix_hint_in_loss=in_loss, prefix_prompt_share=0.5)


# The share of the prompts


@pytest.mark.parametrize("placement", ["completion", "prompt"])
def test_half_of_the_prompts_are_guided_in_turn(train, placement):
    settings = {**HINTS, "prefix_placement": placement} if placement == "prompt" else {"num_prefix_generations": 4}
    settings |= {"prefix_prompt_share": 0.5, "per_device_train_batch_size": 4, "max_steps": 4}
    run = train(**settings)  # a group a step
    assert [value is not None for value in run.logged("prefix/reward_hybrid")] == [False, True, False, True]
    assert run.logged("prefix/demonstration_share") == [None, 1.0, None, 1.0]


@pytest.mark.parametrize("processes", [2, 4])
def test_groups_and_their_ratios_are_those_of_one_process(make_config, processes):
    args = make_config(
        num_generations=4, num_prefix_generations=2, prefix_prompt_share=0.3, per_device_train_batch_size=32,
        steps_per_generation=1, gradient_accumulation_steps=3, prefix_placement="prompt",
    )  # fmt: skip
    rows = [{"prompt": f"{row // 4}+1=", "completion": "1+1=2;#2", "solution": "2"} for row in range(32)]

    def plan(step, index, parts):
        size = len(rows) // parts
        return [
            assignment
            for process in range(parts)
            for assignment in plan_rollouts(
                rows[process * size : (process + 1) * size], args, SuccessHistory(), step, (0.1, 0.9),
                first_row=process * size, rows_before=index * len(rows),
            )
        ]  # fmt: skip

    batches = [(step, index) for step in range(5) for index in range(3)]
    of_one, of_many = ([plan(*batch, parts) for batch in batches] for parts in (1, processes))
    assert of_many == of_one
    guided = [batch[row].planned for batch in of_one for row in range(0, 32, 4)]
    assert sum(guided) == len(guided) * 3 // 10 == 36


@pytest.mark.parametrize(
    ("accumulation", "passes", "expected"),
    [(1, 1, [0, 3, 6, 9, 12]), (1, 4, [0, 3, 3, 3, 3, 6]), (4, 2, [0, 6, 12]), (2, 3, [0, 3, 6, 6, 9])],
)
def test_groups_are_counted_over_generation_batches(accumulation, passes, expected):
    args = SimpleNamespace(
        gradient_accumulation_steps=accumulation, steps_per_generation=passes, num_iterations=1,
        generation_batch_size=12, num_generations=4,
    )  # fmt: skip
    assert [groups_before(step, args) for step in range(len(expected))] == expected
