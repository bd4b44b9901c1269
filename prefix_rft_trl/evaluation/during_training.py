"""Evaluation during training: what `prefix-rft eval` makes of a checkpoint, through the engine that training has."""

import time
from collections.abc import Iterable
from contextlib import ExitStack
from functools import partial
from typing import Any

from accelerate.utils import gather_object
from transformers import TrainerCallback

from prefix_rft_trl.sampling.generate import ends_of
from prefix_rft_trl.sampling.vllm import change_sampling_params_per_row, gather_over_tensor_parallel_group
from prefix_rft_trl.sampling.vllm_server import fail_together
from prefix_rft_trl.utils.patching import replaced

from .benchmark import Benchmark
from .data_parallel import sample_chunks
from .engines import Loaded
from .samplers import TransformersSampler
from .samples import Sample
from .sampling import Sampling, chunks_of
from .scores import Figures, figures_of


class BenchmarkCallback(TrainerCallback):
    """
    Adds the figures of benchmarks, sampled without any prefix, to those of each evaluation of a trainer.

    `eval_strategy` and `eval_steps` say when. The log has `eval_<benchmark>/avg`, `.../pass`, `.../majority`,
    `.../answered`, `.../truncated` and `.../tokens`, which `metric_for_best_model` can name, and
    `eval_benchmark_seconds`.

    Args:
        trainer ([`~transformers.Trainer`]): with a `processing_class`.
        benchmarks (`list[Benchmark]`): what is asked, and how.
    """

    def __init__(self, trainer: Any, benchmarks: list[Benchmark]):
        self.trainer, self.benchmarks = trainer, benchmarks

    def on_evaluate(self, args, state, control, metrics=None, **kwargs):
        started = time.perf_counter()
        found = measure(self.trainer, self.benchmarks)
        named = {
            f"eval_{name}/{figure}": value for name, figures in found.items() for figure, value in _logged(figures)
        }
        named["eval_benchmark_seconds"] = time.perf_counter() - started
        if metrics is not None:
            metrics.update(named)  # these are what the trainer picks the best model by
        self.trainer.log(named)


def _logged(figures: Figures) -> Iterable[tuple[str, float]]:
    return {
        "avg": figures.mean.mean,
        "pass": figures.pass_at_k[-1],
        "majority": figures.majority,
        "answered": figures.answered,
        "truncated": figures.truncated,
        "tokens": figures.mean_tokens,
    }.items()


def measure(trainer: Any, benchmarks: list[Benchmark]) -> dict[str, Figures]:
    """The figures of each benchmark for the model as it is trained, the same on every process."""
    loaded = _engine_of(trainer)
    return {benchmark.name: figures_of(_samples(trainer, benchmark, loaded)) for benchmark in benchmarks}


def _samples(trainer: Any, benchmark: Benchmark, loaded: Loaded) -> list[Sample]:
    """All samples of a benchmark, in order. Each process makes a share of the chunks, as many as the others."""
    accelerator = trainer.accelerator
    chunks = chunks_of(len(benchmark.rows), benchmark.sampling)
    number, rank = accelerator.num_processes, accelerator.process_index
    rounds = -(-len(chunks) // number)
    mine = [chunks[min(turn * number + rank, len(chunks) - 1)] for turn in range(rounds)]
    of_mine = [samples for _, samples in sample_chunks(benchmark, *loaded, mine)]
    of_all = gather_object([of_mine])
    in_order = [of_all[place % number][place // number] for place in range(len(chunks))]
    return [sample for samples in in_order for sample in samples]


def _engine_of(trainer: Any) -> Loaded:
    model, tokenizer = trainer.accelerator.unwrap_model(trainer.model), trainer.processing_class
    tokenizer = getattr(tokenizer, "tokenizer", tokenizer)
    if getattr(trainer, "use_vllm", False):
        return Loaded(VLLMOfTraining(trainer), tokenizer, ends_of(model, tokenizer))
    return Loaded(sampler := TransformersSampler(model, tokenizer), tokenizer, sampler.ends)


class VLLMOfTraining:
    """Samples through the vLLM engine or server of a trainer, with the weights of the step."""

    def __init__(self, trainer: Any):
        self.trainer = trainer

    def __call__(self, prompts: list[list[int]], sampling: Sampling, seeds: list[int]) -> list[list[int]]:
        generation, number = self.trainer.vllm_generation, len(prompts)
        most = max(gather_object([number]))  # TRL slices what comes back as if all processes had asked for as many
        prompts, seeds = prompts + prompts[:1] * (most - number), seeds + seeds[:1] * (most - number)
        asked: dict[str, Any] = {
            "temperature": sampling.temperature,
            "top_p": sampling.top_p,
            "top_k": 0,
            "min_p": None,
            "repetition_penalty": 1.0,
            "max_completion_length": sampling.max_new_tokens,
            "generation_kwargs": {},
        }
        with ExitStack() as stack:
            for name, value in asked.items():
                stack.enter_context(replaced(generation, name, value))
            stack.enter_context(fail_together(generation))
            if self.trainer.state.global_step != self.trainer._last_loaded_step:
                generation.sync_weights()
                self.trainer._last_loaded_step = self.trainer.state.global_step
            if generation.mode == "colocate":  # a server takes one seed a request, and would say the same n times
                changes = [partial(_sow, seed=seed) for seed in gather_over_tensor_parallel_group(generation, seeds)]
                stack.enter_context(change_sampling_params_per_row(generation.llm, changes))
            return generation.generate(prompts, None, num_generations=1)[1][:number]


def _sow(params: Any, seed: int) -> None:
    params.seed = seed
