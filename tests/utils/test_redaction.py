"""Secrets by their names and by their looks, and what looks like one and is none."""

import json
from dataclasses import fields, is_dataclass

import peft
import pytest
from transformers import GenerationConfig

from prefix_rft_trl.cli.launch.arguments import CONFIGS, settings_of
from prefix_rft_trl.utils.redaction import SECRET, is_secret_name, redacted, redacted_words


NAMES = [
    "hub_token", "push_to_hub_token", "token", "HF_TOKEN", "WANDB_API_KEY", "api_key", "openai_api_key", "apiKey",
    "X-Api-Key", "aws_secret_access_key", "aws_access_key_id", "AWS_SECRET_ACCESS_KEY", "password", "db_password",
    "pwd",
    "passphrase", "client_secret", "Authorization", "auth", "cookie", "credentials", "private_key", "judge.api_key",
    "GITHUB_TOKEN", "DATABASE_PASSWORD", "SSH_KEY", "access_token", "accessToken", "auth-token", "session_key",
    "api_keys", "apiKeys", "wandb_key", "apiKeyV2", "openai_key", "api_key_2", "master_key_id", "passwords", "cookies",
    "access_tokens", "storage_key",
]  # fmt: skip
OTHERS = [
    "max_new_tokens", "eos_token", "pad_token", "max_completion_length", "average_tokens_across_devices", "key",
    "sort_key", "author", "tokenizer", "pass_at_k", "passes", "keys", "secretary", "solution_column", "keyword",
    "megatron_lm_calculate_per_token_loss", "PATH", "HF_HOME", "primary_key",
    "answer_key", "solution_key", "pass_1", "monkey", "keys", "input_keys", "stop_tokens", "projection_prng_key",
    "OMP_NUM_THREADS", "WANDB_PROJECT", "compass", "",
]  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
def test_a_secret_is_known_by_its_name(name):
    assert redacted({name: "value"}) == {name: SECRET}
    assert redacted({name: 12345}) == {name: SECRET}
    assert redacted({name: None}) == {name: None}


@pytest.mark.parametrize("name", OTHERS)
def test_other_names_keep_their_values(name):
    assert redacted({name: "value"}) == {name: "value"}


def test_of_all_settings_those_that_hold_secrets_are_found():
    found = {name for trainer in CONFIGS for name in settings_of(trainer) if is_secret_name(name)}
    assert found == {"hub_token", "aws_access_key_id", "aws_secret_access_key"}


def test_no_setting_of_generate_or_of_adapters_is_a_secret():
    classes = [getattr(peft, name) for name in dir(peft) if name.endswith("Config")]
    names = {field.name for kind in classes if is_dataclass(kind) for field in fields(kind)}
    assert len(names) > 100
    assert [name for name in names | vars(GenerationConfig()).keys() if is_secret_name(name)] == []


TEXTS = {
    "hf_AbCdEfGhIjKl": SECRET,
    "see hf_AbCdEfGhIjKl.": f"see {SECRET}.",
    "sk-proj-0123456789abcdef": SECRET,
    "ghp_0123456789abcdef01": SECRET,
    "github_pat_0123456789abcdef01": SECRET,
    "xoxb-0123456789-abc": SECRET,
    "AKIAIOSFODNN7EXAMPLE": SECRET,
    "eyJhbGciOiJIUzI1.eyJzdWIiOiIxMjM0.SflKxwRJSMeKKF2QT4": SECRET,
    "id-eyJhbGciOiJIUzI1.eyJzdWIiOiIxMjM0.SflKxwRJSMeKKF2QT4": f"id-{SECRET}",
    "[" * 700 + '"hf_AbCdEfGhIjKl"' + "]" * 700: "[" * 700 + f'"{SECRET}"' + "]" * 700,
    "Bearer abcdefgh12345678": f"Bearer {SECRET}",
    "https://me:pass@host/data.jsonl": f"https://{SECRET}@host/data.jsonl",
    "s3://key:secret@bucket/a": f"s3://{SECRET}@bucket/a",
    "https://host/a?token=abc&page=2": f"https://host/a?token={SECRET}&page=2",
    "https://host/a?X-Amz-Signature=abc": f"https://host/a?X-Amz-Signature={SECRET}",
    '{"api_key": "abc", "n": 1}': json.dumps({"api_key": SECRET, "n": 1}),
    '[{"judge": {"api-key": "abc"}}]': json.dumps([{"judge": {"api-key": SECRET}}]),
    "https://host/a?page=2": "https://host/a?page=2",
    "owner/name": "owner/name",
    "a sk-ating rink, hf_a": "a sk-ating rink, hf_a",
    '{"n": 1}': '{"n": 1}',
    "{oops": "{oops",
    "me@host.com: 10:30": "me@host.com: 10:30",
}


@pytest.mark.parametrize(("text", "shown"), TEXTS.items())
def test_a_secret_is_known_by_its_looks(text, shown):
    assert redacted(text) == shown
    assert redacted(redacted(text)) == shown


def test_all_that_is_under_the_name_of_a_secret_is_one():
    value = {"env": {"WANDB_API_KEY": "a", "N": "1"}, "credentials": {"user": "a", "more": ["b"]}, "names": ["x", "y"]}
    assert redacted(value) == {
        "env": {"WANDB_API_KEY": SECRET, "N": "1"},
        "credentials": {"user": SECRET, "more": [SECRET]},
        "names": ["x", "y"],
    }


def test_words_of_a_command_line():
    line = [
        "train",
        "--hub_token",
        "abc",
        "--reward_kwargs",
        '{"r": {"api_key": "abc"}}',
        "--api_key=abc",
        "--seed",
        "1",
    ]
    hidden = json.dumps({"r": {"api_key": SECRET}})
    assert redacted_words(line) == ["train", "--hub_token", SECRET, "--reward_kwargs", hidden, f"--api_key={SECRET}",
                                    "--seed", "1"]  # fmt: skip
