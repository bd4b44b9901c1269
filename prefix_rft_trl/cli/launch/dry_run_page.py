"""What a dry run prints: settings, data, steps, the first rows, memory and time, and files. It fits 80 columns."""

import json
import shutil
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from statistics import mean
from typing import TYPE_CHECKING, Any

from prefix_rft_trl.data.held_out import HELD_OUT
from prefix_rft_trl.estimates.completion_lengths import LengthDistribution
from prefix_rft_trl.estimates.cost import GB, Workload, has_further_samples, memory, seconds_of_step, two_digits
from prefix_rft_trl.estimates.devices import NO_GPU_HERE
from prefix_rft_trl.run.folder import CURVE, ENVIRONMENT, STATE
from prefix_rft_trl.run.progress import PROGRESS
from prefix_rft_trl.run.settings import RUN_SETTINGS
from prefix_rft_trl.run.used_folder import STAGE_RECIPE
from prefix_rft_trl.utils.recipe_files import FOLDER
from prefix_rft_trl.utils.redaction import redacted

from .recipe import Recipe, grouped


if TYPE_CHECKING:
    from .dry_run import StagePreview
    from .first_rows import SampledLengths

WIDTH = 80
NAMES = 32  # columns of the names of settings and files
EXCERPT = 900, 300  # characters of a long text that are shown, from its start and before its end
DEFAULTS = (  # that are shown where nothing sets them, of those that the trainer has
    "trainer", "output_dir", "num_generations", "num_prefix_generations", "prefix_ratio_schedule", "prefix_ratio_high",
    "prefix_ratio_low", "max_completion_length", "max_length", "per_device_train_batch_size",
    "gradient_accumulation_steps", "max_steps", "num_train_epochs", "learning_rate", "lr_scheduler_type", "loss_type",
    "scale_rewards", "beta", "temperature", "dtype", "bf16", "gradient_checkpointing", "use_vllm", "use_peft",
    "measure_steps", "save_steps", "save_strategy", "seed",
)  # fmt: skip


def describe(preview: "StagePreview", replaces: bool) -> Iterator[str]:
    """The lines about a training.

    Args:
        replaces (`bool`): whether an earlier run in its folder is removed.
    """
    lengths = preview.rows.lengths
    yield from _settings(preview)
    yield from _section("Data", _data(preview, lengths))
    yield from _section("Steps", _steps(preview))
    yield from _first_rows(preview)
    yield from _section(f"Memory and time, estimated for {_device(preview)}", _cost(preview, lengths))
    yield from textwrap.wrap(f"Files, in {preview.run.folder}", WIDTH)
    yield from (_pair(name, text) for name, text in _files(preview, replaces))


def settings_by_origin(recipe: Recipe, values: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """The settings of a training as they were given, and the defaults that matter, by where they come from."""
    line = {name: " ".join(words) or "true" for name, words in grouped(recipe.flags)}
    found: dict[str, dict[str, Any]] = {"Settings of the command line": line}
    for name, value in recipe.settings.items():
        file = recipe.origins.get(name) or recipe.path
        if name not in line:
            found.setdefault(f"Settings of {_short(file) if file else 'the recipe'}", {})[name] = value
    given = {*line, *recipe.settings, "num_train_epochs" if values["max_steps"] > 0 else "max_steps"}
    hidden = () if values.get("num_prefix_generations", 1) else ("prefix_ratio",)
    shown = [name for name in DEFAULTS if name in values and name not in given and not name.startswith(hidden)]
    found["Defaults"] = {name: values[name] for name in shown}
    return {origin: settings for origin, settings in found.items() if settings}


def _short(file: Path) -> str:
    """The path of a recipe as a command names it."""
    if file.is_relative_to(FOLDER):
        return f"recipes/{file.relative_to(FOLDER)}"
    return str(file.relative_to(Path.cwd()) if file.is_relative_to(Path.cwd()) else file)


def _settings(preview: "StagePreview") -> Iterator[str]:
    for origin, settings in settings_by_origin(preview.recipe, preview.values).items():
        yield from (
            *textwrap.wrap(origin, WIDTH),
            *(_pair(name, _value(redacted(value, name))) for name, value in settings.items()),
            "",
        )


def _value(value: Any) -> str:
    value = getattr(value, "value", value)  # of an enumeration
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)


def _data(preview: "StagePreview", lengths: "SampledLengths") -> Iterator[str]:
    values, dataset = preview.values, preview.plan.arguments["train_dataset"]
    number = f"{len(dataset):,} rows" if hasattr(dataset, "__len__") else "a stream"
    yield f"{values['dataset_name']}, split {values['dataset_train_split']}: {number} to train on."
    is_hinted = values.get("prefix_placement") == "prompt" and lengths.demonstrations
    yield _about("A prompt with its longest hint" if is_hinted else "A prompt", lengths.prompts)
    if lengths.demonstrations:
        yield _about("A demonstration", lengths.demonstrations)
    if (second := preview.plan.arguments.get("demonstration_dataset")) is not None:
        yield f"{values['demonstration_dataset_name']}: {len(second):,} rows of demonstrations beside them."
    if without := preview.plan.without_answer:
        yield without
    if (held_out := preview.plan.held_out) is not None:
        every, missing = values["measure_steps"], preview.plan.held_out_without_answer
        yield (
            f"Accuracy is measured on {len(held_out.rows):,} {_held_out(values)}, at the start, every {every} "
            f"{_plural('step', every)} and at the end."
            + (f" {missing:,} of them have no answer and are left out of it." if missing else "")
        )
    if preview.plan.benchmarks:
        yield f"Benchmarks: {', '.join(values['eval_benchmarks'])}."


def _held_out(values: dict[str, Any]) -> str:
    if values["measure_split"] == HELD_OUT:
        for name in ("dataset_test_file", "test_share"):
            if values[name]:
                return f"held-out problems ({name} {values[name]})"
    return f"problems of split {values['measure_split']}"


def _about(what: str, lengths: Sequence[int]) -> str:
    return (
        f"{what} has {mean(lengths):,.0f} tokens on average, the longest of {len(lengths)} that were encoded "
        f"{max(lengths):,}."
    )


def _steps(preview: "StagePreview") -> Iterator[str]:
    values, processes, args = preview.values, preview.processes.number, preview.plan.arguments["args"]
    rows, passes = values["per_device_train_batch_size"], values["gradient_accumulation_steps"]
    step = rows * passes * processes
    made = f"{processes} {_plural('process', processes)} x {passes} {_plural('pass', passes)} x {rows} rows"
    if generations := values.get("num_generations"):
        hybrids = values.get("num_prefix_generations", 0)
        prompts = step / generations
        yield (
            f"A step trains on {prompts:g} {_plural('prompt', prompts)} x {generations} rollouts = {step} rollouts "
            f"({made}). {_hybrids(values, hybrids)}"
        )
        if values.get("prefix_stage_ratios"):
            yield _stages(values)
        if beside := values.get("per_device_demonstration_batch_size", 0) * passes * processes:
            yield f"Beside them it trains {beside} {_plural('demonstration', beside)} of the second dataset."
        if args.generation_batch_size != step:
            yield f"{args.generation_batch_size} rollouts are sampled at a time."
    else:
        prompts = step
        yield f"A step trains on {step} {'packed rows' if values.get('packing') else 'demonstrations'} ({made})."
    yield _length(preview, prompts)
    if preview.checkpoint:
        yield f"It resumes from {preview.checkpoint}."


def _hybrids(values: Mapping[str, Any], number: int) -> str:
    share = values.get("prefix_prompt_share", 1.0)
    prompts = "a prompt" if share == 1 or not number else f"{share:g} of the prompts"
    if values.get("prefix_placement") == "prompt" and number:
        return f"Of the rollouts of {prompts}, {number} {'have' if number > 1 else 'has'} a hint in the prompt."
    if values.get("demonstration_source") == "own" and number:
        return (
            f"Once the run has solved problems, {share:g} of the prompts are of those: {number} of their rollouts "
            f"{'start' if number > 1 else 'starts'} with an own success. Demonstrations of the dataset are not used."
        )
    return f"Of the rollouts of {prompts}, {number or 'none'} {'start' if number > 1 else 'starts'} with a prefix."


def _stages(values: Mapping[str, Any]) -> str:
    ratios = values["prefix_stage_ratios"]
    number = f"{len(ratios)} {_plural('stage', len(ratios))}"
    shares = f"from {', '.join(f'{ratio:g}' for ratio in ratios)} of the demonstration" if any(ratios) else "plainly"
    if values.get("prefix_stage_replaces") == "none":
        later = sum(values.get("prefix_stage_generations") or [])
        return f"{later} of them are sampled after the others, in {number}: {shares} where the others mostly fail."
    of_whom = "with one reward" if values.get("prefix_stage_groups") == "equal" else "that fail"
    for_what = ", for other prompts" if values.get("prefix_stage_prompts") == "other" else ""
    return f"Groups {of_whom} are sampled again in up to {number}, {shares}{for_what}."


def _length(preview: "StagePreview", prompts: float) -> str:
    dataset, repeats = preview.plan.arguments["train_dataset"], preview.values.get("num_iterations", 1)
    if preview.steps is None:
        return (
            f"{preview.values['num_train_epochs']:g} passes over the rows; how many steps that are is not known yet."
        )
    steps = f"{preview.steps:,} {_plural('step', preview.steps)}"
    if not hasattr(dataset, "__len__"):
        return f"{steps}."
    passes = preview.steps * prompts / repeats / len(dataset)
    return f"{steps}: {passes:{'.2g' if passes < 10 else ',.0f'}} passes over the rows."


def _first_rows(preview: "StagePreview") -> Iterator[str]:
    rows, values = preview.rows, preview.values
    budget = values.get("max_completion_length")
    spliced = rows.spliced
    if budget and (spliced is None or rows.prompt != spliced.prompt):
        yield from ("First prompt", *_text(rows, "prompt", rows.prompt), "")
    if spliced is None:
        if values.get("num_prefix_generations"):
            yield from ("First hybrid rollout", "  There is none in the first step.", "")
        return
    whole = len(spliced.prefix) + len(spliced.rest)
    if not budget:
        yield from ("First demonstration", *_text(rows, "prompt", spliced.prompt))
        yield from (*_text(rows, "demonstration, which is trained on", spliced.prefix), "")
        return
    yield from ("First hybrid rollout", *_text(rows, "prompt", spliced.prompt))
    if spliced.has_hint:
        yield f"  here the model starts, for at most {budget:,} {_plural('token', budget)}; the prompt has a hint of"
        yield f"  {len(spliced.prefix):,} of the demonstration's {whole:,} tokens"
        yield from (*_text(rows, "rest of the demonstration, which is not given", spliced.rest), "")
        return
    if not spliced.rest:
        yield from (*_text(rows, "demonstration, given as a whole", spliced.prefix), "")
        return
    yield from _text(rows, f"prefix, of the demonstration's {whole:,} tokens", spliced.prefix)
    left = budget - len(spliced.prefix)
    yield f"  here the model goes on, for at most {left:,} {_plural('token', left)}"
    yield from (*_text(rows, "rest of the demonstration, which is not given", spliced.rest), "")


def _text(rows: Any, title: str, ids: list[int]) -> Iterator[str]:
    """Tokens as text, after a line that counts them."""
    text = rows.tokenizer.decode(ids)
    head, tail = EXCERPT
    if len(text) > head + tail:
        text = f"{text[:head]}\n[... {len(text) - head - tail:,} characters ...]\n{text[-tail:]}"
    yield f"  {title} ({len(ids):,} {_plural('token', len(ids))})"
    for line in text.split("\n"):
        wrapped = textwrap.wrap(line, WIDTH - 6, replace_whitespace=False, drop_whitespace=False) or [""]
        yield from (f"    | {part}".rstrip() for part in wrapped)


def _cost(preview: "StagePreview", lengths: "SampledLengths") -> Iterator[str]:
    model, device = preview.size, preview.device
    if model is None:
        yield "There is no estimate for a model of this kind."
        return
    work = _workload(preview, lengths)
    used, seconds = memory(work, model, device), seconds_of_step(work, model, device)
    yield f"Model: {_count(model.parameters)} parameters{_adapter(preview, work)}."
    fits = "" if used < device.memory else " It does not fit."
    yield f"Memory: {_bytes(used)} of {_bytes(device.memory)} on each device, beside PyTorch itself.{fits}"
    total = f", {_duration(seconds * preview.steps)} for {preview.steps:,}" if preview.steps else ""
    further = " without its stages, which depend on the rewards" if has_further_samples(preview.values) else ""
    yield f"Time: {_duration(seconds)} a step{total}{further}."
    yield (
        "Expect both to be off by a factor of two. Loading, rewards, measurements and saving are not in the time. "
        f"{'Assumed:' if work.samples else 'With'} {work.assumptions}."
    )


def _device(preview: "StagePreview") -> str:
    name = preview.device.name
    return f"an {name}, as this machine has no GPU" if preview.device is NO_GPU_HERE else name


def _workload(preview: "StagePreview", lengths: "SampledLengths") -> Workload:
    lengths_of_answers = None
    if "num_generations" not in preview.values:
        lengths_of_answers = LengthDistribution(mean(lengths.demonstrations), max(lengths.demonstrations))
    prompt, processes = mean(lengths.prompts), preview.processes
    return Workload.from_settings(
        preview.values, processes.shards, prompt, lengths_of_answers, processes=processes.number
    )


def _adapter(preview: "StagePreview", work: Workload) -> str:
    return f", and {_count(preview.size.adapter(work.rank))} of the adapter" if preview.size and work.rank else ""


def _files(preview: "StagePreview", replaces: bool) -> Iterator[tuple[str, str]]:
    values, folder = preview.values, preview.run.folder
    if replaces:
        yield "", "The run that is there is removed first (`overwrite`)."
    if preview.recipe.stage:
        yield STAGE_RECIPE, "at the start: the settings of this stage"
    yield f"{RUN_SETTINGS}, {ENVIRONMENT}", "at the start"
    yield PROGRESS, "while it trains: how far it has come"
    if values["measure_steps"]:
        yield CURVE, "with each measurement"
    if values.get("log_completions"):
        yield "completions/", "with each log"
    strategy = str(getattr(values["save_strategy"], "value", values["save_strategy"]))
    if strategy != "no":
        every = {"steps": f"every {values['save_steps']:g} steps", "epoch": "every epoch"}.get(strategy, strategy)
        kept = f", the last {values['save_total_limit']} kept" if values["save_total_limit"] else ", all kept"
        yield "checkpoint-STEP/", f"{every} and at the end{kept}{_size(preview, True)}"
    yield "model, tokenizer", f"at the end{_size(preview, False)}"
    yield f"README.md, {STATE}", "at the end"
    changes = values["model_changes"]
    if changes and not Path(changes["folder"]).exists():
        yield changes["folder"], "beside it: the changed model, with links to the weights"
    trackers = [name for name in values["report_to"] or [] if name != "none"]
    if trackers:
        yield "", f"Metrics go to {', '.join(trackers)}."
    if values["push_to_hub"]:
        yield "", "The model is pushed to the Hub."
    parent = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    yield "", f"{_bytes(shutil.disk_usage(parent).free)} are free on that disk."


def _size(preview: "StagePreview", is_checkpoint: bool) -> str:
    if preview.size is None:
        return ""
    work = Workload.from_settings(preview.values)
    trained = preview.size.adapter(work.rank) if work.rank else preview.size.parameters
    has_optimizer = is_checkpoint and not preview.values["save_only_model"]
    weight = 4.0 if work.rank else work.weight
    return f", {_bytes(trained * weight * (3 if has_optimizer else 1))}{' each' if is_checkpoint else ''}"


def _section(title: str, sentences: Iterator[str]) -> Iterator[str]:
    yield from textwrap.wrap(title, WIDTH)
    for sentence in sentences:
        yield from textwrap.wrap(sentence, WIDTH, initial_indent="  ", subsequent_indent="  ", break_on_hyphens=False)
    yield ""


def _pair(name: str, text: str) -> str:
    start = f"  {name:<{NAMES - 2}}" if name else "  "
    after = "  " if not name else " " * NAMES
    if len(start) > NAMES:
        start = f"{start} "
    filled = textwrap.fill(text, WIDTH, initial_indent=start, subsequent_indent=after, break_on_hyphens=False)
    return filled or start.rstrip()


def _plural(noun: str, number: float) -> str:
    return noun if number == 1 else f"{noun}es" if noun.endswith("s") else f"{noun}s"


def _count(number: float) -> str:
    for size, unit in ((1e9, " billion"), (1e6, " million")):
        if number >= size:
            return f"{number / size:.3g}{unit}"
    return f"{number:,.0f}"


def _bytes(number: float) -> str:
    return f"{number / GB:.3g} GB" if number >= 1e8 else f"{two_digits(number / 1e6)} MB"


def _duration(seconds: float) -> str:
    for size, unit in ((86400, "days"), (3600, "hours"), (60, "minutes")):
        if seconds >= 2 * size:
            return f"{two_digits(seconds / size)} {unit}"
    return f"{two_digits(seconds)} s"
