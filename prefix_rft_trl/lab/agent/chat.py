"""The chat template of the lab's level `agent`, what reads its tool calls, and a tokenizer for both.

A conversation is `<user>7*8+35=<eos><assistant><call>calculate(expression=7*8)<eos><tool>56<eos>...`, with one
token for each digit, mark and word.
"""

from transformers import PreTrainedTokenizerFast

from prefix_rft_trl.lab.characters import character_tokenizer


ROLES = {"user": "<user>", "assistant": "<assistant>", "tool": "<tool>"}
CALL = "<call>"
WORDS = ("calculate", "expression")
ALPHABET = "0123456789+-*=#()"
# Generation markers, by which SFT finds what the assistant says; no message depends on what follows it
TEMPLATE = (
    "{%- for message in messages -%}"
    "{%- if message.role == 'assistant' -%}"
    "<assistant>{%- generation -%}{{- message.content or '' -}}"
    "{%- for call in message.tool_calls or [] -%}"
    "<call>{{- call.function.name -}}("
    "{%- for key, value in call.function.arguments.items() -%}"
    "{{- key -}}={{- value -}}{%- if not loop.last -%},{%- endif -%}"
    "{%- endfor -%})"
    "{%- endfor -%}<eos>{%- endgeneration -%}"
    "{%- else -%}<{{- message.role -}}>{{- message.content -}}<eos>"
    "{%- endif -%}"
    "{%- endfor -%}"
    "{%- if add_generation_prompt -%}<assistant>{%- endif -%}"
)
RESPONSE_TEMPLATE = {
    "defaults": {"role": "assistant"},
    "start_anchor": ROLES["assistant"],
    "fields": {
        "tool_calls": {
            "open_pattern": CALL + r"(?P<name>\w+)\(",
            "close_pattern": r"\)",
            "repeats": True,
            "content": "xml-inline",
            "content_args": {"tag_pattern": r"(?P<key>\w+)=(?P<value>[^,]*)", "value_parser": {"name": "text"}},
            "transform": {"type": "function", "function": {"name": "{name}", "arguments": "{content}"}},
        },
        "content": {"close_pattern": r"<eos>|$", "content": "text"},
    },
}


def chat_tokenizer() -> PreTrainedTokenizerFast:
    """A tokenizer with the chat template, which ends each message with `<eos>`."""
    tokenizer = character_tokenizer(ALPHABET, (*ROLES.values(), CALL, *WORDS))
    tokenizer.chat_template, tokenizer.response_template = TEMPLATE, RESPONSE_TEMPLATE
    return tokenizer
