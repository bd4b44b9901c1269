"""Compute of a training step: PrefixGRPOTrainer with each of its settings beside GRPOTrainer, on the same completions.

    python benchmarks/compute.py
    python benchmarks/compute.py --lengths ragged --micro_batches 8 --steps 5

A step has 64 rollouts, 8 of each prompt. Nothing is sampled: completions and rewards are prepared, and the same for
all. The lengths are

    equal            all the same, those of prompts too: there is nothing to leave out
    ragged           log-normal, the longest completion 4 times as long as the mean; prompts of 8 to 40 tokens
    ragged, 3 of 8   the same; in 5 of 8 groups all rewards are equal, so 62% of the rows have no gradient

Three tables, one column for each number of rows in a micro-batch:

    time        of whole steps, the median, relative to GRPOTrainer's. The trainers are processes that step one after
                another. On a CPU it is the processor time of their one thread.
    operations  floating-point operations of a step, counted by torch, relative to the lower bound: the rows with
                gradient, forward and backward, each alone at its own length, without a trainer
    memory      most that a step allocates at once, gradients included, relative to GRPOTrainer's

With hybrid rollouts, one rollout of a group starts with a prefix, its completion's own beginning. `padding_free` is
measured where it is named in --variants: it is for attention kernels of GPUs, whose operations torch does not count.

On a GPU, in bf16:

    python benchmarks/compute.py --device cuda --model HuggingFaceTB/SmolLM2-135M --mean_length 512
"""

import argparse
import json
import math
import os
import platform
import random
import statistics
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from _measuring import IN_TURNS, lined_up, step_clock, taking_turns


GROUPS, GROUP = 8, 8  # prompts of a step, rollouts of a prompt
ROLLOUTS = GROUPS * GROUP
PROMPT_LENGTHS = {"equal": (24, 24), "ragged": (8, 40), "ragged, 3 of 8": (8, 40)}  # shortest and longest, tokens
SIGMA = 0.661  # of the logarithm of a length: the longest of 64 is then 4 times as long as their mean
LONGEST = 4  # times the mean
DISTRIBUTIONS = {"equal": GROUPS, "ragged": GROUPS, "ragged, 3 of 8": 3}  # and their groups with gradient
MODEL = {
    "vocab_size": 1024, "hidden_size": 256, "intermediate_size": 512, "num_hidden_layers": 4,
    "num_attention_heads": 4, "num_key_value_heads": 2,
}  # fmt: skip
REFERENCE, HYBRID, PACKED = "GRPOTrainer", "with hybrid rollouts", "with padding_free"
OFF = {"trim_padding": False, "group_rollouts_by_length": False, "skip_zero_weight_rollouts": False}
VARIANTS: dict[str, dict[str, Any]] = {
    REFERENCE: {},
    "all off": OFF,
    "trim_padding": OFF | {"trim_padding": True},
    "+ group_rollouts_by_length": OFF | {"trim_padding": True, "group_rollouts_by_length": True},
    "+ skip_zero_weight_rollouts": {},
    HYBRID: {"num_prefix_generations": 1},
    PACKED: {"padding_free": True},
}


@dataclass
class Batch:
    """The rollouts of every step, by group: prompts, ids of completions, rewards, and one demonstration each."""

    prompts: list[str]
    completions: list[list[list[int]]]
    rewards: list[list[float]]
    demonstrations: list[str]

    @property
    def groups_with_gradient(self) -> list[int]:
        return [group for group, rewards in enumerate(self.rewards) if len(set(rewards)) > 1]


def completion_lengths(distribution: str, mean: int) -> list[int]:
    """Lengths of a step's completions in tokens, shuffled."""
    if distribution == "equal":
        return [mean] * ROLLOUTS
    normal = statistics.NormalDist(sigma=SIGMA)
    quantiles = [math.exp(normal.inv_cdf((row + 0.5) / ROLLOUTS)) for row in range(ROLLOUTS)]
    lengths = [max(2, round(LONGEST * mean * quantile / quantiles[-1])) for quantile in quantiles]
    random.Random(0).shuffle(lengths)
    return lengths


def make_batch(distribution: str, mean: int, tokenizer: Any) -> Batch:
    """Random tokens of the lengths of a distribution, the same in every process."""
    rng = random.Random(0)
    tokens = sorted(set(range(len(tokenizer))) - set(tokenizer.all_special_ids))
    shortest, longest = PROMPT_LENGTHS[distribution]
    lengths_of_prompts = [shortest + (longest - shortest) * group // (GROUPS - 1) for group in range(GROUPS)]
    rng.shuffle(lengths_of_prompts)
    rows = [
        [*rng.choices(tokens, k=length - 1), tokenizer.eos_token_id]
        for length in completion_lengths(distribution, mean)
    ]
    groups = [rows[start : start + GROUP] for start in range(0, ROLLOUTS, GROUP)]
    with_gradient = rng.sample(range(GROUPS), DISTRIBUTIONS[distribution])
    return Batch(
        prompts=[tokenizer.decode(rng.choices(tokens, k=length)) for length in lengths_of_prompts],
        completions=groups,
        rewards=[[float(group in with_gradient and place % 2) for place in range(GROUP)] for group in range(GROUPS)],
        demonstrations=[tokenizer.decode(group[0][:-1]) for group in groups],
    )


def prepared_trainer(
    trainer_class: Any, distribution: str, mean: int, model: str, callbacks: list[Any], **settings: Any
) -> Any:
    """A trainer whose rollouts are those of a batch, in place of what the policy would sample."""
    from datasets import Dataset
    from transformers import AutoTokenizer

    from prefix_rft_trl import PrefixGRPOConfig

    batch = make_batch(distribution, mean, AutoTokenizer.from_pretrained(model))
    columns = {"prompt": batch.prompts, "completion": batch.demonstrations, "group": list(range(GROUPS))}

    def reward(completions: list[str], group: list[int], **others: Any) -> list[float]:
        return [batch.rewards[number][row % GROUP] for row, number in enumerate(group)]

    defaults: dict[str, Any] = {
        "num_prefix_generations": 0,
        "num_generations": GROUP,
        "max_completion_length": max(len(row) for group in batch.completions for row in group),
        "gradient_checkpointing": False,
        "answer_column": None,
        "logging_steps": 1,
        "log_completions": False,
        "save_strategy": "no",
        "report_to": "none",
        "disable_tqdm": True,
    }
    trainer = trainer_class(
        model=model,
        reward_funcs=reward,
        args=PrefixGRPOConfig(**(defaults | settings)),
        train_dataset=Dataset.from_dict(columns),
        callbacks=callbacks,
    )
    _give_completions(trainer, batch)
    return trainer


def _give_completions(trainer: Any, batch: Batch) -> None:
    from prefix_rft_trl.utils.patching import replaced

    score = trainer._generate_and_score_completions

    def score_given(inputs: list[dict[str, Any]]) -> dict[str, Any]:
        rows = [batch.completions[example["group"]][row % GROUP] for row, example in enumerate(inputs)]

        def give(*args: Any, **named: Any) -> tuple[list[list[int]], None]:
            if not getattr(trainer, "num_prefix_generations", 0):
                return rows, None
            prefixes = trainer.rollout_batch.prefix_ids
            return [[*prefix, *row[len(prefix) :]] for prefix, row in zip(prefixes, rows, strict=True)], None

        with replaced(trainer, "_generate_single_turn", give):
            return score(inputs)

    trainer._generate_and_score_completions = score_given


def save_model(folder: str) -> str:
    """An untrained Qwen2, with the tokenizer of the lab."""
    import torch
    from transformers import AutoTokenizer, Qwen2Config, Qwen2ForCausalLM

    from prefix_rft_trl import lab

    tokenizer = AutoTokenizer.from_pretrained(lab.base_model_path())
    tokenizer.save_pretrained(folder)
    ids = {"eos_token_id": tokenizer.eos_token_id, "pad_token_id": tokenizer.pad_token_id, "bos_token_id": None}
    torch.manual_seed(0)
    Qwen2ForCausalLM(Qwen2Config(**MODEL, **ids, tie_word_embeddings=True)).save_pretrained(folder)
    return folder


def measure(variant: str, arguments: argparse.Namespace) -> dict[str, Any]:
    """Of each distribution and micro-batch, what a run shows."""
    return {
        distribution: {
            str(rows): measure_run(variant, distribution, rows, arguments) for rows in arguments.micro_batches
        }
        for distribution in arguments.lengths
    }


def measure_run(variant: str, distribution: str, micro_batch: int, arguments: argparse.Namespace) -> dict[str, Any]:
    """Seconds of each step but the first, of which operations and memory are counted; norms of all gradients."""
    import torch
    import trl
    from _counting import FirstStepCounter

    import prefix_rft_trl

    on_cpu = arguments.device == "cpu"
    if on_cpu:
        torch.set_num_threads(1)
    clock, counter = step_clock(arguments.in_turns), FirstStepCounter()
    with tempfile.TemporaryDirectory() as folder:
        trainer = prepared_trainer(
            trl.GRPOTrainer if variant == REFERENCE else prefix_rft_trl.PrefixGRPOTrainer,
            distribution,
            arguments.mean_length,
            arguments.model or save_model(folder),
            [clock, counter],
            output_dir=folder,
            max_steps=1 + arguments.steps,
            per_device_train_batch_size=micro_batch,
            gradient_accumulation_steps=ROLLOUTS // micro_batch,
            use_cpu=on_cpu,
            bf16=not on_cpu,
            model_init_kwargs={"attn_implementation": arguments.attn_implementation},
            **VARIANTS[variant],
        )
        trainer.train()
    seconds = clock.cpu_seconds if on_cpu else clock.seconds
    return {
        "seconds": seconds[1:],
        "operations": counter.operations,
        "MiB": counter.MiB,
        "grad_norm": [line["grad_norm"] for line in trainer.state.log_history if "grad_norm" in line],
    }


def lower_bound(distribution: str, arguments: argparse.Namespace) -> int:
    """Operations of the rows with gradient, each alone and without padding: the model, forward and backward."""
    import torch
    from _counting import OperationCounter
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from trl.trainer.utils import add_fused_lm_head

    with tempfile.TemporaryDirectory() as folder:
        name = arguments.model or save_model(folder)
        model = AutoModelForCausalLM.from_pretrained(name).to(arguments.device)
        tokenizer = AutoTokenizer.from_pretrained(name)
    add_fused_lm_head(model, outputs=("log_probs", "entropy"))
    batch = make_batch(distribution, arguments.mean_length, tokenizer)
    operations = 0
    for group in batch.groups_with_gradient:
        prompt = tokenizer(batch.prompts[group])["input_ids"]
        for completion in batch.completions[group]:
            ids = torch.tensor([[*prompt, *completion]], device=arguments.device)
            labels = ids.clone()
            labels[:, : len(prompt)] = -100
            in_bf16 = torch.autocast(arguments.device, torch.bfloat16, enabled=arguments.device == "cuda")
            with OperationCounter() as counter, in_bf16:
                model(input_ids=ids, labels=labels, fused_lm_head=True).log_probs.sum().backward()
            operations += counter.get_total_flops()
    return operations


def ratios(runs: dict[str, Any], bounds: dict[str, int]) -> dict[str, Any]:
    """Of each distribution, variant and micro-batch, the figures of the three tables."""
    return {
        distribution: {
            variant: {
                rows: _ratios_of(run, runs[REFERENCE][distribution][rows], bounds[distribution])
                for rows, run in of_variant[distribution].items()
            }
            for variant, of_variant in runs.items()
        }
        for distribution in bounds
    }


def _ratios_of(run: dict[str, Any], reference: dict[str, Any], bound: int) -> dict[str, float]:
    return {
        "time": statistics.median(run["seconds"]) / statistics.median(reference["seconds"]),
        "operations": run["operations"] / bound,
        "memory": run["MiB"] / reference["MiB"],
    }


def gradient_difference(runs: dict[str, Any]) -> float:
    """Largest relative difference of a gradient's norm to GRPOTrainer's in the same step, hybrid rollouts aside."""
    return max(
        abs(norm - reference) / reference
        for variant, of_variant in runs.items()
        if variant != HYBRID
        for distribution, of_distribution in of_variant.items()
        for rows, run in of_distribution.items()
        for norm, reference in zip(run["grad_norm"], runs[REFERENCE][distribution][rows]["grad_norm"], strict=True)
    )


def table(found: dict[str, Any], figure: str, micro_batches: list[int]) -> str:
    rows = [["lengths", figure, *map(str, micro_batches)]]
    for distribution, of_distribution in found.items():
        for variant, of_variant in of_distribution.items():
            name = distribution if variant == REFERENCE else ""
            rows.append([name, variant, *(f"{of_run[figure]:.2f}" for of_run in of_variant.values())])
    width = max(len(variant) for _, variant, *_ in rows)
    return lined_up([[name, variant.ljust(width), *figures] for name, variant, *figures in rows])


def parse(argv: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--lengths", nargs="+", choices=DISTRIBUTIONS, default=list(DISTRIBUTIONS), help="(all)")
    parser.add_argument("--micro_batches", nargs="+", type=int, default=[1, 2, 4, 8], help="rows of one (1 2 4 8)")
    parser.add_argument("--variants", nargs="+", choices=VARIANTS, help="(all but the last)")
    parser.add_argument("--mean_length", type=int, default=96, help="tokens of a completion (96)")
    parser.add_argument("--steps", type=int, default=2, help="timed steps of each run (2)")
    parser.add_argument("--model", help="name on the Hub or folder (an untrained Qwen2 of 4 layers)")
    parser.add_argument("--attn_implementation", help="as in `model_init_kwargs` (that of the model)")
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cpu")
    parser.add_argument("--output", type=Path, help="JSON file for all measurements and the ratios")
    parser.add_argument("--measure", help=argparse.SUPPRESS)
    parser.add_argument(IN_TURNS, action="store_true", help=argparse.SUPPRESS)
    return parser.parse_args(argv)


def main(argv: list[str]) -> None:
    arguments = parse(argv)
    if arguments.measure:
        print(json.dumps(measure(arguments.measure, arguments)))
        return
    asked = arguments.variants or [name for name in VARIANTS if name != PACKED]
    variants = [name for name in VARIANTS if name in {REFERENCE, *asked}]
    found = taking_turns(
        __file__,
        [[*argv, "--measure", name] for name in variants],
        OMP_NUM_THREADS="1",
        CUDA_VISIBLE_DEVICES=os.environ.get("CUDA_VISIBLE_DEVICES", "0"),
    )
    runs = dict(zip(variants, found, strict=True))
    bounds = {distribution: lower_bound(distribution, arguments) for distribution in arguments.lengths}
    result = ratios(runs, bounds)
    if arguments.output:
        kept = {"ratios": result, "lower_bounds": bounds, "runs": runs}
        arguments.output.write_text(json.dumps(kept, indent=1) + "\n", encoding="utf-8")
    machine = f"{platform.machine()}, float32, 1 thread" if arguments.device == "cpu" else "GPU, bf16"
    print(f"{ROLLOUTS} rollouts of {arguments.mean_length} tokens on average, {machine}, {arguments.steps} steps")
    for figure in ("time", "operations", "memory"):
        print(f"\n{table(result, figure, arguments.micro_batches)}")
    print(f"\nnorms of gradients differ from GRPOTrainer's by at most {gradient_difference(runs):.0e} of them")


if __name__ == "__main__":
    main(sys.argv[1:])
