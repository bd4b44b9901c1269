"""Real runs with a second dataset: each step's gradient is that of GRPO, and a term of its own over demonstrations."""

import itertools
import logging

import numpy as np
import pytest
import torch
from datasets import Dataset
from transformers import TrainerCallback

from prefix_rft_trl import lab


COEF = 0.5
PLAIN = {
    "num_prefix_generations": 0, "num_generations": 4, "per_device_train_batch_size": 4, "max_grad_norm": 0.0,
    "gradient_accumulation_steps": 2, "learning_rate": 0.0, "optim": "sgd", "max_steps": 2, "seed": 3,
}  # fmt: skip
TRAINED = {
    "per_device_demonstration_batch_size": 2, "prefix_loss_type": "cross_entropy", "prefix_loss_coef": COEF,
    "prefix_top_entropy_quantile": 1.0,
}  # fmt: skip
LAWS = {
    "cross_entropy": lambda p: torch.ones_like(p),
    "chord_phi": lambda p: p * (1 - p),
    "dft": lambda p: p,
    "trust_region": lambda p: (p / 0.1).clamp(max=1),
    "shaped": lambda p: p * 0.1 / (p + 0.1) ** 2,
}


def reward_by_row(completions, **others):
    return [row % 3 / 2 for row in range(len(completions))]


class Gradients(TrainerCallback):
    def __init__(self):
        self.of_steps = []

    def on_pre_optimizer_step(self, args, state, control, model, **others):
        self.of_steps.append({name: weight.grad.clone() for name, weight in model.named_parameters()})


@pytest.fixture(scope="module")
def demonstrations():
    """Five rows of 24 to 32 tokens, and one whose demonstration is empty.

    Prompts are as long as those of the rollouts: rotary positions are in float32, so padding would round them.
    """
    rows = lab.load_dataset("test", 6).to_dict()
    rows["completion"] = [
        "" if place == 2 else text[4 * (place % 3) :] for place, text in enumerate(rows["completion"])
    ]
    return Dataset.from_dict(rows)


@pytest.fixture(scope="module")
def runs_of_grpo():
    """Those of the tests so far, by their settings."""
    return {}


@pytest.fixture
def gradients_of(make_double_trainer, runs_of_grpo):
    """The gradient of each step of a run in float64 that changes no weight, and its log, or its trainer."""

    def run(dataset=None, change=lambda trainer: None, **settings):
        gradients = Gradients()
        others = {"callbacks": [gradients]} | ({} if dataset is None else {"demonstration_dataset": dataset})
        trainer = make_double_trainer(others=others, **PLAIN | settings)
        change(trainer)
        trainer.train()
        assert len(gradients.of_steps) == trainer.args.max_steps
        return gradients.of_steps, trainer

    def run_once(dataset=None, **settings):
        if dataset is not None:
            return run(dataset, **settings)
        if str(settings) not in runs_of_grpo:
            of_steps, trainer = run(**settings)
            runs_of_grpo[str(settings)] = of_steps, trainer.state.log_history
        return runs_of_grpo[str(settings)]

    return run_once


def demonstration_order(dataset, seed):
    """The rows in the order in which they are trained: without empty ones, each once an epoch."""
    rows = [row for row in dataset if row["completion"]]
    for epoch in itertools.count():
        for place in np.random.default_rng((seed, epoch)).permutation(len(rows)):
            yield rows[place]


def term(trainer, rows, normalization, law=LAWS["cross_entropy"]):
    """The loss of demonstrations, from the logits of each of them alone."""
    losses = []
    for row in rows:
        prompt, answer = (trainer._tokenizer(row[name])["input_ids"] for name in ("prompt", "completion"))
        answer = [*answer, trainer._tokenizer.eos_token_id]
        logits = trainer.model(torch.tensor([prompt + answer])).logits[0, len(prompt) - 1 : -1]
        logps = logits.log_softmax(-1)[range(len(answer)), answer]
        losses.append(-law(logps.detach().exp()) * logps)
    return torch.cat(losses).mean() if normalization == "tokens" else sum(map(torch.mean, losses)) / len(losses)


def assert_adds(found, plain, trainer, terms, of_rollouts=1.0):
    """Each step's gradient is that of the rollouts alone, and that of its term."""
    for step, (gradients, of_plain, loss) in enumerate(zip(found, plain, terms, strict=True)):
        trainer.model.zero_grad()
        loss.backward()
        for name, weight in trainer.model.named_parameters():
            expected = of_rollouts * of_plain[name] + weight.grad
            tolerance = 1e-6 * expected.abs().max().item()
            assert tolerance > 0
            torch.testing.assert_close(
                gradients[name], expected, rtol=1e-6, atol=tolerance, msg=lambda m, n=name, s=step: f"{s} {n}: {m}"
            )
        assert any(gradient.any() for gradient in of_plain.values())


def steps_of(order, size, number):
    order = iter(order)
    return [list(itertools.islice(order, size)) for _ in range(number)]


def move_reference(trainer):
    generator = torch.Generator().manual_seed(0)
    for weight in trainer.ref_model.double().parameters():
        weight.data += 0.02 * torch.randn(weight.shape, generator=generator, dtype=torch.float64)


@pytest.mark.parametrize(
    ("settings", "change"),
    [
        ({}, None),
        ({"loss_type": "grpo"}, None),
        ({"loss_type": "dapo"}, None),
        ({"loss_type": "bnpo"}, None),
        ({"loss_type": "sapo"}, None),
        ({"loss_type": "luspo", "importance_sampling_level": "sequence"}, None),
        ({"loss_type": "cispo", "epsilon_high": 2.0}, None),
        ({"loss_type": "vespo"}, None),
        ({"beta": 0.3}, move_reference),
        ({"entropy_coef": 0.1}, None),
        ({"top_entropy_quantile": 0.5}, None),
        ({"skip_zero_weight_rollouts": False, "group_rollouts_by_length": False, "trim_padding": False}, None),
        ({"steps_per_generation": 4, "max_steps": 3}, None),
        ({"num_iterations": 2, "max_steps": 3}, None),
        ({"mask_truncated_completions": True, "max_completion_length": 34}, None),
    ],
    ids=lambda value: getattr(value, "__name__", str(value)),
)
def test_gradient_is_that_of_grpo_and_of_the_demonstrations(gradients_of, demonstrations, settings, change):
    settings = settings | ({"change": change} if change else {})
    plain, _ = gradients_of(**settings)
    found, trainer = gradients_of(demonstrations, **settings | TRAINED)
    rows = steps_of(demonstration_order(demonstrations, 3), 4, 3)
    if settings.get("num_iterations") == 2:  # as rollouts are
        rows = [rows[0], rows[0], rows[1]]
    terms = [COEF * term(trainer, part, "tokens") for part in rows[: trainer.args.max_steps]]
    assert_adds(found, plain, trainer, terms)


@pytest.mark.parametrize("settings", [{}, {"loss_type": "vespo"}, {"beta": 0.3, "loss_type": "grpo"}], ids=str)
def test_correction_for_an_engine_leaves_demonstrations_alone(gradients_of, demonstrations, serve, settings):
    settings = {"reward_funcs": reward_by_row, "change": serve, **settings}
    plain, _ = gradients_of(**settings)
    found, trainer = gradients_of(demonstrations, **settings | TRAINED)
    assert "importance_sampling_ratio" in trainer._buffered_inputs[0]
    rows = steps_of(demonstration_order(demonstrations, 3), 4, 2)
    assert_adds(found, plain, trainer, [COEF * term(trainer, part, "tokens") for part in rows])


@pytest.mark.parametrize(("law", "normalization"), [*((law, "tokens") for law in LAWS), ("chord_phi", "prompts")])
def test_laws_and_denominators(gradients_of, demonstrations, law, normalization):
    named = {"prefix_loss_type": law, "prefix_loss_normalization": normalization}
    found, trainer = gradients_of(demonstrations, **TRAINED | named)
    plain, _ = gradients_of()
    rows = steps_of(demonstration_order(demonstrations, 3), 4, 2)
    assert len({len(row["completion"]) for row in rows[0]}) > 1
    assert_adds(found, plain, trainer, [COEF * term(trainer, part, normalization, LAWS[law]) for part in rows])


def test_convex_coefficient_takes_from_the_rollouts(gradients_of, demonstrations):
    settings = {"prefix_loss_convex": True, "prefix_loss_coef_schedule": "linear", "prefix_loss_coef_end": 0.1}
    found, trainer = gradients_of(demonstrations, **TRAINED | settings, prefix_loss_coef_decay_steps=1)
    plain, _ = gradients_of()
    rows = steps_of(demonstration_order(demonstrations, 3), 4, 2)
    for step, coefficient in enumerate((0.5, 0.1)):
        terms = [coefficient * term(trainer, rows[step], "tokens")]
        assert_adds(found[step : step + 1], plain[step : step + 1], trainer, terms, of_rollouts=1 - coefficient)


@pytest.mark.parametrize("cut", [(8, 1, 4), (2, 4, 1)], ids=str)
def test_gradient_does_not_depend_on_the_cut(gradients_of, demonstrations, cut):
    names = ("per_device_train_batch_size", "gradient_accumulation_steps", "per_device_demonstration_batch_size")
    found, trainer = gradients_of(demonstrations, **TRAINED | dict(zip(names, cut, strict=True)), loss_type="dapo")
    plain, _ = gradients_of(loss_type="dapo")
    rows = steps_of(demonstration_order(demonstrations, 3), 4, 2)
    assert_adds(found, plain, trainer, [COEF * term(trainer, part, "tokens") for part in rows])


@pytest.mark.parametrize("number", [1, 3])
def test_dataset_shorter_than_a_step_is_repeated(gradients_of, demonstrations, number):
    few = demonstrations.select([0, 1, 3][:number])
    found, trainer = gradients_of(few, **TRAINED)
    plain, _ = gradients_of()
    rows = steps_of(demonstration_order(few, 3), 4, 2)
    assert_adds(found, plain, trainer, [COEF * term(trainer, part, "tokens") for part in rows])
    assert [log["demonstrations/epoch"] for log in trainer.state.log_history[:2]] == [4 / number, 8 / number]


def test_demonstration_beyond_the_budget_is_left_out_and_counted(gradients_of, demonstrations, caplog):
    longest = max(map(len, demonstrations["completion"]))
    with caplog.at_level(logging.WARNING):
        found, trainer = gradients_of(demonstrations, **TRAINED, max_completion_length=longest, loss_type="dapo")
    plain, _ = gradients_of(max_completion_length=longest, loss_type="dapo")
    rows = steps_of(demonstration_order(demonstrations, 3), 4, 2)
    fitting = [[row for row in part if len(row["completion"]) < longest] for part in rows]
    assert_adds(found, plain, trainer, [COEF * term(trainer, part, "tokens") for part in fitting])
    logs = trainer.state.log_history[:2]
    assert [log["demonstrations/rows"] for log in logs] == list(map(len, fitting))
    assert [log["demonstrations/left_out"] for log in logs] == [4 - len(part) for part in fitting]
    assert sum(map(len, fitting)) < 8
    assert "2 do not fit" in caplog.text
    assert "1 of 6 rows of `demonstration_dataset` have nothing" in caplog.text


def test_log_of_the_rollouts_is_that_of_grpo(gradients_of, demonstrations):
    of_plain, of_both = gradients_of()[1], gradients_of(demonstrations, **TRAINED)[1].state.log_history
    for plain, both in zip(of_plain[:-1], of_both[:-1], strict=True):
        others = ("loss", "grad_norm", "step_time", "entropy", "compute/rows", "compute/tokens", "compute/padding")
        shared = [name for name in plain if name not in others]
        assert len(shared) > 20
        assert both["policy_entropy"] == pytest.approx(plain["entropy"], rel=1e-2)
        for name in shared:
            assert both[name] == pytest.approx(plain[name], rel=1e-6, abs=1e-9, nan_ok=True), name
    tokens = [len(row["completion"]) + 1 for row in next(iter(steps_of(demonstration_order(demonstrations, 3), 4, 1)))]
    assert of_both[0]["prefix/trained_tokens"] == sum(tokens) / 8


def test_pass_of_demonstrations_alone_does_not_lower_the_figures_of_the_rollouts(make_trainer):
    others = {"demonstration_dataset": lab.load_dataset("demonstrations", 5)}
    trainer = make_trainer(others=others, **PLAIN, **TRAINED | {"per_device_demonstration_batch_size": 4})
    trainer.train()
    assert any(batch["prefix_lengths"].all() for batch in trainer._buffered_inputs)
    for log in trainer.state.log_history[:2]:
        assert log["entropy"] == pytest.approx(log["policy_entropy"])


def test_conversations_are_trained_in_the_chat_template(make_trainer, chat_model, as_message, demonstrations):
    rows = [row for row in demonstrations if row["completion"]]
    conversations = {
        "prompt": [as_message("user")(row["prompt"]) for row in rows],
        "completion": [as_message("assistant")(row["completion"]) for row in rows],
    }
    dataset, named = Dataset.from_dict(conversations), {**PLAIN, **TRAINED, "max_steps": 1}
    trainer = make_trainer(model=chat_model, others={"demonstration_dataset": dataset}, **named)
    trainer.train()
    found = []
    for batch in trainer._buffered_inputs:
        both = (torch.cat([batch[f"prompt_{of}"], batch[f"completion_{of}"]], dim=1) for of in ("ids", "mask"))
        texts = [trainer._tokenizer.decode(ids[mask.bool()]) for ids, mask in zip(*both, strict=True)]
        found += [text for text, length in zip(texts, batch["prefix_lengths"], strict=True) if length]
    expected = [
        f"<|im_start|>user\n{row['prompt']}<|im_end|>\n<|im_start|>assistant\n{row['completion']}<|im_end|>"
        for row in itertools.islice(demonstration_order(rows, 3), 4)
    ]
    assert sorted(text[text.index("<|im_start|>user") :] for text in found) == sorted(expected)


def test_resumed_run_goes_on_with_the_next_demonstrations(make_trainer, demonstrations, tmp_path):
    settings = {
        **PLAIN, **TRAINED, "learning_rate": 1e-3, "save_strategy": "steps", "save_steps": 1, "max_steps": 5,
        "steps_per_generation": 4, "num_iterations": 2,
    }  # fmt: skip
    others = {"demonstration_dataset": demonstrations}
    unbroken = make_trainer(others=others, output_dir=str(tmp_path / "run"), **settings)
    unbroken.train()
    for step in (1, 4):
        resumed = make_trainer(others=others, output_dir=str(tmp_path / "run"), **settings)
        resumed.train(resume_from_checkpoint=str(tmp_path / "run" / f"checkpoint-{step}"))
        for name, weight in unbroken.model.named_parameters():
            assert torch.equal(dict(resumed.model.named_parameters())[name], weight), name


def test_checkpoint_of_another_second_dataset_is_refused(make_trainer, demonstrations, tmp_path):
    settings = {**PLAIN, **TRAINED, "save_strategy": "steps", "save_steps": 1, "max_steps": 1}
    make_trainer(others={"demonstration_dataset": demonstrations}, **settings).train()
    other = make_trainer(others={"demonstration_dataset": demonstrations.select([0, 1])}, **settings)
    with pytest.raises(ValueError, match=r"demonstration dataset was 6 rows of .*, here it is 2 rows"):
        other.train(resume_from_checkpoint=str(tmp_path / "checkpoint-1"))
