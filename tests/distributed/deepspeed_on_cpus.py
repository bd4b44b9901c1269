"""DeepSpeed on CPUs by gloo, and without a compiler: neither is what the tests are of."""


def by_gloo() -> None:
    """Not by DeepSpeed's own collectives for the processes of one machine, which take a minute to compile."""
    import deepspeed.comm.torch

    deepspeed.comm.torch.build_shm_op = lambda: None
