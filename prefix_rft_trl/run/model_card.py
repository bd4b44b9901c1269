"""Write model cards that say what a run trained, from which model, how, and how well it does.

TRL makes the card, and this replaces what TRL can only guess. Nothing on it depends on the clock or the machine: a run
that was killed and resumed has the card of one that was not.
"""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import fields
from functools import partial
from pathlib import Path
from typing import Any

from huggingface_hub import ModelCard
from trl.trainer import base_trainer
from trl.trainer.utils import generate_model_card, get_config_model_id

from prefix_rft_trl import __version__
from prefix_rft_trl.models.sources import LAB
from prefix_rft_trl.utils.intervals import wilson_interval
from prefix_rft_trl.utils.markdown import code, fenced, plain_markdown
from prefix_rft_trl.utils.patching import replaced
from prefix_rft_trl.utils.redaction import redacted

from .fingerprint import is_of_training
from .folder import is_scored, read_curve
from .plateau import HANDED_ON
from .record import RunRecord, shown
from .saved_arguments import SavesNoSecrets


HUB = "https://huggingface.co"
PROCEDURE, VERSIONS = "## Training procedure", "### Framework versions"  # headings of TRL's card
DEFAULT_BUDGET = 256  # tokens of an answer, where training has none
# Settings that TRL and transformers derive from others
DERIVED = {
    "accelerator_config", "activation_checkpointing", "generation_batch_size", "gradient_checkpointing",
    "gradient_checkpointing_kwargs", "model_init_kwargs", "pad_to_multiple_of", "seed", "steps_per_generation",
}  # fmt: skip


class DescribedRun(SavesNoSecrets):
    """
    Mixin for a trainer of TRL: its model card describes the run.

    Attributes:
        record (`RunRecord`, *optional*): how the command line started it; by default what the trainer's arguments say.
        example_prompt (`str` or `list[dict]`, *optional*): a prompt of its dataset; by default that of the first row.
    """

    record: RunRecord | None = None
    example_prompt: Any = None

    def train(self, *args: Any, **kwargs: Any) -> Any:
        self.record = self.record or record_of_arguments(self)
        return super().train(*args, **kwargs)

    def create_model_card(
        self, model_name: str | None = None, dataset_name: str | None = None, tags: str | list[str] | None = None
    ) -> None:
        """Writes the card of the model, as far as it is trained, into the output folder."""
        record = self.record or record_of_arguments(self)
        names = (model_name or Path(self.args.output_dir).name, dataset_name or record.dataset_on_hub)
        with replaced(base_trainer, "generate_model_card", partial(make_card, self, record)):
            super().create_model_card(*names, tags)


def record_of_arguments(trainer: Any) -> RunRecord:
    """The record of a run that no command line has started."""
    own = [field for field in fields(trainer.args) if is_of_training(field.name) and field.name not in DERIVED]
    values = {field.name: (getattr(trainer.args, field.name), field.default) for field in own}
    changed = {name: value for name, (value, default) in values.items() if value != default}
    return RunRecord.at_start(get_config_model_id(trainer.model.config) or "", settings=redacted(changed))


def make_card(trainer: Any, record: RunRecord, **given: Any) -> ModelCard:
    """TRL's card of a run, with what is known of it.

    Args:
        trainer ([`~transformers.Trainer`]): the trainer of the run.
        record (`RunRecord`): how the run was started.
        given: what TRL's `generate_model_card` is given.
    """
    tags = sorted(given["tags"])  # TRL's are in the order of a set
    card = generate_model_card(**{**given, "base_model": record.model_on_hub, "tags": tags})
    vars(card.data).pop("licence", None)  # a stand-in
    procedure, _, versions = card.text.partition(PROCEDURE)[2].partition(VERSIONS)
    parts = [
        f"# {plain_markdown(given['model_name'])}",
        _summary(record, given["trainer_name"], given["dataset_name"]),
        *_accuracy(trainer),
        *_usage(trainer, record, given),
        PROCEDURE,
        re.sub(r"\n\s*\n", "\n\n", procedure.strip()),
        *_how_it_was_trained(record, trainer.args.seed),
        f"{VERSIONS}\n\n- prefix_rft_trl: {__version__}\n{versions.strip()}",
    ]
    card.text = "\n" + "\n\n".join(parts) + "\n"
    return card


def _summary(record: RunRecord, method: str, dataset_on_hub: str | None) -> str:
    model = code(shown(record.model)) if record.model else "a model"
    if record.is_model_of_package:
        model = "the lab's base model (of prefix_rft_trl)"
    elif record.model_on_hub:
        model = f"[{record.model}]({HUB}/{record.model_on_hub})"
    dataset = f" on {code(shown(record.dataset))}" if record.dataset else ""
    if record.dataset == LAB:
        dataset = " on the lab's dataset"
    elif dataset_on_hub:
        dataset = f" on [{plain_markdown(record.dataset or dataset_on_hub)}]({HUB}/datasets/{dataset_on_hub})"
    stages = ", ".join(map(code, record.stages_before))
    return f"This model is {model} trained with {method}{dataset}{f', after the stage {stages}' if stages else ''}."


def _accuracy(trainer: Any) -> Iterator[str]:
    """Held-out accuracy before training and of the model, if the run has measured it."""
    step, best = trainer.state.global_step, trainer.state.best_global_step
    if trainer.args.load_best_model_at_end and best is not None and step >= trainer.state.max_steps:
        step = best
    lines = [line for line in read_curve(trainer.args.output_dir) if line["step"] <= step and is_scored(line)]
    if not lines:
        return
    number = lines[-1].get("problems")
    yield "## Accuracy"
    yield (
        f"On {f'{number} ' if number else ''}held-out problems, with one sampled answer to each. The intervals are "
        "Wilson's: how far the draw of the problems may have moved the figure."
    )
    rows = [_accuracy_row(line) for line in (lines[:1] if lines[0]["step"] == 0 < step else []) + lines[-1:]]
    yield "\n".join(["| step | accuracy | 95% interval |", "| --- | --- | --- |", *rows])


def _accuracy_row(line: Mapping[str, Any]) -> str:
    interval = wilson_interval(line["accuracy"], line.get("problems", 0))
    step = line.get(HANDED_ON, line["step"]) or "0 (before training)"
    return f"| {step} | {line['accuracy']:.3f} | {'{:.3f} to {:.3f}'.format(*interval) if interval else ''} |"


def _usage(trainer: Any, record: RunRecord, given: Mapping[str, Any]) -> Iterator[str]:
    prompt, note = trainer.example_prompt or _first_row(trainer).get("prompt"), ""
    if prompt is None or not (given["dataset_name"] or record.is_dataset_of_package):
        # A row of somebody's own data is not for the public
        prompt = [{"role": "user", "content": "..."}] if isinstance(prompt, list) else "..."
        note = "  # in the form of the training prompts"
    measured = record.settings.get("measure_max_new_tokens", DEFAULT_BUDGET)
    budget = getattr(trainer.args, "max_completion_length", measured)
    yield "## Quick start"
    yield fenced(
        "from transformers import pipeline\n\n"
        f"prompt = {json.dumps(prompt, ensure_ascii=False)}{note}\n"
        f'generator = pipeline("text-generation", model="{given["hub_model_id"] or shown(trainer.args.output_dir)}")\n'
        f"output = generator(prompt, max_new_tokens={budget}, return_full_text=False)\n"
        'print(output[0]["generated_text"])',
        "python",
    )


def _first_row(trainer: Any) -> dict[str, Any]:
    return next(iter(trainer.train_dataset), {})


def _how_it_was_trained(record: RunRecord, seed: int) -> Iterator[str]:
    if record.command:
        yield fenced(record.command, "shell")
    if not record.settings:
        yield f"The seed was {seed}; all other settings are the defaults."
        return
    yield f"The seed was {seed}. These settings differ from the defaults:"
    rows = (f"| `{name}` | {_in_cell(shown(value))} |" for name, value in sorted(record.settings.items()))
    yield "\n".join(["| setting | value |", "| --- | --- |", *rows])


def _in_cell(text: str) -> str:
    return code(text).replace("|", "\\|")
