"""Launched by the tests, on one process or two: a step of training, and what each process saw of it.

The policy decodes greedily, so that what is sampled does not depend on the process, and half of the prompts have no
demonstration. Groups of 4 in local batches of 6 straddle the two processes.
"""

import json
import sys
from pathlib import Path
from typing import Any

import torch

from prefix_rft_trl import PrefixGRPOConfig, PrefixGRPOTrainer, lab


ROLLOUTS = 12


def main(folder: Path, prefix_advantage: str, processes: int) -> None:
    rows = lab.load_dataset("train", 12)
    rows = rows.map(lambda row, index: {"completion": row["completion"] if index % 2 else None}, with_indices=True)
    args = PrefixGRPOConfig(
        str(folder), prefix_advantage=prefix_advantage, num_generations=4, num_prefix_generations=2, max_steps=1,
        per_device_train_batch_size=ROLLOUTS // processes, max_completion_length=40, learning_rate=1e-3, use_cpu=True,
        bf16=False, gradient_checkpointing=False, report_to="none", save_strategy="no", logging_steps=1, seed=1,
        log_completions=True, generation_kwargs={"do_sample": False},
    )  # fmt: skip
    trainer = PrefixGRPOTrainer(lab.base_model_path(), graded_reward, args, rows)
    assert trainer.accelerator.num_processes == processes
    rollouts = record_rollouts(trainer)
    trainer.train()
    rank = trainer.accelerator.process_index
    (folder / f"rollouts-{rank}.json").write_text(json.dumps(rollouts))
    if rank == 0:
        weights = trainer.accelerator.unwrap_model(trainer.model).state_dict()
        torch.save({name: weight.clone() for name, weight in weights.items()}, folder / "weights.pt")
        (folder / "log.json").write_text(json.dumps(trainer.state.log_history[0]))
    trainer.accelerator.wait_for_everyone()
    trainer.accelerator.end_training()  # a process that leaves its group without notice can abort the other


def graded_reward(completions: list[str], **kwargs: Any) -> list[float]:
    """Differs between the rollouts of a group, which a 0/1 reward of greedy ones would not."""
    return [len(completion) / 40 + (index % 3) / 7 for index, completion in enumerate(completions)]


def record_rollouts(trainer: PrefixGRPOTrainer) -> list[dict[str, Any]]:
    """Before TRL shuffles them: a row's ids, length of its prefix and advantages."""
    rollouts: list[dict[str, Any]] = []
    generate_and_score = trainer._generate_and_score_completions

    def recording(inputs):
        outputs = generate_and_score(inputs)
        for row in range(len(inputs)):
            ids = outputs["completion_ids"][row][outputs["completion_mask"][row].bool()]
            rollouts.append(
                {
                    "prompt": inputs[row]["prompt"],
                    "ids": ids.tolist(),
                    "prefix_length": outputs["prefix_lengths"][row].item(),
                    "of_prefix": outputs["prefix_advantages"][row].item(),
                    "of_continuation": outputs["advantages"][row].item(),
                }
            )
        return outputs

    trainer._generate_and_score_completions = recording
    return rollouts


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]))
