"""`prefix_exclude_answer`: a prefix ends before the demonstration states its answer, to the token."""

import math
from functools import cache
from types import SimpleNamespace

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from prefix_rft_trl import lab
from prefix_rft_trl.method.prefixes import Assignment
from prefix_rft_trl.rollouts import plan_rollouts, prefix_of
from prefix_rft_trl.run.success_history import SuccessHistory


EOS = 0
CORPUS = ["So x = 42. The answer is \\boxed{42}.\n\n#### 42", "3+4=7;7*2=4;#4 é 你好 👩‍🔬 \\boxed{\\frac{1}{2}}"] * 4


def settings(**named):
    defaults = {
        "max_completion_length": 10_000,
        "gives_whole_demonstrations": False,
        "prefix_ratio_distribution": "uniform",
        "prefix_exclude_answer": True,
    }
    return SimpleNamespace(**defaults | named)


@cache
def tokenizer_of(kind: str):
    if kind == "characters":
        return AutoTokenizer.from_pretrained(lab.base_model_path())
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=kind == "words")
    bpe.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    bpe.train_from_iterator(
        CORPUS, trainers.BpeTrainer(vocab_size=400, initial_alphabet=alphabet, show_progress=False, min_frequency=2)
    )
    return PreTrainedTokenizerFast(tokenizer_object=bpe)


def given_of(text, answer, ratio, kind="words", **named):
    tokenizer = tokenizer_of(kind)
    ids = tokenizer(text)["input_ids"]
    return prefix_of(ids, Assignment(True, {}, ratio, answer=answer), settings(**named), EOS, tokenizer.decode)


def tokens_before(text, place, kind):
    """Leading tokens that end before a character, by the tokenizer's own offsets."""
    offsets = tokenizer_of(kind)(text, return_offsets_mapping=True)["offset_mapping"]
    return next((number for number, (_, end) in enumerate(offsets) if end > place), len(offsets))


parts = st.lists(
    st.sampled_from(["So ", "x = 42", ". ", "\n", " ", "é", "你好", "👩‍🔬", "42", "\\frac{1}{2}", "{", "boxed", "#"]),
    max_size=12,
).map("".join)
statements = st.sampled_from(
    ["\\boxed{42}", "\\boxed{\\frac{1}{2}}", "\\boxed 4", "#### 42", "answer is 42", "answer: $42$"]
)
of_lab = st.lists(st.sampled_from(["3+4=7;", "7*2=4;", "4-5=9;", "#"]), max_size=8).map("".join)


def assert_ends_before(place, text, answer, ratio, kind, budget):
    as_drawn = given_of(text, answer, ratio, kind, max_completion_length=budget, prefix_exclude_answer=False)
    shortened = given_of(text, answer, ratio, kind, max_completion_length=budget)
    before = tokens_before(text, place, kind)
    assert shortened.ids == as_drawn.ids[:before]
    available = min(len(tokenizer_of(kind)(text)["input_ids"]), budget)  # the ratio is of the whole demonstration
    drawn = min(max(math.floor(ratio * available), 1), available - 1)
    assert len(as_drawn.ids) == (drawn if available > 1 else 0)
    if as_drawn.ids:
        assert as_drawn.states_answer == float(drawn > before)
        assert shortened.states_answer == 0
        assert place >= len(tokenizer_of(kind).decode(shortened.ids))


@given(
    before=parts,
    statement=statements,
    after=st.sampled_from(["", ".", " it is.\n", "é"]),
    ratio=st.floats(0.01, 1),
    kind=st.sampled_from(["words", "across everything"]),
    budget=st.sampled_from([4, 15, 1000]),
)
@example(before="So ", statement="\\boxed{42}", after="", ratio=1.0, kind="words", budget=1000)
@example(before="", statement="\\boxed{42}", after="", ratio=0.5, kind="words", budget=1000)
def test_no_token_of_a_statement_is_given_and_all_that_come_before_may_be(
    before, statement, after, ratio, kind, budget
):
    if before.endswith(("#", "\\frac{1}{2}{")) or "{" in before.replace("\\frac{1}{2}", ""):
        before = ""  # it would become part of the statement
    assert_ends_before(len(before), before + statement + after, None, ratio, kind, budget)


@given(
    before=of_lab,
    after=st.sampled_from(["", ";", ";3+4=7;"]),
    ratio=st.floats(0.01, 1),
    kind=st.sampled_from(["words", "across everything", "characters"]),
)
@example(before="4-5=9;#", after=";", ratio=1.0, kind="characters")
def test_without_a_statement_no_token_of_the_last_place_of_the_right_answer_is_given(before, after, ratio, kind):
    assert_ends_before(len(before), f"{before}9{after}", "9", ratio, kind, 1000)


@given(text=st.text("ab9. é;", max_size=30), answer=st.sampled_from(["42", None]), ratio=st.floats(0.01, 1))
def test_demonstration_that_does_not_state_its_answer_is_given_as_drawn(text, answer, ratio):
    found = given_of(text, answer, ratio)
    assert found.ids == given_of(text, answer, ratio, prefix_exclude_answer=False).ids
    unknown = answer is None or not found.ids
    assert found.states_answer == pytest.approx(math.nan if unknown else 0.0, nan_ok=True)


def test_slices_of_sentences_end_before_the_answer_too():
    text = "First this. Then that. So it is #### 42. And more. And more."
    decode = tokenizer_of("words").decode
    for share in range(6):
        drawn, shortened = (
            given_of(text, None, share / 5, prefix_ratio_distribution="binomial", prefix_exclude_answer=excludes)
            for excludes in (False, True)
        )
        assert decode(shortened.ids) == decode(drawn.ids)[: text.index("####")]
        if drawn.ids:
            assert drawn.states_answer == ("####" in decode(drawn.ids))


def test_a_whole_demonstration_states_its_answer():
    whole = given_of("So it is #### 42.", None, 1.0, gives_whole_demonstrations=True, prefix_exclude_answer=False)
    assert whole.ids[-1] == EOS
    assert whole.states_answer == 1


def test_processes_give_their_rollouts_what_one_process_gives_them():
    examples = [
        {"prompt": f"{row // 4}?", "completion": ["So 42.", f"It is {row}: \\boxed{{42}}. " * 3], "solution": "42"}
        for row in range(24)
    ]
    args = settings(
        seed=3, num_generations=4, num_prefix_generations=3, demonstration_column="completion", prefix_prompts="all",
        prefix_shared_in_group=False, prefix_ratio_schedule="uniform", prefix_ratio_low=0.1, prefix_ratio_high=0.9,
        prefix_ratio_decay_steps=None, answer_column="solution",
    )  # fmt: skip

    def prefixes(rows):
        planned = plan_rollouts(examples[rows], args, SuccessHistory(), 0, 9, first_row=rows.start, rows_before=0)
        tokenizer = tokenizer_of("words")
        texts = [tokenizer(row.demonstration["content"])["input_ids"] if row.demonstration else [] for row in planned]
        return [prefix_of(ids, row, args, EOS, tokenizer.decode).ids for ids, row in zip(texts, planned, strict=True)]

    whole = prefixes(slice(0, 24))
    assert whole == [ids for start in range(0, 24, 6) for ids in prefixes(slice(start, start + 6))]
    assert any(whole)
