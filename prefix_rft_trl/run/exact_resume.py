"""Resuming a GRPO run bit for bit, also within a generation batch and in a later epoch.

With `steps_per_generation` or `num_iterations` a generation batch is trained on for several steps. TRL's checkpoints
do not hold it: a run resumed in between samples another one, and its batches stay out of step with the data. Nor do
they hold how often the data was shuffled: TRL starts again from the order of the first epoch.
"""

from pathlib import Path
from typing import Any

import torch
from accelerate.logging import get_logger
from accelerate.utils import gather_object

from prefix_rft_trl.method.token_weights import prefix_token_mask
from prefix_rft_trl.utils.patching import replaced

from .running_totals import RunningTotals


logger = get_logger(__name__)


class ExactResume(RunningTotals):
    """Mixin for a [`~trl.GRPOTrainer`]: resumes a run bit for bit."""

    _step: int
    _buffered_inputs: list[dict[str, Any]] | None
    _logs: dict[str, Any]
    log_completions: bool
    _sampler: Any = None
    _epochs_trained = 0

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        # A finished run that is resumed samples nothing, and would replace its last table of completions by none
        with replaced(self, "log_completions", self.log_completions and len(self._logs["prompt"]) > 0):
            super().log(logs, start_time)

    def _get_train_sampler(self, dataset: Any = None) -> Any:
        self._sampler = super()._get_train_sampler(dataset)
        return self._sampler

    def _init_training_state(self, *args: Any, **kwargs: Any) -> tuple[int, int]:
        self._epochs_trained, steps_in_epoch = super()._init_training_state(*args, **kwargs)
        return self._epochs_trained, steps_in_epoch

    def _save_extras(self, folder: Path) -> None:
        super()._save_extras(folder)
        steps_into_batch = self._step % (self.args.steps_per_generation * self.args.num_iterations)
        place = {
            "micro_step": self._step,
            "layout": self._layout,
            "generation_batch": self._buffered_inputs if steps_into_batch else None,
        }
        torch.save(place, _place_file(folder, self.accelerator.process_index))

    @property
    def _layout(self) -> dict[str, int]:
        """The settings that make up a micro-step and a generation batch; both change with any of them."""
        names = ("per_device_train_batch_size", "gradient_accumulation_steps", "steps_per_generation")
        settings = {name: getattr(self.args, name) for name in (*names, "num_iterations", "num_generations")}
        demonstrations = getattr(self.args, "per_device_demonstration_batch_size", 0)
        settings |= {"per_device_demonstration_batch_size": demonstrations} if demonstrations else {}
        return {"num_processes": self.accelerator.num_processes, **settings}

    def _load_optimizer_and_scheduler(self, checkpoint: str | None) -> None:
        super()._load_optimizer_and_scheduler(checkpoint)
        if checkpoint is not None:
            replay_shuffles(self._sampler, self._epochs_trained)
            self._load_place(Path(checkpoint))

    def _load_place(self, checkpoint: Path) -> None:
        file = _place_file(checkpoint, self.accelerator.process_index)
        place = torch.load(file, weights_only=True, map_location=self.accelerator.device.type) if file.exists() else {}
        if all(gather_object([place.get("layout") == self._layout])):
            self._step, batch = place["micro_step"], place["generation_batch"]
            self._buffered_inputs = None if batch is None else [_with_entries_of_today(inputs) for inputs in batch]
            self._metrics["train"].update(place.get("metrics", {}))  # of 0.6.0
            return
        self._step, self._buffered_inputs = self.state.global_step * self.args.gradient_accumulation_steps, None
        logger.warning(
            f"{checkpoint} was made with {place.get('layout', 'an unknown layout')}, and is resumed with "
            f"{self._layout}: the run will differ from one that was not interrupted. The rest of its generation batch "
            "is sampled again, from the model as it is."
        )


def replay_shuffles(sampler: Any, epochs: int) -> None:
    """Draws the orders of past epochs, so that the sampler's next one is that of an uninterrupted run."""
    if getattr(sampler, "shuffle", False):
        for _ in range(epochs):
            torch.randperm(sampler.num_samples, generator=sampler.generator)


def _with_entries_of_today(inputs: dict[str, Any]) -> dict[str, Any]:
    """The entries about prefixes that a checkpoint of 0.6.0 to 0.11.0 lacks, from those that it has."""
    if "prefix_lengths" not in inputs or "prefix_shares" in inputs:
        return inputs
    shares = (1.0 / inputs["num_prefix_tokens"].clamp(min=1)).expand(len(inputs["prefix_lengths"]))
    mask = prefix_token_mask(inputs["prefix_lengths"], inputs["completion_mask"])
    return {"prefix_mask": mask, **inputs, "prefix_shares": shares}


def _place_file(checkpoint: Path, process: int) -> Path:
    return checkpoint / f"place_in_run_{process}.pt"
