"""Settings of the sampler under which each hybrid rollout starts with its prefix and is continued as one text.

The sampler gets prompt and prefix, and returns what follows. So a setting has to act on each next token by itself, in
the rows of the batch. One that gives other rows puts prefixes into the wrong rollouts, and one that counts from the
start of a completion counts from the end of the prefix. Those that are known to be right are listed; all others are
refused, so that a setting that a later version adds is not taken without a look.
"""

import json
from collections.abc import Iterator, Mapping
from typing import Any


def _names(text: str) -> frozenset[str]:
    return frozenset(text.split())


# That change the probabilities of each next token
_PROBABILITIES = _names(
    """do_sample temperature top_k top_p min_p top_h typical_p epsilon_cutoff eta_cutoff repetition_penalty
    no_repeat_ngram_size bad_words_ids suppress_tokens sequence_bias renormalize_logits remove_invalid_values"""
)
# That say how, not what, is computed, or that do nothing without another setting
_WITHOUT_EFFECT = _names(
    """use_cache cache_implementation cache_config max_cache_len compile_config disable_compile
    continuous_batching_config pad_token_id bos_token_id output_attentions output_hidden_states output_scores
    output_logits length_penalty early_stopping num_assistant_tokens num_assistant_tokens_schedule
    assistant_confidence_threshold assistant_lookbehind target_lookbehind decoder_start_token_id low_memory
    prefill_chunk_size transformers_version"""
)
# Of the least number of tokens a row has to decode what its prefix leaves
IN_TRANSFORMERS = _PROBABILITIES | _WITHOUT_EFFECT | {"min_new_tokens"}
IN_VLLM = _names(
    """temperature top_k top_p min_p repetition_penalty bad_words logit_bias allowed_token_ids stop stop_token_ids
    ignore_eos min_tokens logprobs prompt_logprobs detokenize skip_special_tokens spaces_between_special_tokens
    include_stop_str_in_output skip_reading_prefix_cache"""
)
_ONE_IS_NONE = {
    "num_beams",
    "num_beam_groups",
    "num_return_sequences",
    "n",
    "guidance_scale",
    "encoder_repetition_penalty",
}

_OTHER_ROWS = "does not decode each row a token at a time, so prefixes would be lost or in other rollouts"
_FROM_THE_START = "is about a completion from its start, but the sampler knows only what follows the prefix"
_ENDS_IN_PREFIX = "could end a rollout within its prefix"
_BY_PROMPT = "goes by the prompt, in which the sampler may be given the prefix"
_SAME_SEED = "is the same for all rows of a prompt, so that they would be the same rollout and have no advantage"
_CONSTRAINS = "constrains what follows the prefix alone, so its format would start over inside the demonstration"
_UNKNOWN = "is not known to leave prefixes as they are"
_REASONS = {
    _OTHER_ROWS: """num_beams num_beam_groups num_return_sequences n best_of diversity_penalty constraints
        force_words_ids penalty_alpha dola_layers use_mtp prompt_lookup_num_tokens max_matching_ngram_size is_assistant
        assistant_early_exit trace_decode_token_ids""",
    _FROM_THE_START: """min_length min_new_tokens begin_suppress_tokens forced_bos_token_id forced_eos_token_id
        exponential_decay_length_penalty presence_penalty frequency_penalty thinking_token_budget""",
    _ENDS_IN_PREFIX: "eos_token_id max_time stop_strings",
    _BY_PROMPT: "encoder_repetition_penalty encoder_no_repeat_ngram_size",
    _SAME_SEED: "seed",
    _CONSTRAINS: "structured_outputs guided_decoding vllm_structured_outputs_regex",
}
_REASON = {name: reason for reason, names in _REASONS.items() for name in _names(names)}
BUDGETS = {"max_new_tokens", "max_tokens", "max_length"}


def refuse_sampler_settings(args: Any) -> None:
    """Checks what a [`~trl.GRPOConfig`] tells the sampler.

    Raises:
        ValueError: naming the first setting under which a hybrid rollout would not be what it is to be.
    """
    given = _generation_kwargs(args)
    for name in BUDGETS & given.keys():
        raise ValueError(
            f"`generation_kwargs` has `{name}` ({given[name]}), but prefix and continuation share one budget: set "
            "`max_completion_length` instead."
        )
    allowed = IN_VLLM if args.use_vllm else IN_TRANSFORMERS
    if args.use_transformers_continuous_batching:  # there a prefix is in the prompt, and never decoded
        allowed = allowed | {"eos_token_id"}
    for name, value in _with_effect(given, allowed):
        raise ValueError(
            f"`generation_kwargs` has `{name}` ({value!r:.60}), which {_REASON.get(name, _UNKNOWN)}. Remove it, or "
            "set `num_prefix_generations=0`."
        )
    if args.use_vllm and args.vllm_structured_outputs_regex:
        raise ValueError(
            f"`vllm_structured_outputs_regex` ({args.vllm_structured_outputs_regex!r:.60}) {_CONSTRAINS}. Remove it "
            "and let a reward ask for the format, or set `num_prefix_generations=0`."
        )


def refuse_generation_config(config: Any, args: Any) -> None:
    """Checks the generation config of a model, whose settings `generate` uses where a run sets none.

    Args:
        config ([`~transformers.GenerationConfig`]): of the model.
        args ([`~trl.GRPOConfig`]): of the run.

    Raises:
        ValueError: as [`refuse_sampler_settings`].
    """
    if args.use_vllm or args.use_transformers_continuous_batching:  # which do not look into it
        return
    known = _known(config)
    set_by_run = {name for name, value in _generation_kwargs(args).items() if value is not None}
    allowed = (IN_TRANSFORMERS - {"min_new_tokens"}) | BUDGETS | {"eos_token_id"} | set_by_run
    for name, value in _with_effect(known, allowed):
        raise ValueError(
            f"The model's generation config has `{name}` ({value!r:.60}), which {_REASON.get(name, _UNKNOWN)}. Remove "
            "it there, or set `num_prefix_generations=0`."
        )


def refuse_settings_in_use(trainer: Any) -> None:
    """Checks what the sampler of a trainer is told now: its settings can be changed after those of the run are read.

    Raises:
        ValueError: as [`refuse_sampler_settings`].
    """
    refuse_sampler_settings(trainer.args)
    if trainer.use_vllm:
        owner, given, allowed = "`trainer.vllm_generation.generation_kwargs`", _of_vllm(trainer), IN_VLLM
    else:
        stops = trainer.generation_config.eos_token_id
        stops_are_known = {*(stops if isinstance(stops, list) else [stops])} <= {*trainer.eos_token_ids, None}
        owner, given = "`trainer.generation_config`", _known(trainer.generation_config)
        allowed = IN_TRANSFORMERS | BUDGETS | ({"eos_token_id"} if stops_are_known else set())
    if trainer.use_transformers_continuous_batching:
        allowed = allowed | {"eos_token_id"}
    for name, value in _with_effect(given, allowed):
        raise ValueError(
            f"{owner} has `{name}` ({value!r:.60}), which {_REASON.get(name, _UNKNOWN)}. Remove it, or set "
            "`num_prefix_generations=0`."
        )
    if model_config := getattr(trainer.accelerator.unwrap_model(trainer.model_wrapped), "generation_config", None):
        refuse_generation_config(model_config, trainer.args)


def _of_vllm(trainer: Any) -> dict[str, Any]:
    return getattr(trainer.vllm_generation, "generation_kwargs", None) or {}


def _known(config: Any) -> dict[str, Any]:
    from transformers import GenerationConfig

    return {name: value for name, value in vars(config).items() if name in vars(GenerationConfig())}


def _generation_kwargs(args: Any) -> dict[str, Any]:
    given = args.generation_kwargs or {}
    return json.loads(given) if isinstance(given, str) else given


def _with_effect(settings: Mapping[str, Any], allowed: frozenset[str]) -> Iterator[tuple[str, Any]]:
    """Those settings that are not allowed and whose value does something."""
    for name, value in settings.items():
        may_be_zero = name.endswith("_token_id") or name == "seed"
        has_effect = (may_be_zero and value is not None) or (value and not (name in _ONE_IS_NONE and value == 1))
        if has_effect and name not in allowed and not name.startswith("_"):
            yield name, value
