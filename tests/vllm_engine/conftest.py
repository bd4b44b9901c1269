"""vLLM on a CPU, and trainers that sample with it. Without vLLM none of these tests is collected."""

import functools
import importlib.util
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from trl.generation import vllm_generation as trl_vllm

from prefix_rft_trl import PrefixGRPOTrainer, lab


if importlib.util.find_spec("vllm") is None:
    collect_ignore_glob = ["test_*.py"]

SAMPLING = {
    "use_vllm": True,
    "vllm_max_model_length": 96,
    "num_prefix_generations": 2,
    "per_device_train_batch_size": 16,
    "max_steps": 1,
}


@contextmanager
def on_a_cpu() -> Iterator[None]:
    """Lets TRL colocate vLLM on a CPU: full precision, and linear layers whose weights can be set."""
    import vllm._custom_ops

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("VLLM_CPU_KVCACHE_SPACE", "1")  # GiB
        patch.setenv("VLLM_NO_USAGE_STATS", "1")  # or it reports them over the network
        patch.setattr(vllm._custom_ops, "_supports_onednn", False)  # packs the weights and empties the originals
        engine = functools.partial(trl_vllm.LLM, dtype="float32", enforce_eager=True, block_size=32)
        patch.setattr(trl_vllm, "LLM", engine)
        yield


@pytest.fixture(scope="session", autouse=True)
def vllm_on_a_cpu() -> Iterator[None]:
    with on_a_cpu():
        yield


@pytest.fixture(autouse=True, scope="module")
def as_if_launched_alone() -> Iterator[None]:
    yield
    forget_launch()


def forget_launch() -> None:
    """What TRL sets for vLLM would make the next trainer the process of a launcher."""
    for name in ("RANK", "LOCAL_RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT"):
        os.environ.pop(name, None)


@pytest.fixture(scope="session")
def make_trainer(
    make_trainer_in: Callable[..., Any], tmp_path_factory: pytest.TempPathFactory
) -> Callable[..., PrefixGRPOTrainer]:
    """Makes a trainer of the lab that samples with vLLM; what is not named here is a setting of its config."""

    def make(**settings: Any) -> PrefixGRPOTrainer:
        forget_launch()
        rows = {"reward_funcs": lab.exact_answer_reward, "train_dataset": lab.load_dataset("train", 64)}
        return make_trainer_in(tmp_path_factory.mktemp("run"), **{**rows, **SAMPLING, **settings})

    return make
