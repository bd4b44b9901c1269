"""Prints sampled rollouts so that they can be read at 80 columns, with a mark where the prefix ends.

TRL prints a table with a column for each reward and each logged value, which leaves a few characters for the text.
Here the figures of a rollout are one line, with its texts below.
"""

import json
import random
from typing import Any

from transformers import TrainerCallback

from prefix_rft_trl.rewards.answers import completion_text, message_text
from prefix_rft_trl.utils.printable import printable
from prefix_rft_trl.utils.shared_start import shared_start


PREFIX_END = "▌"
NOT_PRINTED = ("prefix_length", "prefix_characters", "prefix_turns", "demonstration")  # by their names

Completion = str | list[dict[str, Any]]


def prefix_characters(completion: Completion, prefix_text: str) -> int:
    """Number of characters of a completion's text that came from the demonstration.

    A prefix may end inside a character of several tokens, hence the longest common start. The parser of a run with
    tools takes thinking out of a message: the text then starts somewhere in the prefix.
    """
    text = completion_text(completion)
    if shared := len(shared_start(text, prefix_text)):
        return shared
    most = min(len(text), len(prefix_text))
    return next((length for length in range(most, 0, -1) if prefix_text.endswith(text[:length])), 0)


def earlier_messages(completion: Completion) -> str:
    """The messages before the last of a completion with tool calls, each in a line; calls as JSON."""
    messages = completion[:-1] if isinstance(completion, list) else []
    calls = [[call["function"] for call in message.get("tool_calls") or []] for message in messages]
    return "\n".join(
        " ".join([f"{message['role']}:", message_text(message), *map(json.dumps, of_message)])
        for message, of_message in zip(messages, calls, strict=True)
    )


class CompletionsPrinter(TrainerCallback):
    """Prints the rollouts that a trainer has logged, in place of TRL's table.

    Args:
        trainer ([`PrefixGRPOTrainer`]): with `log_completions`. Its `num_completions_to_print` is taken over: TRL
            prints nothing then, and still writes its Parquet file.
    """

    def __init__(self, trainer: Any):
        self.trainer, self.number = trainer, trainer.num_completions_to_print
        trainer.num_completions_to_print = 0

    def on_log(self, args, state, control, logs=None, **kwargs):
        is_of_rollouts = "reward" in logs or "eval_reward" in logs  # and no measurement, nor the summary of a run
        if state.is_world_process_zero and is_of_rollouts:
            print_rollouts(self.trainer._logs, state.global_step, self.number)


def print_rollouts(logs: dict[str, Any], step: int, number: int | None) -> None:
    """Prints logged rollouts.

    Args:
        logs (`dict`): columns `prompt`, `completion`, `rewards`, `advantages` and `extra`, as TRL's trainer has them.
        step (`int`): optimizer steps done so far.
        number (`int` or `None`): how many, drawn at random; `None` for all.
    """
    from rich.console import Console
    from rich.rule import Rule
    from rich.text import Text

    rows = list(range(len(logs["completion"])))
    if number is not None and number < len(rows):
        rows = sorted(random.Random(step).sample(rows, number))
    console = Console(highlight=False)
    console.print(Rule(f"step {step}"))
    for row in rows:
        console.print(Text(printable(rollout_line(logs, row)), style="bold"))
        prompt, completion = logs["prompt"][row], logs["completion"][row]
        text = printable(completion_text(completion))
        end = logs["extra"].get("prefix_characters", {row: 0})[row]
        console.print(Text(printable(completion_text(prompt)), style="dim"))
        if earlier := earlier_messages(completion):
            console.print(Text(printable(earlier), style="dim"))
        prefix = Text(text[:end] + PREFIX_END, style="cyan") if end else Text()
        console.print(prefix + Text(text[end:], style="green"), Text(), sep="\n")


def rollout_line(logs: dict[str, Any], row: int) -> str:
    """`hybrid, prefix of 12 tokens · exact_answer_reward 1.00 · advantage +0.88`."""
    extra = {name: values[row] for name, values in logs["extra"].items()}
    turns = extra.get("prefix_turns", 0)
    given = "prefix" if turns or extra.get("prefix_characters") else "hint"
    kind = f"hybrid, {given} of {extra['prefix_length']} tokens" if extra.pop("hybrid", False) else "on-policy"
    kind += f" in {turns} turns" if turns > 1 else ""
    figures = [f"{name} {values[row]:.2f}" for name, values in logs["rewards"].items() if values[row] is not None]
    figures.append(f"advantage {logs['advantages'][row]:+.2f}")
    others = [f"{name} {value}" for name, value in extra.items() if name not in NOT_PRINTED]
    return " · ".join([kind, *figures, *others])
