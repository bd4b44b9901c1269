"""`prefix-rft eval` through vLLM: an engine that most of these tests share, and a command that is killed."""

import json
import os
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pyarrow.parquet as pq
import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from transformers import AutoModelForCausalLM, AutoTokenizer

from prefix_rft_trl import lab
from prefix_rft_trl.cli import data_sample
from prefix_rft_trl.cli import eval as evaluation
from prefix_rft_trl.evaluation.data_parallel import ENGINE_APART
from prefix_rft_trl.evaluation.engines import Engine, Loaded
from prefix_rft_trl.evaluation.samplers import VLLMSampler
from prefix_rft_trl.models.sources import ModelSource


PROBLEMS, SAMPLES, BUDGET, LONGEST = 48, 4, 40, 16
ENGINE = ["--backend", "vllm", "--vllm_kwargs", '{"enforce_eager": true}']
FLAGS = [*ENGINE, "--instruction", "", "--reward", "lab_exact_answer"]
GREEDY = ["--temperature", "0", "--max_new_tokens", str(BUDGET)]
SAMPLED = ["--num_samples", str(SAMPLES), "--batch_size", "48", "--max_new_tokens", str(BUDGET)]


def problems() -> list[dict[str, str]]:
    """Half of them begun, so that the model works through them: it answers the others at once."""
    rows = lab.load_dataset("train", PROBLEMS)
    return [
        {"prompt": row["prompt"] + (row["completion"][:4] if place % 2 else ""), "solution": row["solution"]}
        for place, row in enumerate(rows)
    ]


@pytest.fixture(scope="module")
def loaded() -> Iterator[list[Loaded]]:
    """What has been loaded: nothing, or the engine, which stays in this process between evaluations."""
    loaded: list[Loaded] = []
    load = Engine._vllm

    def load_once(engine: Engine, source: Any) -> Loaded:
        loaded[:] = loaded or [load(engine, source)]
        return loaded[0]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Engine, "_vllm", load_once)
        patch.setattr(Engine, "needs_own_process", False)
        patch.setenv(ENGINE_APART, "0")
        yield loaded
        for engine in loaded:
            engine.sampler.llm.llm_engine.engine_core.shutdown()


@pytest.fixture(scope="module")
def file(tmp_path_factory) -> Path:
    file = tmp_path_factory.mktemp("problems") / "begun.jsonl"
    file.write_text("".join(json.dumps(problem) + "\n" for problem in problems()))
    return file


@pytest.fixture(scope="module")
def evaluate(loaded, file) -> Callable[..., list[dict[str, Any]]]:
    def run(folder: Path, *flags: str) -> list[dict[str, Any]]:
        """The samples that are on disk after an evaluation, in order."""
        asked = ["--model", "lab", "--benchmarks", str(file), "--output_dir", str(folder)]
        assert evaluation.run([*FLAGS, *asked, *flags]) == 0
        return samples_in(folder / "base" / "begun")

    return run


def samples_in(folder: Path) -> list[dict[str, Any]]:
    return [row for part in sorted(folder.glob("samples-*")) for row in pq.read_table(part).to_pylist()]


@pytest.fixture(scope="module")
def sampled(evaluate, tmp_path_factory) -> tuple[Path, list[dict[str, Any]]]:
    folder = tmp_path_factory.mktemp("sampled")
    return folder, evaluate(folder, *SAMPLED)


def base() -> Any:
    return AutoModelForCausalLM.from_pretrained(lab.base_model_path(), dtype=torch.float32)


def greedy_by_transformers(model: Any) -> list[list[int]]:
    tokenizer = AutoTokenizer.from_pretrained(lab.base_model_path())
    answers = []
    for problem in problems():
        prompt = tokenizer(problem["prompt"], return_tensors="pt")
        answers.append(
            model.generate(**prompt, do_sample=False, max_new_tokens=BUDGET)[0, prompt.input_ids.shape[1] :]
        )
    return [answer.tolist() for answer in answers]


def test_greedy_answers_are_those_of_transformers(evaluate, tmp_path):
    samples = evaluate(tmp_path, *GREEDY)
    expected = greedy_by_transformers(base())
    tokenizer = AutoTokenizer.from_pretrained(lab.base_model_path())
    assert [row["text"] for row in samples] == tokenizer.batch_decode(expected, skip_special_tokens=True)
    assert [row["tokens"] for row in samples] == [len(answer) for answer in expected]  # with the end of sequence
    assert {row["is_truncated"] for row in samples} == {False}
    assert {row["tokens"] for row in samples} == {3, 29}  # or the two kinds of problems are none


def test_truncated_answers_are_recognized(evaluate, tmp_path):
    samples = evaluate(tmp_path, "--temperature", "0", "--max_new_tokens", "10")
    assert [row["is_truncated"] for row in samples] == [place % 2 == 1 for place in range(PROBLEMS)]


def test_samples_of_a_problem_differ_and_are_reproducible(evaluate, sampled, tmp_path):
    _, first = sampled
    assert [(row["problem"], row["sample"]) for row in first] == [
        (problem, sample) for problem in range(PROBLEMS) for sample in range(SAMPLES)
    ]
    answers = [{row["text"] for row in first if row["problem"] == problem} for problem in range(PROBLEMS)]
    assert sum(len(texts) > 1 for texts in answers) > PROBLEMS / 4
    assert evaluate(tmp_path, *SAMPLED) == first
    assert evaluate(tmp_path / "other", *SAMPLED, "--seed", "1") != first


def test_missing_samples_are_sampled_again_as_they_were(evaluate, sampled):
    folder, first = sampled
    chunks = sorted(folder.glob("base/begun/samples-*"))
    assert len(chunks) == PROBLEMS * SAMPLES / 48
    kept = chunks[0].stat().st_mtime_ns
    for chunk in chunks[1:3]:
        chunk.unlink()
    assert evaluate(folder, *SAMPLED) == first
    assert chunks[0].stat().st_mtime_ns == kept


@pytest.mark.parametrize("name", ["enforce_eagre", "model"])
def test_unknown_vllm_setting_is_named(name):
    settings = {"enforce_eager": True, name: True}
    with pytest.raises(ValueError, match=rf"`vllm_kwargs` are .*and {name} is none"):
        VLLMSampler(ModelSource("base", lab.base_model_path()), None, settings)


def test_engine_has_room_for_the_longest_problem_and_its_answer_only(evaluate, loaded, tmp_path):
    evaluate(tmp_path, *GREEDY)
    assert loaded[0].sampler.llm.llm_engine.model_config.max_model_len == LONGEST + BUDGET


@pytest.fixture(scope="module")
def adapter(tmp_path_factory) -> str:
    """Of rank 12, which vLLM does not know, and with another answer to many problems."""
    targets = ["q_proj", "v_proj", "up_proj"]
    model = get_peft_model(base(), LoraConfig(r=12, lora_alpha=24, target_modules=targets, task_type="CAUSAL_LM"))
    draws = torch.Generator().manual_seed(0)
    for name, weight in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(weight, std=0.05, generator=draws)
        elif "lora_A" in name:
            torch.nn.init.normal_(weight, std=0.1, generator=draws)
    folder = tmp_path_factory.mktemp("adapters") / "adapter"
    model.save_pretrained(folder)
    return str(folder)


def test_demonstrations_are_sampled_with_the_likelihoods_of_the_model(loaded, file, tmp_path):
    output = tmp_path / "own.jsonl"
    asked = [
        "--model",
        "lab",
        "--dataset",
        str(file),
        "--keep",
        "2",
        "--order",
        "most_likely",
        "--output",
        str(output),
    ]
    assert data_sample.run([*FLAGS, *asked, *SAMPLED]) == 0
    samples = samples_in(tmp_path / "_own.jsonl.samples" / "begun")
    assert len(samples) == PROBLEMS * SAMPLES
    tokenizer, model = AutoTokenizer.from_pretrained(lab.base_model_path()), base()
    likelihoods = []
    for row in samples[: 8 * SAMPLES]:
        prompt = tokenizer(problems()[row["problem"]]["prompt"])["input_ids"]
        ids = tokenizer(row["text"])["input_ids"] + [tokenizer.eos_token_id] * (not row["is_truncated"])
        if len(ids) == row["tokens"]:  # texts leave out special tokens in the middle
            with torch.no_grad():
                shares = model(torch.tensor([prompt + ids])).logits[0, len(prompt) - 1 : -1].log_softmax(dim=-1)
            likelihoods.append(
                (row["log_probability"], shares.gather(-1, torch.tensor(ids).unsqueeze(-1)).mean().item())
            )
    assert len(likelihoods) > 4 * SAMPLES
    assert [found for found, _ in likelihoods] == pytest.approx([expected for _, expected in likelihoods], abs=1e-3)
    made = [json.loads(line) for line in output.read_text().splitlines()]
    right = {row["problem"] for row in samples if row["reward"] == 1 and not row["is_truncated"]}
    assert [row["prompt"] for row in made] == [problems()[place]["prompt"] for place in sorted(right)]


@pytest.fixture(scope="module")
def killed(adapter, file, tmp_path_factory) -> tuple[Path, list[psutil.Process]]:
    """The folder of an evaluation that got SIGKILL in its second benchmark, and what it had started."""
    folder = tmp_path_factory.mktemp("killed")
    asked = ["--model", adapter, "--benchmarks", f"{file},lab", "--batch_size", "2", "--output_dir", str(folder)]
    command = "import sys; from prefix_rft_trl.cli.main import main; sys.exit(main(sys.argv[1:]))"
    apart = {name: value for name, value in os.environ.items() if name != ENGINE_APART}
    with (folder / "log").open("w") as log:
        main = psutil.Popen(
            [sys.executable, "-c", command, "eval", *FLAGS, *GREEDY, *asked], stdout=log, stderr=log, env=apart
        )
    started = []
    try:
        ends = time.monotonic() + 150
        while not list(folder.glob("adapter/lab/samples-*")):
            assert main.poll() is None, (folder / "log").read_text()[-3000:]
            assert time.monotonic() < ends, (folder / "log").read_text()[-3000:]
            time.sleep(0.1)
        started = main.children(recursive=True)
        assert main.poll() is None
        main.kill()
        main.wait()
        psutil.wait_procs(started, timeout=20)
        return folder, [process for process in started if process.is_running()]
    finally:
        for process in [main, *started]:
            if process.is_running():
                process.kill()


def test_adapter_answers_as_with_peft(killed, adapter):
    samples = samples_in(killed[0] / "adapter" / "begun")
    expected = greedy_by_transformers(PeftModel.from_pretrained(base(), adapter))
    tokenizer = AutoTokenizer.from_pretrained(lab.base_model_path())
    assert [row["text"] for row in samples] == tokenizer.batch_decode(expected, skip_special_tokens=True)
    without = greedy_by_transformers(base())
    assert sum(answer != other for answer, other in zip(expected, without, strict=True)) > PROBLEMS / 4


def test_killed_evaluation_leaves_no_process(killed):
    assert killed[1] == []
