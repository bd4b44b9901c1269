"""Launched by the tests, on one process or two: short runs, and what each process saw of them.

The policy decodes greedily, so that what is sampled does not depend on the process, and half of the prompts have no
demonstration. Groups of 4 in local batches of 6, or of 2, straddle the two processes.
"""

import json
import sys
from pathlib import Path
from typing import Any

import torch

from prefix_rft_trl import PrefixGRPOConfig, PrefixGRPOTrainer, lab


def train(folder: Path, processes: int, rollouts: int, settings: dict[str, Any]) -> PrefixGRPOTrainer:
    rows = lab.load_dataset("train", rollouts)
    rows = rows.map(lambda row, index: {"completion": row["completion"] if index % 2 else None}, with_indices=True)
    args = PrefixGRPOConfig(
        str(folder), num_generations=4, num_prefix_generations=2,
        per_device_train_batch_size=rollouts // processes, use_cpu=True,
        bf16=False, gradient_checkpointing=False, report_to="none", save_strategy="no", logging_steps=1, seed=1,
        log_completions=True, generation_kwargs={"do_sample": False},
        **{"max_steps": 1, "max_completion_length": 40, "learning_rate": 1e-3, **settings},
    )  # fmt: skip
    trainer = PrefixGRPOTrainer(lab.base_model_path(), graded_reward, args, rows)
    assert trainer.accelerator.num_processes == processes
    recorded = record_rollouts(trainer)
    trainer.train()
    rank = trainer.accelerator.process_index
    (folder / f"rollouts-{rank}.json").write_text(json.dumps(recorded))
    (folder / f"memory-{rank}.json").write_text(json.dumps(trainer._problems.state()))
    if rank == 0:
        weights = trainer.accelerator.unwrap_model(trainer.model).state_dict()
        torch.save({name: weight.clone() for name, weight in weights.items()}, folder / "weights.pt")
        (folder / "log.json").write_text(json.dumps(trainer.state.log_history[:-1]))
    trainer.accelerator.wait_for_everyone()
    return trainer


def graded_reward(completions: list[str], **kwargs: Any) -> list[float]:
    """Differs between the rollouts of a group, which a 0/1 reward of greedy ones would not."""
    of_texts = [len(completion) / 40 + sum(map(ord, completion)) % 3 / 10 for completion in completions]
    return [of_text + (index % 2) / 7 for index, of_text in enumerate(of_texts)]


def record_rollouts(trainer: PrefixGRPOTrainer) -> list[list[dict[str, Any]]]:
    """Before TRL shuffles them, for each generation batch: a row's ids, length of its prefix and advantages."""
    batches: list[list[dict[str, Any]]] = []
    generate_and_score = trainer._generate_and_score_completions

    def recording(inputs):
        outputs = generate_and_score(inputs)
        batches.append([])
        for row in range(len(inputs)):
            ids = outputs["completion_ids"][row][outputs["completion_mask"][row].bool()]
            batches[-1].append(
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
    return batches


if __name__ == "__main__":
    for name, (rollouts, settings) in json.loads(sys.argv[3]).items():
        folder = Path(sys.argv[1]) / name
        folder.mkdir(exist_ok=True)
        trainer = train(folder, int(sys.argv[2]), rollouts, settings)
    trainer.accelerator.end_training()  # a process that leaves its group without notice can abort the other
