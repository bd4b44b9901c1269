"""Launched by the tests on one process or two: runs whose rollouts call tools, and what each process saw of them.

The policy is in double precision and decodes greedily unless a run samples, so that what it writes does not depend on
the process.
"""

import hashlib
import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from transformers import AutoModelForCausalLM, AutoTokenizer

from prefix_rft_trl import PrefixGRPOConfig, PrefixGRPOTrainer


def add(a: int, b: int) -> str:
    """Adds two numbers.

    Args:
        a: first summand
        b: second summand
    """
    return str(a + b)


def call(a: int, b: int) -> dict[str, Any]:
    return {"type": "function", "function": {"name": "add", "arguments": {"a": a, "b": b}}}


def demonstration(numbers: list[int]) -> list[dict[str, Any]]:
    """A turn with a call for each number but the first, and the sum."""
    messages, total = [], numbers[0]
    for number in numbers[1:]:
        messages.append({"role": "assistant", "content": "", "tool_calls": [call(total, number)]})
        total += number
        messages.append({"role": "tool", "name": "add", "content": str(total)})
    return [*messages, {"role": "assistant", "content": f"The sum is {total}."}]


def train(folder: Path, model: str, run: dict[str, Any], processes: int) -> None:
    """Trains a run; `demonstrations` are the numbers to add of each row, from 0 on if it has none.

    It may have a `killed_at`, the call of the reward function at which the process ends without notice.
    """
    folder.mkdir(parents=True, exist_ok=True)
    args = PrefixGRPOConfig(
        str(folder), num_generations=4, use_cpu=True, bf16=False, gradient_checkpointing=False, report_to="none",
        logging_steps=1, seed=1, disable_tqdm=True, max_steps=2, answer_column=None, shuffle_dataset=False,
        num_prefix_generations=2, max_completion_length=150,
        generation_kwargs={"do_sample": run.get("samples", False)}, optim="sgd", learning_rate=0.5,
        lr_scheduler_type="constant", per_device_train_batch_size=12 // processes,
        prefix_selection="top_entropy_per_rollout", prefix_ratio_schedule="constant", prefix_ratio_low=0.9,
        **{"save_strategy": "no", **run["settings"]},
    )  # fmt: skip
    rows = [
        {
            "prompt": [{"role": "user", "content": "+".join(map(str, numbers)) + "?"}],
            "completion": demonstration(numbers) if numbers[0] else None,
        }
        for numbers in run["demonstrations"]
    ]
    policy = AutoModelForCausalLM.from_pretrained(model, dtype=torch.float64)
    tokenizer = AutoTokenizer.from_pretrained(model, padding_side="left")
    rewards = Rewards(run.get("killed_at"))
    trainer = PrefixGRPOTrainer(
        policy, rewards.of_texts, args, Dataset.from_list(rows), processing_class=tokenizer, tools=[add]
    )
    recorded: list[list[dict[str, Any]]] = []
    score = trainer._generate_and_score_completions

    def recording(inputs: list[dict[str, Any]]) -> dict[str, Any]:
        outputs = score(inputs)
        names = ("completion_ids", "completion_mask", "prefix_mask", "tool_mask")
        rows = []
        for row, example in enumerate(inputs):
            length = int(outputs["completion_mask"][row].sum())
            found = {name: outputs[name][row, :length].int().tolist() for name in names}
            rows.append(
                {"prompt": example["prompt"][0]["content"], "advantage": outputs["advantages"][row].item(), **found}
            )
        recorded.append(rows)
        return outputs

    trainer._generate_and_score_completions = recording
    trainer.train(resume_from_checkpoint=run.get("resumes"))
    assert trainer.accelerator.num_processes == processes
    rank = trainer.accelerator.process_index
    (folder / f"rows-{rank}.json").write_text(json.dumps(recorded))
    if rank == 0:
        weights = trainer.accelerator.unwrap_model(trainer.model).state_dict()
        torch.save(weights, folder / "weights.pt")
        (folder / "log.json").write_text(json.dumps(trainer.state.log_history))
    trainer.accelerator.wait_for_everyone()


class Rewards:
    """Rewards of texts alone, hardly ever the same for two.

    Args:
        killed_at (`int`, *optional*): the call at which the process is killed.
    """

    def __init__(self, killed_at: int | None = None) -> None:
        self.calls, self.killed_at = 0, killed_at

    def of_texts(self, completions: list[Any], **columns: Any) -> list[float]:
        self.calls += 1
        if self.calls == self.killed_at:
            os.kill(os.getpid(), signal.SIGKILL)
        texts = [json.dumps(messages, sort_keys=True) for messages in completions]
        return [int(hashlib.sha256(text.encode()).hexdigest()[:6], 16) % 100 / 100 for text in texts]


def train_killed_and_resumed(folder: Path, model: str, run: dict[str, Any]) -> None:
    """Trains a run in a process that is killed, and goes on from its last checkpoint."""
    child = os.fork()
    if not child:
        train(folder, model, run, 1)
        os._exit(0)
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == -signal.SIGKILL
    train(folder, model, run | {"killed_at": None, "resumes": True}, 1)


if __name__ == "__main__":
    folder, model, processes, runs = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]), json.loads(sys.argv[4])
    for name, run in runs.items():
        if "killed_at" in run:
            train_killed_and_resumed(folder / name, model, run)
        else:
            train(folder / name, model, run, processes)
