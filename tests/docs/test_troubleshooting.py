"""The settings, metrics and messages of docs/troubleshooting.md exist."""

import ast
import re
from dataclasses import fields
from pathlib import Path

import pytest
import trl
import yaml
from trl import ModelConfig

import prefix_rft_trl
from prefix_rft_trl import PrefixGRPOConfig
from prefix_rft_trl.cli.launch.arguments import PrefixScriptArguments


DOCS = Path(__file__).parents[2] / "docs"
PAGE = (DOCS / "troubleshooting.md").read_text()
PACKAGE = Path(prefix_rft_trl.__file__).parent
TRL_CONFIG = Path(trl.__file__).parent / "trainer" / "grpo_config.py"
VARIES = "…"
ACCELERATE_SETTINGS = {"distributed_type", "use_cpu"}


def literal_text(node: ast.AST) -> str:
    """The text of a literal, with `…` for what it is filled with."""
    if isinstance(node, ast.JoinedStr):
        return "".join(part.value if isinstance(part, ast.Constant) else VARIES for part in node.values)
    return node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else ""


@pytest.fixture(scope="module")
def texts() -> list[str]:
    files = [*PACKAGE.rglob("*.py"), TRL_CONFIG]
    return [text for file in files for node in ast.walk(ast.parse(file.read_text())) if (text := literal_text(node))]


MESSAGES = re.findall(r"^\| ``(.+?)``(?! *`)", PAGE.partition("## Messages")[2], re.MULTILINE)


def test_the_explained_messages_are_found():
    assert len(MESSAGES) > 25


@pytest.mark.parametrize("message", MESSAGES)
def test_an_explained_message_is_in_the_code(message, texts):
    wanted = message.removesuffix(VARIES)
    assert any(wanted in text for text in texts)


def test_suggested_settings_exist_and_accept_the_value(tmp_path):
    known = {field.name for kind in (PrefixScriptArguments, ModelConfig) for field in fields(kind)}
    trainer_settings = {field.name for field in fields(PrefixGRPOConfig)}
    shown = re.findall(r"(?<!`)`(\w+: [^`]+)`(?!`)", PAGE)
    assert len(shown) > 30
    for setting in shown:
        ((name, value),) = yaml.safe_load(setting).items()
        assert name in known | trainer_settings | ACCELERATE_SETTINGS, name
        if name in trainer_settings and name not in ("use_cpu", "fp16"):
            one_group = {"use_cpu": True, "bf16": False, "generation_batch_size": 8}
            PrefixGRPOConfig(str(tmp_path), **{**one_group, name: value})


def test_named_prefix_metrics_are_documented():
    logged = set(re.findall(r"`(prefix/\w+)`", (DOCS / "metrics.md").read_text()))
    named = set(re.findall(r"`(prefix/\w+)`", PAGE))
    assert len(named) > 8
    assert named <= logged
