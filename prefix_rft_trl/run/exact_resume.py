"""A GRPO run that is resumed as if it had never stopped: in the middle of a generation batch, in a later epoch.

A generation batch is trained on for several steps if `steps_per_generation` or `num_iterations` say so. TRL's own
checkpoints do not hold it: a run that is resumed in between samples another one, and its batches are out of step with
the data from then on. Nor do they say how often the data was shuffled: TRL starts again from the first epoch's order.
"""

from pathlib import Path
from typing import Any

import torch
from accelerate.logging import get_logger
from accelerate.utils import gather_object

from .checkpoints import WholeCheckpoints


logger = get_logger(__name__)


class ExactResume(WholeCheckpoints):
    """What a [`~trl.GRPOTrainer`] inherits from beside its own class."""

    _step: int
    _buffered_inputs: list[dict[str, Any]] | None
    _metrics: dict[str, dict[str, list[float]]]
    _sampler: Any = None
    _epochs_trained = 0

    def _get_train_sampler(self, dataset: Any = None) -> Any:
        self._sampler = super()._get_train_sampler(dataset)
        return self._sampler

    def _init_training_state(self, *args: Any, **kwargs: Any) -> tuple[int, int]:
        self._epochs_trained, steps_of_epoch = super()._init_training_state(*args, **kwargs)
        return self._epochs_trained, steps_of_epoch

    def _save_beside(self, folder: Path) -> None:
        super()._save_beside(folder)
        within = self._step % (self.args.steps_per_generation * self.args.num_iterations)
        place = {
            "micro_step": self._step,
            "layout": self._layout,
            "generation_batch": self._buffered_inputs if within else None,
            "metrics": {name: list(map(float, values)) for name, values in self._metrics["train"].items()},
        }
        torch.save(place, _place_file(folder, self.accelerator.process_index))

    @property
    def _layout(self) -> dict[str, int]:
        """What a micro-step and a generation batch are made of; under another one neither is the same."""
        names = ("per_device_train_batch_size", "gradient_accumulation_steps", "steps_per_generation")
        of_args = {name: getattr(self.args, name) for name in (*names, "num_iterations", "num_generations")}
        return {"num_processes": self.accelerator.num_processes, **of_args}

    def _load_optimizer_and_scheduler(self, checkpoint: str | None) -> None:
        super()._load_optimizer_and_scheduler(checkpoint)
        if checkpoint is not None:
            shuffle_again(self._sampler, self._epochs_trained)
            self._find_place(Path(checkpoint))

    def _find_place(self, checkpoint: Path) -> None:
        file = _place_file(checkpoint, self.accelerator.process_index)
        place = torch.load(file, weights_only=True, map_location=self.accelerator.device.type) if file.exists() else {}
        if all(gather_object([place.get("layout") == self._layout])):
            self._step, self._buffered_inputs = place["micro_step"], place["generation_batch"]
            self._metrics["train"].update(place["metrics"])
            return
        self._step, self._buffered_inputs = self.state.global_step * self.args.gradient_accumulation_steps, None
        made_by = place.get("layout", "an unknown layout")
        logger.warning(
            f"{checkpoint} was made with {made_by}, and {self._layout} goes on: not as the run would have without the "
            "stop. What is left of a generation batch is sampled again, from the model as it is."
        )


def shuffle_again(sampler: Any, epochs: int) -> None:
    """Draws the orders of the epochs that are over, so that the next one is that of an unbroken run."""
    if getattr(sampler, "shuffle", False):
        for _ in range(epochs):
            torch.randperm(sampler.num_samples, generator=sampler.generator)


def _place_file(checkpoint: Path, process: int) -> Path:
    return checkpoint / f"place_in_run_{process}.pt"
