"""Measure the gradient of prefix tokens beside that of all other tokens, in every Nth optimizer step.

The loss is a function of the log-probabilities and entropies of its tokens. What it passes back to those of prefix
tokens alone is their part of the gradient; the rest of the step's gradient is that of the sampled tokens.
"""

import math
from collections.abc import Iterable
from typing import Any

import torch
from accelerate import Accelerator

from prefix_rft_trl.utils.patching import replaced

from .lean_passes import LeanPasses


class PrefixGradients:
    """Sum of the gradients of prefix tokens over the micro-batches of a step: a further copy of the gradients.

    Args:
        parameters (`Iterable[torch.nn.Parameter]`): of the model; those that are not trained are left out.
    """

    def __init__(self, parameters: Iterable[torch.nn.Parameter]) -> None:
        self.parameters = [parameter for parameter in parameters if parameter.requires_grad]
        self._sums: list[torch.Tensor | None] = [None] * len(self.parameters)

    def add(self, loss: torch.Tensor, token_outputs: list[torch.Tensor], prefix_mask: torch.Tensor) -> None:
        """Adds those of a micro-batch, whose graph is kept for the backward pass of training.

        Args:
            loss (`torch.Tensor`): a scalar, a function of the outputs.
            token_outputs (`list[torch.Tensor]`): each of shape (batch, tokens), with a graph down to the parameters.
            prefix_mask (`torch.Tensor`): boolean, same shape.
        """
        found = torch.autograd.grad(loss, token_outputs, retain_graph=True, allow_unused=True)
        pairs = [(output, part) for output, part in zip(token_outputs, found, strict=True) if part is not None]
        if not (pairs and prefix_mask.any()):
            return
        outputs, parts = zip(*pairs, strict=True)
        of_prefixes = [part.masked_fill(~prefix_mask, 0.0) for part in parts]
        gradients = torch.autograd.grad(outputs, self.parameters, of_prefixes, retain_graph=True, allow_unused=True)
        for place, gradient in enumerate(gradients):
            if gradient is not None:
                before = self._sums[place]
                self._sums[place] = gradient if before is None else before.add_(gradient)

    def take_metrics(self, accelerator: Accelerator) -> dict[str, float]:
        """Norms over the gradient of the step, which is the mean over processes, and starts anew.

        To be called between the step's last backward pass and the clipping of its gradient.
        """
        products = torch.zeros(3, device=accelerator.device)
        for place, parameter in enumerate(self.parameters):
            own, self._sums[place] = self._sums[place], None
            prefix = torch.zeros_like(parameter, dtype=torch.float32) if own is None else own.float()
            prefix = accelerator.reduce(prefix, reduction="mean")
            sampled = -prefix if parameter.grad is None else parameter.grad.float() - prefix
            products += torch.stack([(prefix * prefix).sum(), (sampled * sampled).sum(), (prefix * sampled).sum()])
        scale = 1.0 if accelerator.scaler is None else accelerator.scaler.get_scale()
        prefix_square, sampled_square, product = (products / scale**2).tolist()
        return _norms(prefix_square, sampled_square, product)


def _norms(prefix_square: float, sampled_square: float, product: float) -> dict[str, float]:
    """Norms and cosine, without what is not finite or, where one of the gradients is 0, not defined."""
    norms = math.sqrt(prefix_square), math.sqrt(sampled_square)
    metrics = {
        "prefix/gradient_norm": norms[0],
        "prefix/gradient_norm_sampled": norms[1],
        "prefix/gradient_cosine": product / (norms[0] * norms[1]) if all(norms) else math.nan,
    }
    return {name: value for name, value in metrics.items() if math.isfinite(value)}


class GradientNorms(LeanPasses):
    """Mixin for a [`~trl.GRPOTrainer`] with the setting `prefix_gradient_norm_steps`: N logs them in every Nth step.

    Training is the same with it and without, bit for bit.
    """

    _prefix_gradients: PrefixGradients | None = None  # of the step under way, if it is measured
    _token_outputs: list[torch.Tensor] | None = None  # of the micro-batch under way
    _measured_prefix_mask: torch.Tensor | None = None

    def training_step(self, model: Any, inputs: dict[str, Any], *args: Any, **named: Any) -> torch.Tensor:
        every = getattr(self.args, "prefix_gradient_norm_steps", None)
        if not every or (self.state.global_step + 1) % every:
            return super().training_step(model, inputs, *args, **named)
        if self._prefix_gradients is None:
            self._prefix_gradients = PrefixGradients(self.model.parameters())
        with replaced(self.accelerator, "backward", self._measure_and_backward(self.accelerator.backward)):
            loss = super().training_step(model, inputs, *args, **named)
        if self.accelerator.sync_gradients:
            self._append_metrics(self._prefix_gradients.take_metrics(self.accelerator))
            self._prefix_gradients = None
        return loss

    def _measure_and_backward(self, backward: Any) -> Any:
        def measure_and_backward(loss: torch.Tensor, **named: Any) -> None:
            outputs, self._token_outputs = self._token_outputs, None
            if outputs and self._prefix_gradients is not None and self._measured_prefix_mask is not None:
                scaler = self.accelerator.scaler
                scaled = loss if scaler is None else scaler.scale(loss)
                self._prefix_gradients.add(scaled, outputs, self._measured_prefix_mask)
            backward(loss, **named)

        return measure_and_backward

    def compute_loss(self, model: Any, inputs: dict[str, Any], *args: Any, **named: Any) -> torch.Tensor:
        if self._prefix_gradients is not None and self.model.training:
            self._token_outputs, self._measured_prefix_mask = [], inputs.get("prefix_mask")
        return super().compute_loss(model, inputs, *args, **named)

    def _get_per_token_logps_and_entropies(self, *args: Any, **named: Any) -> tuple[Any, ...]:
        logps, entropies, aux_loss = super()._get_per_token_logps_and_entropies(*args, **named)
        if self._token_outputs is not None:
            outputs = [output for output in (logps, entropies) if output is not None and output.requires_grad]
            self._token_outputs.extend(outputs)
        return logps, entropies, aux_loss
