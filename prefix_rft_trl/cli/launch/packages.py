"""Packages that settings need and that do not come with this one: missing ones are found before the work."""

import re
from collections.abc import Iterator
from importlib.util import find_spec
from typing import Any

from prefix_rft_trl.utils.errors import UserError
from prefix_rft_trl.utils.faults import install_command


OPTIMIZERS = {  # by what their names begin or end with; the first that fits
    r"galore_": "galore_torch",
    r"apollo_": "apollo_torch",
    r"adamw_torch_[48]bit": "torchao",
    r"(ada)?lomo": "lomo_optim",
    r"grokadamw": "grokadamw",
    r"schedule_free_": "schedulefree",
    r"stable_adamw": "optimi",
    r"adamw_anyprecision": "torchdistx",
    r".*(8bit|32bit|bnb|ademamix)": "bitsandbytes",
}
ATTENTION = {
    r"flash_attention_2": "flash_attn",
    r"flash_attention_3": "flash_attn_interface",
    r"flash_attention_4": "flash_attn",
    r".+/.+": "kernels",
}
REPORTERS = {"azure_ml": "azureml", "flyte": "flytekit"}  # the others are called as their packages
IN_PLACE_OF = {"flash_attn": "kernels", "flash_attn_interface": "kernels", "tensorboard": "tensorboardX"}


def check_packages(*settings: Any) -> None:
    """
    Args:
        settings: objects with the settings of a training as attributes: those of the trainer and of the model.

    Raises:
        UserError: naming the setting and how to install the package that it needs, if that is not there.
    """
    given = {name: value for arguments in settings for name, value in vars(arguments).items()}
    for setting, package in _needed(given):
        alternative = IN_PLACE_OF.get(package, package)
        if not any(find_spec(name) for name in (package, alternative)):
            raise UserError(
                f"`{setting}` needs the package {package!r}, which is not installed: {install_command(package)}, or "
                "leave out the setting."
            )


def _needed(given: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """The settings that need a package, with its name."""
    switches = {"use_vllm": "vllm", "load_in_4bit": "bitsandbytes", "load_in_8bit": "bitsandbytes"}
    switches |= {"use_liger_kernel": "liger_kernel", "deepspeed": "deepspeed"}
    for setting, package in switches.items():
        if given.get(setting):
            yield f"{setting}: {str(given[setting]).lower() if given[setting] is True else given[setting]}", package
    for setting, packages in (("optim", OPTIMIZERS), ("attn_implementation", ATTENTION)):
        name = str(getattr(given.get(setting), "value", given.get(setting)) or "")
        fitting = [package for pattern, package in packages.items() if re.match(pattern, name)]
        if fitting:
            yield f"{setting}: {name}", fitting[0]
    for reporter in given.get("report_to") or []:
        if not reporter:
            raise UserError("`report_to` names no tracker. Name one, or set `none`.")
        if reporter in ("all", "none"):
            raise UserError(f"`report_to: {reporter}` stands alone, without the names of trackers.")
        yield f"report_to: {reporter}", REPORTERS.get(reporter, reporter)
