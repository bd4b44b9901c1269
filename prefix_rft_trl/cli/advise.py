"""`prefix-rft advise`: probe a recipe's model, data and reward for minutes, and say which method fits them."""

import argparse
import sys
from dataclasses import fields, replace
from pathlib import Path
from typing import TYPE_CHECKING

from prefix_rft_trl.advice.probed_subject import ProbeSettings
from prefix_rft_trl.estimates.devices import GPUS, Device
from prefix_rft_trl.utils.errors import UserError, as_user_error
from prefix_rft_trl.utils.files import check_writable, write_atomically
from prefix_rft_trl.utils.lazy import quick_imports
from prefix_rft_trl.utils.tables import print_sentence

from .flags import command_parser
from .launch.recipe import Recipe, load_recipe, parse_flags
from .sampling_flags import add_engine, add_settings, read_engine


if TYPE_CHECKING:
    from prefix_rft_trl.advice.probe import PlannedProbe, Remaining
    from prefix_rft_trl.advice.probe_result import ProbeResult

    from .launch.probed_recipe import ProbedRecipe

DESCRIPTION = """\
Say which method fits a model, its problems and its demonstrations: GRPO, SFT, SFT then GRPO, prefixes or another.
Samples answers to some training problems, and continuations from 10, 25, 50, 75 and 95% of their demonstrations;
reads how likely the model finds each token of the demonstrations; asks the reward whether it accepts them. The advice
is a table here and a page, advice.html, in the folder. Samples are written as they come: a command that was killed
resumes when it is given again."""

USAGE = """\
prefix-rft advise --config RECIPE.yaml [--folder DIR]
       [--output NEW_RECIPE.yaml] [--device NAME] [--SETTING VALUE ...]"""

EPILOG = """\
  prefix-rft advise --config recipes/lab/prefix_rft.yaml
  prefix-rft advise --config recipes/gsm8k/prefix_rft.yaml --num_problems 24 \\
      --device h100 --output advised.yaml

Any setting of the recipe can be given as a flag, as to `prefix-rft train`."""

HERE = "here"
LONG = 10  # minutes
MEAN_SHARE = 0.5  # of the budget that an answer takes, assumed for the time that is announced


def run(argv: list[str]) -> int:
    arguments, flags = _parser().parse_known_args(argv)
    try:
        with as_user_error(ValueError):
            return _advise(arguments, flags)
    except KeyboardInterrupt:
        print("\nStopped. The samples so far are kept: the same command resumes.", file=sys.stderr)
        return 130


def _parser() -> argparse.ArgumentParser:
    parser = command_parser("advise", DESCRIPTION, USAGE, EPILOG)
    parser.add_argument("--config", required=True, metavar="RECIPE.yaml", help="a recipe of `prefix-rft train`")
    parser.add_argument("--folder", type=Path, metavar="DIR", help="for samples and page (runs/advise-FOLDER-RECIPE)")
    parser.add_argument("--overwrite", action="store_true", help="replace a probe of other settings in the folder")
    parser.add_argument("--output", type=Path, metavar="FILE", help="write the recipe with the advised settings")
    devices = f"estimate memory and time of the training for one of: {', '.join(GPUS)}, {HERE}"
    parser.add_argument("--device", metavar="NAME", choices=[*GPUS, HERE], help=devices)
    guesses = (
        "success of guessed answers, such as 0.25 for four choices and 0 for numbers; for rows without demonstrations"
    )
    parser.add_argument("--guess_rate", type=float, metavar="SHARE", help=guesses)
    add_settings(parser.add_argument_group("probe"), ProbeSettings)
    add_engine(parser)
    return parser


def _advise(arguments: argparse.Namespace, flags: list[str]) -> int:
    given = {field.name: getattr(arguments, field.name) for field in fields(ProbeSettings)}
    settings = ProbeSettings(**{name: value for name, value in given.items() if value is not None})
    if arguments.guess_rate is not None and not 0 <= arguments.guess_rate < 1:
        raise UserError(f"`--guess_rate` is a share from 0 to below 1, found {arguments.guess_rate:g}.")
    recipe = Recipe.read(["--config", arguments.config, *flags])
    if arguments.output is not None:
        _check_output(arguments.output, recipe)
    with quick_imports(freeze=True):
        from prefix_rft_trl.advice.probe import PROBE, plan_probe, run_probe

        from .launch.probed_recipe import default_folder, read_probed_recipe

    folder = arguments.folder or default_folder(recipe)
    engine = read_engine(arguments)
    probed = read_probed_recipe(recipe)
    planned = plan_probe(probed.subject, settings, engine, _report)
    device = _device(arguments.device, probed)
    result = run_probe(
        planned, folder, arguments.overwrite, _report, lambda remaining: _report(_announce(planned, remaining, probed))
    )
    result = replace(probed.with_costs(result, device), guess_rate=arguments.guess_rate)
    result.write(folder / PROBE)
    return _show(result, folder, recipe, arguments.output)


def _check_output(output: Path, recipe: Recipe) -> None:
    if output.suffix not in (".yaml", ".yml"):
        raise UserError(f"`--output` is a recipe, and its name ends in .yaml, found {str(output)!r}.")
    if recipe.path and output.exists() and output.samefile(recipe.path):
        raise UserError(f"the output is the recipe, {str(output)!r}. Name another file.")
    for base in {*recipe.origins.values()}:
        if output.exists() and base.exists() and output.samefile(base):
            raise UserError(f"the output is a `base` of the recipe, {str(output)!r}. Name another file.")
    check_writable(output)


def _device(name: str | None, probed: "ProbedRecipe") -> Device | None:
    from prefix_rft_trl.estimates.devices import device_here

    if name == HERE:
        return device_here(on_cpu=probed.values["use_cpu"])
    return GPUS[name] if name else None


def _announce(planned: "PlannedProbe", remaining: "Remaining", probed: "ProbedRecipe") -> str:
    """What is left to sample, and for about how long."""
    import torch

    from prefix_rft_trl.estimates.devices import device_here

    subject, alone = planned.subject, planned.alone
    continued = planned.answers - len(alone.rows) * alone.sampling.num_samples
    text = (
        f"{subject.model}, {subject.dataset}: {len(alone.rows)} problems x {alone.sampling.num_samples} answers, and "
        f"{continued} continuations of {len(planned.demonstrations)} demonstrations; {remaining.answers:,} of "
        f"{planned.answers:,} are left, at most {remaining.most_tokens:,} tokens."
    )
    if planned.engine.uses_vllm:
        return text
    device, at_a_time = device_here(on_cpu=not torch.cuda.is_available()), alone.sampling.batch_size
    budget = subject.max_completion_length
    seconds = probed.seconds_to_answer(remaining.answers, at_a_time, MEAN_SHARE * budget, device)
    if seconds is None:
        return text
    minutes = round(seconds / 60)
    time = f"about {minutes} minutes" if minutes > 1 else "a minute or less"
    fewer = max(8, len(alone.rows) * LONG // minutes) if minutes > LONG else len(alone.rows)
    hint = f" Fewer problems are quicker: --num_problems {fewer}." if fewer < len(alone.rows) else ""
    return f"{text} That takes {time} if answers have half of the budget.{hint}"


def _show(result: "ProbeResult", folder: Path, recipe: Recipe, output: Path | None) -> int:
    from prefix_rft_trl.advice.advice_page import advice_page
    from prefix_rft_trl.advice.advice_rules import advise
    from prefix_rft_trl.advice.advice_table import print_advice
    from prefix_rft_trl.advice.advised_recipe import advised_recipe
    from prefix_rft_trl.advice.probe import PAGE

    advice = advise(result)
    print_advice(advice, result)
    write_atomically(folder / PAGE, advice_page(advice, result))
    said = [f"The page is {folder / PAGE}."]
    if output is not None:
        assert recipe.path is not None
        settings, flags = load_recipe(recipe.path), parse_flags(recipe.flags)
        write_atomically(output, advised_recipe(recipe.path, settings, advice, output, flags))
        said.append(
            f"The advised recipe is {output}."
            if advice.method
            else f"No method is advised: {output} has the settings of the given recipe."
        )
    for sentence in said:
        print_sentence(sentence, sys.stdout)
    return 0


def _report(sentence: str) -> None:
    print_sentence(sentence, sys.stderr)
