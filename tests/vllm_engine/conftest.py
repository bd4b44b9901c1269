"""What vLLM on a CPU needs besides what TRL gives it. Without vLLM none of these tests is collected."""

import functools
import importlib.util
import os
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from trl.generation import vllm_generation as trl_vllm

from prefix_rft_trl import PrefixGRPOConfig, PrefixGRPOTrainer, lab


if importlib.util.find_spec("vllm") is None:
    collect_ignore_glob = ["test_*.py"]

SMALL = {
    "num_generations": 4,
    "num_prefix_generations": 2,
    "per_device_train_batch_size": 16,
    "max_steps": 1,
    "learning_rate": 1e-3,
    "logging_steps": 1,
    "use_vllm": True,
    "vllm_max_model_length": 96,
    "use_cpu": True,
    "bf16": False,
    "gradient_checkpointing": False,
    "report_to": "none",
    "save_strategy": "no",
    "disable_tqdm": True,
}


@pytest.fixture(scope="session", autouse=True)
def vllm_on_a_cpu() -> Iterator[None]:
    """Lets TRL colocate vLLM on a CPU: whole precision, and linear layers whose weights can be set."""
    import vllm._custom_ops

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("VLLM_CPU_KVCACHE_SPACE", "1")  # GiB
        patch.setenv("VLLM_NO_USAGE_STATS", "1")  # or it reports them over the network
        patch.setattr(vllm._custom_ops, "_supports_onednn", False)  # packs the weights and empties the originals
        on_cpu = functools.partial(trl_vllm.LLM, dtype="float32", enforce_eager=True, block_size=32)
        patch.setattr(trl_vllm, "LLM", on_cpu)
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
def make_trainer(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., PrefixGRPOTrainer]:
    """Makes a trainer of the lab that samples with vLLM; what is not named here is a setting of its config."""

    def make(
        reward_funcs: Any = lab.exact_answer_reward,
        train_dataset: Any = None,
        model: str | None = None,
        **settings: Any,
    ) -> PrefixGRPOTrainer:
        forget_launch()
        return PrefixGRPOTrainer(
            model or lab.base_model_path(),
            reward_funcs,
            PrefixGRPOConfig(**{"output_dir": str(tmp_path_factory.mktemp("run")), **SMALL, **settings}),
            lab.load_dataset("train", 64) if train_dataset is None else train_dataset,
        )

    return make


@pytest.fixture(scope="session")
def record_generations() -> Callable[[PrefixGRPOTrainer], list[tuple[list[dict[str, Any]], dict[str, Any]]]]:
    """Keeps the inputs and the outputs of every generation batch of a trainer, before TRL shuffles the rows."""

    def record(trainer: PrefixGRPOTrainer) -> list[tuple[list[dict[str, Any]], dict[str, Any]]]:
        generations: list[tuple[list[dict[str, Any]], dict[str, Any]]] = []
        generate = trainer._generate_and_score_completions

        def generate_and_keep(inputs: list[dict[str, Any]]) -> dict[str, Any]:
            outputs = generate(inputs)
            generations.append((inputs, dict(outputs)))
            return outputs

        trainer._generate_and_score_completions = generate_and_keep
        return generations

    return record
