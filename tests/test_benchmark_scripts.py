"""The benchmarks of complete runs, with their smallest settings; tests/docs run the other scripts."""

import importlib.util
import json
import re
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from types import ModuleType

import pytest
import torch
from transformers import Qwen2Config, Qwen2ForCausalLM


FOLDER = Path(__file__).parents[1] / "benchmarks"
LENGTH = 8


@pytest.fixture
def load(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture) -> Callable[[str], ModuleType]:
    """Loads a script whose measurements then are made in this process, from the same command line."""
    monkeypatch.syspath_prepend(FOLDER)

    def load_script(name: str) -> ModuleType:
        spec = importlib.util.spec_from_file_location(name, FOLDER / f"{name}.py")
        script = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(script)

        def measure_here(_: str, arguments: list[str], **environment: str) -> dict:
            script.main(arguments)
            return json.loads(capsys.readouterr().out.splitlines()[-1])

        def measure_all_here(_: str, runs: list[list[str]], **environment: str) -> list[dict]:
            return [measure_here(_, arguments) for arguments in runs]

        for in_processes, here in (("in_a_process", measure_here), ("taking_turns", measure_all_here)):
            if name != "_measuring" and hasattr(script, in_processes):
                monkeypatch.setattr(script, in_processes, here)
        return script

    return load_script


def test_hybrid_batch_samples_fewer_tokens_by_its_prefixes(load, tmp_path, capsys, monkeypatch):
    script, output = load("generation_paths"), tmp_path / "results.json"
    monkeypatch.setattr(script, "WARM_UP_STEPS", 0)
    paths = ["generate", "continuous_batching"]
    small = ["--steps", "1", "--rounds", "1", "--completion_length", str(LENGTH), "--output", str(output)]
    script.main(["--paths", *paths, *small])
    runs = json.loads(output.read_text())["runs"]
    in_all = script.ROLLOUTS * LENGTH
    for path in paths:
        plain, hybrid = (runs[path][batch][0]["counts"] for batch in ("plain", "hybrid"))
        assert plain["sampled"] == plain["trained"] == plain["row_steps"] == in_all
        assert hybrid["trained"] == in_all
        assert 0 < hybrid["in_prefix"] == hybrid["trained"] - hybrid["sampled"]
        assert hybrid["row_steps"] == (in_all if path == "generate" else hybrid["sampled"])
        in_prompts = 0 if path == "generate" else hybrid["in_prefix"]
        assert hybrid["prompt_tokens"] == plain["prompt_tokens"] + in_prompts
    head, *rows = capsys.readouterr().out.splitlines()[1:]
    assert [re.split(r" {2,}", row)[0] for row in rows] == [path for path in paths for _ in range(2)]
    assert len({len(row) for row in [head, *rows]}) == 1


def test_ratio_is_of_neighbouring_steps_with_the_spread_of_rounds(load):
    script = load("generation_paths")
    plain, hybrid = [[1.0, 9.0, 1.0], [2.0], [4.0]], [[3.0, 27.0, 2.0], [2.0], [6.0]]
    found = script.compared(
        {"plain": [{"seconds": run} for run in plain], "hybrid": [{"seconds": run} for run in hybrid]}, "seconds"
    )
    assert found == {"plain": 2.0, "hybrid": 3.0, "ratio": 2.0, "of_rounds": [1.0, 3.0]}


def test_shares_of_a_step_are_those_of_its_phases(load, tmp_path, capsys, monkeypatch):
    script = load("step_shares")
    monkeypatch.setattr(script, "WARM_UP_STEPS", 0)
    script.main(["--cases", "maths, ref", "--steps", "2", "--longest", "12"])
    head, row = (re.split(r" {2,}", line) for line in capsys.readouterr().out.splitlines()[1:])
    shares = {phase: float(row[head.index(phase)].rstrip("%")) for phase in script.PHASES}
    assert sum(shares.values()) == pytest.approx(100, abs=0.3)
    assert all(shares.values())  # of each phase, also of the passes without gradient
    assert row[head.index("row steps")] == str(12 * script.ROLLOUTS)  # one generation for two steps


def test_row_that_has_ended_is_left_out_without_a_change_of_the_others(load):
    script = load("step_shares")
    torch.manual_seed(0)
    model = Qwen2ForCausalLM(
        Qwen2Config(
            vocab_size=32,
            hidden_size=16,
            intermediate_size=16,
            num_hidden_layers=2,
            num_attention_heads=2,
            num_key_value_heads=2,
        )
    )
    ids, mask = torch.randint(2, 19, (8, 5)), torch.ones(8, 5, dtype=torch.long)
    mask[3, :2] = 0
    rows_of_passes = []
    model.model.register_forward_hook(lambda _, args, found: rows_of_passes.append(len(found.last_hidden_state)))

    def generated() -> torch.Tensor:
        torch.manual_seed(1)
        ends = script.EndAfter(torch.tensor([2, 9, 2, 6, 3, 1, 9, 4]))
        settings = {"do_sample": True, "max_new_tokens": 9, "eos_token_id": 1, "pad_token_id": 0}
        return model.generate(input_ids=ids, attention_mask=mask, logits_processor=[ends], **settings)

    of_all = generated()
    assert rows_of_passes == [8] * 9
    rows_of_passes.clear()
    script.leave_out_ended_rows(model)
    assert generated().equal(of_all)
    assert rows_of_passes == [8, 8, 5, 5, 3, 3, 2, 2, 2]


def test_processes_taking_turns_never_step_at_the_same_time(load, tmp_path):
    script = tmp_path / "script.py"
    script.write_text(
        "import json, sys, time\n"
        "spans = []\n"
        "for step in range(int(sys.argv[1])):\n"
        "    print('turn?', flush=True)\n"
        "    assert sys.stdin.readline()\n"
        "    spans.append([time.time()])\n"
        "    time.sleep(0.05)\n"
        "    spans[-1].append(time.time())\n"
        "assert spans, 'nothing to do'\n"
        "print(json.dumps(spans))\n"
    )
    measuring = load("_measuring")
    one, other = measuring.taking_turns(str(script), [["4"], ["3"]])
    assert (len(one), len(other)) == (4, 3)
    spans = sorted(one + other)
    assert all(before[1] <= after[0] for before, after in pairwise(spans))
    assert [span in one for span in spans] == [True, False, False, True, True, False, True]
    with pytest.raises(RuntimeError, match="nothing to do"):
        measuring.taking_turns(str(script), [["4"], ["0"]])


@pytest.mark.skipif(torch.cuda.is_available(), reason="looks at what a CPU gives")
def test_gpu_script_writes_table_curves_and_figures(load, tmp_path):
    script = load("gpu")
    small = ["--device", "cpu", "--steps", "3", "--rollouts", "16", "--completion_length", "12"]
    script.main(["--tasks", "lab", *small, "--output", str(tmp_path)])
    found = json.loads((tmp_path / "gpu.json").read_text())["lab"]
    assert list(found) == ["GRPOTrainer", "PrefixGRPOTrainer"]
    rows = [line.split(" | ") for line in (tmp_path / "gpu.md").read_text().splitlines() if line.startswith("| lab")]
    for run, row in zip(found.values(), rows, strict=True):
        assert len(run["seconds"]) == len(run["reward"]) == 3
        assert all(16 <= tokens <= 16 * 12 for tokens in run["tokens"])
        assert float(row[3]) == pytest.approx(sum(run["tokens"][1:]) / sum(run["seconds"][1:]), abs=0.5)
        assert float(row[4]) > 100
    assert "<svg" in (tmp_path / "gpu.svg").read_text()


def test_gpu_script_trains_gsm8k_by_its_recipe(load, tmp_path):
    script = load("gpu")
    rows = tmp_path / "rows.jsonl"
    rows.write_text(json.dumps({"question": "How much is 3+4?", "answer": "It is 7.\n#### 7"}) + "\n")
    arguments = ["--device", "cpu", "--dataset", str(rows), "--model", "somewhere"]
    seen = {}
    script.in_a_process = lambda _, line, **environment: seen.setdefault("line", line) and run
    run = {"device": "x", "seconds": [1.0], "tokens": [1.0], "MiB": 1.0, "reward": [0.0]}
    script.main([*arguments, "--tasks", "gsm8k", "--output", str(tmp_path)])
    assert seen["line"][: len(arguments)] == arguments
    made = script.gsm8k_run(script.parse(arguments), str(tmp_path))
    assert made["model"] == "somewhere"
    assert made["train_dataset"][0]["prompt"][0]["content"].startswith("How much is 3+4?\n")
    assert made["reward_funcs"][0](completions=[[{"content": "#### 7"}]], answer=["#### 7"]) == [1.0]
    assert made["args"].max_completion_length == 320
    assert made["args"].generation_batch_size == 256
    assert made["args"].max_steps == 50


def test_failed_measurement_says_why(load, tmp_path):
    script = tmp_path / "script.py"
    script.write_text("import os, sys\nprint('on the way')\nprint('{\"a\": ' + os.environ['B'] + '}')\nsys.exit(0)")
    measuring = load("_measuring")
    assert measuring.in_a_process(str(script), [], B="2") == {"a": 2}
    script.write_text("raise ValueError('no such thing')")
    with pytest.raises(RuntimeError, match="no such thing"):
        measuring.in_a_process(str(script), [])
