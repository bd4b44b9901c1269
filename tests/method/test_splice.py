"""Demonstrations become the tokens that stand after this very prompt: nothing lost, nothing doubled."""

from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import trl
from hypothesis import example, given, settings
from hypothesis import strategies as st
from jinja2 import TemplateError
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast

from prefix_rft_trl.method.demonstrations import demonstration_ids


CHAT_TEMPLATES = Path(trl.__file__).parent / "chat_templates"


def message(content: Any, **others: Any) -> dict[str, Any]:
    return {"role": "assistant", "content": content, **others}


# Tokenizers, trained here so that they merge where real ones do and across the boundary of prompt and demonstration

CORPUS = [
    "assistant\n42 is the answer\n\nassistant\nSo x = 42\n    return 42\n",
    "model\n42\nassistant\n\n42 </think>\n\n42 <think>\n42",
    "2+3=5;5*2=0 3.14159 é 你好 你好 👩‍🔬👩‍🔬 \\boxed{42}",
] * 4
LETTERS_AND_DIGITS = pre_tokenizers.Sequence(
    [pre_tokenizers.Split(Regex(r"\d"), "isolated"), pre_tokenizers.ByteLevel(add_prefix_space=False)]
)
PRE_TOKENIZERS = {
    "words": pre_tokenizers.ByteLevel(add_prefix_space=False),
    "single digits": LETTERS_AND_DIGITS,
    "across everything": pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
    "a space before the first word": pre_tokenizers.ByteLevel(add_prefix_space=True, use_regex=False),
}
VOCABULARY_SIZES = {"words": 350, "single digits": 300, "across everything": 500, "a space before the first word": 400}
KINDS = [(kind, adds_bos) for kind in ("words", "single digits", "across everything") for adds_bos in (False, True)]


@cache
def byte_level_bpe(kind: str) -> str:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = PRE_TOKENIZERS[kind]
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY_SIZES[kind], initial_alphabet=alphabet, show_progress=False, min_frequency=2
    )
    tokenizer.train_from_iterator(CORPUS, trainer)
    return tokenizer.to_str()


@dataclass(frozen=True)
class Family:
    """A chat template's tokens, and the text that it writes after its generation prompt.

    `before_answer` comes before content without thinking, `before_thinking` before content that starts with `<think>`,
    `before_reasoning` before content that only has the closing `</think>`.
    """

    special_tokens: tuple[str, ...]
    end_of_turn: str
    before_answer: str = ""
    before_thinking: str = ""
    before_reasoning: str = ""
    opens_thinking: bool = False
    tokens: tuple[str, ...] = ()  # added, but not special, as in the tokenizers of the models


IM = ("<|im_start|>", "<|im_end|>")
THINK = ("<think>", "</think>")
LLAMA = Family(("<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"), "<|eot_id|>")
GEMMA = Family(("<start_of_turn>", "<end_of_turn>"), "<end_of_turn>")
BAR = "\N{FULLWIDTH VERTICAL LINE}"
FINAL = "<|channel|>final<|message|>"
FAMILIES = {
    "qwen2_5": Family(IM, "<|im_end|>"),
    "qwen3": Family(IM, "<|im_end|>", "<think>\n\n</think>\n\n", "", "<think>\n", tokens=THINK),
    "qwen3_5_think": Family(IM, "<|im_end|>", "\n</think>\n\n", opens_thinking=True, tokens=THINK),
    "qwen3_8": Family(IM, "<|im_end|>", "\n</think>\n\n", opens_thinking=True, tokens=THINK),
    "nemotron_3_nano": Family(IM, "<|im_end|>", "</think>", opens_thinking=True, tokens=THINK),
    "deepseek_r1_distill": Family(
        (f"<{BAR}User{BAR}>", f"<{BAR}Assistant{BAR}>"), f"<{BAR}end▁of▁sentence{BAR}>", opens_thinking=True,
        tokens=THINK,
    ),
    "glm4moe": Family(
        ("[gMASK]", "<sop>", "<|user|>", "<|assistant|>", "<|system|>"), "<|user|>", "\n<think></think>\n", "\n",
        "\n<think>", tokens=THINK,
    ),
    "gptoss": Family(
        ("<|start|>", "<|end|>", "<|message|>", "<|channel|>", "<|return|>"), "<|return|>", FINAL, FINAL, FINAL
    ),
    **dict.fromkeys(["llama3", "llama3_1", "llama3_2"], LLAMA),
    **dict.fromkeys(["gemma", "gemma3"], GEMMA),
}  # fmt: skip


@cache
def tokenizer_of(kind: str, adds_bos: bool = False, family: str = "qwen2_5") -> PreTrainedTokenizerFast:
    backend = Tokenizer.from_str(byte_level_bpe(kind))
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=backend,
        bos_token="<BOS>",
        eos_token=FAMILIES[family].end_of_turn,
        additional_special_tokens=list(FAMILIES[family].special_tokens),
    )
    tokenizer.add_tokens(list(FAMILIES[family].tokens))
    if adds_bos:
        tokenizer.backend_tokenizer.post_processor = processors.TemplateProcessing(
            single="<BOS> $A", special_tokens=[("<BOS>", tokenizer.bos_token_id)]
        )
    tokenizer.chat_template = (CHAT_TEMPLATES / f"{family}.jinja").read_text()
    return tokenizer


def decode(tokenizer: PreTrainedTokenizerFast, ids: list[int]) -> str:
    return tokenizer.decode(ids, skip_special_tokens=False, clean_up_tokenization_spaces=False)


def ids_of_prompt(tokenizer, prompt, **template_kwargs) -> list[int]:
    """As `GRPOTrainer` makes them."""
    if isinstance(prompt, str):
        return tokenizer(text=[prompt])["input_ids"][0]
    return tokenizer.apply_chat_template(
        conversation=[prompt], add_generation_prompt=True, tokenize=True, return_dict=True, **template_kwargs
    )["input_ids"][0]


def assert_stands_after_prompt(tokenizer, prompt, demonstration, expected: str, **template_kwargs) -> None:
    prompt_ids = ids_of_prompt(tokenizer, prompt, **template_kwargs)
    if isinstance(prompt, str):
        prompt_text = (tokenizer.bos_token if prompt_ids[:1] == [tokenizer.bos_token_id] else "") + prompt
    else:
        prompt_text = tokenizer.apply_chat_template(
            prompt, add_generation_prompt=True, tokenize=False, **template_kwargs
        )
    ids = demonstration_ids(
        tokenizer, prompt, prompt_ids, demonstration, stop_ids=[tokenizer.eos_token_id], **template_kwargs
    )
    assert decode(tokenizer, prompt_ids + ids) == prompt_text + expected
    assert not {tokenizer.eos_token_id, tokenizer.bos_token_id} & set(ids)


def user(content: str) -> dict[str, str]:
    return {"role": "user", "content": content}


SPACES = ("\n", "\n\n", " ", "   ", "\t", "\r\n", "\u00a0")
WORDS = (
    "42", "3.14159", "x = f(y)\n    return 42", "\\boxed{42}", "assistant", "model\n", "'s", "PLACEHOLDER", "{{ x }}",
)  # fmt: skip
SIGNS = ("é", "e\u0301", "👩‍🔬", "你好", "<", "</b>")
PIECES = st.sampled_from(SPACES + WORDS + SIGNS) | st.text(max_size=6)
TEXTS = st.lists(PIECES, min_size=1, max_size=8).map("".join).filter(lambda text: "think>" not in text)
CONTENTS = TEXTS.filter(str.strip)
PROMPTS = st.builds(
    lambda question, earlier: [*([user("Hi"), message("Hello")] if earlier else []), user(question)],
    CONTENTS,
    st.booleans(),
)
FAMILY = pytest.mark.parametrize("family", FAMILIES)
KIND = st.sampled_from(KINDS)


# Chat templates


@FAMILY
@settings(max_examples=60)
@given(KIND, PROMPTS, CONTENTS)
@example(("across everything", False), [user("Q")], "42 is the answer")
@example(("across everything", True), [user("Q")], "\n\n 42 \n")
def test_answer_follows_a_chat_prompt_character_for_character(family, kind, prompt, content):
    tokenizer = tokenizer_of(*kind, family)
    expected = FAMILIES[family].before_answer + content
    assert_stands_after_prompt(tokenizer, prompt, message(content), expected)


@FAMILY
@settings(max_examples=40)
@given(KIND, st.sampled_from(["", "\n", " \n "]), st.sampled_from(["", "\n", "\n\n"]), TEXTS, TEXTS, st.booleans())
@example(("words", False), "", "\n", "Because.", "\n\n42", True)
def test_thinking_is_opened_exactly_once(family, kind, before, after_opener, reasoning, answer, is_closed):
    rest = after_opener + reasoning + ("</think>" + answer if is_closed else "")
    if FAMILIES[family].opens_thinking:
        expected = rest.removeprefix("\n")
    else:
        expected = FAMILIES[family].before_thinking + before + "<think>" + rest
    tokenizer = tokenizer_of(*kind, family)
    assert_stands_after_prompt(tokenizer, [user("Q")], message(before + "<think>" + rest), expected)


@FAMILY
@settings(max_examples=25)
@given(KIND, TEXTS, TEXTS)
def test_thinking_without_its_opening_tag_is_opened_where_the_template_does(family, kind, reasoning, answer):
    content = reasoning + "</think>" + answer
    expected = FAMILIES[family].before_reasoning + content
    assert_stands_after_prompt(tokenizer_of(*kind, family), [user("Q")], message(content), expected)


@pytest.mark.parametrize(
    ("family", "written"),
    [("qwen2_5", ""), ("qwen3", ""), ("qwen3_5_think", ""), ("gptoss", FINAL), ("llama3", ""), ("gemma3", "")],
)
def test_text_before_a_thinking_block_is_not_lost(family, written):
    content = "Let me see. <think>\n2+2\n</think>\n\n4"
    assert_stands_after_prompt(tokenizer_of("words", False, family), [user("Q")], message(content), written + content)


# The training text of the other three is not their generation prompt with an answer and an end of turn after it
@pytest.mark.parametrize("family", sorted(FAMILIES.keys() - {"deepseek_r1_distill", "glm4moe", "nemotron_3_nano"}))
def test_tokens_are_those_of_supervised_training_without_the_end_of_turn(family):
    tokenizer = tokenizer_of("words", False, family)
    prompt, demonstration = [user("What is 6*7?")], message("6*7 is 42, so x = 42.")
    whole = tokenizer.apply_chat_template([*prompt, demonstration], tokenize=True, return_dict=True)["input_ids"]
    prompt_ids = ids_of_prompt(tokenizer, prompt)
    ids = demonstration_ids(tokenizer, prompt, prompt_ids, demonstration)
    assert whole[: len(prompt_ids) + len(ids) + 1] == [*prompt_ids, *ids, tokenizer.eos_token_id]


def test_answer_after_a_thinking_block_closed_by_request():
    tokenizer = tokenizer_of("words", False, "qwen3")
    assert_stands_after_prompt(tokenizer, [user("Q")], message("\n42"), "\n42", enable_thinking=False)


@pytest.mark.parametrize("family", ["qwen3", "qwen3_5_think", "glm4moe"])
@pytest.mark.parametrize(
    "content", ["<think>\n2+2\n</think>\n\n4", " <think>2+2", "2+2\n</think>\n\n4", "So: <think>2+2</think>4"]
)
def test_thinking_after_a_closed_block_is_an_error(family, content):
    tokenizer, prompt = tokenizer_of("words", False, family), [user("Q")]
    prompt_ids = ids_of_prompt(tokenizer, prompt, enable_thinking=False)
    with pytest.raises(ValueError, match="closes the thinking block"):
        demonstration_ids(tokenizer, prompt, prompt_ids, message(content), enable_thinking=False)


@pytest.mark.parametrize(
    ("family", "key", "expected"),
    [
        ("qwen3", "reasoning_content", "<think>\nPLACEHOLDER first\n</think>\n\n 42\n"),
        ("qwen3_5_think", "reasoning_content", "PLACEHOLDER first\n</think>\n\n 42\n"),
        ("glm4moe", "reasoning_content", "\n<think>PLACEHOLDER first</think>\n 42\n"),
        (
            "gptoss",
            "thinking",
            f"<|channel|>analysis<|message|>PLACEHOLDER first<|end|><|start|>assistant{FINAL} 42\n",
        ),
    ],
)
def test_separate_reasoning_is_written_where_the_template_writes_it(family, key, expected):
    demonstration = message(" 42\n", **{key: "PLACEHOLDER first"})
    assert_stands_after_prompt(tokenizer_of("words", False, family), [user("Q")], demonstration, expected)


@pytest.mark.parametrize(
    ("family", "prompt", "key", "template_kwargs"),
    [
        ("llama3", [user("Q")], "reasoning_content", {}),
        ("deepseek_r1_distill", [user("Q")], "reasoning_content", {}),
        ("qwen3", [user("Q")], "reasoning_content", {"enable_thinking": False}),
        ("qwen3", "Q", "reasoning", {}),
    ],
)
def test_reasoning_that_the_template_drops_is_an_error(family, prompt, key, template_kwargs):
    tokenizer = tokenizer_of("words", False, family)
    prompt_ids = ids_of_prompt(tokenizer, prompt, **template_kwargs)
    with pytest.raises(ValueError, match=f"`{key}`, which would be lost"):
        demonstration_ids(tokenizer, prompt, prompt_ids, message("42", **{key: "Because."}), **template_kwargs)


def test_channel_in_the_content_is_an_error():
    tokenizer, prompt = tokenizer_of("words", False, "gptoss"), [user("Q")]
    prompt_ids = ids_of_prompt(tokenizer, prompt)
    with pytest.raises(TemplateError, match="channel"):
        demonstration_ids(tokenizer, prompt, prompt_ids, message(FINAL + "42"))


def test_template_that_is_passed_overrides_the_tokenizers():
    tokenizer = tokenizer_of("words", False, "qwen3")
    template = "{% for m in messages %}{{ m.content }}|{% endfor %}{% if add_generation_prompt %}A:{% endif %}"
    answering = template.replace("{{ m", "{{ 'A:Well, ' if m.role == 'assistant' else '' }}{{ m")
    assert_stands_after_prompt(tokenizer, [user("Q")], message("42"), "Well, 42", chat_template=answering)


# Plain text


@settings(max_examples=150)
@given(KIND, TEXTS, CONTENTS, st.sampled_from(["", "<|im_end|>", "<|im_end|>\n", "<|im_end|>42"]))
@example(("across everything", True), "What is 6*7? assistant\n", "42 is the answer", "<|im_end|>")
def test_demonstration_follows_a_text_prompt_without_its_end_of_sequence(kind, prompt, content, end):
    assert_stands_after_prompt(tokenizer_of(*kind), prompt, message(content + end), content)


@pytest.mark.parametrize("kind", ["across everything", "a space before the first word"])
def test_no_token_straddles_the_boundary(kind):
    tokenizer = tokenizer_of(kind)
    prompt, content = "So x = 42\nassist", "ant\n42 is the answer"
    prompt_ids = tokenizer(text=[prompt])["input_ids"][0]
    assert tokenizer(prompt + content)["input_ids"][: len(prompt_ids)] != prompt_ids
    ids = demonstration_ids(tokenizer, prompt, prompt_ids, message(content))
    assert decode(tokenizer, prompt_ids + ids) == decode(tokenizer, prompt_ids) + content


def test_text_prompt_is_tokenized_together_with_its_demonstration():
    tokenizer = tokenizer_of("words", adds_bos=True)
    prompt_ids = tokenizer(text=["So x ="])["input_ids"]
    ids = demonstration_ids(tokenizer, "So x =", prompt_ids[0], message(" 42 is the answer"))
    assert prompt_ids[0] + ids == tokenizer("So x = 42 is the answer")["input_ids"]


@pytest.fixture(scope="module")
def sentencepiece_like() -> PreTrainedTokenizerFast:
    backend = Tokenizer(models.BPE(unk_token="<unk>"))
    backend.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="always")
    backend.decoder = decoders.Metaspace(prepend_scheme="always")
    trainer = trainers.BpeTrainer(vocab_size=60, special_tokens=["<unk>", "<s>"], show_progress=False)
    backend.train_from_iterator(["the answer is seven up", "\n\n"] * 4, trainer)
    backend.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    template = "{% for message in messages %}{{ message.content }}{% endfor %}"
    return PreTrainedTokenizerFast(
        tokenizer_object=backend, unk_token="<unk>", bos_token="<s>", chat_template=template
    )


@pytest.mark.parametrize("prompt", ["the answer is", [user("the answer is")]])
@pytest.mark.parametrize("content", [" seven", " seven up", "\nseven", "\n\nseven"])
def test_sentencepiece_gives_the_ids_of_the_joint_text(sentencepiece_like, prompt, content):
    is_text = isinstance(prompt, str)
    prompt_ids = ids_of_prompt(sentencepiece_like, prompt)
    ids = demonstration_ids(sentencepiece_like, prompt, prompt_ids, message(content))
    joint = sentencepiece_like("the answer is" + content, add_special_tokens=is_text)["input_ids"]
    assert prompt_ids + ids == joint


def test_sentencepiece_puts_no_space_inside_a_word(sentencepiece_like):
    prompt_ids = sentencepiece_like(text=["the answer is sev"])["input_ids"][0]
    ids = demonstration_ids(sentencepiece_like, "the answer is sev", prompt_ids, message("en up"))
    assert sentencepiece_like("the answer is seven up")["input_ids"][: len(prompt_ids)] != prompt_ids
    assert decode(sentencepiece_like, prompt_ids + ids) == "<s> the answer is seven up"
