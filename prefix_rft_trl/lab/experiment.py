"""One run of the quickstart: trains the lab's base model by one method and writes down how its accuracy moves.

`python -m prefix_rft_trl.lab.experiment --method prefix_rft --output_dir DIR` leaves in DIR the model and
`curve.jsonl`, a line for each measurement. Accuracy is measured on held-out problems without any prefix, one answer a
problem, sampled at temperature 1.
"""

import argparse
from functools import partial
from pathlib import Path
from typing import Any

from transformers import PreTrainedModel, PreTrainedTokenizerBase

from prefix_rft_trl import PrefixGRPOConfig, PrefixGRPOTrainer
from prefix_rft_trl.evaluation.held_out import sample_answer_ids
from prefix_rft_trl.run.curve import CurveWriter, grpo_tokens
from prefix_rft_trl.run.folder import read_curve

from .task import MAX_COMPLETION_LENGTH, MEASURE_EVERY, STEPS, base_model_path, exact_answer_reward, load_dataset


METHODS = {"grpo": 0, "prefix_rft": 1}  # hybrid rollouts among the eight of a prompt


def config(method: str, output_dir: str, seed: int = 0, **overrides: Any) -> PrefixGRPOConfig:
    """The settings of a method: as in `recipes/lab`, but on the easy level, and for longer."""
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


def sample_answers(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, prompts: list[str], seed: int = 0
) -> list[str]:
    """One answer a prompt at temperature 1. Leaves the global random state and the model's mode as they were."""
    ids = sample_answer_ids(model, tokenizer, prompts, MAX_COMPLETION_LENGTH, seed)
    return tokenizer.batch_decode(ids, skip_special_tokens=True)


def measure(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> dict[str, float]:
    """Accuracy on the held-out problems, and the share of answers that work step by step."""
    held_out = load_dataset("test")
    answers = sample_answers(model, tokenizer, list(held_out["prompt"]))
    rewards = exact_answer_reward(answers, list(held_out["solution"]))
    return {
        "accuracy": sum(rewards) / len(rewards),
        "step_by_step": sum(";" in answer for answer in answers) / len(answers),
    }


def run(method: str, output_dir: str, seed: int = 0, **overrides: Any) -> dict[str, Any]:
    """Trains by a method; returns the last line of its curve."""
    trainer = PrefixGRPOTrainer(
        model=base_model_path(),
        reward_funcs=exact_answer_reward,
        args=config(method, output_dir, seed, disable_tqdm=True, **overrides),
        train_dataset=load_dataset("train"),
    )
    measured = partial(measure, tokenizer=trainer.processing_class)
    trainer.add_callback(CurveWriter(output_dir, trainer.args.logging_steps, measured, grpo_tokens(trainer.args)))
    trainer.train()
    trainer.save_model(output_dir)
    return read_curve(Path(output_dir))[-1]


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
