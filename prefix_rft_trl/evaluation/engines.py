"""What samples: transformers or vLLM, loaded with a model when the first sample is needed."""

import importlib.util
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

from transformers import PreTrainedConfig

from prefix_rft_trl.models.sources import ModelSource, explain_missing_model
from prefix_rft_trl.sampling.generate import encode_prompts

from .benchmark import Benchmark
from .samplers import rank_of_adapter
from .sampling import Sampler


class Loaded(NamedTuple):
    """A sampler, the tokenizer of its model, and the ids that end an answer."""

    sampler: Sampler
    tokenizer: Any
    ends: list[int]


Load = Callable[[ModelSource], Loaded]


@dataclass(frozen=True)
class Engine:
    """
    How a model is run.

    Args:
        backend (`str`, *optional*): `"vllm"` or `"transformers"`; vLLM where it is installed.
        dtype (`str`, *optional*): of the weights; by default float32 on a CPU and `auto` on a GPU: that of the
            checkpoint, but with vLLM 16 bits for a checkpoint in float32.
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
            raise ValueError('vLLM is not installed: pip install "prefix_rft_trl[vllm]", or `--backend transformers`.')
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
        """What the samples depend on. How much memory vLLM takes is not of it."""
        memory = ("gpu_memory_utilization", "max_model_len", "max_num_seqs", "swap_space", "cpu_offload_gb")
        kwargs = {name: value for name, value in self.vllm_kwargs.items() if name not in memory}
        backend = {"backend": "vllm", "vllm_kwargs": kwargs} if self.uses_vllm else {"backend": "transformers"}
        return {**backend, "dtype": self.dtype or "auto", "tensor_parallel_size": self.tensor_parallel_size}

    def check(self, source: ModelSource) -> None:
        """Raises `ValueError` for a model that would not be run, or not as it was trained, and for too few GPUs."""
        import torch

        wanted, there = self.tensor_parallel_size * self.data_parallel_size, torch.cuda.device_count()
        if there and wanted > there:
            raise ValueError(
                f"`tensor_parallel_size` x `data_parallel_size` is {wanted}, and there are {there} GPUs. Lower one."
            )
        if self.uses_vllm and source.base is not None:
            rank_of_adapter(source.path)

    def context_length(self, source: ModelSource) -> int | None:
        """Tokens that a model takes, prompt and answer together; `None` if nothing says."""
        given = self.vllm_kwargs.get("max_model_len") if self.uses_vllm else None
        return given if isinstance(given, int) and given > 0 else context_length(source)

    def with_room_for(self, tokens: int) -> "Engine":
        """The engine, where vLLM keeps memory for so many tokens of prompt and answer, not for all a model takes."""
        return replace(self, vllm_kwargs={"max_model_len": tokens, **self.vllm_kwargs})

    def load(self, source: ModelSource) -> Loaded:
        """Raises `ValueError` for a model that cannot be loaded."""
        try:
            return (self._vllm if self.uses_vllm else self._transformers)(source)
        except Exception as error:  # of files that are broken each library has its own
            raise ValueError(f"The model {source.path} could not be loaded: {error}") from error

    def _transformers(self, source: ModelSource) -> Loaded:
        import torch
        from transformers import AutoModelForCausalLM

        from .samplers import TransformersSampler

        device = "cuda" if torch.cuda.is_available() else "cpu"
        model = AutoModelForCausalLM.from_pretrained(source.base or source.path, dtype=self._dtype())
        if source.base is not None:
            from peft import PeftModel

            model = PeftModel.from_pretrained(model, source.path).merge_and_unload()
        tokenizer = load_tokenizer(source)
        sampler = TransformersSampler(model.to(device), tokenizer)
        return Loaded(sampler, tokenizer, sampler.ends)

    def _vllm(self, source: ModelSource) -> Loaded:
        from .samplers import VLLMSampler

        tokenizer = load_tokenizer(source)
        settings = {"tensor_parallel_size": self.tensor_parallel_size, "dtype": self._dtype()}
        sampler = VLLMSampler(source, tokenizer, settings | self.vllm_kwargs)
        return Loaded(sampler, tokenizer, sampler.ends)

    def _dtype(self) -> str:
        import torch

        return self.dtype or ("auto" if torch.cuda.is_available() else "float32")


def load_tokenizer(source: ModelSource) -> Any:
    from transformers import AutoTokenizer

    with explain_missing_model(source.tokenizer_path):
        return AutoTokenizer.from_pretrained(source.tokenizer_path)


def _has_vllm() -> bool:
    return importlib.util.find_spec("vllm") is not None


def context_length(source: ModelSource) -> int | None:
    """Tokens that a model takes, prompt and answer together; `None` if its config does not say."""
    config, _ = PreTrainedConfig.get_config_dict(source.base or source.path)
    config = config.get("text_config", config)
    length = config.get("max_position_embeddings", config.get("n_positions"))
    rope = config.get("rope_parameters") or config.get("rope_scaling") or {}
    kind = rope.get("rope_type", rope.get("type"))
    if length is None or kind not in ("linear", "dynamic", "yarn"):
        return length  # what other ways of scaling add is in it already
    before = rope.get("original_max_position_embeddings") if kind == "yarn" else None
    return max(length, int((before or length) * rope["factor"]))


def fit_budgets(
    benchmarks: Iterable[Benchmark], tokenizer: Any, context: int | None, is_given: bool, tell: Callable[[str], object]
) -> tuple[list[Benchmark], int]:
    """
    Benchmarks whose budgets fit beside the longest of their prompts.

    Args:
        benchmarks (`Iterable[Benchmark]`): as they are asked for.
        tokenizer ([`~transformers.PreTrainedTokenizerBase`]): of the model.
        context (`int`, *optional*): tokens that the model takes.
        is_given (`bool`): whether the user has named the budget, so that it must not be cut.
        tell (`Callable`): hears a sentence for each budget that is cut.

    Returns:
        `tuple`: the benchmarks, and the most tokens that one of their prompts takes together with its answer.

    Raises:
        ValueError: if a budget that was given does not fit, or a prompt leaves no room for an answer.
    """
    fitting, needed = [], 0
    for benchmark in benchmarks:
        prompts = encode_prompts(tokenizer, list(benchmark.rows["prompt"]), benchmark.template_kwargs)
        lengths = [len(prompt) for prompt in prompts]
        budget = benchmark.sampling.max_new_tokens
        if context is not None and max(lengths) + budget > context:
            benchmark = _cut(benchmark, lengths, context, is_given)
            tell(
                f"{benchmark.name}: answers have {benchmark.sampling.max_new_tokens} tokens instead of {budget}; the "
                f"longest problem has {max(lengths)}, and the model takes {context}."
            )
        fitting.append(benchmark)
        needed = max(needed, max(lengths) + benchmark.sampling.max_new_tokens)
    return fitting, needed


def _cut(benchmark: Benchmark, lengths: list[int], context: int, is_given: bool) -> Benchmark:
    room, longest = context - max(lengths), lengths.index(max(lengths))
    if room < 1 or is_given:
        raise ValueError(
            f"The model takes {context} tokens, prompt and answer together. Of these, problem {longest} of "
            f"{benchmark.name} leaves {max(room, 0)} for an answer, and `max_new_tokens` is "
            f"{benchmark.sampling.max_new_tokens}. "
            + ("Lower it." if room > 0 else "Leave out that problem, or take a model with a longer context.")
        )
    return replace(benchmark, sampling=replace(benchmark.sampling, max_new_tokens=room))
