"""Whether prompt and answer fit into the context of a model, told before it is loaded."""

from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any

from transformers import PreTrainedConfig

from prefix_rft_trl.models.sources import Source
from prefix_rft_trl.sampling.generate import encode_prompts

from .benchmark import Benchmark


def context_length(source: Source) -> int | None:
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
