"""Accuracy on held-out rows, by `measure_steps`: the bare model, sampled the same way for every method."""

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from accelerate import Accelerator
from datasets import Dataset
from transformers import AutoModelForCausalLM, AutoTokenizer

from prefix_rft_trl import lab
from prefix_rft_trl.evaluation import during_training
from prefix_rft_trl.evaluation.benchmark import HeldOutSplit
from prefix_rft_trl.evaluation.samplers import TransformersSampler
from prefix_rft_trl.evaluation.sampling import Sampling
from prefix_rft_trl.sampling.generate import encode_prompts
from prefix_rft_trl.utils.errors import UserError


CHAT_TEMPLATE = (
    "{% for message in messages %}{{ message['content'] }}{% endfor %}"
    "{% if add_generation_prompt and shout %}{{ '*' }}{% endif %}{% if add_generation_prompt %}{{ '=' }}{% endif %}"
)


@pytest.fixture
def trainer(base_model) -> SimpleNamespace:
    model, tokenizer = AutoModelForCausalLM.from_pretrained(base_model), AutoTokenizer.from_pretrained(base_model)
    return SimpleNamespace(accelerator=Accelerator(cpu=True), model=model, processing_class=tokenizer)


def measure(trainer: Any, rows: Dataset, reward: Any, max_new_tokens: int, *further: Any, **settings: Any) -> dict:
    sampling = Sampling(max_new_tokens=max_new_tokens, batch_size=settings.pop("batch_size", 512))
    held_out = HeldOutSplit("test", rows, reward, sampling, further_rewards=further, **settings)
    return during_training.measure_held_out(trainer, held_out.encoded(trainer.processing_class))


def sample(trainer: Any, prompts: list[str], max_new_tokens: int) -> list[list[int]]:
    sampler = TransformersSampler(trainer.model, trainer.processing_class)
    return sampler(encode_prompts(trainer.processing_class, prompts), Sampling(max_new_tokens=max_new_tokens), [0])


def one_by_one(model: Any, tokenizer: Any, prompts: list[str], tokens: int) -> list[str]:
    """The same draws without generate: a forward pass and a multinomial draw a token, for all rows at once."""
    rows = tokenizer(prompts, return_tensors="pt", padding=True, padding_side="left")
    ids, mask = rows["input_ids"], rows["attention_mask"]
    ended = torch.zeros(len(prompts), dtype=torch.bool)
    texts = [""] * len(prompts)
    torch.manual_seed(0)
    for _ in range(tokens):
        positions = (mask.cumsum(-1) - 1).clamp(min=0)
        logits = model(input_ids=ids, attention_mask=mask, position_ids=positions).logits[:, -1]
        drawn = torch.multinomial(logits.softmax(-1), 1)
        for row in range(len(prompts)):
            ended[row] |= drawn[row, 0] == tokenizer.eos_token_id
            texts[row] += "" if ended[row] else tokenizer.decode(drawn[row])
        if ended.all():
            break
        ids, mask = torch.cat([ids, drawn], 1), torch.cat([mask, torch.ones_like(drawn)], 1)
    return texts


def test_accuracy_is_the_share_of_right_answers_of_the_bare_model(trainer):
    rows = lab.load_dataset("test", 64)
    found = measure(trainer, rows, lab.exact_answer_reward, 12)
    with torch.no_grad():
        texts = one_by_one(trainer.model.eval(), trainer.processing_class, rows["prompt"][:], 12)
    right = [text == f"#{solution}" for text, solution in zip(texts, rows["solution"], strict=True)]
    assert found["accuracy"] == pytest.approx(sum(right) / 64)
    assert 0 < sum(right) < 64
    assert found["length"] == pytest.approx(sum(min(len(text) + 1, 12) for text in texts) / 64)  # a token a character


def test_the_base_model_has_the_accuracy_that_the_quickstart_starts_from(trainer):
    def step_by_step(completions: list[str], **columns: Any) -> list[float]:
        return [float(";" in text) for text in completions]

    found = measure(trainer, lab.load_dataset("test"), lab.exact_answer_reward, 56, step_by_step)
    rewards = found.pop("problem_rewards")
    assert (len(rewards), sum(rewards)) == (512, 0.18359375 * 512)
    expected = {"accuracy": 0.18359375, "problems": 512, "step_by_step": 0.001953125, "length": 3.05859375}
    assert found == expected | {"truncated": 0.0}


@pytest.mark.parametrize(("number", "batch_size"), [(9, 5), (1, 1)])
def test_processes_share_the_problems_also_where_there_are_too_few(trainer, monkeypatch, number, batch_size):
    rows = lab.load_dataset("test", number)
    shares: list[list[str]] = []

    def note(prompts, completions, solution, **columns):
        assert len(prompts) == len(completions) == len(solution)
        shares.append(prompts)
        return [1.0] * len(prompts)

    for rank in range(2):
        trainer.accelerator = SimpleNamespace(num_processes=2, process_index=rank, unwrap_model=lambda model: model)
        monkeypatch.setattr(during_training, "gather_object", lambda share: share * 2)
        assert measure(trainer, rows, note, 2, batch_size=batch_size)["accuracy"] == 1
    assert {prompt for share in shares for prompt in share} == set(rows["prompt"])
    assert sum(map(len, shares)) == max(number, 2)


def test_measuring_leaves_the_random_state_and_the_mode_of_the_model(trainer):
    rows, model = lab.load_dataset("test", 4), trainer.model
    for training in (True, False):
        model.train(training)
        torch.manual_seed(3)
        state = torch.get_rng_state()
        first = measure(trainer, rows, lab.exact_answer_reward, 4)
        assert torch.equal(torch.get_rng_state(), state)
        torch.manual_seed(4)
        assert measure(trainer, rows, lab.exact_answer_reward, 4) == first
        assert model.training == training
    assert not any(weight.grad is not None for weight in model.parameters())


@pytest.mark.parametrize(
    ("rewards", "expected"),
    [([1.0, None, 0.0, float("nan")], {"accuracy": 0.5, "problems": 2}), ([None] * 4, {"problems": 0})],
)
def test_a_problem_that_no_reward_scores_counts_in_no_mean(trainer, rewards, expected):
    rows = lab.load_dataset("test", 4)
    found = measure(trainer, rows, lambda prompts, **columns: rewards, 2)
    always = {name: found[name] for name in ("length", "truncated", "problem_rewards")}
    assert found == expected | always, "no accuracy of no problem"


def test_the_reward_gets_the_columns_of_the_row(trainer):
    seen: dict[str, Any] = {}

    def takes_all(**columns):
        seen.update(columns)
        return [True, False]

    assert measure(trainer, lab.load_dataset("test", 2), takes_all, 3)["accuracy"] == 1 / 2
    assert set(seen) == {"prompts", "completions", "completion_ids", "solution"}
    texts = trainer.processing_class.batch_decode(seen["completion_ids"], skip_special_tokens=True)
    assert texts == seen["completions"]


@pytest.mark.parametrize("shout", [False, True])
def test_messages_are_asked_in_the_models_template_and_answered_by_a_message(trainer, shout):
    tokenizer = trainer.processing_class
    tokenizer.chat_template = CHAT_TEMPLATE
    plain = lab.load_dataset("test", 8)
    rows = plain.map(lambda row: {"prompt": [{"role": "user", "content": row["prompt"].removesuffix("=")}]})
    seen: dict[str, Any] = {}

    def note(prompts, completions, **columns):
        seen.update(prompts=prompts, completions=completions)
        return [0.0] * len(prompts)

    measure(trainer, rows, note, 4, template_kwargs={"shout": shout})
    prompts = [prompt.replace("=", "*=") if shout else prompt for prompt in plain["prompt"]]
    expected = tokenizer.batch_decode(sample(trainer, prompts, 4), skip_special_tokens=True)
    assert seen["completions"] == [[{"role": "assistant", "content": text}] for text in expected]
    assert seen["prompts"] == rows["prompt"][:]


def test_the_end_of_sequence_belongs_to_an_answer_and_what_follows_it_does_not(trainer):
    tokenizer = trainer.processing_class
    answers = sample(trainer, lab.load_dataset("test", 32)["prompt"][:], 20)
    end = tokenizer.eos_token_id
    assert any(len(answer) < 20 for answer in answers)
    assert all(answer.count(end) == 1 and answer[-1] == end for answer in answers if len(answer) < 20)
    assert all(tokenizer.pad_token_id not in answer for answer in answers)


def test_sampling_settings_of_the_model_do_not_matter(trainer):
    prompts = lab.load_dataset("test", 16)["prompt"][:]
    expected = sample(trainer, prompts, 6)
    trainer.model.generation_config.update(temperature=0.01, top_k=1, top_p=0.1, max_length=20, repetition_penalty=5.0)
    assert sample(trainer, prompts, 6) == expected


def test_any_of_the_stop_tokens_of_a_model_ends_an_answer(trainer):
    mark = trainer.processing_class.convert_tokens_to_ids("#")
    trainer.model.generation_config.eos_token_id = [mark, trainer.processing_class.eos_token_id]
    answers = sample(trainer, lab.load_dataset("test", 16)["prompt"][:], 6)
    assert sum(answer == [mark] for answer in answers) >= 15


@pytest.mark.parametrize("plugins", [{"fsdp_plugin": object()}, {"deepspeed_plugin": SimpleNamespace(zero_stage=3)}])
def test_a_model_that_no_process_has_is_sampled_by_vllm_alone(plugins):
    sharded = SimpleNamespace(accelerator=SimpleNamespace(state=SimpleNamespace(**plugins)), use_vllm=True)
    during_training.refuse_sharded_model(sharded, "measure_steps")
    sharded.use_vllm = False
    with pytest.raises(UserError, match=r"`measure_steps` samples .* ZeRO-3 or FSDP"):
        during_training.refuse_sharded_model(sharded, "measure_steps")
