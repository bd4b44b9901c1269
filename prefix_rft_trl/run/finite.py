"""Numbers that are not finite: such a reward counts as no score, such weights end the run before they are saved."""

from collections import defaultdict
from typing import Any

import torch
from accelerate.logging import get_logger
from accelerate.utils import gather_object
from torch import nn
from torch.nn.utils import get_total_norm
from transformers import Trainer, TrainerCallback

from .folder import last_checkpoint


LARGEST_REWARD = 1e18  # the square of a larger one overflows float32, in which advantages are computed
logger = get_logger(__name__)


class FiniteRewards(Trainer):
    """Mixin for a [`~trl.GRPOTrainer`]: a reward that is infinite or overflows counts as no score, like `None`."""

    _has_warned = False
    reward_func_names: list[str]
    _metrics: dict[str, defaultdict[str, list[float]]]

    def _calculate_rewards(self, inputs, prompts, completions, completion_ids_list) -> torch.Tensor:
        rewards = super()._calculate_rewards(inputs, prompts, completions, completion_ids_list)
        unusable = rewards.abs() > LARGEST_REWARD  # not NaN, which is no score already
        if not unusable.any():
            return rewards
        metrics = self._metrics["train" if self.model.training else "eval"]
        for name, share in zip(self.reward_func_names, unusable.float().mean(dim=0).tolist(), strict=True):
            if share:
                metrics[f"rewards/{name}/not_finite"].append(share)
        if not self._has_warned:
            self._has_warned = True
            row, function = unusable.nonzero()[0].tolist()
            self._warn_of_reward(rewards[row, function].item(), self.reward_func_names[function], row, prompts)
        return rewards.masked_fill(unusable, torch.nan)

    def _warn_of_reward(self, reward: float, name: str, row: int, prompts: list[Any]) -> None:
        """Warns on the process that has the prompt: `row` counts the rollouts of all."""
        row -= self.accelerator.process_index * len(prompts)
        if 0 <= row < len(prompts):
            logger.warning(
                f"The reward function '{name}' gave {reward} to a completion of the prompt {prompts[row]!r:.200}. It "
                "counts as no score, as `None` does: one such number would destroy the weights. Correct the function "
                f"or clip its values. Later ones are counted in `rewards/{name}/not_finite`.",
                main_process_only=False,
            )


class WeightsNotFinite(RuntimeError):
    """Weights are NaN or infinite, and so would be all that are trained from them."""


class FiniteWeights(TrainerCallback):
    """
    Ends training, on all processes, before weights that are not finite are measured, sampled from or saved.

    Args:
        trainer ([`~transformers.Trainer`]): the trainer of the model.

    Raises:
        WeightsNotFinite: after loading the model or a checkpoint, or after the step that made them so.
    """

    def __init__(self, trainer: Trainer):
        self.trainer = trainer

    def on_train_begin(self, args, state, control, **kwargs):
        self._check(f"The run would start at step {state.global_step} from weights that are NaN or infinite")

    def on_optimizer_step(self, args, state, control, **kwargs):
        self._check(f"Step {state.global_step + 1} has made weights NaN or infinite")

    def _check(self, what: str) -> None:
        accelerator = self.trainer.accelerator
        name = first_not_finite(self.trainer.model)
        found = torch.tensor(name is not None, dtype=torch.int32, device=accelerator.device)
        if accelerator.reduce(found, reduction="sum").item():
            first = next(name for name in gather_object([name]) if name is not None)
            raise WeightsNotFinite(
                f"{what}, first in `{first}`. Nothing of them is saved; the last complete checkpoint is "
                f"{last_checkpoint(self.trainer.args.output_dir) or 'none'}. See whether `loss` and `grad_norm` grew "
                "in the steps before; then lower `learning_rate`, and use `bf16: true` instead of `fp16: true`."
            )


def first_not_finite(model: nn.Module) -> str | None:
    """The first trained parameter of which this process holds a NaN or an infinity; `None` if all are finite.

    It is one pass over the weights, several times faster than the optimizer's.
    """
    trained = [(name, parameter) for name, parameter in model.named_parameters() if parameter.requires_grad]
    local = {name: part for name, parameter in trained if (part := _local_part(parameter)).numel()}
    if get_total_norm(local.values()).isfinite():
        return None
    return next((name for name, part in local.items() if not part.isfinite().all()), None)


def _local_part(parameter: Any) -> torch.Tensor:
    """What this process holds of a parameter, which FSDP or ZeRO-3 may have sharded."""
    if hasattr(parameter, "ds_tensor"):
        shard = parameter.ds_tensor.detach().flatten()
        first = torch.distributed.get_rank(parameter.ds_process_group) * shard.numel()
        return shard[: max(0, parameter.ds_numel - first)]  # without the padding, which is uninitialized
    return (parameter.to_local() if hasattr(parameter, "to_local") else parameter).detach()
