"""A run on images, of one process or of several: a step on eight rollouts that are not drawn.

python train_on_images.py MODEL FOLDER [SETTINGS as JSON]
"""

import json
import os
import sys
from pathlib import Path

import torch
from datasets import Dataset
from PIL import Image

from prefix_rft_trl import PrefixGRPOConfig, PrefixGRPOTrainer


def reward(completion_ids, **kwargs):
    return [sum(ids) % 11 / 10 for ids in completion_ids]


model, folder = sys.argv[1], Path(sys.argv[2])
processes = int(os.environ.get("WORLD_SIZE", "1"))
pictures = [[Image.new("RGB", (28 * width, 28), color) for width in (1, 2)] for color in ("red", "blue", "green")]
rows = {
    "prompt": [[{"role": "user", "content": "What is this?" + "!" * 3 * row}] for row in range(4)],
    "completion": [[{"role": "assistant", "content": text}] for text in ("red", "both are blue", "it is green", "no")],
    "images": [pictures[0][:1], pictures[1], pictures[2], []],
}
settings = {
    "use_cpu": True, "bf16": False, "report_to": "none", "save_strategy": "no", "disable_tqdm": True, "max_steps": 2,
    "max_completion_length": 16, "per_device_train_batch_size": 8 // processes, "num_generations": 4, "optim": "sgd",
    "learning_rate": 1e-3, "num_prefix_generations": 2, "generation_kwargs": {"do_sample": False}, "logging_steps": 1,
    "gradient_checkpointing": False, **json.loads("".join(sys.argv[3:]) or "{}"),
}  # fmt: skip
trainer = PrefixGRPOTrainer(model, reward, PrefixGRPOConfig(str(folder), **settings), Dataset.from_dict(rows))
assert trainer.accelerator.num_processes == processes
recorded, score = [], trainer._generate_and_score_completions


def score_and_record(inputs):
    outputs = score(inputs)
    masks = outputs["completion_mask"].bool()
    ids = [ids[mask].tolist() for ids, mask in zip(outputs["completion_ids"], masks, strict=True)]
    recorded.append(list(zip(ids, outputs["prefix_lengths"].tolist(), strict=True)))
    return outputs


trainer._generate_and_score_completions = score_and_record
trainer.train()
folder.mkdir(exist_ok=True)
rank = trainer.accelerator.process_index
(folder / f"rows-{rank}.json").write_text(json.dumps(recorded))
if rank == 0:
    torch.save(trainer.accelerator.unwrap_model(trainer.model_wrapped).state_dict(), folder / "weights.pt")
trainer.accelerator.wait_for_everyone()
if torch.distributed.is_initialized():
    torch.distributed.destroy_process_group()
sys.stdout.flush()
sys.stderr.flush()
os._exit(0)  # the interpreter's own end aborts once in a while
