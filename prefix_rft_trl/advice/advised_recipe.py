"""Write a recipe that differs from a given one in the advised settings only: it has the given one as its `base`."""

import os
import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from prefix_rft_trl.config import PrefixGRPOConfig
from prefix_rft_trl.utils.printable import printable
from prefix_rft_trl.utils.recipe_files import FOLDER
from prefix_rft_trl.utils.redaction import redacted

from .advice_rules import Advice
from .advised_changes import SettingChange
from .method_settings import ROLLOUTS, Settings, settings_for


WIDTH = 117  # of a comment
RATE_OF_SFT = 10  # times that of the rollouts
RATE_OF_ROLLOUTS = 1.0e-6  # the default
SCHEDULE_OF_SFT = {"lr_scheduler_type": "cosine", "warmup_steps": 0.1}


def advised_recipe(
    path: Path, settings: Mapping[str, Any], advice: Advice, output: Path, flags: Mapping[str, Any] | None = None
) -> str:
    """The text of the recipe.

    Args:
        path (`Path`): of the given recipe.
        settings (`Mapping`): all its settings, with those of its bases.
        advice ([`Advice`]): what to change. Without a method, only what it says of settings.
        output (`Path`): where the recipe will be, from which it names its base.
        flags (`Mapping`, *optional*): settings of the command line, which the probe was made with too.
    """
    known, hidden = _public(flags or {})
    shared, given_stages = _with_flags(settings.get("stages"), known)
    given = {**settings, **shared, **({"stages": given_stages} if given_stages else {})}
    parts = [
        f"{_comment(_headline(advice, path))}#\n{_comment(f'  prefix-rft train --config {printable(str(output))}')}",
        _yaml({"base": _base(path, output)}),
    ]
    if hidden:
        parts.append(_comment(f"Not written, as secrets are in them: {', '.join(hidden)}. Give them as flags."))
    if shared:
        parts.append(_comment("As given on the command line of the probe") + _yaml(shared))
    own = method_changes(advice.method, given) if advice.method else {}
    changes = [change for change in advice.changes if _is_new(change, given, own)]
    stages = own.get("stages") or given_stages
    if stages and (own or changes or given_stages != settings.get("stages")):
        reasons = [f"{change.setting}: {change.reason}" for change in changes]
        comments = [*([_title(advice)] if own else []), *reasons]
        comments = comments or ["With settings that were given on the command line of the probe"]
        parts.append("".join(map(_comment, comments)) + _yaml({"stages": _changed_stages(stages, changes)}))
        return "\n".join(parts)
    if own:
        parts.append(_comment(_title(advice)) + _yaml(own))
    parts += [_comment(change.reason) + _yaml({change.setting: change.value}) for change in changes]
    return "\n".join(parts)


def _headline(advice: Advice, path: Path) -> str:
    name = printable(" ".join(str(path.name).split()))
    if advice.method is None:
        return f"`prefix-rft advise` names no method ({advice.outcome}): all settings are those of its base, {name}."
    return f"Advice of `prefix-rft advise`: {advice.headline}. All other settings are those of its base, {name}."


def _public(flags: Mapping[str, Any]) -> tuple[Settings, list[str]]:
    """The flags without secrets, and the names of the others."""
    public = {name: value for name, value in flags.items() if redacted(value, name) == value}
    return public, [name for name in flags if name not in public]


def _with_flags(
    stages: Mapping[str, Settings] | None, flags: Mapping[str, Any]
) -> tuple[Settings, dict[str, Settings]]:
    """Flags for all of a recipe, and its stages with the flags that come before a setting of their own."""
    changed = {stage: dict(own) for stage, own in (stages or {}).items()}
    shared = {}
    for name, value in flags.items():
        stage, _, setting = name.rpartition(".")
        if stage in changed:
            changed[stage][setting] = value
            continue
        shared[name] = value
        for own in changed.values():
            if name in own:
                own[name] = value
    return shared, changed


def method_changes(method: str, given: Mapping[str, Any]) -> Settings:
    """The settings that turn a recipe into one of a method; none if it is one.

    Args:
        method (`str`): name of its recipe in the lab.
        given (`Mapping`): all settings of the recipe.
    """
    stages = [{**_shared(given), **own} for own in (given.get("stages") or {"": {}}).values()]
    own_of_sft = [own for own in (given.get("stages") or {"": given}).values() if _is_sft({**_shared(given), **own})]
    with_rollouts = [stage for stage in stages if not _is_sft(stage)]
    rollouts = with_rollouts[-1] if with_rollouts else {**stages[-1], **_rollouts_from_sft(stages[-1])}
    if method == "sft":
        return _sft_alone(given, stages, own_of_sft, rollouts)
    changed = settings_for("grpo" if method == "sft_then_rft" else method, rollouts)
    if not with_rollouts:
        changed = {**_rollouts_from_sft(stages[-1]), **changed}
    if method == "sft_then_rft":
        return _sft_and_rollouts(given, stages, own_of_sft, rollouts, changed)
    if "stages" not in given:
        return changed
    if len(stages) == 1:
        only = next(iter(given["stages"]))
        return {"stages": {only: {**given["stages"][only], **changed}}} if changed else {}
    own = [own for own in given["stages"].values() if not _is_sft({**_shared(given), **own})]
    return {"stages": {method: {**(own[-1] if own else {}), **changed}}}


def _sft_alone(
    given: Mapping[str, Any], stages: list[Settings], own_of_sft: list[Settings], rollouts: Settings
) -> Settings:
    if len(stages) == 1 and own_of_sft:
        return {}
    if "stages" not in given:
        return _sft_from_rollouts(rollouts)
    return {"stages": {"sft": own_of_sft[-1] if own_of_sft else _sft_from_rollouts(rollouts)}}


def _sft_and_rollouts(
    given: Mapping[str, Any],
    stages: list[Settings],
    own_of_sft: list[Settings],
    rollouts: Settings,
    changed: Settings,
) -> Settings:
    if len(stages) > 1 and _is_sft(stages[0]) and not _is_sft(stages[-1]):
        if not changed:
            return {}
        *before, (last, own) = given["stages"].items()
        return {"stages": {**dict(before), last: {**own, **changed}}}
    of_stages = "stages" in given
    sft = own_of_sft[-1] if own_of_sft and of_stages else {"trainer": "sft"} if own_of_sft else {}
    own = [own for own in (given.get("stages") or {}).values() if not _is_sft({**_shared(given), **own})]
    rft = {**(own[-1] if own else {}), **changed}
    return {"stages": {"sft": sft or _sft_from_rollouts(rollouts), "rft": rft or {"num_prefix_generations": 0}}}


def _sft_from_rollouts(rollouts: Settings) -> Settings:
    """Settings of SFT beside those of rollouts: its own loss, schedule and rate."""
    rate = float(rollouts.get("learning_rate", RATE_OF_ROLLOUTS))
    loss = {"loss_type": "nll"} if "loss_type" in rollouts else {}
    schedule = {**SCHEDULE_OF_SFT, **({"lr_scheduler_kwargs": {}} if rollouts.get("lr_scheduler_kwargs") else {})}
    return {"trainer": "sft", **loss, "learning_rate": float(f"{RATE_OF_SFT * rate:.3g}"), **schedule}


def _rollouts_from_sft(sft: Settings) -> Settings:
    """Settings of rollouts beside those of SFT: batches of groups, its own loss and rate."""
    group = PrefixGRPOConfig.num_generations
    rows = sft.get("per_device_train_batch_size", PrefixGRPOConfig.per_device_train_batch_size)
    passes = sft.get("gradient_accumulation_steps", 1)
    own: Settings = {"trainer": ROLLOUTS}
    if "loss_type" in sft:
        own["loss_type"] = PrefixGRPOConfig.loss_type
    if "learning_rate" in sft:
        own["learning_rate"] = float(f"{float(sft['learning_rate']) / RATE_OF_SFT:.3g}")
    own["lr_scheduler_type"] = "constant"
    if rows * passes % group:
        own["gradient_accumulation_steps"] = passes * group
    if "max_completion_length" not in sft and "measure_max_new_tokens" in sft:
        own["max_completion_length"] = sft["measure_max_new_tokens"]
    return own


def _is_new(change: SettingChange, given: Mapping[str, Any], own: Settings) -> bool:
    """Whether the recipe does not have it yet. What is of the stage of SFT is for one that is new."""
    stage, _, setting = change.setting.rpartition(".")
    if stage:
        return stage in own.get("stages", {}) and setting not in own["stages"][stage]
    last = [{**_shared(given), **of_stage} for of_stage in (given.get("stages") or {"": {}}).values()][-1]
    return last.get(setting) != change.value and setting not in own


def _changed_stages(stages: Mapping[str, Settings], changes: Sequence[SettingChange]) -> dict[str, Settings]:
    """The stages with what is changed in them: in the last one, unless a change names another."""
    changed = {stage: dict(own) for stage, own in stages.items()}
    for change in changes:
        stage, _, setting = change.setting.rpartition(".")
        changed[stage or [*stages][-1]][setting] = change.value
    return changed


def _title(advice: Advice) -> str:
    return f"{advice.headline}: {_first_sentence(advice.why)}"


def _shared(given: Mapping[str, Any]) -> Settings:
    return {name: value for name, value in given.items() if name != "stages"}


def _is_sft(settings: Mapping[str, Any]) -> bool:
    return settings.get("trainer", ROLLOUTS) == "sft"


def _base(path: Path, output: Path) -> str:
    """The given recipe, as the new one finds it: a recipe of the package by its name, any other by its path."""
    resolved = path.resolve()
    if resolved.is_relative_to(FOLDER.resolve()):
        return resolved.relative_to(FOLDER.resolve()).with_suffix("").as_posix()
    return Path(os.path.relpath(resolved, output.resolve().parent)).as_posix()


def _first_sentence(text: str) -> str:
    return text.split(". ")[0].removesuffix(".") + "."


def _comment(text: str) -> str:
    lines = textwrap.wrap(text, WIDTH, break_long_words=False, break_on_hyphens=False)
    return "".join(f"# {line}\n" for line in lines)


def _yaml(settings: Settings) -> str:
    import yaml

    return yaml.safe_dump(settings, sort_keys=False, allow_unicode=True)
