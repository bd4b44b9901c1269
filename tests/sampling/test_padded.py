import pytest
from hypothesis import given
from hypothesis import strategies as st
from transformers import GenerationConfig

from prefix_rft_trl.sampling import continuous_batching, padded
from prefix_rft_trl.sampling.padded import force_prefixes, split_at_padding


TOKENS = st.lists(st.integers(3, 18), max_size=6)


@given(st.lists(st.tuples(TOKENS.filter(bool), TOKENS), min_size=1, max_size=6))
def test_no_prefix_adds_padding(rows):
    prompts, prefixes = [row[0] for row in rows], [row[1] for row in rows]
    given_ids, forced = split_at_padding(prompts, prefixes)
    assert [before + after for before, after in zip(given_ids, forced, strict=True)] == prefixes
    widest = max(len(prompt) + len(ids) for prompt, ids in zip(prompts, given_ids, strict=True))
    if any(not prefix for prefix in prefixes):
        assert widest == max(map(len, prompts))
    else:
        assert not any(forced)


def test_existing_padding_is_filled():
    given_ids, forced = split_at_padding([[1], [1, 2, 3]], [[7, 8, 9], []])
    assert given_ids == [[7, 8], []]
    assert forced == [[9], []]


def generate(model, tokenizer, prompts, **settings):
    inputs = tokenizer(prompts, return_tensors="pt", padding=True, padding_side="left")
    config = GenerationConfig(max_new_tokens=40, eos_token_id=1, pad_token_id=0, **settings)
    return model.generate(**inputs, generation_config=config)[:, inputs["input_ids"].size(1) :]


@pytest.mark.parametrize(
    "change",
    [
        lambda m: force_prefixes(m, [[5]]),
        lambda m: padded.limit_new_tokens_per_row(m, [1, 2]),
        lambda m: continuous_batching.limit_new_tokens_per_row(m, [1, 2]),
    ],
    ids=["start", "decoding", "batching"],
)
def test_model_is_restored_even_after_an_error(model, change):
    with pytest.raises(RuntimeError, match="stop"), change(model):
        raise RuntimeError("stop")
    assert not {"generate", "generate_batch", "continuous_batching_context_manager"} & set(vars(model))


def test_generate_that_a_user_replaced_is_restored(model, tokenizer):
    method = model.generate
    calls = []
    model.generate = lambda *args, **kwargs: calls.append(kwargs) or method(*args, **kwargs)
    try:
        over = model.generate
        with force_prefixes(model, [[5]]):
            generate(model, tokenizer, ["1+1="])
        assert model.generate is over
        assert len(calls) == 1
    finally:
        del model.generate
