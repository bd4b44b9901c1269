"""Print the figures of a log that matter, in lines that fit the terminal; trackers and the trainer's state get all."""

import shutil
import textwrap
from collections.abc import Mapping
from typing import Any

from transformers import PrinterCallback, ProgressCallback, Trainer


FIGURES = (
    "loss", "reward", "reward_std", "prefix/reward_hybrid", "prefix/reward_on_policy", "prefix/advantage",
    "prefix/ratio", "prefix/trained_tokens", "prefix/gate_open", "prefix/coefficient", "stages/extra_rollouts",
    "stages/groups_replaced", "bank/replayed", "demonstrations/rows", "completions/mean_length",
    "completions/clipped_ratio",
    "policy_entropy", "entropy", "kl", "mean_token_accuracy", "trained_tokens", "grad_norm", "learning_rate",
    "step_time", "accuracy", "length", "demonstration_logp", "train_runtime", "train_loss", "handed_on_step",
)  # fmt: skip
DIFFERENT_RESULTS = "prefix/tool_results_differ"
ACCURACY = "eval_accuracy"


def print_figures(trainer: Trainer) -> None:
    """Replaces what a Trainer prints by the figures that matter, unless its `args` lack `log_all` or set it."""
    if getattr(trainer.args, "log_all", True):
        return
    ours = {ProgressCallback: FiguresProgress, PrinterCallback: FiguresPrinter}
    callbacks = trainer.callback_handler.callbacks
    callbacks[:] = [ours.get(type(callback), lambda callback=callback: callback)() for callback in callbacks]


class FiguresProgress(ProgressCallback):
    """The Trainer's progress bar with the latest held-out accuracy, and the figures of each log above it."""

    def on_log(self, args, state, control, logs=None, **kwargs):
        if self.training_bar is None:  # of the main process alone
            return
        self.training_bar.write(figures_text(logs, state.global_step, state.max_steps))
        if ACCURACY in logs:
            self.training_bar.set_postfix_str(f"held-out accuracy {logs[ACCURACY]:.3f}")


class FiguresPrinter(PrinterCallback):
    """Prints the figures of each log."""

    def on_log(self, args, state, control, logs=None, **kwargs):
        if state.is_local_process_zero:
            print(figures_text(logs, state.global_step, state.max_steps), flush=True)


def figures_text(logs: Mapping[str, Any], step: int, last_step: int) -> str:
    """`step 20/120: loss=0.012 reward=0.41`, in as many lines as the width of the terminal takes.

    Figures of the test split have the prefix `eval_`; of a benchmark only the mean is shown. Scores that are no number
    are shown where there are any, and so are results of tools that differ from those in demonstrations.
    """
    names = [name for prefix in ("", "eval_") for figure in FIGURES if (name := prefix + figure) in logs]
    names += [name for name in logs if name.startswith("eval_") and name.endswith("/avg")]
    names += ["prefix/tool_results", DIFFERENT_RESULTS] if logs.get(DIFFERENT_RESULTS) else []
    names += [name for name in logs if name.endswith("/not_finite")]
    has_prefixes = any(name.startswith("prefix/") for name in logs)
    if has_prefixes or "policy_entropy" in logs:  # `entropy` mixes sampled tokens with those of prefixes
        names = [name for name in names if name != "entropy"]
    figures = (f"{name}={_number(logs[name])}" for name in names if logs[name] is not None)
    text = " ".join([f"step {step}/{last_step}:", *figures])
    width = shutil.get_terminal_size().columns
    return textwrap.fill(text, width, subsequent_indent="  ", break_long_words=False, break_on_hyphens=False)


def _number(value: Any) -> str:
    return f"{value:.0f}" if float(value).is_integer() else f"{value:.4g}"
