"""Tokens of chat templates in texts."""

import pytest

from prefix_rft_trl.data.check.measures import TokenMeasure


TOKENS = ["<|im_start|>", "<|im_end|>", "<|eot_id|>", "<s>", "</s>", "[INST]", "<start_of_turn>", "<|endoftext|>",
          "<|start_header_id|>", "<\uff5cUser\uff5c>", "<\uff5cend\u2581of\u2581sentence\uff5c>", "<eos>"]  # fmt: skip


@pytest.mark.parametrize("token", TOKENS)
def test_a_token_of_any_usual_template_is_found(check, clean_row, token):
    report = check([clean_row(2), clean_row(3, prompt=f"user {token} hi")])
    (finding,) = report.findings["template_token"]
    assert finding.row == 1
    assert finding.note == f"{token} in the prompt: user {token} hi"


@pytest.mark.parametrize(
    ("replaced", "place"),
    [
        ({"completion": r"\boxed{2}<|im_end|>"}, "demonstration"),
        ({"completion": ["#### 2", r"\boxed{2}<|im_end|>"]}, "demonstration 2 of 2"),
        ({"solution": ["2", "2<|im_end|>"]}, "gold answer"),
    ],
)
def test_the_text_with_the_token_is_named(check, clean_row, replaced, place):
    (finding,) = check([clean_row(3, **replaced)]).findings["template_token"]
    assert f"in the {place}:" in finding.note


@pytest.mark.parametrize(
    "text",
    ["<think> let me see </think>", "0 <|x|> 1", r"$|a|<|b|>|c|$", "a < s > b", "the interval [INS]",
     r"\left[1\right]"],
)  # fmt: skip
def test_mathematics_and_thinking_are_no_template_tokens(check, clean_row, text):
    row = clean_row(3, prompt=f"{text} is what?", completion=f"{text} \\boxed{{2}}")
    assert "template_token" not in check([row]).findings


def test_the_tokenizers_own_special_tokens_are_found(check, clean_row, bytes_tokenizer):
    tokenizer = bytes_tokenizer()
    tokenizer.add_special_tokens({"additional_special_tokens": ["<<stop>>", "<think>"]})
    rows = [clean_row(2), clean_row(3, prompt="one <<stop>> two"), clean_row(4, prompt="<think> about it")]
    assert check(rows).exit_code == 0
    assert check(rows, measure=TokenMeasure(tokenizer)).rows_with("template_token") == [1]
