"""Each setting that docs/migrating.md gives for one of another trainer exists, and accepts the value shown."""

import argparse
import re
from dataclasses import fields
from pathlib import Path

import pytest
import torch
import yaml
from accelerate.commands.launch import launch_command_parser
from trl import GRPOConfig, ModelConfig

from prefix_rft_trl import PrefixGRPOConfig
from prefix_rft_trl.cli.data import make_parser
from prefix_rft_trl.cli.launch.arguments import PrefixScriptArguments
from prefix_rft_trl.method.advantages import on_policy_baseline_advantages
from prefix_rft_trl.method.token_laws import TOKEN_LAWS, TokenFacts
from prefix_rft_trl.rewards import load_reward


ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "migrating.md").read_text()
TRAINER_SETTINGS = {field.name for field in fields(PrefixGRPOConfig)}
SCRIPT_SETTINGS = {field.name for field in fields(PrefixScriptArguments)}
MODEL_SETTINGS = {field.name for field in fields(ModelConfig)}


def options(parser: argparse.ArgumentParser) -> set[str]:
    return {option for action in parser._actions for option in action.option_strings}


LAUNCHER_SETTINGS = {option.removeprefix("--") for option in options(launch_command_parser())} | {"accelerate_config"}
FLAGS = options(make_parser()) | {"--accelerate_config"}


def cells_here() -> list[str]:
    """The column "here" of every table."""
    found, place = [], None
    for line in PAGE.splitlines():
        cells = [cell.strip() for cell in line.strip().strip("|").split("|")] if line.startswith("|") else []
        if "here" in cells:
            place = cells.index("here")
        elif not cells:
            place = None
        elif place is not None and not set(cells[0]) <= set("-: "):
            found.append(cells[place])
    return found


CELLS = cells_here()
OTHERS = {"const", "data.max_prompt_length"}  # settings of other trainers that a cell mentions


def settings_in(cell: str) -> dict:
    spans = re.findall(r"`([^`]+)`", cell)
    read = [yaml.safe_load(span) for span in spans if re.match(r"\w+: ", span)]
    return {name: value for setting in read for name, value in setting.items()}


def test_the_tables_are_found():
    assert len(CELLS) > 60


@pytest.mark.parametrize("cell", [cell for cell in CELLS if "`" in cell])
def test_every_equivalent_setting_exists(cell):
    known = TRAINER_SETTINGS | SCRIPT_SETTINGS | MODEL_SETTINGS | LAUNCHER_SETTINGS
    for span in re.findall(r"`([^`]+)`", cell):
        if span.startswith("prefix-rft "):
            continue
        if span.startswith("--"):
            assert span in FLAGS
        elif span.startswith("recipes/"):
            assert (ROOT / span).is_file()
        else:
            assert span.partition(":")[0] in known | OTHERS, span


@pytest.mark.parametrize("cell", [cell for cell in CELLS if settings_in(cell)])
def test_every_equivalent_value_is_accepted(cell, tmp_path):
    given = settings_in(cell)
    for_trainer = {name: value for name, value in given.items() if name in TRAINER_SETTINGS}
    config = PrefixGRPOConfig(**{"output_dir": str(tmp_path), "use_cpu": True, "bf16": False, **for_trainer})
    for name, value in for_trainer.items():
        assert getattr(config, name) == value or name in ("lr_scheduler_type", "eval_strategy", "report_to")
    for name in given.get("reward_funcs", []):
        if not name.startswith("my_package"):
            load_reward(name)
    for name, arguments in given.get("reward_kwargs", {}).items():
        load_reward(name, arguments)


def test_defaults_that_differ_from_trl_are_those_on_the_page(tmp_path):
    here = PrefixGRPOConfig(str(tmp_path), use_cpu=True, bf16=False)
    there = GRPOConfig(str(tmp_path), use_cpu=True, bf16=False)
    names = {field.name for field in fields(GRPOConfig)} - {"generation_batch_size"}
    differing = {name for name in names if getattr(here, name) != getattr(there, name)}
    section = PAGE.partition("### Defaults that differ")[2].partition("### The dataset")[0]
    table = "\n".join(line for line in section.splitlines() if line.startswith("|"))
    assert differing == set(re.findall(r"`(\w+)=", table)) - {"num_prefix_generations"}
    for name in differing:
        shown = re.search(rf"`{name}=([^`]+)`", table)
        assert yaml.safe_load(shown[1]) == getattr(there, name)
        assert settings_in(table)[name] == getattr(here, name)


# The estimators and the loss of the authors' code, as its formulas say


def authors_advantages(estimator, rewards, hybrid):
    """Of the prefix tokens and of the sampled tokens of one group, whose hybrid rollouts have a prefix each."""
    on_policy = [reward for reward, is_hybrid in zip(rewards, hybrid, strict=True) if not is_hybrid]

    def mean(of_prefix):
        return 0.0 if len(of_prefix) == 1 and estimator == "dr_grpo_prefix" else sum(of_prefix) / len(of_prefix)

    centred = [
        reward - mean([reward] if is_hybrid else on_policy) for reward, is_hybrid in zip(rewards, hybrid, strict=True)
    ]
    return [score - mean(on_policy) for score in centred], centred


@pytest.mark.parametrize("estimator", ["dr_grpo_prefix", "dr_grpo_prefix_v2"])
@pytest.mark.parametrize(("generations", "hybrids"), [(2, 1), (3, 1), (3, 2), (4, 1), (4, 2), (8, 1), (8, 6), (8, 7)])
def test_estimators_are_the_authors_but_beside_a_single_rollout_of_the_policy(estimator, generations, hybrids):
    rewards = torch.rand(generations, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    hybrid = torch.arange(generations) < hybrids
    ours = on_policy_baseline_advantages(estimator, rewards, hybrid, generations)
    theirs = [torch.tensor(of, dtype=torch.float64) for of in authors_advantages(estimator, rewards.tolist(), hybrid)]
    if estimator == "dr_grpo_prefix" and generations - hybrids == 1:
        own = rewards[-1]
        assert [ours[1][-1].item(), theirs[1][-1].item()] == pytest.approx([0.0, own.item()])
        torch.testing.assert_close(theirs[0][hybrid], rewards[hybrid])
        torch.testing.assert_close(ours[0][hybrid], rewards[hybrid] - own)
        torch.testing.assert_close(ours[1][hybrid], theirs[1][hybrid])
        return
    torch.testing.assert_close(ours[0][hybrid], theirs[0][hybrid])
    torch.testing.assert_close(ours[1], theirs[1])


@pytest.mark.parametrize("has_clip", [False, True])
@pytest.mark.parametrize("advantage", [0.7, -0.7])
def test_shaped_is_the_authors_luffy_but_for_clipped_tokens_of_negative_advantage(has_clip, advantage):
    logps = torch.tensor([0.01, 0.1, 0.399, 0.401, 0.9, 1.0], dtype=torch.float64).log().requires_grad_()
    ratios = torch.exp(logps) / (torch.exp(logps) + 0.1)
    losses = -advantage * ratios
    if has_clip:
        losses = torch.maximum(losses, -advantage * ratios.clamp(0.8, 1.2)).clamp(max=3 * abs(advantage))
    (theirs,) = torch.autograd.grad(-losses.sum(), logps)
    probabilities = logps.detach().exp()
    facts = TokenFacts(torch.full_like(probabilities, advantage), probabilities, probabilities, probabilities, 0.1)
    is_trained = probabilities > (0.4 if has_clip and advantage < 0 else 0.0)
    torch.testing.assert_close(theirs, TOKEN_LAWS["shaped"].weight(facts) * is_trained)
