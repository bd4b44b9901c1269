"""Load a model into vLLM or transformers, and fit the budgets of benchmarks into its context."""

import importlib.util
import shutil
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from prefix_rft_trl.models.adapters import merge_adapter
from prefix_rft_trl.models.sources import ModelSource, context_length, load_tokenizer
from prefix_rft_trl.utils.faults import install_command

from .benchmark import Benchmark
from .sampling import Loaded


@dataclass(frozen=True)
class Engine:
    """
    What runs a model.

    Args:
        backend (`str`, *optional*): `"vllm"` or `"transformers"`; vLLM where it is installed.
        dtype (`str`, *optional*): dtype of the weights; by default float32 on a CPU, and `auto` on a GPU: that of the
            checkpoint, but 16 bits where vLLM loads a checkpoint in float32.
        tensor_parallel_size (`int`, *optional*, defaults to 1): GPUs that share a model, with vLLM.
        data_parallel_size (`int`, *optional*, defaults to 1): processes with the model each, which share the samples.
        vllm_kwargs (`dict`): further arguments of vLLM's `LLM`.

    Raises:
        ValueError: for a backend that is not known or not installed.
    """

    backend: str | None = None
    dtype: str | None = None
    tensor_parallel_size: int = 1
    data_parallel_size: int = 1
    vllm_kwargs: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self):
        if self.backend not in (None, "transformers", "vllm"):
            raise ValueError(f"`backend` is transformers or vllm, found {self.backend!r}.")
        if self.backend == "vllm" and not _has_vllm():
            raise ValueError(f"vLLM is not installed: {install_command('vllm')}, or `--backend transformers`.")
        if self.tensor_parallel_size > 1 and not self.uses_vllm:
            raise ValueError("`tensor_parallel_size` needs vLLM. With transformers take `data_parallel_size`.")
        for name in ("tensor_parallel_size", "data_parallel_size"):
            if getattr(self, name) < 1:
                raise ValueError(f"`{name}` is at least 1, found {getattr(self, name)}.")

    @property
    def uses_vllm(self) -> bool:
        return self.backend == "vllm" or (self.backend is None and _has_vllm())

    @property
    def needs_own_process(self) -> bool:
        """vLLM gives its memory back, for the next model, only with the process that it runs in."""
        return self.uses_vllm

    @property
    def settings(self) -> dict[str, Any]:
        """The settings that samples depend on; how much memory vLLM takes does not count."""
        memory = ("gpu_memory_utilization", "max_model_len", "max_num_seqs", "swap_space", "cpu_offload_gb")
        kwargs = {name: value for name, value in self.vllm_kwargs.items() if name not in memory}
        backend = {"backend": "vllm", "vllm_kwargs": kwargs} if self.uses_vllm else {"backend": "transformers"}
        return {**backend, "dtype": self.dtype or "auto", "tensor_parallel_size": self.tensor_parallel_size}

    def check_gpus(self) -> None:
        """Raises `ValueError` for too few GPUs."""
        import torch

        wanted, available = self.tensor_parallel_size * self.data_parallel_size, torch.cuda.device_count()
        if available and wanted > available:
            raise ValueError(
                f"`tensor_parallel_size` x `data_parallel_size` is {wanted}, and there are {available} GPUs. Lower "
                "one."
            )

    def context_length(self, source: ModelSource) -> int | None:
        """Tokens that a model takes, prompt and answer together; `None` if nothing says."""
        given = self.vllm_kwargs.get("max_model_len") if self.uses_vllm else None
        return given if isinstance(given, int) and given > 0 else context_length(source.base or source.path)

    def with_room_for(self, tokens: int) -> "Engine":
        """The engine, with vLLM's memory limited to this number of tokens, prompt and answer together."""
        return replace(self, vllm_kwargs={"max_model_len": tokens, **self.vllm_kwargs})

    @contextmanager
    def merged(self, source: ModelSource, folder: Path) -> Iterator[ModelSource]:
        """The model as the engine loads it: for vLLM an adapter is merged into its base.

        vLLM would run some adapters otherwise than they were trained (DoRA, saved modules, patterns of ranks).

        Args:
            source (`ModelSource`): the model.
            folder (`Path`): where the merged model lies until the block ends.
        """
        if source.base is None or not self.uses_vllm:
            yield source
            return
        shutil.rmtree(folder, ignore_errors=True)  # left by a command that was killed
        try:
            with _naming_fault(source):
                merged = merge_adapter(source.path, source.base, folder)
            yield ModelSource(source.name, merged)
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def load(self, source: ModelSource) -> Loaded:
        """Raises `ValueError` for a model that cannot be loaded."""
        with _naming_fault(source):
            return (self._vllm if self.uses_vllm else self._transformers)(source)

    def _transformers(self, source: ModelSource) -> Loaded:
        import torch
        from transformers import AutoModelForCausalLM

        from .samplers import TransformersSampler

        tokenizer = load_tokenizer(source.tokenizer_path)
        model = AutoModelForCausalLM.from_pretrained(source.base or source.path, dtype=self._dtype())
        if source.base is not None:
            from peft import PeftModel

            model = PeftModel.from_pretrained(model, source.path).merge_and_unload()
        sampler = TransformersSampler(model.to("cuda" if torch.cuda.is_available() else "cpu"), tokenizer)
        return Loaded(sampler, tokenizer, sampler.stop_ids)

    def _vllm(self, source: ModelSource) -> Loaded:
        from .samplers import VLLMSampler

        tokenizer = load_tokenizer(source.tokenizer_path)
        settings = {"tensor_parallel_size": self.tensor_parallel_size, "dtype": self._dtype(), **self.vllm_kwargs}
        return Loaded(sampler := VLLMSampler(source, tokenizer, settings), tokenizer, sampler.stop_ids)

    def _dtype(self) -> str:
        import torch

        return self.dtype or ("auto" if torch.cuda.is_available() else "float32")


@contextmanager
def _naming_fault(source: ModelSource) -> Iterator[None]:
    try:
        yield
    except Exception as error:  # each library has its own for files that are broken
        raise ValueError(f"The model {source.path} could not be loaded: {error}") from error


def _has_vllm() -> bool:
    return importlib.util.find_spec("vllm") is not None


def fit_budgets(
    benchmarks: Iterable[Benchmark], context: int | None, is_given: bool, report: Callable[[str], object]
) -> tuple[list[Benchmark], int]:
    """
    Benchmarks with budgets that fit into a model's context after the longest of their prompts.

    Args:
        benchmarks (`Iterable[Benchmark]`): with their prompts in the model's tokens.
        context (`int`, *optional*): tokens that the model takes.
        is_given (`bool`): whether the user has set the budget, so that it must not be cut.
        report (`Callable`): called with a sentence for each budget that is cut.

    Returns:
        `tuple`: the benchmarks, and the most tokens that one of their prompts takes together with its answer.

    Raises:
        ValueError: if a budget that was given does not fit, or a prompt leaves no room for an answer.
    """
    fitting, needed = [], 0
    for benchmark in benchmarks:
        longest = max(map(len, benchmark.prompt_ids))
        budget = benchmark.sampling.max_new_tokens
        if context is not None and longest + budget > context:
            benchmark = _cut(benchmark, context, is_given)
            report(
                f"{benchmark.name}: answers have {benchmark.sampling.max_new_tokens} tokens instead of {budget}; the "
                f"longest problem has {longest}, and the model takes {context}."
            )
        fitting.append(benchmark)
        needed = max(needed, longest + benchmark.sampling.max_new_tokens)
    return fitting, needed


def _cut(benchmark: Benchmark, context: int, is_given: bool) -> Benchmark:
    lengths = [len(prompt) for prompt in benchmark.prompt_ids]
    room = context - max(lengths)
    if room < 1 or is_given:
        raise ValueError(
            f"The model takes {context} tokens, prompt and answer together. Of these, problem "
            f"{lengths.index(max(lengths))} of {benchmark.name} leaves {max(room, 0)} for an answer, and "
            f"`max_new_tokens` is {benchmark.sampling.max_new_tokens}. "
            + ("Lower it." if room > 0 else "Leave out that problem, or take a model with a longer context.")
        )
    return replace(benchmark, sampling=replace(benchmark.sampling, max_new_tokens=room))
