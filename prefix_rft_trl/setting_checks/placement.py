"""Settings of where a prefix stands."""

from typing import Any

from prefix_rft_trl.method.hints import HINT_PLACE, PROMPT_PLACE


OF_HINTS = {"prefix_hint_template": "{prompt}\n\n## Hint\n{hint}", "prefix_hint_in_loss": True}
OF_PREFIX_TOKENS = {  # and their defaults
    "prefix_loss_type": "ppo",
    "prefix_loss_normalization": None,
    "prefix_loss_coef": None,
    "prefix_loss_coef_schedule": "constant",
    "prefix_loss_coef_warmup_steps": 0,
    "prefix_loss_convex": False,
    "prefix_shaping_gamma": 0.1,
}
OF_SELECTION = {"prefix_selection": "top_entropy", "prefix_top_entropy_quantile": None}


def check_placement(args: Any) -> None:
    """Raises a ValueError if a hint cannot be made, or if a setting has nothing to act on."""
    if args.prefix_placement == "completion":
        return _refuse_changed(
            args,
            OF_HINTS,
            "is about hints, and with `prefix_placement='completion'` there is none. Remove it, or set "
            "`prefix_placement='prompt'`.",
        )
    _check_template(args.prefix_hint_template)
    _check_hint_lengths(args)
    _check_weights(args)
    if not args.prefix_hint_in_loss and args.beta:
        raise ValueError(
            f"`prefix_hint_in_loss=False` with `beta` ({args.beta}) would compare the policy behind the plain prompt "
            "with the reference model behind the hint. Set `beta=0`, or leave the hint in the loss."
        )


def _refuse_changed(args: Any, defaults: dict[str, Any], reason: str) -> None:
    for name, default in defaults.items():
        if (found := getattr(args, name)) != default:
            raise ValueError(f"`{name}` ({found!r:.80}) {reason}")


def _check_template(template: str) -> None:
    for place in (PROMPT_PLACE, HINT_PLACE):
        if (found := template.count(place)) != 1:
            raise ValueError(
                f"`prefix_hint_template` has {place} {found or 'no'} time{'s' * (found != 1)}: {template!r:.80}. It "
                "needs it once, where the text goes; all other braces stay as they are."
            )


def _check_hint_lengths(args: Any) -> None:
    found = None
    if args.gives_whole_demonstrations:
        found = "`prefix_ratio_schedule='whole'`"
    elif 1.0 in (args.prefix_stage_ratios or []):
        found = f"`prefix_stage_ratios` ({args.prefix_stage_ratios})"
    if found:
        raise ValueError(
            f"{found} with `prefix_placement='prompt'` would show the policy a whole solution, which it only had to "
            "copy. Give a part of it, or set `prefix_placement='completion'`."
        )


def _check_weights(args: Any) -> None:
    reason = (
        "is about the tokens of prefixes in the completion, and with `prefix_placement='prompt'` there are none. "
        "Remove it, or set `prefix_placement='completion'`."
    )
    if args.prefix_advantage not in ("group", "on_policy"):
        raise ValueError(
            f"`prefix_advantage='{args.prefix_advantage}'` treats the tokens of a prefix apart from its continuation, "
            "and with `prefix_placement='prompt'` there are none. Set it to 'group' or 'on_policy'."
        )
    if not args.per_device_demonstration_batch_size:  # whose tokens have the same weights
        _refuse_changed(args, OF_PREFIX_TOKENS, reason)
        _refuse_changed(args, OF_SELECTION, reason)
