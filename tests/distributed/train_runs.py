"""Launched by the tests on one process or two: short runs, and what each process saw of them.

Unless a run samples, the policy decodes greedily, so that what it writes does not depend on the process. Groups of 4
in local batches of 6, or of 2, straddle the two processes.
"""

import json
import os
import random
import sys
from pathlib import Path
from typing import Any

import deepspeed_on_cpus
import fsdp_on_cpus
import sharding
import torch

from prefix_rft_trl import PrefixGRPOConfig, PrefixGRPOTrainer, lab
from prefix_rft_trl.method import selections as imitation


END = 1  # token id of the lab's end of sequence
SELECTIONS = dict(imitation.SELECTIONS)


def train(folder: Path, kind: str, run: dict[str, Any]) -> None:
    """Trains a run and writes down what it did.

    Args:
        folder (`Path`): where it is written.
        kind (`str`): how the model is expected to be shared out; see `sharding`.
        run (`dict`): `rollouts` of a generation batch, which prompts are `demonstrated`, in turn, and the `settings`;
            whether it `samples`, is `endless` (no rollout ends before its budget), is `staged` and so rewarded by its
            texts alone, has its rollouts `drawn_by_row`, the checkpoint of another run that it `resumes`, what it
            changes of the `environment`, the rows of its `second_dataset`, and, where its completions are drawn
            instead of generated, which prompts are `live`: their rewards differ.
    """
    folder.mkdir(parents=True, exist_ok=True)
    trainer = make_trainer(folder, kind, run)
    recorded, kept = record_rollouts(trainer), record_kept_tokens()
    CALLS.clear()
    trainer.train(resume_from_checkpoint=run.get("resumes") and str(folder.parent / run["resumes"]))
    sharding.check(trainer, kind)
    rank = trainer.accelerator.process_index
    (folder / f"rollouts-{rank}.json").write_text(json.dumps(recorded))
    (folder / f"kept-{rank}.json").write_text(json.dumps(kept))
    (folder / f"calls-{rank}.json").write_text(json.dumps(CALLS))
    (folder / f"memory-{rank}.json").write_text(json.dumps(trainer._success_history.state()))
    weights = trainer.accelerator.get_state_dict(trainer.model_wrapped)  # whole, from all processes
    if rank == 0:
        torch.save({name: weight.clone() for name, weight in weights.items()}, folder / "weights.pt")
        (folder / "log.json").write_text(json.dumps(trainer.state.log_history[:-1]))
    trainer.accelerator.wait_for_everyone()


def make_trainer(folder: Path, kind: str, run: dict[str, Any]) -> PrefixGRPOTrainer:
    processes = 1 if kind == "one" else 2
    generation: dict[str, Any] = {} if run.get("samples") else {"do_sample": False}
    if run.get("endless"):
        generation["suppress_tokens"] = [END]
    args = PrefixGRPOConfig(
        str(folder), num_generations=4, use_cpu=True, bf16=False,
        gradient_checkpointing=False, report_to="none", logging_steps=1, seed=1, disable_tqdm=True,
        log_completions=True, num_completions_to_print=1, generation_kwargs=generation,
        **{
            "num_prefix_generations": 2, "per_device_train_batch_size": run["rollouts"] // processes,
            "save_strategy": "no", "max_steps": 1, "max_completion_length": 40, "learning_rate": 1e-3,
            **run["settings"],
        },
    )  # fmt: skip
    sharding.adapt(args)
    demonstrated, live = run["demonstrated"], run.get("live", [True])
    rows = lab.load_dataset("train", 12).map(
        lambda row, index: {
            "completion": row["completion"] if demonstrated[index % len(demonstrated)] else None,
            "live": live[index % len(live)],
        },
        with_indices=True,
    )
    trainer_class = DrawnRollouts if "live" in run else PrefixGRPOTrainer
    if run.get("drawn_by_row"):
        trainer_class = RolloutsDrawnByRow
    if args.demonstration_source == "own":
        trainer_class = DrawnAttempts
    reward = text_reward if run.get("staged") else graded_reward
    second = lab.load_dataset("demonstrations", run["second_dataset"]) if "second_dataset" in run else None
    trainer = trainer_class(lab.base_model_path(), reward, args, rows, demonstration_dataset=second)
    assert trainer.accelerator.num_processes == processes
    assert trainer._tokenizer.eos_token_id == END
    return trainer


class DrawnRollouts(PrefixGRPOTrainer):
    """Continues each prefix by so many tokens as are drawn: no time goes into generation, and lengths differ."""

    def _generate_single_turn(self, prompt_ids, images, multimodal_fields, num_generations, has_tool_images=False):
        draws = random.Random(f"{self._step} {self.accelerator.process_index}")
        lengths = [int(draws.lognormvariate(1.5, 1)) for _ in prompt_ids]
        drawn = [[draws.randrange(2, 19) for _ in range(length)] + [END] for length in lengths]
        prefixes = self.rollout_batch.prefix_ids
        return [
            [*prefix, *ids][: self.max_completion_length] for prefix, ids in zip(prefixes, drawn, strict=True)
        ], None


class DrawnAttempts(PrefixGRPOTrainer):
    """Draws what it samples for each row by itself, so that it is the same on any number of processes."""

    def _generate_single_turn(self, prompt_ids, images, multimodal_fields, num_generations, has_tool_images=False):
        first_row = self.accelerator.process_index * len(prompt_ids)
        rows = enumerate(self.rollout_batch.prefix_ids, first_row)
        return [[*prefix, *self.draw(row, prefix)][: self.max_completion_length] for row, prefix in rows], None

    def draw(self, row: int, prefix: list[int]) -> list[int]:
        draws = random.Random(f"{self._step} {row}")
        is_whole = prefix[-1:] == [END]
        return [] if is_whole else [*draws.choices(range(2, 19), k=int(draws.lognormvariate(1.5, 1))), END]


class RolloutsDrawnByRow(PrefixGRPOTrainer):
    """Continues each prompt by tokens that are drawn from what it starts with and the key of its row."""

    def _generate_single_turn(self, prompt_ids, images, multimodal_fields, num_generations, has_tool_images=False):
        batch, completions = self.rollout_batch, []
        for ids, prefix, assignment in zip(prompt_ids, batch.prefix_ids, batch.assignments, strict=True):
            draws = random.Random(f"{self._step} {ids} {prefix} {assignment.key}")
            drawn = [draws.randrange(2, 19) for _ in range(draws.randrange(1, 9))]
            completions.append([*prefix, *drawn, END][: self.max_completion_length])
        return completions, None


CALLS: list[list[list[int]]] = []  # of `text_reward`, the completions


def text_reward(prompts: list[str], completions: list[str], completion_ids: list[list[int]], **kwargs: Any):
    """Depends on nothing but prompt and completion: a stage scores them in another order on other processes."""
    CALLS.append(completion_ids)
    kwargs["log_extra"]("said", completions)
    return [sum(map(ord, prompt + text)) % 7 / 6 for prompt, text in zip(prompts, completions, strict=True)]


def graded_reward(completions: list[str], live: list[bool], **kwargs: Any) -> list[float]:
    """Differs between the rollouts of a group, which a 0/1 reward of greedy ones would not, if its prompt is live."""
    of_texts = [len(completion) / 40 + sum(map(ord, completion)) % 3 / 10 for completion in completions]
    graded = [of_text + (index % 2) / 7 for index, of_text in enumerate(of_texts)]
    return [reward if is_live else 0.5 for reward, is_live in zip(graded, live, strict=True)]


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


def record_kept_tokens() -> list[tuple[int, list[int]]]:
    """Of each hybrid row that is trained on: the length of its prefix, and the places of the tokens that are kept."""
    rows: list[tuple[int, list[int]]] = []

    def recording(select):
        def selection(entropies, prefix_mask, *others):
            kept = select(entropies, prefix_mask, *others)
            pairs = zip(prefix_mask, kept, strict=True)
            rows.extend((int(prefix.sum()), row.nonzero().flatten().tolist()) for prefix, row in pairs if prefix.any())
            return kept

        return selection

    for name, select in SELECTIONS.items():
        imitation.SELECTIONS[name] = recording(select)
    return rows


if __name__ == "__main__":
    folder, kind, runs = Path(sys.argv[1]), sys.argv[2], json.loads(sys.argv[3])
    if kind == "fsdp2":
        fsdp_on_cpus.let_through()
    if kind.startswith("zero"):
        deepspeed_on_cpus.by_gloo()
    for name, run in runs.items():
        if "deepspeed" in run["settings"]:  # accelerate takes no such file where its own configuration says the same
            os.environ.pop("ACCELERATE_CONFIG_DS_FIELDS", None)
        os.environ.update(run.get("environment", {}))
        train(folder / name, run.get("kind", kind), run)
    if torch.distributed.is_initialized():  # a process that leaves its group without notice can abort the other
        torch.distributed.barrier()
        torch.distributed.destroy_process_group()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)  # the interpreter's own end aborts once in a while ("terminate called without an active exception")
