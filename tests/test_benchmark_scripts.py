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


def test_compute_of_each_setting_beside_the_lower_bound(load, tmp_path, capsys, monkeypatch):
    script, output = load("compute"), tmp_path / "compute.json"
    monkeypatch.setattr(script, "MODEL", script.MODEL | {"hidden_size": 16, "intermediate_size": 16})
    small = ["--lengths", "ragged, 3 of 8", "--micro_batches", "8", "--mean_length", "8", "--steps", "1"]
    script.main([*small, "--variants", *script.VARIANTS, "--output", str(output)])
    found = json.loads(output.read_text())
    ratios = {variant: run["8"] for variant, run in found["ratios"]["ragged, 3 of 8"].items()}
    reference, all_off, *lean, hybrid, packed = (ratios[variant]["operations"] for variant in script.VARIANTS)
    assert reference == all_off > max(lean)
    assert lean == sorted(lean, reverse=True)
    assert 1 <= lean[-1] == hybrid <= 1.25
    assert packed > 1
    assert max(run["memory"] for run in ratios.values()) <= 1.001
    assert script.gradient_difference(found["runs"]) < 1e-5
    on_policy, with_prefixes = (
        found["runs"][variant]["ragged, 3 of 8"]["8"]["grad_norm"][0] for variant in (script.REFERENCE, script.HYBRID)
    )
    assert with_prefixes != pytest.approx(on_policy, rel=1e-3)
    shown = capsys.readouterr().out.splitlines()
    assert max(map(len, shown)) <= 80
    assert [line.split()[1] for line in shown if line.startswith("lengths")] == ["time", "operations", "memory"]


def test_operations_are_those_of_every_matrix_product_and_attention(load, monkeypatch):
    script = load("compute")
    hidden, feed_forward, layers, vocabulary = 32, 48, 2, 64
    monkeypatch.setattr(
        script,
        "MODEL",
        {
            "vocab_size": vocabulary, "hidden_size": hidden, "intermediate_size": feed_forward,
            "num_hidden_layers": layers, "num_attention_heads": 2, "num_key_value_heads": 2,
        },
    )  # fmt: skip
    mean = 6
    length = 24 + mean
    weights = 6 * length * layers * (4 * hidden * hidden + 3 * hidden * feed_forward)
    attention = 14 * length * length * hidden * layers  # 2 products forward, 5 backward
    head = 8 * (length - 1) * hidden * vocabulary  # forward, again in the backward pass, and 2 gradients
    bound = script.lower_bound("equal", script.parse(["--mean_length", str(mean)]))
    assert bound == script.ROLLOUTS * (weights + attention + head)


def test_ragged_lengths_are_log_normal_with_the_longest_four_times_the_mean(load):
    script = load("compute")
    lengths = script.completion_lengths("ragged", 96)
    assert max(lengths) == 4 * 96
    assert sum(lengths) / len(lengths) == pytest.approx(96, rel=0.01)
    assert lengths != sorted(lengths)
    assert lengths == script.completion_lengths("ragged", 96)


def test_peak_allocation_is_of_what_lives_at_once(load):
    load("_measuring")
    from _counting import PeakAllocation

    made_before = torch.zeros(1000, requires_grad=True)
    with torch.no_grad(), PeakAllocation() as allocation:
        for _ in range(3):
            made_before.add(1).view(10, 100).mul_(2)
    assert allocation.peak == 4000
    with PeakAllocation() as allocation:
        made_before.exp().exp().sum()  # autograd holds the inner one
    assert allocation.peak == 2 * 4000 + 4


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


@pytest.mark.skipif(torch.cuda.is_available(), reason="looks at what a CPU gives")
def test_gpu_script_trains_on_given_completions(load, base_model):
    script = load("gpu")
    small = ["--device", "cpu", "--steps", "1", "--rollouts", "16", "--completion_length", "32", "--model", base_model]
    measured = [script.measure("ragged, 3 of 8", name, script.parse(small)) for name in script.TRAINERS]
    assert measured[0]["tokens"] == measured[1]["tokens"]
    assert 16 * 4 < measured[0]["tokens"][0] < 16 * 32


def test_failed_measurement_says_why(load, tmp_path):
    script = tmp_path / "script.py"
    script.write_text("import os, sys\nprint('on the way')\nprint('{\"a\": ' + os.environ['B'] + '}')\nsys.exit(0)")
    measuring = load("_measuring")
    assert measuring.in_a_process(str(script), [], B="2") == {"a": 2}
    script.write_text("raise ValueError('no such thing')")
    with pytest.raises(RuntimeError, match="no such thing"):
        measuring.in_a_process(str(script), [])


def test_a_comparison_is_recorded_without_what_it_was_trained_with(load, tmp_path, monkeypatch):
    script = load("record_real_model")
    monkeypatch.setattr(script, "RECORDED", tmp_path / "recorded.json")
    monkeypatch.setattr(script, "DOCS", tmp_path / "docs")
    runs = tmp_path / "runs"
    (runs / "figures").mkdir(parents=True)
    for name in ("report.md", "figures/table1-final.svg", "figures/table1-final.png", "figures/table1-accuracy.png"):
        (runs / name).write_text(name)
    run = {"seed": 0, "curve": [{"step": 0, "accuracy": 0.5}]}
    tables = [{"rows": [{"label": "RFT", "experiments": [{"runs": [{**run, "environments": [{"cpu": 1}]}]}]}]}]
    (runs / "results.json").write_text(json.dumps({"command": "prefix-rft compare", "tables": tables}))
    script.main([str(runs)])
    recorded = json.loads((tmp_path / "recorded.json").read_text())
    assert recorded["tables"][0]["rows"][0]["experiments"][0]["runs"] == [run]
    pictures = sorted(path.name for path in (tmp_path / "docs" / "figures").iterdir())
    assert pictures == ["table1-accuracy.png", "table1-final.svg"]
    assert (tmp_path / "docs" / "report.md").read_text() == "report.md"
