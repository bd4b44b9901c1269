"""TRL's own calls of vLLM, with stand-ins for the engine and for the client of its server."""

import json
import os
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import requests
import torch
from accelerate import Accelerator
from hypothesis import given
from hypothesis import strategies as st
from trl.generation import vllm_generation as trl_vllm

from prefix_rft_trl.sampling.vllm import limit_new_tokens_per_row
from prefix_rft_trl.sampling.vllm_server import fail_together
from prefix_rft_trl.utils.patching import replaced


URL = "http://10.0.0.7:8000"
LONGEST = 9


@dataclass
class Params:
    """vLLM's SamplingParams; the other settings are kept as they come."""

    max_tokens: int | None = None
    min_tokens: int = 0
    settings: Any = None

    @classmethod
    def from_trl(cls, **settings: Any) -> "Params":
        return cls(settings.pop("max_tokens"), settings.pop("min_tokens", 0), settings)


def decoded(prompt: list[int], max_tokens: int) -> list[int]:
    """Completion of a model that never ends; it shows which prompt it was given."""
    return [sum(prompt) + position for position in range(max_tokens)]


class Engine:
    """Stands in for `vllm.LLM`."""

    def __init__(self) -> None:
        self.requests: list[Any] = []

    def generate(self, prompts: list[Any], sampling_params: Any, use_tqdm: bool = True) -> list[Any]:
        self.requests.append(sampling_params)
        row_params = sampling_params if isinstance(sampling_params, list) else [sampling_params] * len(prompts)
        return [
            self.answer(prompt["prompt_token_ids"], params) for prompt, params in zip(prompts, row_params, strict=True)
        ]

    @staticmethod
    def answer(prompt: list[int], params: Params) -> SimpleNamespace:
        ids = decoded(prompt, params.max_tokens)
        logprobs = [{token: SimpleNamespace(rank=1, logprob=-float(token))} for token in ids]
        output = SimpleNamespace(token_ids=ids, logprobs=logprobs)
        return SimpleNamespace(prompt_token_ids=prompt, outputs=[output])


class Client:
    """Stands in for TRL's `VLLMClient`. With `together`, a request ends when as many as that are waiting."""

    base_url = URL

    def __init__(self, together: int = 1, logprobs: bool = True) -> None:
        self.requests: list[dict[str, Any]] = []
        self.failing: dict[str, Exception] = {}
        self.all_here = threading.Barrier(together)
        self.gives_logprobs = logprobs

    def fail(self, call: str) -> None:
        if call in self.failing:
            raise self.failing[call]

    def generate(self, prompts, features=None, n=1, max_tokens=16, generation_kwargs=None, **others) -> dict[str, Any]:
        self.fail("generate")
        self.all_here.wait(timeout=20)
        settings = {"max_tokens": max_tokens, **(generation_kwargs or {})}
        self.requests.append({"prompts": prompts, "n": n, **settings, **others})
        ids = [decoded(prompt, settings["max_tokens"]) for prompt in prompts for _ in range(n)]
        logprobs = [[[-float(token)] for token in tokens] for tokens in ids] if self.gives_logprobs else None
        return {
            "prompt_ids": prompts,
            "completion_ids": ids,
            "logprobs": logprobs,
            "logprob_token_ids": [[[token] for token in tokens] for tokens in ids] if logprobs else None,
        }

    def update_named_params(self, metadata, named_params) -> None:
        self.fail("update_named_params")
        list(named_params)

    def reset_prefix_cache(self) -> None:
        self.fail("reset_prefix_cache")


@contextmanager
def gathered(params: Any):
    """As of ZeRO-3: a process that does not take part keeps the others waiting."""
    if torch.distributed.is_initialized():
        torch.distributed.barrier()
    yield


@contextmanager
def trl_generation(mode: str, engine: Any, tp_group: Any = None, **generation_kwargs: Any):
    """TRL's `VLLMGeneration` as it is after it has found its engine."""
    generation = object.__new__(trl_vllm.VLLMGeneration)
    vars(generation).update(
        mode=mode,
        accelerator=Accelerator(cpu=True),
        model=torch.nn.Linear(2, 2),
        max_completion_length=LONGEST,
        generation_kwargs=generation_kwargs,
        tensor_parallel_size=2 if tp_group else 1,
        tp_group=tp_group,
        _dist=SimpleNamespace(is_fsdp=False, gather_params=gathered),
        **{"llm" if mode == "colocate" else "vllm_client": engine},
        **{"temperature": 0.7, "top_p": 0.9, "top_k": 5, "min_p": None, "repetition_penalty": 1.1, "logprobs": 0},
        **dict.fromkeys(["structured_outputs_regex", "enable_sleep_mode", "_weight_metadata"]),
    )
    with replaced(trl_vllm, "SamplingParams", Params.from_trl):
        yield generation


def generate_within(generation: Any, prompts: list[list[int]], budgets: list[int]) -> tuple:
    with limit_new_tokens_per_row(generation, budgets):
        return generation.generate(prompts, None, num_generations=1)


def sync_and_generate_within(generation: Any, prompts: list[list[int]], budgets: list[int]) -> None:
    with limit_new_tokens_per_row(generation, budgets):
        generation.sync_weights()
        generation.generate(prompts, None, num_generations=1)


PROMPTS = [[10, 1], [10, 1], [10, 1, 7, 7], [20, 3], [20, 3, 5], [20, 3]]
BUDGETS = [9, 9, 7, 9, 8, 9]


def assert_each_row_is_its_own(answer: tuple, prompts: list[list[int]], budgets: list[int]) -> None:
    found_prompts, ids, logprobs, token_ids = answer
    assert found_prompts == prompts
    assert ids == [decoded(prompt, budget) for prompt, budget in zip(prompts, budgets, strict=True)]
    assert logprobs == [[[-float(token)] for token in tokens] for tokens in ids]
    assert token_ids == [[[token] for token in tokens] for tokens in ids]


ROWS = st.lists(st.tuples(st.lists(st.integers(0, 30), min_size=1, max_size=3), st.integers(1, LONGEST)), min_size=1)


BOTH_MODES = pytest.mark.parametrize(("mode", "engine"), [("colocate", Engine), ("server", Client)])


@BOTH_MODES
@given(rows=ROWS)
def test_each_row_keeps_its_place_and_its_budget(mode, engine, rows):
    prompts, budgets = map(list, zip(*rows, strict=True))
    with trl_generation(mode, engine()) as generation:
        assert_each_row_is_its_own(generate_within(generation, prompts, budgets), prompts, budgets)


def test_budgets_change_no_other_sampling_parameter():
    with trl_generation("colocate", Engine(), seed=3, min_tokens=8) as generation:
        generation.generate(PROMPTS, None, num_generations=1)
        generate_within(generation, PROMPTS, BUDGETS)
        usual, row_params = generation.llm.requests
        assert [params.settings for params in row_params] == [usual.settings] * len(PROMPTS)
        # A prefix counts: it has used 2 of 9 tokens in the third row, 1 in the fifth
        assert [params.min_tokens for params in row_params] == [8, 8, 6, 8, 7, 8]


def test_server_gets_all_distinct_budgets_at_once():
    client = Client(together=3)  # of requests that came one after the other the first would wait in vain
    with trl_generation("server", client, seed=3, min_tokens=8) as generation:
        answer = generate_within(generation, PROMPTS, BUDGETS)
    assert_each_row_is_its_own(answer, PROMPTS, BUDGETS)
    by_budget = {request["max_tokens"]: request for request in client.requests}
    # Equal prompts stay together, so that the server's prefix cache serves them
    assert by_budget[9]["prompts"] == [[10, 1], [10, 1], [20, 3], [20, 3]]
    assert (by_budget[7]["prompts"], by_budget[8]["prompts"]) == ([PROMPTS[2]], [PROMPTS[4]])
    assert {budget: request["min_tokens"] for budget, request in by_budget.items()} == {9: 8, 8: 7, 7: 6}
    assert all((request["temperature"], request["seed"], request["n"]) == (0.7, 3, 1) for request in client.requests)


def test_missing_log_probs_of_a_server_stay_unknown():
    with trl_generation("server", Client(logprobs=False)) as generation:
        _, ids, logprobs, token_ids = generate_within(generation, PROMPTS, BUDGETS)
    assert list(map(len, ids)) == BUDGETS
    assert logprobs is None
    assert token_ids is None


def test_without_hybrid_rows_trls_own_request_is_sent():
    with trl_generation("colocate", Engine()) as generation:
        generate_within(generation, PROMPTS, [LONGEST] * len(PROMPTS))
        assert isinstance(generation.llm.requests[0], Params)  # one for all rows
    with trl_generation("server", Client()) as generation:
        prompts = [prompt for prompt in ([1], [2]) for _ in range(3)]
        with limit_new_tokens_per_row(generation, [LONGEST] * 6):  # an evaluation: groups share a prompt
            _, ids, _, _ = generation.generate(prompts, None, num_generations=3)
        assert [(request["prompts"], request["n"]) for request in generation.vllm_client.requests] == [([[1], [2]], 3)]
        assert ids == [decoded(prompt, LONGEST) for prompt in prompts]


def test_grouped_request_with_a_budget_for_each_row_is_an_error():
    with (
        trl_generation("server", Client()) as generation,
        pytest.raises(ValueError, match="6 rows have a token budget each, but 2 prompts are sent to the vLLM server"),
        limit_new_tokens_per_row(generation, BUDGETS),
    ):
        generation.generate(PROMPTS, None, num_generations=3)


@BOTH_MODES
def test_engine_is_restored_even_after_an_error(mode, engine):
    engine = engine()
    before = dict(vars(engine))
    with trl_generation(mode, engine) as generation:
        with pytest.raises(KeyError), limit_new_tokens_per_row(generation, BUDGETS):
            raise KeyError
        assert vars(engine) == before
        generate_within(generation, PROMPTS, BUDGETS)
    assert vars(engine) == before


# A server that goes away

REFUSED = requests.ConnectionError("[Errno 111] Connection refused")
LOST = {
    "refuses connections": (REFUSED, "no longer answers"),
    "is silent": (requests.ReadTimeout("read timed out"), "no longer answers"),
    "dies while it answers": (requests.exceptions.ChunkedEncodingError("broken"), "no longer answers"),
    "has an error": (Exception("Request failed: 400, too long"), "could not process a request"),
}


@pytest.mark.parametrize("call", ["update_named_params", "reset_prefix_cache", "generate"])
@pytest.mark.parametrize(("error", "what"), LOST.values(), ids=LOST)
def test_lost_server_ends_the_run_with_what_to_do(call, error, what):
    client = Client()
    client.failing = {call: error}
    with trl_generation("server", client) as generation:
        with pytest.raises(RuntimeError) as raised:
            sync_and_generate_within(generation, PROMPTS, BUDGETS)
        message = str(raised.value)
        assert f"The vLLM server at {URL} {what}" in message
        assert str(error) in message
        assert "--resume_from_checkpoint last" in message
        assert raised.value.__cause__ is error
        assert client.requests == []  # a server without the new weights is not asked
        client.failing = {}
        assert_each_row_is_its_own(generate_within(generation, PROMPTS, BUDGETS), PROMPTS, BUDGETS)


def test_lost_server_ends_a_run_without_prefixes_too():
    client = Client()
    client.failing = {"generate": REFUSED}
    with (
        trl_generation("server", client) as generation,
        pytest.raises(RuntimeError, match="no longer answers"),
        fail_together(generation),
    ):
        generation.generate(PROMPTS, None, num_generations=1)
    with trl_generation("colocate", Engine()) as generation, fail_together(generation), fail_together(None):
        assert_each_row_is_its_own(generation.generate(PROMPTS, None, num_generations=1), PROMPTS, [LONGEST] * 6)


def test_error_that_is_not_the_servers_is_raised_unchanged():
    client = Client()
    client.failing = {"generate": KeyError("choices")}
    with trl_generation("server", client) as generation, pytest.raises(KeyError, match="choices"):
        generate_within(generation, PROMPTS, BUDGETS)


# Two processes: this file is what they run


def test_processes_keep_their_own_budgets_and_fail_together(tmp_path, free_port):
    meet = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port()), "WORLD_SIZE": "2"}
    processes = []
    try:
        for rank in "01":
            environment = {**os.environ, **meet, "RANK": rank, "LOCAL_RANK": rank}
            command = [sys.executable, __file__, str(tmp_path)]
            processes.append(subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True))
        errors = [process.communicate(timeout=120)[1] for process in processes]
    finally:
        for process in processes:
            process.kill()
    assert [process.returncode for process in processes] == [0, 0], "\n".join(errors)
    seen = [json.loads((tmp_path / f"{rank}.json").read_text()) for rank in range(2)]
    for rank, found in enumerate(seen):
        assert_each_row_is_its_own(tuple(found["colocate"]), *rows_of(rank))
        assert_each_row_is_its_own(tuple(found["server"]), *rows_of(rank))
        assert found["max_tokens"] == [BUDGETS]  # of the engine that both share
    for call in ("update_named_params", "generate"):
        first, second = (found[call] for found in seen)
        assert first["message"] == second["message"]
        assert f"The vLLM server at {URL} no longer answers" in second["message"]
        assert first["cause"] == str(REFUSED)
        assert max(first["seconds"], second["seconds"]) < 60  # of half an hour


def rows_of(rank: int) -> tuple[list[list[int]], list[int]]:
    mine = slice(3 * rank, 3 * rank + 3)
    return PROMPTS[mine], BUDGETS[mine]


def run_process(folder: Path) -> None:
    accelerator = Accelerator(cpu=True)
    assert accelerator.num_processes == 2
    rank, seen = accelerator.process_index, {}
    with trl_generation("colocate", Engine(), tp_group=torch.distributed.group.WORLD) as generation:
        seen["colocate"] = generate_within(generation, *rows_of(rank))
        seen["max_tokens"] = [[params.max_tokens for params in row_params] for row_params in generation.llm.requests]
    client = Client(together=3)
    with trl_generation("server", client) as generation:
        if rank:
            del generation.vllm_client  # TRL has none there
        seen["server"] = generate_within(generation, *rows_of(rank))
        for call in ("update_named_params", "generate"):
            client.failing, begin = {call: REFUSED}, time.monotonic()
            try:
                sync_and_generate_within(generation, *rows_of(rank))
            except RuntimeError as error:
                seconds = time.monotonic() - begin
                seen[call] = {"message": str(error), "cause": str(error.__cause__), "seconds": seconds}
    (folder / f"{rank}.json").write_text(json.dumps(seen))
    accelerator.wait_for_everyone()
    accelerator.end_training()  # a process that leaves its group without notice can abort the other


if __name__ == "__main__":
    run_process(Path(sys.argv[1]))
    os._exit(0)  # torch's threads can abort an interpreter that is being taken down
