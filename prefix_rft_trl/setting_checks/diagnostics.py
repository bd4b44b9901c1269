"""Settings of measurements that a run makes of its own training."""

import os
from typing import Any


def check_gradient_norms(args: Any) -> None:
    """Raises a ValueError if a backward pass of prefix tokens alone cannot be made beside that of training."""
    if args.prefix_gradient_norm_steps is None:
        return
    is_compiled = args.torch_compile or args.torch_compile_backend or args.torch_compile_mode
    is_compiled = is_compiled or os.environ.get("ACCELERATE_DYNAMO_BACKEND", "no").lower() != "no"
    checkpointing = args.gradient_checkpointing_kwargs if isinstance(args.gradient_checkpointing_kwargs, dict) else {}
    hindrances = {
        "`fsdp` shards the gradients": args.fsdp or _is_set("ACCELERATE_USE_FSDP"),
        "`deepspeed` keeps the gradients to itself": args.deepspeed or _is_set("ACCELERATE_USE_DEEPSPEED"),
        "`torch_compile` frees what it would read": is_compiled,
        "`ddp_static_graph=True` allows no pass besides that of training": args.ddp_static_graph,
        "`gradient_checkpointing_kwargs` with `use_reentrant=True` computes no gradient of a part": (
            args.gradient_checkpointing and checkpointing.get("use_reentrant")
        ),
    }
    for hindrance, is_there in hindrances.items():
        if is_there:
            raise ValueError(
                "`prefix_gradient_norm_steps` takes a backward pass of its own over prefix tokens, and "
                f"{hindrance}. Remove one of them."
            )


def _is_set(variable: str) -> bool:
    return os.environ.get(variable, "").lower() in ("1", "true", "yes", "on", "y", "t")
