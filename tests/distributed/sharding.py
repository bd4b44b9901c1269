"""How each kind of sharding shares out a model over two processes, and what shows that it really does."""

from typing import Any

import torch
from accelerate.utils import DistributedType
from torch.distributed.tensor import DTensor


def adapt(args: Any) -> None:
    """Two things of DeepSpeed's configuration that stand in the way of tiny models and of tests without a compiler.

    ZeRO-3 keeps parameters below a hundred thousand elements whole on each process: all of a tiny model. An optimizer
    that is offloaded is made DeepSpeed's own Adam, which takes minutes to compile.
    """
    if args.deepspeed_plugin is None:
        return
    config = args.deepspeed_plugin.deepspeed_config
    config["zero_force_ds_cpu_optimizer"] = False
    if args.deepspeed_plugin.zero_stage == 3:
        config["zero_optimization"]["stage3_param_persistence_threshold"] = 0


def check(trainer: Any, kind: str) -> None:
    """Raises an AssertionError if the model is not shared out as the kind says."""
    state = trainer.accelerator.state
    parameters = list(trainer.accelerator.unwrap_model(trainer.model_wrapped).parameters())
    if kind in ("one", "ddp"):
        assert state.distributed_type == (DistributedType.NO if kind == "one" else DistributedType.MULTI_CPU)
    elif kind == "fsdp2":
        assert state.distributed_type == DistributedType.FSDP
        assert all(isinstance(parameter, DTensor) for parameter in parameters)
        held = sum(parameter.to_local().numel() for parameter in parameters)
        assert held <= 0.6 * sum(parameter.numel() for parameter in parameters)
    else:
        assert state.distributed_type == DistributedType.DEEPSPEED
        _check_zero(trainer.deepspeed, parameters, kind)


def _check_zero(engine: Any, parameters: list[torch.nn.Parameter], kind: str) -> None:
    stage, is_offloaded = int(kind[4]), kind.endswith("offload")
    assert engine.zero_optimization_stage() == stage
    assert engine.zero_use_cpu_optimizer() == is_offloaded
    total = sum(getattr(parameter, "ds_numel", parameter.numel()) for parameter in parameters)
    if stage == 3:
        assert all(parameter.numel() == 0 for parameter in parameters)  # whole only while they are used
        held = sum(parameter.ds_tensor.numel() for parameter in parameters)
    else:  # of the weights in full precision, which the optimizer steps
        held = sum(partition.numel() for partition in engine.optimizer.single_partition_of_fp32_groups)
    assert held <= 0.6 * total
