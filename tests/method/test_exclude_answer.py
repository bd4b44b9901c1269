"""`prefix_exclude_answer`: a prefix ends before the demonstration states its answer, to the token."""

import math
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from transformers import AutoTokenizer

from prefix_rft_trl.method.prefixes import Assignment
from prefix_rft_trl.rollouts import cut_prefix


EOS = 0
CORPUS = ["So x = 42. The answer is \\boxed{42}.\n\n#### 42", "3+4=7;7*2=4;#4 é 你好 👩‍🔬 \\boxed{\\frac{1}{2}}"] * 4


def settings(**named):
    defaults = {
        "max_completion_length": 10_000,
        "gives_whole_demonstrations": False,
        "prefix_ratio_distribution": "uniform",
        "prefix_exclude_answer": True,
        "prefix_placement": "completion",
    }
    return SimpleNamespace(**defaults | named)


@dataclass(frozen=True)
class Cutter:
    """Cuts the prefix of a demonstration's text, in the tokens of a tokenizer."""

    tokenizer: Any

    def ids(self, text):
        return self.tokenizer(text)["input_ids"]

    def cut(self, text, answer, ratio, **named):
        in_slices = named.get("prefix_ratio_distribution") == "binomial"
        is_whole = named.get("gives_whole_demonstrations", False)
        assignment = Assignment(True, {}, ratio, answer=answer, is_whole=is_whole, in_slices=in_slices)
        return cut_prefix(self.ids(text), assignment, settings(**named), EOS, self.tokenizer.decode)

    def tokens_before(self, text, place):
        """Leading tokens that end before a character, by the tokenizer's own offsets."""
        offsets = self.tokenizer(text, return_offsets_mapping=True)["offset_mapping"]
        return next((number for number, (_, end) in enumerate(offsets) if end > place), len(offsets))


@pytest.fixture(scope="module")
def cutters(byte_tokenizer, base_model) -> dict[str, Cutter]:
    return {
        "characters": Cutter(AutoTokenizer.from_pretrained(base_model)),
        "words": Cutter(byte_tokenizer(CORPUS)),
        "across everything": Cutter(byte_tokenizer(CORPUS, use_regex=False)),
    }


parts = st.lists(
    st.sampled_from(["So ", "x = 42", ". ", "\n", " ", "é", "你好", "👩‍🔬", "42", "\\frac{1}{2}", "{", "boxed", "#"]),
    max_size=12,
).map("".join)
statements = st.sampled_from(
    ["\\boxed{42}", "\\boxed{\\frac{1}{2}}", "\\boxed 4", "#### 42", "answer is 42", "answer: $42$"]
)
lab_steps = st.lists(st.sampled_from(["3+4=7;", "7*2=4;", "4-5=9;", "#"]), max_size=8).map("".join)


def assert_ends_before(place, cutter, text, answer, ratio, budget):
    as_drawn = cutter.cut(text, answer, ratio, max_completion_length=budget, prefix_exclude_answer=False)
    shortened = cutter.cut(text, answer, ratio, max_completion_length=budget)
    before = cutter.tokens_before(text, place)
    assert shortened.ids == as_drawn.ids[:before]
    available = min(len(cutter.ids(text)), budget)  # the ratio is of the complete demonstration
    drawn = min(max(math.floor(ratio * available), 1), available - 1)
    assert len(as_drawn.ids) == (drawn if available > 1 else 0)
    if as_drawn.ids:
        assert as_drawn.states_answer == float(drawn > before)
        assert shortened.states_answer == 0
        assert place >= len(cutter.tokenizer.decode(shortened.ids))


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
def test_prefix_ends_before_the_statement_of_the_answer(cutters, before, statement, after, ratio, kind, budget):
    if before.endswith(("#", "\\frac{1}{2}{")) or "{" in before.replace("\\frac{1}{2}", ""):
        before = ""  # it would become part of the statement
    assert_ends_before(len(before), cutters[kind], before + statement + after, None, ratio, budget)


@given(
    before=lab_steps.filter(lambda text: "####" not in text),  # which is a statement
    after=st.sampled_from(["", ";", ";3+4=7;"]),
    ratio=st.floats(0.01, 1),
    kind=st.sampled_from(["words", "across everything", "characters"]),
)
@example(before="4-5=9;#", after=";", ratio=1.0, kind="characters")
def test_prefix_ends_before_the_last_place_of_the_right_answer(cutters, before, after, ratio, kind):
    assert_ends_before(len(before), cutters[kind], f"{before}9{after}", "9", ratio, 1000)


@given(text=st.text("ab9. é;", max_size=30), answer=st.sampled_from(["42", None]), ratio=st.floats(0.01, 1))
def test_demonstration_that_does_not_state_its_answer_is_cut_as_drawn(cutters, text, answer, ratio):
    found = cutters["words"].cut(text, answer, ratio)
    assert found.ids == cutters["words"].cut(text, answer, ratio, prefix_exclude_answer=False).ids
    unknown = answer is None or not found.ids
    assert found.states_answer == pytest.approx(math.nan if unknown else 0.0, nan_ok=True)


def test_slices_of_sentences_end_before_the_answer_too(cutters):
    text = "First this. Then that. So it is #### 42. And more. And more."
    cutter, decode = cutters["words"], cutters["words"].tokenizer.decode
    for share in range(6):
        drawn, shortened = (
            cutter.cut(text, None, share / 5, prefix_ratio_distribution="binomial", prefix_exclude_answer=excludes)
            for excludes in (False, True)
        )
        assert decode(shortened.ids) == decode(drawn.ids)[: text.index("####")]
        if drawn.ids:
            assert drawn.states_answer == ("####" in decode(drawn.ids))


def test_complete_demonstration_states_its_answer(cutters):
    whole = cutters["words"].cut(
        "So it is #### 42.", None, 1.0, gives_whole_demonstrations=True, prefix_exclude_answer=False
    )
    assert whole.ids[-1] == EOS
    assert whole.states_answer == 1
