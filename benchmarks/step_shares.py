"""Shares of a step: sampling, log-probabilities without gradient, reward and loss; and what sampling could save.

    python benchmarks/step_shares.py
    python benchmarks/step_shares.py --cases maths --steps 20

Cases, all with PrefixGRPOTrainer and transformers' `generate`, 64 rollouts a step, one thread:

    lab         recipes/lab/prefix_rft.yaml from its first to its last step, each answer as long as the model makes it
    maths       a Qwen2 of 4 layers with random weights; lengths are log-normal (longest 192, mean a quarter of
                it), and MathAccuracyReward verifies responses of reward_throughput.py, new ones in each step
    maths, ref  with two log-probability passes besides: `beta`, `num_iterations: 2` (a generation is for two steps)

Ways to sample: `forced` is the trainer's. The other two are trials that the trainer does not have: `in prompts` has
each prefix in its row's prompt, so that the batch's prompts are as wide as its longest one with a prefix; `live rows`
leaves rows that have ended out of the forward passes, and of the cache, once they are a quarter of the rows there.

Seconds are those on the processor, which other programs on the machine hardly change; those of the reward are the sum
of all its workers, which work at the same time. What is not in the four phases is left out.

    row steps  rows times forward steps of decoding
    ended      the share of row steps of rows that have ended
    alone      the share of steps that only rows with a prefix need: what `in prompts` can save, at most
"""

import argparse
import json
import math
import os
import random
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from typing import Any

import psutil
import torch
import yaml
from _measuring import RECIPES, in_a_process, lined_up, recipe_config
from reward_throughput import WORKING, generated_golds
from transformers import LogitsProcessor, LogitsProcessorList, PreTrainedModel


WAYS = ("forced", "in prompts", "live rows")
CASES = {"lab": WAYS, "maths": WAYS, "maths, ref": WAYS[:1]}
PHASES = {
    "sampling": "_generate",
    "log-probs": "_get_per_token_logps_and_entropies",
    "reward": "_calculate_rewards",
    "loss": "training_step",
}
ROLLOUTS, GROUP, WARM_UP_STEPS = 64, 8, 2
LONGEST, SPREAD = 192, 0.8  # tokens of the completions in `maths`; the spread is of their logarithm
PADDING, END, WORDS = 0, 1, 19  # ids of the lab's tokenizer, and their number


class PhaseClock:
    """Seconds of a trainer's phases on the processor, without those of the phases inside them."""

    def __init__(self, trainer: Any):
        self.seconds: Counter[str] = Counter()
        self._inside: list[float] = []
        for phase, method in PHASES.items():
            setattr(trainer, method, self._timed(phase, getattr(trainer, method)))

    def _timed(self, phase: str, method: Callable[..., Any]) -> Callable[..., Any]:
        clock = with_workers if phase == "reward" else time.process_time

        def timed(*args: Any, **named: Any) -> Any:
            name = "loss" if phase == "log-probs" and torch.is_grad_enabled() else phase
            start = clock()
            self._inside.append(0.0)
            try:
                return method(*args, **named)
            finally:
                took = clock() - start
                self.seconds[name] += took - self._inside.pop()
                if self._inside:
                    self._inside[-1] += took

        return timed


def with_workers() -> float:
    """Seconds on the processor of this process and of those that it has started."""
    times = (worker.cpu_times() for worker in psutil.Process().children(recursive=True))
    return time.process_time() + sum(of_worker.user + of_worker.system for of_worker in times)


class EndAfter(LogitsProcessor):
    """Ends each row after a number of tokens, and has it sample words until then."""

    def __init__(self, lengths: torch.Tensor):
        self.lengths, self.prompt_width = lengths, None

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        self.prompt_width = self.prompt_width or input_ids.size(1)
        ends = self.lengths - 1 <= input_ids.size(1) - self.prompt_width
        scores[:, [PADDING, *range(WORDS, scores.size(1))]] = -torch.inf
        scores[~ends, END] = -torch.inf
        scores[ends, END + 1 :] = -torch.inf
        return scores


def draw_lengths(rng: random.Random, number: int, longest: int) -> list[int]:
    mean = math.log(longest / 4) - SPREAD**2 / 2
    return [min(longest, max(1, round(rng.lognormvariate(mean, SPREAD)))) for _ in range(number)]


def end_by_drawn_lengths(model: PreTrainedModel, longest: int) -> None:
    """From now on the lengths of a generation are drawn, the same ones in every run."""
    generate, rng = model.generate, random.Random(0)

    def generate_ended(*args: Any, logits_processor: Any = (), **named: Any) -> torch.Tensor:
        ends = EndAfter(torch.tensor(draw_lengths(rng, len(named["input_ids"]), longest)))
        return generate(*args, logits_processor=LogitsProcessorList([ends, *logits_processor]), **named)

    model.generate = generate_ended


def leave_out_ended_rows(model: PreTrainedModel) -> None:
    """From now on rows that have ended are left out of decoding steps. Enough for this trial, not for all models."""
    forward, state = model.forward, {}

    def of_live_rows(input_ids=None, attention_mask=None, position_ids=None, past_key_values=None, **named):
        decodes = not torch.is_grad_enabled() and past_key_values is not None and input_ids.size(1) == 1
        if not decodes:
            state.update(rows=torch.arange(len(input_ids)), ended=torch.zeros(len(input_ids), dtype=torch.bool))
            masks = {"attention_mask": attention_mask, "position_ids": position_ids}
            return forward(input_ids=input_ids, past_key_values=past_key_values, **masks, **named)
        state["ended"] |= input_ids[:, 0] == END  # a row may sample the padding token
        live = ~state["ended"][state["rows"]]
        if 0 < live.sum() <= 0.75 * len(live):
            past_key_values.batch_select_indices(live.nonzero().squeeze(1))
            state["rows"] = state["rows"][live]
        rows = state["rows"]
        masks = {"attention_mask": attention_mask, "position_ids": position_ids}
        masks = {name: None if mask is None else mask[rows] for name, mask in masks.items()}
        found = forward(input_ids=input_ids[rows], past_key_values=past_key_values, **masks, **named)
        found.logits = found.logits.new_zeros(len(input_ids), *found.logits.shape[1:]).index_copy(
            0, rows, found.logits
        )
        return found

    model.forward = of_live_rows


def put_prefixes_into_prompts() -> None:
    """From now on no prefix is forced: each is in the prompt of its row."""
    from prefix_rft_trl.sampling import padded

    padded.split_at_padding = lambda prompt_ids, prefixes: (prefixes, [[] for _ in prefixes])


def count_steps(trainer: Any, counts: Counter) -> None:
    """From now on adds up decoding steps and what they are for. Right for `forced` only."""
    score = trainer._generate_and_score_completions

    def score_and_count(inputs: list[dict[str, Any]]) -> dict[str, Any]:
        outputs = score(inputs)
        lengths = outputs["completion_mask"].sum(dim=1)
        on_policy = outputs["prefix_lengths"] == 0
        steps = int(lengths.max())
        counts.update(
            steps=steps,
            row_steps=steps * len(lengths),
            live=int(lengths.sum()),
            alone=steps - int(lengths[on_policy].max()),
        )
        return outputs

    trainer._generate_and_score_completions = score_and_count


def lab_trainer(folder: str, steps: int, longest: int, **overrides: Any) -> Any:
    from prefix_rft_trl import PrefixGRPOTrainer, lab

    recipe = yaml.safe_load((RECIPES / "lab" / "prefix_rft.yaml").read_text(encoding="utf-8"))
    return PrefixGRPOTrainer(
        model=lab.base_model_path("hard"),
        reward_funcs=lab.exact_answer_reward,
        args=recipe_config(recipe, output_dir=folder, max_steps=steps, disable_tqdm=True, **overrides),
        train_dataset=lab.load_dataset("train", level="hard"),
    )


def maths_trainer(folder: str, steps: int, longest: int, **overrides: Any) -> Any:
    from datasets import Dataset
    from transformers import AutoTokenizer, Qwen2Config, Qwen2ForCausalLM

    from prefix_rft_trl import PrefixGRPOConfig, PrefixGRPOTrainer, lab
    from prefix_rft_trl.rewards import MathAccuracyReward

    torch.manual_seed(0)
    rng, problems = random.Random(1), lab.load_dataset("train")
    golds = [*generated_golds(steps * ROLLOUTS, seed=0)]
    rows = [
        {
            "prompt": problems[place]["prompt"],
            "completion": "".join(rng.choices("0123456789", k=max(4, length))),
            "solution": f"${gold}$",
        }
        for place, (gold, length) in enumerate(
            zip(golds[: steps * ROLLOUTS // GROUP], draw_lengths(rng, len(problems), longest), strict=False)
        )
    ]
    reward = MathAccuracyReward()

    def math_accuracy_reward(completions: list[str], solution: list[str], **columns: Any) -> list[float | None]:
        """Of a response that states the right answer, in every second row, or a wrong one."""
        stated = [gold if row % 2 else f"${rng.choice(golds)}$" for row, gold in enumerate(solution)]
        texts = [rf"{WORKING}The answer is $\boxed{{{answer.strip('$')}}}$." for answer in stated]
        return reward(completions=texts, solution=solution, **columns)

    config = Qwen2Config(
        hidden_size=128,
        intermediate_size=512,
        num_hidden_layers=4,
        num_attention_heads=4,
        num_key_value_heads=2,
        vocab_size=1024,
        eos_token_id=END,
        pad_token_id=PADDING,
    )
    base = f"{folder}/base"
    Qwen2ForCausalLM(config).save_pretrained(base)
    trainer = PrefixGRPOTrainer(
        model=base,
        processing_class=AutoTokenizer.from_pretrained(lab.base_model_path()),
        reward_funcs=math_accuracy_reward,
        args=PrefixGRPOConfig(
            folder,
            max_steps=steps,
            max_completion_length=longest,
            num_generations=GROUP,
            per_device_train_batch_size=8,
            gradient_accumulation_steps=ROLLOUTS // 8,
            gradient_checkpointing=False,
            bf16=False,
            use_cpu=True,
            disable_tqdm=True,
            report_to="none",
            save_strategy="no",
            **overrides,
        ),
        train_dataset=Dataset.from_list(rows),
    )
    end_by_drawn_lengths(trainer.model, longest)
    return trainer


TRAINERS: dict[str, Callable[..., Any]] = {"lab": lab_trainer, "maths": maths_trainer, "maths, ref": maths_trainer}
OVERRIDES = {"maths, ref": {"beta": 0.001, "num_iterations": 2}}


def measure(case: str, way: str, steps: int, longest: int) -> dict[str, Any]:
    """Seconds of the phases of a step, the first ones left out, and the counts of all steps."""
    from transformers import TrainerCallback

    torch.set_num_threads(1)
    if way == "in prompts":
        put_prefixes_into_prompts()
    with tempfile.TemporaryDirectory() as folder:
        trainer = TRAINERS[case](folder, steps + WARM_UP_STEPS, longest, **OVERRIDES.get(case, {}))
        if way == "live rows":
            leave_out_ended_rows(trainer.model)
        counts, clock = Counter(), PhaseClock(trainer)
        count_steps(trainer, counts)

        class AfterWarmUp(TrainerCallback):
            def on_step_begin(self, args: Any, state: Any, control: Any, **named: Any) -> None:
                if state.global_step == WARM_UP_STEPS:
                    clock.seconds.clear()

        trainer.add_callback(AfterWarmUp())
        trainer.train()
    seconds = {phase: clock.seconds[phase] / steps for phase in PHASES}
    return {"step": sum(seconds.values()), "seconds": seconds, "counts": dict(counts)}


def table(found: dict[str, dict[str, Any]]) -> str:
    rows = [["case", "way", "step, s", *PHASES, "sampling, s", "ratio", "row steps", "ended", "alone"]]
    for case, runs in found.items():
        counts = runs["forced"]["counts"]
        of_case = [
            f"{counts['row_steps']}",
            f"{1 - counts['live'] / counts['row_steps']:.1%}",
            f"{counts['alone'] / counts['steps']:.1%}",
        ]
        for way, run in runs.items():
            shares = [f"{run['seconds'][phase] / run['step']:.1%}" for phase in PHASES]
            sampling = [run["seconds"]["sampling"], run["seconds"]["sampling"] / runs["forced"]["seconds"]["sampling"]]
            times = [f"{run['step']:.3f}", *shares, f"{sampling[0]:.3f}", f"{sampling[1]:.2f}"]
            rows.append([case, way, *times, *(of_case if way == "forced" else [""] * 3)])
    return lined_up(rows)


def main(argv: list[str]) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", nargs="+", choices=CASES, default=[*CASES], help="what is trained (all)")
    parser.add_argument("--steps", type=int, help="timed steps (98 of the lab, 4 of the others)")
    parser.add_argument("--longest", type=int, default=LONGEST, help=f"tokens of a completion of maths ({LONGEST})")
    parser.add_argument("--measure", nargs=2, help=argparse.SUPPRESS)
    arguments = parser.parse_args(argv)
    if arguments.measure:
        print(json.dumps(measure(*arguments.measure, arguments.steps, arguments.longest)))
        return
    found: dict[str, dict[str, Any]] = {}
    for case in arguments.cases:
        steps = arguments.steps or (98 if case == "lab" else 4)
        for way in CASES[case]:
            command = ["--measure", case, way, "--steps", str(steps), "--longest", str(arguments.longest)]
            run = in_a_process(__file__, command, OMP_NUM_THREADS="1", HF_HUB_OFFLINE="1")
            found.setdefault(case, {})[way] = run
            print(f"{case}, {way}: {run['step']:.3f} s a step", file=sys.stderr)
    print(f"{ROLLOUTS} rollouts a step, 1 thread, {os.cpu_count()} cores for the reward's workers")
    print(table(found))


if __name__ == "__main__":
    main(sys.argv[1:])
