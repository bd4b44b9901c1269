"""Recipes to start from: Prefix-RFT, GRPO, SFT and SFT then RFT on one dataset, with what they share in a base."""

from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from prefix_rft_trl.comparison.spec import SPECIFICATION

from .launch.recipe import SHARED_BASE, Recipe


Settings = dict[str, Any]
Section = tuple[str, Settings]  # a comment, and settings

LABELS = {"sft": "SFT", "grpo": "GRPO", "sft_then_rft": "SFT then GRPO", "prefix_rft": "Prefix-RFT"}
ROOM = 1.25  # of the longest demonstration: the policy's own answers are longer
MOST_MEASURED = 256
LEARNING_RATES = {10**7: 2.0e-4, 10**9: 5.0e-6}  # of models up to so many parameters
LEARNING_RATE = 1.0e-6  # of larger ones: the paper's
RATE_OF_SFT = "Its learning rate is ten times that of the rollouts."


@dataclass(frozen=True)
class LongestTexts:
    """Tokens of the longest prompt and the longest demonstration, and of the model's context, if that is known."""

    prompt: int
    demonstration: int
    context: int | None


@dataclass(frozen=True)
class Setup:
    """
    What the recipes depend on.

    Attributes:
        command (`str`): that makes them.
        name (`str`): of the dataset, for folders of runs.
        data (`dict`): settings of model, data and columns.
        reward (`dict`): settings of the reward.
        rows (`int`): to train on.
        held_out (`int`, *optional*): to measure on, if that is known.
        longest ([`LongestTexts`]): of the dataset.
        parameters (`int`, *optional*): of the model.
        has_gpu (`bool`): whether to train on one.
        given (`dict`): settings of the command line, which win.
    """

    command: str
    name: str
    data: Settings
    reward: Settings
    rows: int
    held_out: int | None
    longest: LongestTexts
    parameters: int | None
    has_gpu: bool
    given: Settings = field(default_factory=dict)

    @property
    def completion_budget(self) -> int:
        """Tokens of a completion: a multiple of 32 with room for the longest demonstration, within the context."""
        room = -(-int(ROOM * self.longest.demonstration) // 32) * 32
        rest = room if self.longest.context is None else self.longest.context - self.longest.prompt
        return self.given.get("max_completion_length", max(1, min(room, rest)))

    @property
    def group(self) -> int:
        return self.given.get("num_generations", 8)

    @property
    def prompts_a_step(self) -> int:
        """A power of two that the dataset can fill."""
        most = 32 if self.has_gpu else 8
        return 2 ** (min(most, self.rows).bit_length() - 1)

    @property
    def steps(self) -> int:
        """Those of five passes on a GPU, at least 50 and at most 500; on a CPU of two, and at most 100."""
        passes, least, most = (5, 50, 500) if self.has_gpu else (2, 20, 100)
        steps = passes * self.rows // self.prompts_a_step // 10 * 10
        return self.given.get("max_steps", max(least, min(most, steps)))

    @property
    def learning_rate(self) -> float:
        size = self.parameters or 10**10
        by_size = next((rate for most, rate in LEARNING_RATES.items() if size <= most), LEARNING_RATE)
        return self.given.get("learning_rate", by_size)


def check_recipes(texts: dict[str, str]) -> None:
    """Raises a `UserError` for settings that a run would refuse before it starts."""
    from .launch.arguments import check_stage, is_setting

    with TemporaryDirectory() as folder:
        for file, text in texts.items():
            Path(folder, file).write_text(text, encoding="utf-8")
        for method in LABELS:
            for stage in Recipe.read(["--config", f"{folder}/{method}.yaml"]).trainings(is_setting):
                check_stage(stage)


def recipe_texts(setup: Setup) -> dict[str, str]:
    """The texts of the recipes and of `comparison.yaml`, by file name."""
    name, prompts = setup.name, setup.prompts_a_step
    sft: Settings = {"learning_rate": float(f"{10 * setup.learning_rate:.3g}")}
    batch = {"per_device_train_batch_size": min(8, prompts), "gradient_accumulation_steps": -(-prompts // 8)}
    if not batch.keys() & setup.given.keys():
        sft |= batch
    schedule = {"lr_scheduler_type": "cosine", "warmup_steps": 0.1}
    sft |= {setting: value for setting, value in schedule.items() if setting not in setup.given}
    grpo = {"num_prefix_generations": 0}
    prefix_rft = {"num_prefix_generations": setup.given.get("num_prefix_generations", 1)}
    stages = {"stages": {"sft": {"trainer": "sft", **sft}, "rft": grpo}}
    recipes = {
        "prefix_rft": ("Prefix-RFT: in each group, one rollout starts from a demonstration.", prefix_rft),
        "grpo": ("Plain GRPO (Dr. GRPO): the same without demonstrations.", grpo),
        "sft": (f"SFT on the demonstrations. {RATE_OF_SFT}", {"trainer": "sft", **sft}),
        "sft_then_rft": (f"SFT, then GRPO from its result: each of max_steps. {RATE_OF_SFT}", stages),
    }
    texts = {SHARED_BASE: _base(setup)}
    for method, (purpose, own) in recipes.items():
        folder = {"base": SHARED_BASE, "output_dir": f"runs/{name}-{method.replace('_', '-')}"}
        texts[f"{method}.yaml"] = _yaml([(purpose, {**folder, **own})])
    order = {"title": name, "recipes": list(LABELS), "labels": LABELS}
    texts[SPECIFICATION] = _yaml([("What `prefix-rft compare` shows, in this order.", order)])
    return texts


def _of_step(setup: Setup) -> str:
    """What a step of GRPO takes, in words, with the settings of the command line."""
    given = setup.given
    rows = given.get("per_device_train_batch_size", setup.group)
    rows *= given.get("gradient_accumulation_steps", setup.prompts_a_step)
    prompts = rows / setup.group
    passes = setup.steps * prompts / setup.rows
    rate = "" if "learning_rate" in given else ";\nthe learning rate is one for a model of this size"
    return f"Training: {prompts:g} prompts x {setup.group} rollouts a step, {passes:.1f} passes{rate}"


def _base(setup: Setup) -> str:
    steps, prompts, group = setup.steps, setup.prompts_a_step, setup.group
    measured = {"measure_rows": MOST_MEASURED} if (setup.held_out or 0) > MOST_MEASURED else {}
    sections = [
        (f"What the recipes of this folder share. Written by\n\n  {setup.command}", {}),
        ("Model and data", setup.data),
        ("Reward: its mean on held-out problems is the accuracy", setup.reward),
        (
            f"Rollouts: prompts have up to {setup.longest.prompt} tokens, demonstrations up to "
            f"{setup.longest.demonstration}",
            {"num_generations": group, "max_completion_length": setup.completion_budget},
        ),
        (
            _of_step(setup),
            {
                "per_device_train_batch_size": group,
                "gradient_accumulation_steps": prompts,
                "max_steps": steps,
                "learning_rate": setup.learning_rate,
                "lr_scheduler_type": "constant",
            },
        ),
        (
            "Accuracy on held-out problems, without any prefix",
            {
                "measure_steps": max(1, steps // 10),
                **measured,
                "measure_max_new_tokens": setup.completion_budget,
            },
        ),
        (
            "The machine" if setup.has_gpu else "The machine: PyTorch found no GPU",
            {"bf16": True} if setup.has_gpu else {"use_cpu": True, "bf16": False, "gradient_checkpointing": False},
        ),
        (
            "Logs; no checkpoints, only the model at the end",
            {"logging_steps": max(1, steps // 20), "save_strategy": "no", "report_to": "none"},
        ),
    ]
    known = {name for _, settings in sections for name in settings}
    given = setup.given
    sections = [(comment, {name: given.get(name, value) for name, value in own.items()}) for comment, own in sections]
    rest = {name: value for name, value in given.items() if name not in known}
    return _yaml([*sections, ("Given on the command line", rest)] if rest else sections)


def _yaml(sections: list[Section]) -> str:
    return "\n".join(_section(comment, settings) for comment, settings in sections)


def _section(comment: str, settings: Settings) -> str:
    lines = [f"# {line}".rstrip() for line in comment.splitlines()]
    return "\n".join([*lines, ""]) + "".join(_entry(name, value) for name, value in settings.items())


def _entry(name: str, value: Any, indent: str = "") -> str:
    """A setting in YAML: a mapping in lines, a list in one."""
    if isinstance(value, dict) and value:
        return f"{indent}{_word(name)}:\n" + "".join(_entry(key, inner, f"{indent}  ") for key, inner in value.items())
    return f"{indent}{_word(name)}: {_word(value)}\n"


def _word(value: Any) -> str:
    import yaml

    text = yaml.safe_dump(value, default_flow_style=True, allow_unicode=True, width=10**6)
    return text.removesuffix("\n").removesuffix("\n...")
