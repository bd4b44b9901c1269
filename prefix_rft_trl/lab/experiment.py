"""One run of the quickstart: trains the lab's base model by one method and writes down how its accuracy moves.

`python -m prefix_rft_trl.lab.experiment --method prefix_rft --output_dir DIR` leaves in DIR the model and
`curve.jsonl`, a line for each measurement. Accuracy is measured on held-out problems without any prefix, one answer a
problem, sampled at temperature 1.
"""

import argparse
import json
import time
from pathlib import Path
from typing import Any

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase, TrainerCallback

from prefix_rft_trl import PrefixGRPOConfig, PrefixGRPOTrainer

from .task import (
    MAX_COMPLETION_LENGTH,
    MEASURE_EVERY,
    STEPS,
    base_model_path,
    exact_answer_reward,
    load_dataset,
)


METHODS = {"grpo": 0, "prefix_rft": 1}  # hybrid rollouts among the eight of a prompt


def config(method: str, output_dir: str, seed: int = 0, **overrides: Any) -> PrefixGRPOConfig:
    """The settings of a method: those of `recipes/lab/<method>.yaml`."""
    settings: dict[str, Any] = {
        "num_generations": 8,
        "num_prefix_generations": METHODS[method],
        "max_completion_length": MAX_COMPLETION_LENGTH,
        "per_device_train_batch_size": 64,
        "max_steps": STEPS,
        "learning_rate": 2e-4,
        "lr_scheduler_type": "constant",
        "use_cpu": True,
        "bf16": False,
        "gradient_checkpointing": False,
        "report_to": "none",
        "save_strategy": "no",
        "logging_steps": MEASURE_EVERY,
        "seed": seed,
    }
    return PrefixGRPOConfig(output_dir, **settings | overrides)


@torch.no_grad()
def sample_answers(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, prompts: list[str], seed: int = 0
) -> list[str]:
    """One answer a prompt at temperature 1. Leaves the global random state and the model's mode as they were."""
    training = model.training
    model.eval()
    inputs = tokenizer(prompts, return_tensors="pt", padding=True, padding_side="left")
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        outputs = model.generate(**inputs, do_sample=True, top_k=0, max_new_tokens=MAX_COMPLETION_LENGTH)
    model.train(training)
    return tokenizer.batch_decode(outputs[:, inputs["input_ids"].size(1) :], skip_special_tokens=True)


def measure(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> dict[str, float]:
    """Accuracy on the held-out problems, and the share of answers that work step by step."""
    held_out = load_dataset("test")
    answers = sample_answers(model, tokenizer, list(held_out["prompt"]))
    rewards = exact_answer_reward(answers, list(held_out["solution"]))
    return {
        "accuracy": sum(rewards) / len(rewards),
        "step_by_step": sum(";" in answer for answer in answers) / len(answers),
    }


class CurveWriter(TrainerCallback):
    """Appends a line to `curve.jsonl` at each log: the step, the held-out accuracy and what was logged."""

    def __init__(self, path: Path, tokenizer: PreTrainedTokenizerBase):
        self.path = path
        self.tokenizer = tokenizer

    def on_log(self, args, state, control, model=None, logs=None, **kwargs):
        if "loss" in logs:  # not the summary of a run that has ended
            self.write(state.global_step, model, logs)

    def write(self, step: int, model: PreTrainedModel, logs: dict[str, Any]) -> None:
        line = {"step": step, **measure(model, self.tokenizer), **logs}
        with self.path.open("a") as file:
            file.write(json.dumps(line) + "\n")


def run(method: str, output_dir: str, seed: int = 0, **overrides: Any) -> dict[str, float]:
    """Trains by a method; returns what `measure` finds at the end, and the seconds of training and measuring."""
    folder = Path(output_dir)
    folder.mkdir(parents=True, exist_ok=True)
    trainer = PrefixGRPOTrainer(
        model=base_model_path(),
        reward_funcs=exact_answer_reward,
        args=config(method, output_dir, seed, disable_tqdm=True, **overrides),
        train_dataset=load_dataset("train"),
    )
    curve = folder / "curve.jsonl"
    curve.unlink(missing_ok=True)
    writer = CurveWriter(curve, trainer.processing_class)
    writer.write(0, trainer.model, {})
    trainer.add_callback(writer)
    start = time.perf_counter()
    trainer.train()
    seconds = time.perf_counter() - start
    trainer.save_model(output_dir)
    result = {**measure(trainer.model, trainer.processing_class), "seconds": seconds}
    (folder / "result.json").write_text(json.dumps(result))
    return result


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--method", choices=METHODS, required=True)
    parser.add_argument("--output_dir", required=True)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--steps", type=int, default=STEPS)
    arguments = parser.parse_args(argv)
    run(arguments.method, arguments.output_dir, arguments.seed, max_steps=arguments.steps)


if __name__ == "__main__":
    main()
