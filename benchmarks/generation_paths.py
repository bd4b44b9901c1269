"""Step time and decoded tokens of hybrid batches beside plain ones, for each way to generate, in one run.

    python benchmarks/generation_paths.py
    python benchmarks/generation_paths.py --paths generate vllm --output results.json

On the lab, with PrefixGRPOTrainer (hybrid) and GRPOTrainer (plain) under the same settings. Every rollout is as long
as the budget, prefix included, so the ratio of the step times is what hybrid rollouts cost. The two trainers are
processes that step one after another, and the ratio is the median over the pairs of their steps: of the seconds that a
step takes, and of those that its process spends on the processor, which other programs on the machine hardly change.

Counted for each token trained, which is every token of a completion, prefix included:

    sampled        tokens that the policy samples
    row steps      rows times forward steps of decoding: in `generate` all rows of a batch take every step
    prompt tokens  positions that are filled before decoding starts: the prompts with their padding and, where the
                   engine takes them there, prefixes

Without a CUDA GPU vLLM is its build for CPUs, in float32 and without its packed weights, which TRL cannot update.
"""

import argparse
import importlib.util
import json
import os
import platform
import socket
import statistics
import sys
import tempfile
from collections import Counter
from functools import partial
from pathlib import Path
from typing import Any

from _measuring import IN_TURNS, lab_config, lined_up, step_clock, taking_turns


WARM_UP_STEPS = 3
BATCHES = {"plain": "GRPOTrainer", "hybrid": "PrefixGRPOTrainer"}
ROLLOUTS, GROUP, PROMPT = 64, 8, 16  # of a step, of a problem; tokens of the longest prompt, or a few more
PAGE = 256  # tokens of a row that a block of the cache holds, the default of transformers
PADDING, END = 0, 1  # ids of the lab's tokenizer
PATHS = ("generate", "continuous_batching", "vllm")


def settings_of(path: str, length: int) -> dict[str, Any]:
    """The settings of a path, under which no row ends before its budget."""
    if path == "generate":
        return {"generation_kwargs": {"suppress_tokens": [PADDING, END]}}
    if path == "continuous_batching":
        pages, of_prompts, of_prefixes = -(-(PROMPT + length) // PAGE), ROLLOUTS * PROMPT, ROLLOUTS // GROUP * length
        cache = {"num_blocks": ROLLOUTS * pages, "max_batch_tokens": of_prompts + of_prefixes}
        return {  # room for all rows at once
            "use_transformers_continuous_batching": True,
            "transformers_continuous_batching_config": cache,
            "generation_kwargs": {"eos_token_id": -1},
        }
    return {
        "use_vllm": True,
        "vllm_mode": "colocate",
        "vllm_max_model_length": 128,
        "vllm_gpu_memory_utilization": 0.3,
        "generation_kwargs": {"ignore_eos": True},
    }


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("", 0))
        return sock.getsockname()[1]


def adapt_vllm_to_cpu() -> None:
    import vllm._custom_ops
    from trl.generation import vllm_generation

    os.environ.setdefault("VLLM_CPU_KVCACHE_SPACE", "1")
    vllm._custom_ops._supports_onednn = False
    vllm_generation.LLM = partial(vllm_generation.LLM, dtype="float32", enforce_eager=True)


def count_tokens(trainer: Any, counts: Counter) -> None:
    """From now on adds up what the engine is given and gives, and what is trained."""
    if trainer.use_vllm:
        _count_requests(trainer.vllm_generation, "generate", counts, lambda found: found[1])
    elif trainer.use_transformers_continuous_batching:
        _count_requests(
            trainer.model, "generate_batch", counts, lambda found: [row.generated_tokens for row in found.values()]
        )
    else:
        _count_padded_batches(trainer, counts)
    score = trainer._generate_and_score_completions

    def count_trained(inputs: list[dict[str, Any]]) -> dict[str, Any]:
        outputs = score(inputs)
        in_prefix = int(outputs["prefix_lengths"].sum()) if "prefix_lengths" in outputs else 0
        counts.update(trained=int(outputs["completion_mask"].sum()), in_prefix=in_prefix)
        if "known" in counts:  # of what `generate` decoded, the prefix tokens that were set, not sampled
            in_prompts = counts.pop("known") - int(outputs["prompt_mask"].sum())
            counts["sampled"] -= in_prefix - in_prompts
        return outputs

    trainer._generate_and_score_completions = count_trained


def _count_requests(engine: Any, name: str, counts: Counter, rows_of: Any) -> None:
    generate = getattr(engine, name)

    def count(*args: Any, **named: Any) -> Any:
        prompts = args[0] if args else named["prompts"]
        found = generate(*args, **named)
        sampled = sum(map(len, rows_of(found)))
        counts.update(sampled=sampled, row_steps=sampled, prompt_tokens=sum(map(len, prompts)))
        return found

    setattr(engine, name, count)


def _count_padded_batches(trainer: Any, counts: Counter) -> None:
    generate = trainer.model.generate

    def count(input_ids: Any, attention_mask: Any, **named: Any) -> Any:
        found = generate(input_ids=input_ids, attention_mask=attention_mask, **named)
        decoded = found[:, input_ids.size(1) :]
        counts.update(
            sampled=int((decoded != PADDING).sum()),
            row_steps=decoded.numel(),
            prompt_tokens=input_ids.numel(),
            known=int(attention_mask.sum()),
        )
        return found

    trainer.model.generate = count


def measure(path: str, batch: str, steps: int, length: int, in_turns: bool = False) -> dict[str, Any]:
    """Seconds of each step but the first ones, and the counts of all steps."""
    import torch
    import trl

    import prefix_rft_trl
    from prefix_rft_trl import lab

    on_cpu = not torch.cuda.is_available()
    if path == "vllm":
        os.environ["MASTER_PORT"] = str(free_port())  # both engines live at the same time
        if on_cpu:
            adapt_vllm_to_cpu()
    trainer_class = getattr(trl if batch == "plain" else prefix_rft_trl, BATCHES[batch])
    with tempfile.TemporaryDirectory() as folder:
        clock, counts = step_clock(in_turns), Counter()
        trainer = trainer_class(
            model=lab.base_model_path(),
            reward_funcs=lab.exact_answer_reward,
            args=lab_config(
                folder,
                max_steps=steps + WARM_UP_STEPS,
                max_completion_length=length,
                use_cpu=on_cpu,
                disable_tqdm=True,
                **settings_of(path, length),
            ),
            train_dataset=lab.load_dataset("train"),
            callbacks=[clock],
        )
        count_tokens(trainer, counts)
        trainer.train()
    return {
        "seconds": clock.seconds[WARM_UP_STEPS:],
        "cpu_seconds": clock.cpu_seconds[WARM_UP_STEPS:],
        "counts": dict(counts),
    }


def compare(paths: list[str], steps: int, rounds: int, length: int) -> dict[str, Any]:
    """The measurements of all paths, batches and rounds."""
    found: dict[str, Any] = {path: {batch: [] for batch in BATCHES} for path in paths}
    shared = ["--steps", str(steps), "--completion_length", str(length)]
    for number in range(rounds):
        for path in paths:
            commands = [["--measure", path, batch, *shared] for batch in BATCHES]
            runs = taking_turns(__file__, commands, OMP_NUM_THREADS="1", HF_HUB_OFFLINE="1")
            for batch, run in zip(BATCHES, runs, strict=True):
                found[path][batch].append(run)
            seconds = ", ".join(
                f"{batch} {statistics.median(found[path][batch][-1]['seconds']):.3f} s" for batch in BATCHES
            )
            print(f"round {number + 1} of {rounds}, {path}: {seconds}", file=sys.stderr)
    return found


def summary(of_path: dict[str, Any]) -> dict[str, Any]:
    """What is compared of the times, and the counts for each trained token."""
    counts = {batch: runs[0]["counts"] for batch, runs in of_path.items()}
    return {
        "seconds": compared(of_path, "seconds"),
        "cpu_seconds": compared(of_path, "cpu_seconds"),
        "per_trained_token": {
            batch: {
                name: of_batch.get(name, 0) / of_batch["trained"]
                for name in ("sampled", "row_steps", "prompt_tokens", "in_prefix")
            }
            for batch, of_batch in counts.items()
        },
    }


def compared(of_path: dict[str, Any], unit: str) -> dict[str, Any]:
    """Median times of a step, the median ratio of the pairs of steps, and that of the lowest and the highest round."""
    medians = {batch: statistics.median(time for run in runs for time in run[unit]) for batch, runs in of_path.items()}
    of_rounds = [
        [hybrid / plain for plain, hybrid in zip(*(run[unit] for run in runs), strict=True)]
        for runs in zip(of_path["plain"], of_path["hybrid"], strict=True)
    ]
    ratios = sorted(statistics.median(pairs) for pairs in of_rounds)
    ratio = statistics.median(pair for pairs in of_rounds for pair in pairs)
    return {**medians, "ratio": ratio, "of_rounds": [ratios[0], ratios[-1]]}


def table(summaries: dict[str, dict[str, Any]]) -> str:
    of_times = ["step, s", "ratio", "of rounds", "cpu, s", "ratio"]
    rows = [["path", "batch", *of_times, "sampled", "row steps", "prompt tokens", "prefixes"]]
    for path, of_path in summaries.items():
        for batch, counts in of_path["per_trained_token"].items():
            (low, high), is_hybrid = of_path["seconds"]["of_rounds"], batch == "hybrid"
            times = [
                f"{of_path['seconds'][batch]:.3f}",
                f"{of_path['seconds']['ratio']:.3f}" if is_hybrid else "",
                f"{low:.2f} to {high:.2f}" if is_hybrid else "",
                f"{of_path['cpu_seconds'][batch]:.3f}",
                f"{of_path['cpu_seconds']['ratio']:.3f}" if is_hybrid else "",
            ]
            rows.append([path, batch, *times, *(f"{number:.3f}" for number in counts.values())])
    return lined_up(rows)


def installed_paths() -> list[str]:
    return [path for path in PATHS if path != "vllm" or importlib.util.find_spec("vllm")]


def main(argv: list[str]) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--paths", nargs="+", choices=PATHS, help="ways to generate (those that are installed)")
    parser.add_argument("--steps", type=int, default=30, help="timed steps of a round (30)")
    parser.add_argument("--rounds", type=int, default=3, help="times that both trainers are started (3)")
    parser.add_argument("--completion_length", type=int, default=40, help="tokens of each completion (40)")
    parser.add_argument("--output", type=Path, help="JSON file for all measurements and their summary")
    parser.add_argument("--measure", nargs=2, help=argparse.SUPPRESS)
    parser.add_argument(IN_TURNS, action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args(argv)
    if arguments.measure:
        of_run = (arguments.steps, arguments.completion_length, arguments.in_turns)
        print(json.dumps(measure(*arguments.measure, *of_run)))
        return
    runs = compare(
        arguments.paths or installed_paths(), arguments.steps, arguments.rounds, arguments.completion_length
    )
    summaries = {path: summary(of_path) for path, of_path in runs.items()}
    if arguments.output:
        arguments.output.write_text(
            json.dumps({"summary": summaries, "runs": runs}, indent=1) + "\n", encoding="utf-8"
        )
    print(
        f"{arguments.rounds} rounds of {arguments.steps} steps, {ROLLOUTS} rollouts of {arguments.completion_length} "
        f"tokens, {platform.machine()}, 1 thread; counts are for each token trained"
    )
    print(table(summaries))


if __name__ == "__main__":
    main(sys.argv[1:])
