from typing import Any

import pytest
import torch
from accelerate import Accelerator
from datasets import Dataset
from transformers import AutoModelForCausalLM, AutoTokenizer

from prefix_rft_trl import lab
from prefix_rft_trl.evaluation.held_out import HeldOut, sample_answer_ids


CHAT_TEMPLATE = (
    "{% for message in messages %}{{ message['content'] }}{% endfor %}"
    "{% if add_generation_prompt and shout %}{{ '*' }}{% endif %}{% if add_generation_prompt %}{{ '=' }}{% endif %}"
)


@pytest.fixture
def policy(base_model):
    model, tokenizer = AutoModelForCausalLM.from_pretrained(base_model), AutoTokenizer.from_pretrained(base_model)
    return model, tokenizer


class OneProcess:
    """Stands in for one process of several."""

    num_processes, process_index, device = 1, 0, "cpu"

    def __init__(self, processes: int = 1, index: int = 0):
        self.num_processes, self.process_index = processes, index

    def reduce(self, sums: torch.Tensor, reduction: str) -> torch.Tensor:
        assert reduction == "sum"
        self.sums = sums
        return sums


def ends_with_even(completions: list[str], **columns: Any) -> list[float]:
    return [float(text[-1:] in tuple("02468")) for text in completions]


def one_by_one(model, tokenizer, prompts: list[str], tokens: int, seed: int = 0) -> list[str]:
    """The same draws without generate: a forward pass and a multinomial draw a token, for all rows at once."""
    rows = tokenizer(prompts, return_tensors="pt", padding=True, padding_side="left")
    ids, mask = rows["input_ids"], rows["attention_mask"]
    ended = torch.zeros(len(prompts), dtype=torch.bool)
    texts = [""] * len(prompts)
    torch.manual_seed(seed)
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


def test_accuracy_is_the_share_of_right_answers_of_the_bare_model(policy):
    model, tokenizer = policy
    rows = lab.load_dataset("test", 64)
    found = HeldOut(rows, lab.exact_answer_reward, 12).measure(model, tokenizer, Accelerator(cpu=True))
    with torch.no_grad():
        texts = one_by_one(model.eval(), tokenizer, rows["prompt"][:], 12)
    right = [text == f"#{solution}" for text, solution in zip(texts, rows["solution"], strict=True)]
    assert found["accuracy"] == pytest.approx(sum(right) / 64)
    assert 0 < sum(right) < 64
    assert found["length"] == pytest.approx(sum(min(len(text) + 1, 12) for text in texts) / 64)  # a token a character


def test_answers_of_two_processes_are_of_all_problems_once(policy):
    rows = lab.load_dataset("test", 9)
    asked: list[str] = []

    def note(prompts, completions, solution, **columns):
        asked.extend(prompts)
        assert len(prompts) == len(completions) == len(solution)
        return [1.0] * len(prompts)

    processes = [OneProcess(2, index) for index in range(2)]
    for process in processes:
        HeldOut(rows, note, 2).measure(*policy, process)
    assert sorted(asked) == sorted(rows["prompt"])
    assert sum(process.sums[1].item() for process in processes) == 9


def test_a_process_without_a_problem_takes_part(policy):
    process = OneProcess(2, 1)
    HeldOut(lab.load_dataset("test", 2).select([0]), ends_with_even, 2)  # one problem, two processes
    held_out = HeldOut(Dataset.from_dict({"prompt": [], "solution": []}), ends_with_even, 2)
    with pytest.raises(ZeroDivisionError):  # of all processes together, which here is none
        held_out.measure(*policy, process)
    assert process.sums.tolist() == [0, 0, 0, 0]


def test_measuring_leaves_the_random_state_and_the_mode_of_the_model(policy):
    model, tokenizer = policy
    held_out = HeldOut(lab.load_dataset("test", 4), ends_with_even, 4)
    for training in (True, False):
        model.train(training)
        torch.manual_seed(3)
        state = torch.get_rng_state()
        first = held_out.measure(model, tokenizer, Accelerator(cpu=True))
        torch.manual_seed(4)
        assert held_out.measure(model, tokenizer, Accelerator(cpu=True)) == first
        torch.manual_seed(3)
        held_out.measure(model, tokenizer, Accelerator(cpu=True))
        assert torch.equal(torch.get_rng_state(), state)
        assert model.training == training
    assert not any(weight.grad is not None for weight in model.parameters())


def test_a_problem_that_no_reward_scores_counts_in_no_mean(policy):
    rows = lab.load_dataset("test", 4)
    held_out = HeldOut(rows, lambda prompts, **columns: [1.0, None, 0.0, None], 2)
    assert held_out.measure(*policy, Accelerator(cpu=True))["accuracy"] == 0.5
    none_at_all = HeldOut(rows, lambda prompts, **columns: [None] * 4, 2)
    assert none_at_all.measure(*policy, Accelerator(cpu=True))["accuracy"] == 0.0


def test_the_reward_gets_the_columns_of_the_row(policy):
    seen: dict[str, Any] = {}

    def takes_all(**columns):
        seen.update(columns)
        return [True, False]

    held_out = HeldOut(lab.load_dataset("test", 2), takes_all, 3)
    assert held_out.measure(*policy, Accelerator(cpu=True))["accuracy"] == 1 / 2
    assert set(seen) == {"prompts", "completions", "completion_ids", "solution"}
    tokenizer = policy[1]
    assert tokenizer.batch_decode(seen["completion_ids"], skip_special_tokens=True) == seen["completions"]


@pytest.mark.parametrize("shout", [False, True])
def test_messages_are_asked_in_the_models_template_and_answered_by_a_message(policy, shout):
    model, tokenizer = policy
    tokenizer.chat_template = CHAT_TEMPLATE
    plain = lab.load_dataset("test", 8)
    rows = plain.map(lambda row: {"prompt": [{"role": "user", "content": row["prompt"].removesuffix("=")}]})
    seen: dict[str, Any] = {}

    def note(prompts, completions, **columns):
        seen.update(prompts=prompts, completions=completions)
        return [0.0] * len(prompts)

    HeldOut(rows, note, 4, {"shout": shout}).measure(model, tokenizer, Accelerator(cpu=True))
    prompts = [prompt.replace("=", "*=") if shout else prompt for prompt in plain["prompt"]]
    expected = tokenizer.batch_decode(sample_answer_ids(model, tokenizer, prompts, 4), skip_special_tokens=True)
    assert seen["completions"] == [[{"role": "assistant", "content": text}] for text in expected]
    assert seen["prompts"] == rows["prompt"][:]


def test_the_end_of_sequence_belongs_to_an_answer_and_what_follows_it_does_not(policy):
    model, tokenizer = policy
    prompts = lab.load_dataset("test", 32)["prompt"][:]
    answers = sample_answer_ids(model, tokenizer, prompts, 20)
    end = tokenizer.eos_token_id
    assert any(len(answer) < 20 for answer in answers)
    assert all(answer.count(end) == 1 and answer[-1] == end for answer in answers if len(answer) < 20)
    assert all(tokenizer.pad_token_id not in answer for answer in answers)


def test_batches_are_of_the_size_asked_for_and_in_order(policy, monkeypatch):
    model, tokenizer = policy
    prompts = lab.load_dataset("test", 5)["prompt"][:]
    sizes, generate = [], model.generate

    def note(**inputs):
        sizes.append(len(inputs["input_ids"]))
        return generate(**inputs)

    monkeypatch.setattr(model, "generate", note)
    answers = sample_answer_ids(model, tokenizer, prompts, 4, batch_size=2)
    assert sizes == [2, 2, 1]
    assert answers[:2] == sample_answer_ids(model, tokenizer, prompts[:2], 4)


def test_what_the_model_has_set_for_sampling_does_not_matter(policy):
    model, tokenizer = policy
    prompts = lab.load_dataset("test", 16)["prompt"][:]
    expected = sample_answer_ids(model, tokenizer, prompts, 6)
    model.generation_config.update(temperature=0.01, top_k=1, top_p=0.1, max_length=20, repetition_penalty=5.0)
    assert sample_answer_ids(model, tokenizer, prompts, 6) == expected


def test_any_of_the_ends_of_a_model_with_several_ends_an_answer(policy):
    model, tokenizer = policy
    mark = tokenizer.convert_tokens_to_ids("#")
    model.generation_config.eos_token_id = [mark, tokenizer.eos_token_id]
    answers = sample_answer_ids(model, tokenizer, lab.load_dataset("test", 16)["prompt"][:], 6)
    assert sum(answer == [mark] for answer in answers) >= 15
