"""What docs/troubleshooting.md tells people to look at and to set exists, and the messages that it lists are said."""

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
OF_TRL = Path(trl.__file__).parent / "trainer" / "grpo_config.py"
VARIES = "…"
OF_LAUNCHERS_FILE = {"distributed_type", "use_cpu"}


def told(node: ast.AST) -> str:
    """The text of a literal, with `…` for what it is filled with."""
    if isinstance(node, ast.JoinedStr):
        return "".join(part.value if isinstance(part, ast.Constant) else VARIES for part in node.values)
    return node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else ""


@pytest.fixture(scope="module")
def texts() -> list[str]:
    files = [*PACKAGE.rglob("*.py"), OF_TRL]
    return [text for file in files for node in ast.walk(ast.parse(file.read_text())) if (text := told(node))]


MESSAGES = re.findall(r"^\| ``(.+?)``(?! *`)", PAGE.partition("## Messages")[2], re.MULTILINE)


def test_the_messages_are_found():
    assert len(MESSAGES) > 25


@pytest.mark.parametrize("message", MESSAGES)
def test_a_message_that_is_explained_is_what_the_code_says(message, texts):
    wanted = message.removesuffix(VARIES)
    assert any(wanted in text for text in texts)


def test_settings_on_the_page_exist_and_take_the_value(tmp_path):
    known = {field.name for kind in (PrefixScriptArguments, ModelConfig) for field in fields(kind)}
    of_trainer = {field.name for field in fields(PrefixGRPOConfig)}
    shown = re.findall(r"(?<!`)`(\w+: [^`]+)`(?!`)", PAGE)
    assert len(shown) > 30
    for setting in shown:
        ((name, value),) = yaml.safe_load(setting).items()
        assert name in known | of_trainer | OF_LAUNCHERS_FILE, name
        if name in of_trainer and name not in ("use_cpu", "fp16"):
            of_one_group = {"use_cpu": True, "bf16": False, "generation_batch_size": 8}
            PrefixGRPOConfig(str(tmp_path), **{**of_one_group, name: value})


def test_metrics_of_prefixes_on_the_page_are_those_that_are_logged():
    logged = set(re.findall(r"`(prefix/\w+)`", (DOCS / "metrics.md").read_text()))
    named = set(re.findall(r"`(prefix/\w+)`", PAGE))
    assert len(named) > 8
    assert named <= logged
