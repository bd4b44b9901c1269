"""Every test starts without a network, on one thread (faster than two for tiny models); tiny models and trainers."""

import functools
import gc
import os
import runpy
import signal
import socket
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any


os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"
os.environ["TOKENIZERS_PARALLELISM"] = "false"

import psutil
import pytest
import torch
import trl
from hypothesis import HealthCheck, settings
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast, Qwen2Config, Qwen2ForCausalLM

from prefix_rft_trl import lab
from prefix_rft_trl.lab.real import smollm2


torch.set_num_threads(1)
if hasattr(signal, "SIGHUP"):
    signal.signal(signal.SIGHUP, signal.SIG_DFL)  # as in a terminal, under `nohup` too
settings.register_profile(
    "default",
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
settings.load_profile("default")


LONGEST = {
    "test_documentation.py", "test_gradient_accumulation.py", "test_kill.py", "test_killed_commands.py",
    "test_lab_learns.py", "test_learning.py", "test_notebooks.py", "test_pretrain.py",
}  # fmt: skip


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Workers in parallel begin with the longest tests, or one of them would be left with those in the end."""
    if "PYTEST_XDIST_WORKER" in os.environ:
        items.sort(key=lambda item: item.path.name not in LONGEST)


@pytest.fixture(scope="module", autouse=True)
def imported_once() -> None:
    """What is there before a module of tests stays, so the collections that each training asks for pass over it.

    They took half of the time of a short training: the libraries alone make a million objects.
    """
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session")
def growth() -> SimpleNamespace:
    """The names of growth.py."""
    return SimpleNamespace(**runpy.run_path(str(Path(__file__).with_name("growth.py"))))


# Models


@pytest.fixture(scope="session")
def base_model() -> str:
    """Folder of the lab's base model."""
    return lab.base_model_path()


@pytest.fixture(scope="session")
def byte_tokenizer() -> Callable[..., PreTrainedTokenizerFast]:
    """Makes a tokenizer of bytes, which merges what is frequent in `texts`, within words or (`use_regex`) across."""

    def make(
        texts: Iterable[str] = (), special_tokens: Iterable[str] = (), use_regex: bool = True, **others: Any
    ) -> PreTrainedTokenizerFast:
        bpe = Tokenizer(models.BPE())
        bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=use_regex)
        bpe.decoder = decoders.ByteLevel()
        alphabet = pre_tokenizers.ByteLevel.alphabet()
        named = {"special_tokens": list(special_tokens), "initial_alphabet": alphabet, "show_progress": False}
        bpe.train_from_iterator(texts, trainers.BpeTrainer(vocab_size=400, min_frequency=2, **named))
        return PreTrainedTokenizerFast(tokenizer_object=bpe, padding_side="left", **others)

    return make


@pytest.fixture(scope="session")
def save_tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Saves a tokenizer with an untrained model for it; the folder has the name."""

    def save(tokenizer: PreTrainedTokenizerFast, name: str, hidden_size: int = 16) -> Path:
        torch.manual_seed(0)
        config = Qwen2Config(
            vocab_size=len(tokenizer), hidden_size=hidden_size, intermediate_size=32, num_hidden_layers=1,
            num_attention_heads=2, num_key_value_heads=2, eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id, bos_token_id=None,
        )  # fmt: skip
        folder = tmp_path_factory.mktemp(name)
        Qwen2ForCausalLM(config).save_pretrained(folder)
        tokenizer.save_pretrained(folder)
        return folder

    return save


@pytest.fixture(scope="session")
def text_model(byte_tokenizer: Callable[..., PreTrainedTokenizerFast], save_tiny_model: Callable[..., Path]) -> Path:
    """Folder of an untrained model whose tokens are bytes."""
    return save_tiny_model(
        byte_tokenizer(special_tokens=["<end>"], pad_token="<end>", eos_token="<end>"), "text_model"
    )


@pytest.fixture(scope="session")
def tool_model(byte_tokenizer: Callable[..., PreTrainedTokenizerFast], save_tiny_model: Callable[..., Path]) -> Path:
    """Folder of an untrained model with TRL's template of Qwen2.5; its tokenizer merges what calls of tools have."""
    template = (Path(trl.__file__).parent / "chat_templates" / "qwen2_5.jinja").read_text()
    called = '{"name": "add", "arguments": {"a": 1, "b": 2}} {"name": "count", "arguments": {"a": 3, "b": 4}}'
    texts = [template, *[f"I add. {called} The sum is 5."] * 8]
    special = ["<|im_end|>", "<|im_start|>", "<tool_call>", "</tool_call>"]
    tokenizer = byte_tokenizer(texts, special, pad_token=special[0], eos_token=special[0])
    tokenizer.chat_template = template
    return save_tiny_model(tokenizer, "tool_model")


@pytest.fixture(scope="session")
def cache_with_tiny_smollm2(
    byte_tokenizer: Callable[..., PreTrainedTokenizerFast],
    save_tiny_model: Callable[..., Path],
    tmp_path_factory: pytest.TempPathFactory,
) -> Path:
    """A user's cache with an untrained model in place of SmolLM2-135M-Instruct."""
    rows, ends = lab.load_dataset("train", level="sums"), ["<|im_end|>", "<|im_start|>"]
    texts = [*rows["prompt"], *rows["completion"]]
    made = save_tiny_model(
        byte_tokenizer(texts, special_tokens=ends, pad_token=ends[0], eos_token=ends[0]), "tiny_smollm2"
    )
    cache = tmp_path_factory.mktemp("cache")
    (cache / "prefix_rft_trl").mkdir()
    made.rename(cache / "prefix_rft_trl" / smollm2.NAME.lower())
    return cache


@pytest.fixture
def tiny_smollm2(cache_with_tiny_smollm2: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The untrained model for this test and the processes that it starts."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(cache_with_tiny_smollm2))


@pytest.fixture(scope="session")
def tiny_vlm(
    byte_tokenizer: Callable[..., PreTrainedTokenizerFast], tmp_path_factory: pytest.TempPathFactory
) -> Callable[[str], str]:
    """Folder of an untrained model that sees, of a kind that tiny_vlms.py names."""
    save = runpy.run_path(str(Path(__file__).with_name("tiny_vlms.py")))["save_tiny_vlm"]
    return functools.cache(lambda kind: save(kind, tmp_path_factory.mktemp(kind), byte_tokenizer))


# Trainers


SMALL = {
    "use_cpu": True, "bf16": False, "gradient_checkpointing": False, "report_to": "none", "save_strategy": "no",
    "logging_steps": 1, "disable_tqdm": True, "max_completion_length": 40, "per_device_train_batch_size": 8,
    "num_generations": 4, "max_steps": 2, "learning_rate": 1e-3,
}  # fmt: skip


@pytest.fixture(scope="session")
def graded_reward() -> Callable[..., list[float]]:
    """A reward that hardly ever is the same for all rollouts of a group, unlike that of the lab's task."""

    def reward(completions: list[Any], **kwargs: Any) -> list[float]:
        texts = (text if isinstance(text, str) else text[0]["content"] for text in completions)
        return [sum(map(ord, text)) % 11 / 10 for text in texts]

    return reward


@pytest.fixture(scope="session")
def make_trainer_in(base_model: str, graded_reward: Callable[..., list[float]]) -> Callable[..., Any]:
    """Makes a trainer that writes into a folder, on the lab's base model: two steps take a few tenths of a second.

    `others` are further arguments of the trainer; what is not named here is a setting of its config.
    """
    from prefix_rft_trl import PrefixGRPOConfig, PrefixGRPOTrainer

    def make(
        folder: Path,
        trainer_class: type = PrefixGRPOTrainer,
        config_class: type = PrefixGRPOConfig,
        *,
        model: Any = base_model,
        reward_funcs: Any = graded_reward,
        train_dataset: Any = None,
        others: dict[str, Any] | None = None,
        **settings: Any,
    ) -> Any:
        return trainer_class(
            model,
            reward_funcs,
            config_class(**{"output_dir": str(folder), **SMALL, **settings}),
            lab.load_dataset("train", 16) if train_dataset is None else train_dataset,
            **(others or {}),
        )

    return make


@pytest.fixture
def make_trainer(make_trainer_in: Callable[..., Any], tmp_path: Path) -> Callable[..., Any]:
    """Makes a trainer that writes into the test's folder; see `make_trainer_in`."""
    return functools.partial(make_trainer_in, tmp_path)


@dataclass
class Generation:
    """A generation batch in the order of its plan, before TRL shuffles it."""

    inputs: list[dict[str, Any]]
    outputs: dict[str, Any]

    @property
    def prefix_lengths(self) -> list[int]:
        return self.outputs["prefix_lengths"].tolist()

    @property
    def completion_ids(self) -> list[list[int]]:
        masks = self.outputs["completion_mask"].bool()
        return [ids[mask].tolist() for ids, mask in zip(self.outputs["completion_ids"], masks, strict=True)]


@pytest.fixture(scope="session")
def record() -> Callable[[Any], list[Generation]]:
    """Collects every generation batch of a trainer from now on."""

    def record_generations(trainer: Any) -> list[Generation]:
        generations: list[Generation] = []
        generate = trainer._generate_and_score_completions

        def generate_and_record(inputs: list[dict[str, Any]]) -> dict[str, Any]:
            outputs = generate(inputs)
            generations.append(Generation(inputs, dict(outputs)))
            return outputs

        trainer._generate_and_score_completions = generate_and_record
        return generations

    return record_generations


@pytest.fixture(scope="session")
def still_running() -> Callable[[Iterable[psutil.Process]], list[psutil.Process]]:
    """Waits until processes have ended, at most three seconds; returns those that have not.

    One whose exit code nobody has asked for yet has ended.
    """

    def is_running(process: psutil.Process) -> bool:
        try:
            return process.status() != psutil.STATUS_ZOMBIE
        except psutil.NoSuchProcess:
            return False

    def wait(processes: Iterable[psutil.Process]) -> list[psutil.Process]:
        running, end = list(processes), time.monotonic() + 3
        while running and time.monotonic() < end:
            running = [process for process in running if is_running(process)]
            time.sleep(0.02)
        return running

    return wait


@pytest.fixture(scope="session")
def free_port() -> Callable[[], int]:
    """Finds a port of this machine that nothing listens on."""

    def find() -> int:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            return free.getsockname()[1]

    return find
