import copy
from contextlib import nullcontext

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from peft import LoraConfig, get_peft_model
from transformers import ContinuousBatchingConfig, GenerationConfig

from prefix_rft_trl.sampling import continuous_batching, padded


PROMPTS = ["3+4*2=", "5-5*3+1=", "1*9-4=", "2+2="]
NEVER_ENDS = {"min_new_tokens": 20}
BATCHING = ContinuousBatchingConfig(num_blocks=64, max_batch_tokens=64)


def config(**others):
    return GenerationConfig(
        **{"max_new_tokens": 20, "eos_token_id": 1, "pad_token_id": 0, "do_sample": False, **others}
    )


def decode_batch(model, tokenizer, budgets=None, **others):
    """The ids that each prompt decodes, and the number of forward passes."""
    inputs = tokenizer(PROMPTS, return_tensors="pt", padding=True, padding_side="left")
    passes = []
    counter = model.register_forward_hook(lambda *_: passes.append(1))
    within = nullcontext() if budgets is None else padded.limit_new_tokens_per_row(model, budgets)
    try:
        with within:
            ids = model.generate(**inputs, generation_config=config(**others))
    finally:
        counter.remove()
    return ids[:, inputs["input_ids"].size(1) :], len(passes)


@settings(max_examples=15)
@given(budgets=st.lists(st.integers(1, 20), min_size=4, max_size=4))
def test_each_row_decodes_what_it_would_alone_up_to_its_budget(model, tokenizer, budgets):
    free, _ = decode_batch(model, tokenizer, **NEVER_ENDS)
    within, passes = decode_batch(model, tokenizer, budgets, **NEVER_ENDS)
    for row, budget in enumerate(budgets):
        assert within[row, :budget].tolist() == free[row, :budget].tolist()
        assert len(set(budgets)) == 1 or (within[row, budget:] == 0).all()
    assert len(set(budgets)) == 1 or passes == max(budgets)


def test_ended_row_stays_ended(model, tokenizer):
    free, _ = decode_batch(model, tokenizer)
    within, passes = decode_batch(model, tokenizer, [20, 20, 20, 3])
    assert within[:3].tolist() == free[:3, : within.size(1)].tolist()
    assert passes < 20, "the answers are shorter than the budget"


def batch(model, tokenizer, budgets, batching=BATCHING):
    ids = [tokenizer(prompt)["input_ids"] for prompt in PROMPTS]
    with continuous_batching.limit_new_tokens_per_row(model, budgets), torch.no_grad():
        outputs = model.generate_batch(
            ids, generation_config=config(eos_token_id=-1), continuous_batching_config=batching
        )
    return [output.generated_tokens for output in outputs.values()]


def test_continuous_batching_gives_each_row_its_own_budget(model, tokenizer):
    free, _ = decode_batch(model, tokenizer, **NEVER_ENDS)  # continuous batching has another way not to end
    for budgets in ([2, 9, 20, 1], [20, 20, 20, 20]):
        for row, ids in enumerate(batch(model, tokenizer, budgets)):
            assert len(ids) == budgets[row]
            shared = ids.index(1) if 1 in ids else len(ids)  # the end, which `free` never decodes
            assert ids[:shared] == free[row, :shared].tolist()


@pytest.mark.parametrize(
    "wrap",
    [
        lambda model: torch.compile(model, backend="eager"),
        lambda model: get_peft_model(
            copy.deepcopy(model), LoraConfig(task_type="CAUSAL_LM", target_modules=["q_proj"])
        ),
    ],
    ids=["compiled", "adapter"],
)
def test_model_that_forwards_continuous_batching_has_budgets_too(model, tokenizer, wrap):
    assert [len(ids) for ids in batch(wrap(model), tokenizer, [2, 5, 7, 1])] == [2, 5, 7, 1]
    assert not {"generate_batch", "continuous_batching_context_manager"} & set(vars(model))


@pytest.mark.parametrize("least", [[0, 3, 9, 20], [1, 1, 1, 2]])
def test_row_does_not_end_before_it_has_its_least_tokens(model, tokenizer, least):
    free, _ = decode_batch(model, tokenizer)
    with padded.force_prefixes(model, [[]] * 4, [padded.LeastNewTokens(least, [1])]):
        within, _ = decode_batch(model, tokenizer)
    for row, number in enumerate(least):
        assert (within[row] == 1).int().argmax() >= number or 1 not in within[row]
        if 1 not in free[row, :number]:
            assert within[row, :number].tolist() == free[row, :number].tolist()


def test_row_lost_by_continuous_batching_is_an_error_that_names_the_setting(model, tokenizer):
    lose = ContinuousBatchingConfig(num_blocks=1, block_size=4, max_batch_tokens=8)
    with pytest.raises(RuntimeError, match=r"failed on \d of 4 rows.*num_blocks"):
        batch(model, tokenizer, [20] * 4, lose)
