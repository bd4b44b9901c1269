"""Measure a model while it trains, on benchmarks or on a held-out split, through the engine that training has."""

import math
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from typing import Any

from accelerate.utils import gather_object
from transformers import TrainerCallback

from prefix_rft_trl.rewards.registry import name_of_reward
from prefix_rft_trl.sampling.generate import stop_token_ids
from prefix_rft_trl.sampling.vllm import change_sampling_params_per_row, gather_over_tensor_parallel_group
from prefix_rft_trl.sampling.vllm_server import fail_together
from prefix_rft_trl.utils.errors import UserError
from prefix_rft_trl.utils.patching import replaced

from .benchmark import Benchmark, HeldOutSplit
from .conversations_with_tools import calls_tools, sample_conversations
from .samplers import TransformersSampler
from .samples import Sample
from .sampling import Loaded, Sampling
from .scores import Scores, compute_scores


class BenchmarkCallback(TrainerCallback):
    """
    Adds scores on benchmarks, sampled without any prefix, to the metrics of each evaluation of a trainer.

    `eval_strategy` and `eval_steps` say when. The log has `eval_<benchmark>/avg`, `.../pass`, `.../majority`,
    `.../answered`, `.../truncated` and `.../tokens`, which `metric_for_best_model` can name, and
    `eval_benchmark_seconds`. What is unknown ([`Scores`]) is not logged.

    Args:
        trainer ([`~transformers.Trainer`]): with a `processing_class`.
        benchmarks (`list[Benchmark]`): problems, with their sampling and verifier.
    """

    def __init__(self, trainer: Any, benchmarks: list[Benchmark]):
        self.trainer = trainer
        self.benchmarks = [benchmark.encoded(text_tokenizer(trainer)) for benchmark in benchmarks]

    def on_evaluate(self, args, state, control, metrics=None, **kwargs):
        started = time.perf_counter()
        named: dict[str, float | None] = {}
        for name, scores in measure(self.trainer, self.benchmarks).items():
            named |= {
                f"eval_{name}/avg": scores.mean.mean if scores.mean else None,
                f"eval_{name}/pass": scores.pass_at_k[-1] if scores.pass_at_k else None,
                f"eval_{name}/majority": scores.majority,
                f"eval_{name}/answered": scores.answered,
                f"eval_{name}/truncated": scores.truncated,
                f"eval_{name}/tokens": scores.mean_tokens,
            }
        named["eval_benchmark_seconds"] = time.perf_counter() - started
        if metrics is not None:  # what the trainer picks the best model by; NaN is better than nothing
            metrics.update({name: math.nan if value is None else value for name, value in named.items()})
        self.trainer.log({name: value for name, value in named.items() if value is not None})


def measure(trainer: Any, benchmarks: list[Benchmark]) -> dict[str, Scores]:
    """The scores of the model as it is trained, the same on every process, by the name of each encoded benchmark."""
    model = _load(trainer)
    return {
        benchmark.name: compute_scores(_sample(trainer, model, benchmark)[0], benchmark.reward)
        for benchmark in benchmarks
    }


def measure_held_out(trainer: Any, held_out: HeldOutSplit) -> dict[str, Any]:
    """One answer to each problem of an encoded split, shared out over the processes.

    Returns:
        `dict`: `accuracy`, the mean reward over the problems that could be scored; `problems`, their number; `length`,
        the mean number of tokens of an answer; `truncated`, the share of answers that the budget has cut off; the mean
        of each further reward by its name; and `problem_rewards`, the first reward of each problem (`None` for one
        that could not be scored). A mean over no problem at all is not there.
    """
    rewards = (held_out.reward, *held_out.further_rewards)
    scored = _sample(trainer, _load(trainer), *(replace(held_out, reward=reward) for reward in rewards))
    names = ["accuracy", *map(name_of_reward, held_out.further_rewards)]
    values = [[sample.reward for sample in samples if sample.reward is not None] for samples in scored]
    means = {name: sum(known) / len(known) for name, known in zip(names, values, strict=True) if known}
    answers, number = scored[0], len(scored[0])
    return {
        **means,
        "problems": len(values[0]),
        "length": sum(answer.tokens for answer in answers) / number,
        "truncated": sum(answer.is_truncated for answer in answers) / number,
        "problem_rewards": [answer.reward for answer in answers],
    }


def refuse_sharded_model(trainer: Any, setting: str) -> None:
    """Raises `UserError` if no process can sample: neither vLLM nor a process has the complete model."""
    state = trainer.accelerator.state
    deepspeed = getattr(state, "deepspeed_plugin", None)
    is_sharded = getattr(state, "fsdp_plugin", None) is not None or (deepspeed and deepspeed.zero_stage == 3)
    if is_sharded and not getattr(trainer, "use_vllm", False):
        raise UserError(
            f"`{setting}` samples from the model, and under ZeRO-3 or FSDP no process has all of it. Set "
            f"`use_vllm: true`, or leave `{setting}` out."
        )


def _sample(trainer: Any, model: Loaded, *verifiers: Benchmark) -> list[list[Sample]]:
    """All samples of a benchmark in order, scored by each of its verifiers, which differ in the reward alone."""
    gathered = gather_object([list(_score_share(trainer, model, verifiers))])
    number, chunks = len(gathered), len(verifiers[0].chunks)
    in_order = [gathered[place % number][place // number] for place in range(chunks)]
    return [[sample for scored in in_order for sample in scored[place]] for place in range(len(verifiers))]


def _score_share(trainer: Any, model: Loaded, verifiers: tuple[Benchmark, ...]) -> Iterator[list[list[Sample]]]:
    """This process's share of the chunks: equally many on all, so that some repeat the last chunk."""
    chunks, accelerator, asked = verifiers[0].chunks, trainer.accelerator, verifiers[0]
    number, rank = accelerator.num_processes, accelerator.process_index
    for start in range(0, len(chunks), number):
        chunk = chunks[min(start + rank, len(chunks) - 1)]
        given: dict[str, Any] = {}
        if calls_tools(trainer):
            rows = asked.rows.select([place.problem for place in chunk.places])
            answers = sample_conversations(trainer, list(rows), asked.sampling, asked.seeds(chunk)[0])
            if trainer.environments:
                given["environments"] = trainer.environments[: len(answers)]
        else:
            answers = asked.sample(model, chunk)
        yield [verifier.score(chunk, answers, **given) for verifier in verifiers]


def text_tokenizer(trainer: Any) -> Any:
    """The tokenizer of a trainer, also of one that has a processor."""
    return getattr(trainer.processing_class, "tokenizer", trainer.processing_class)


def _load(trainer: Any) -> Loaded:
    model, tokenizer = trainer.accelerator.unwrap_model(trainer.model), text_tokenizer(trainer)
    if getattr(trainer, "use_vllm", False):
        return Loaded(TrainingVLLMSampler(trainer), tokenizer, stop_token_ids(model.generation_config, tokenizer))
    return Loaded(sampler := TransformersSampler(model, tokenizer), tokenizer, sampler.stop_ids)


class TrainingVLLMSampler:
    """Samples through the vLLM engine or server of a trainer, with the weights of the step."""

    def __init__(self, trainer: Any):
        self.trainer = trainer

    def __call__(self, prompts: list[list[int]], sampling: Sampling, seeds: list[int]) -> list[list[int]]:
        generation, number = self.trainer.vllm_generation, len(prompts)
        most = max(gather_object([number]))  # TRL slices what comes back as if all processes had sent as many
        prompts, seeds = prompts + prompts[:1] * (most - number), seeds + seeds[:1] * (most - number)
        settings: dict[str, Any] = {
            "temperature": sampling.temperature,
            "top_p": sampling.top_p,
            "top_k": 0,
            "min_p": None,
            "repetition_penalty": 1.0,
            "max_completion_length": sampling.max_new_tokens,
            "generation_kwargs": {},
        }
        with ExitStack() as stack:
            for name, value in settings.items():
                stack.enter_context(replaced(generation, name, value))
            stack.enter_context(fail_together(generation))
            if self.trainer.state.global_step != self.trainer._last_loaded_step:
                generation.sync_weights()
                self.trainer._last_loaded_step = self.trainer.state.global_step
            if generation.mode == "colocate":  # a server takes one seed a request, and would say the same n times
                seeds = gather_over_tensor_parallel_group(generation, seeds)
                changes = [partial(_set_seed, seed=seed) for seed in seeds]
                stack.enter_context(change_sampling_params_per_row(generation.llm, changes))
            return generation.generate(prompts, None, num_generations=1)[1][:number]


def _set_seed(params: Any, seed: int) -> None:
    params.seed = seed
