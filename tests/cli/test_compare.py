"""`prefix-rft compare` for real, on runs of two steps."""

import io
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
import yaml

from prefix_rft_trl.cli import compare
from prefix_rft_trl.cli.main import main
from prefix_rft_trl.comparison.jobs import LOG, Job
from prefix_rft_trl.run.folder import STATE
from prefix_rft_trl.utils.files import exclusive_lock


RECIPES = Path(__file__).parents[2] / "recipes" / "lab"
SMALL = {
    "lab_level": "easy", "max_steps": 2, "measure_steps": 2, "measure_rows": 8, "measure_max_new_tokens": 8,
    "per_device_train_batch_size": 8, "disable_tqdm": True,
}  # fmt: skip
GRPO = {"num_generations": 4, "max_completion_length": 16}


def write_recipes(folder: Path, contents: dict | None = None, **changes) -> Path:
    """Two short recipes of the lab, with changes in the second, and a comparison.yaml."""
    folder.mkdir(exist_ok=True)
    for name, small in (("sft", SMALL), ("prefix_rft", {**SMALL, **GRPO, **changes})):
        recipe = yaml.safe_load((RECIPES / f"{name}.yaml").read_text()) | small
        (folder / f"{name}.yaml").write_text(yaml.safe_dump({k: v for k, v in recipe.items() if v is not None}))
    if contents is not None:
        (folder / "comparison.yaml").write_text(yaml.safe_dump(contents))
    return folder


def finished(folder: Path) -> dict[Path, int]:
    return {file: file.stat().st_mtime_ns for file in sorted(folder.glob(f"*/seed-*/{STATE}"))}


@pytest.fixture
def in_this_process(monkeypatch):
    """Checks the settings in this process: another takes seconds to start."""
    monkeypatch.setattr(compare, "call_in_process", lambda function, *given: compare.find_measured_problems(*given))


def test_a_killed_comparison_continues_without_repeating_what_is_finished(
    tmp_path, capsys, in_this_process, still_running
):
    recipes = write_recipes(tmp_path / "recipes", {"title": "Small", "recipes": ["sft", "prefix_rft"]})
    runs = tmp_path / "runs"
    line = ["compare", str(recipes), "--seeds", "2", "--output_dir", str(runs), "--jobs", "1"]
    command = [sys.executable, "-m", "prefix_rft_trl.cli.main", *line]
    killed = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 120
    while not (finished(runs) and len(list(runs.glob(f"*/seed-*/{LOG}"))) == 2):
        assert killed.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.05)
    children = psutil.Process(killed.pid).children(recursive=True)
    killed.kill()
    killed.wait()
    assert children
    assert still_running(children) == [], "the second run ends with the comparison"
    before = finished(runs)
    assert len(before) == 1
    folders = list(runs.glob("*/seed-*"))
    assert len(folders) == 2
    for folder in folders:
        with (folder / LOG).open("a") as log:
            log.write("mark\n")

    assert main(line) == 0

    finished_before = [file.parent for file in before]
    marked = [folder for folder in folders if "mark" in (folder / LOG).read_text().splitlines()]
    assert marked == finished_before, "the other started over"
    after = finished(runs)
    assert len(after) == 4
    assert {file: after[file] for file in before} == before
    logs = [file.with_name(LOG).read_text() for file in after]
    assert [log.count("train_runtime=") for log in logs] == [1] * 4
    results = json.loads((runs / "results.json").read_text())
    assert results["title"] == "Small"
    found = {row["label"]: row["experiments"][0]["runs"] for row in results["tables"][0]["rows"]}
    assert list(found) == ["sft", "prefix_rft"]
    for seeds in found.values():
        assert [run["seed"] for run in seeds] == [0, 1]
        assert all([line["step"] for line in run["curve"]] == [0, 2] for run in seeds)
    assert {"report.html", "report.md"} <= {path.name for path in runs.iterdir()}
    shown = capsys.readouterr().out
    assert "prefix_rft" in shown
    assert str(runs) in shown


@pytest.fixture
def refused(refusal, tmp_path) -> Callable[..., str]:
    """Makes a comparison that is refused before anything runs; returns what it prints."""

    def compare_in_vain(*arguments: object) -> str:
        error = refusal("compare", *arguments, "--output_dir", tmp_path / "runs")
        assert not (tmp_path / "runs").exists()
        return error

    return compare_in_vain


def test_an_error_of_the_checking_process_reaches_the_user(tmp_path, refused):
    recipes = write_recipes(tmp_path / "recipes", prefix_ratio_high=3.0)
    assert re.search(r"prefix_rft\.yaml.*`prefix_ratio_high`.*3\.0", refused(recipes))


@pytest.mark.parametrize(
    ("number", "code", "is_for_the_group", "delay"),  # as a terminal sends it to the group, and `kill` to the command
    [(signal.SIGINT, 130, False, 0.1), (signal.SIGINT, 130, True, 1.5), (signal.SIGTERM, 143, False, 0.8)],
)
def test_a_signal_during_the_checks_ends_them_at_once(tmp_path, still_running, number, code, is_for_the_group, delay):
    line = [sys.executable, "-m", "prefix_rft_trl.cli.main", "compare", str(RECIPES), "--output_dir", str(tmp_path)]
    with subprocess.Popen(
        line, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    ) as process:
        assert "Checking" in process.stdout.readline()
        time.sleep(delay)
        children = psutil.Process(process.pid).children(recursive=True)
        assert children
        (os.killpg if is_for_the_group else os.kill)(process.pid, number)
        try:
            shown = process.communicate(timeout=15)[1]
        finally:
            process.kill()
    assert process.returncode == code
    assert "Traceback" not in shown
    assert still_running(children) == []


def row_with(**settings) -> dict:
    return {"contents": {"tables": [{"title": "T", "rows": {"A row": {"recipe": "sft", **settings}}}]}}


@pytest.mark.parametrize(
    ("changes", "flags", "parts"),
    [
        ({"measure_steps": None}, [], ["prefix_rft.yaml", "measures nothing", "measure_steps"]),
        ({"reward_funcs": None}, [], ["prefix_rft.yaml", "reward_funcs"]),
        ({"num_generations": 3}, [], ["prefix_rft.yaml", "num_generations"]),
        ({"lerning_rate": 1}, [], ["prefix_rft.yaml", "'lerning_rate' in the recipe", "'learning_rate'"]),
        ({}, ["--lerning_rate", "1"], ["'lerning_rate'", "Did you mean 'learning_rate'?"]),
        ({}, ["--max_steps", "many"], ["max_steps", "many"]),
        ({}, ["--trainer", "stf"], ["'stf'", "prefix_grpo, sft"]),
        ({"measure_rows": 4}, [], ["different problems", "the first 4", "the first 8"]),
        (
            {"test_share": 0.1},
            [],
            ["different problems", "a share of 0.1 of split `train` of `lab`, drawn with the seed 0"],
        ),
        ({"dataset_test_file": "no.jsonl"}, [], ["prefix_rft.yaml", "there is no dataset file 'no.jsonl'"]),
        ({"measure_max_new_tokens": 9}, [], ["different problems", "9 tokens", "8 tokens"]),
        ({"stages": {"one": {"trainer": "sft"}}}, [], ["prefix_rft.yaml", "'max_completion_length'", "sft"]),
        ({}, ["--seeds", "0"], ["--seeds"]),
        ({}, ["--jobs", "0"], ["--jobs"]),
        ({"contents": {"recipes": ["prefix"]}}, [], ["'prefix'", "prefix_rft"]),
        ({"contents": {"titel": "T"}}, [], ["comparison.yaml", "'titel'"]),
        (row_with(lerning_rate=1), [], ["sft.yaml", "'lerning_rate'", "Did you mean 'learning_rate'?"]),
        (row_with(**{"no.max_steps": 1}), [], ["'T'", "'no'"]),
    ],
)
def test_what_cannot_be_run_is_refused_before_anything_is(tmp_path, refused, in_this_process, changes, flags, parts):
    error = refused(write_recipes(tmp_path / "recipes", **changes), *flags)
    assert all(part in error for part in parts), error


def test_missing_recipes_and_equal_names_are_refused(tmp_path, refused):
    recipes = write_recipes(tmp_path / "recipes")
    assert "prefix_rft.yaml" in refused(recipes / "prefix.yaml")
    assert "'sft'" in refused(recipes, RECIPES / "sft.yaml")
    (tmp_path / "empty").mkdir()
    assert "no recipe" in refused(tmp_path / "empty")


@pytest.fixture
def stand_in(monkeypatch, in_this_process):
    """Runs finish at once; seed 1 of SFT fails."""
    program = (
        "import sys, pathlib, json\nfolder, fails = pathlib.Path(sys.argv[1]), sys.argv[2] == 'True'\n"
        "if fails: sys.exit('out of luck')\n"
        "line = {'step': 0, 'seconds': 1, 'accuracy': 0.5, 'length': 3, 'generated_tokens': 0, 'trained_tokens': 9}\n"
        "(folder / 'curve.jsonl').write_text(json.dumps(line) + '\\n')\n"
        f"(folder / '{STATE}').write_text('{{\"global_step\": 2, \"max_steps\": 2}}')\n"
    )

    def command(job: Job) -> list[str]:
        fails = job.seed == 1 and job.trial.path.stem == "sft"
        return [sys.executable, "-c", program, str(job.folder), str(fails)]

    monkeypatch.setattr(Job, "command", command)


def test_a_failed_run_is_named_with_its_log_and_the_report_has_the_others(tmp_path, capsys, stand_in):
    recipes = write_recipes(tmp_path / "recipes")
    runs = tmp_path / "runs"
    assert main(["compare", str(recipes), "--seeds", "2", "--output_dir", str(runs)]) == 1
    shown = capsys.readouterr().out
    (folder,) = runs.glob("sft-*/seed-1")
    end = f"The end of its log:\n  | out of luck\n  log: {folder / LOG}\n"
    assert f"sft, seed 1 failed (exit code 1). {end}" in shown
    assert f"prefix_rft, seed 1: starts, log in {next(runs.glob('prefix_rft-*/seed-1')) / LOG}\n" in shown
    assert re.search(r"^prefix_rft, seed 1: done in 0:00:\d\d, accuracy 0.50$", shown, re.MULTILINE)
    end = shown.partition("1 of 4 runs failed and are missing from it.")[2]
    assert end.endswith(f"\n  sft, seed 1: out of luck\n    {folder / LOG}\n")
    rows = json.loads((runs / "results.json").read_text())["tables"][0]["rows"]
    assert {row["label"]: [run["seed"] for run in row["experiments"][0]["runs"]] for row in rows} == {
        "prefix_rft": [0, 1],
        "sft": [0],
    }


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_stopped_comparison_reports_what_is_finished(tmp_path, capsys, stand_in, monkeypatch, number, code):
    """Seed 0 ends at once. The other run takes its time, and a signal comes while it does."""
    recipes, runs, at_once = write_recipes(tmp_path / "recipes"), tmp_path / "runs", Job.command
    waits = "import os, time; os.kill(os.getppid(), int(__import__('sys').argv[1])); time.sleep(60)"

    def command(job: Job) -> list[str]:
        return [sys.executable, "-c", waits, str(int(number))] if job.seed == 1 else at_once(job)

    monkeypatch.setattr(Job, "command", command)
    line = ["compare", str(recipes / "sft.yaml"), "--seeds", "2", "--output_dir", str(runs), "--jobs", "1"]
    try:
        found = main(line)
    except SystemExit as exit:
        found = exit.code
    assert found == code
    assert f"1 of 2 runs are finished. The report is in {runs}" in " ".join(capsys.readouterr().out.split())
    assert "Not all have 2 seeds: sft (1)." in (runs / "report.md").read_text()


def test_without_a_finished_run_there_is_no_report(tmp_path, capsys, in_this_process, monkeypatch):
    monkeypatch.setattr(Job, "command", lambda job: [sys.executable, "-c", "import sys; sys.exit('out of luck')"])
    recipes, runs = write_recipes(tmp_path / "recipes"), tmp_path / "runs"
    assert main(["compare", str(recipes / "sft.yaml"), "--seeds", "1", "--output_dir", str(runs)]) == 1
    shown = capsys.readouterr()
    assert "The report is in" not in shown.out
    assert "prefix-rft compare: no run has finished, so no report is written." in shown.err
    assert f"\n  sft, seed 0: out of luck\n    {next(runs.rglob(LOG))}\n" in shown.err
    assert not [path.name for path in runs.iterdir() if path.is_file()]


ROWS = [{"prompt": f"{one}+1=", "completion": f"{one}+1=>{one + 1}", "solution": f"{one + 1}"} for one in range(8)]
WITHOUT_SOLUTION = [{name: row[name] for name in ("prompt", "completion")} for row in ROWS]
LAUNCHED = {"num_processes": 2, "num_generations": 8, "per_device_train_batch_size": 4}


@pytest.mark.parametrize(
    ("rows", "changes", "parts"),
    [
        (ROWS, {"dataset_name": "missing.jsonl"}, ["missing.jsonl"]),
        (ROWS, {"dataset_train_split": "validation"}, ["no split 'validation'"]),
        (ROWS, {"prompt_column": "question"}, ["no column 'question' for the prompts"]),
        (ROWS, {"demonstration_column": "answer"}, ["'answer'", "prompt, completion, solution"]),
        (WITHOUT_SOLUTION, {"reward_funcs": "math_accuracy_reward"}, ["reads the column 'solution'"]),
        ([*ROWS, {**ROWS[0], "prompt": None}], {}, ["Row 8"]),
        (ROWS[:1], {}, ["has 1 rows, and a step takes 2 prompts"]),
        (ROWS, {"model_name_or_path": "models/none"}, ["models/none"]),
        (ROWS, {"reward_funcs": "my_rewards.reward"}, ["my_rewards"]),
        (ROWS, {"use_liger_kernel": True}, ["`use_liger_kernel: true` needs the package 'liger_kernel'"]),
        (ROWS, {"max_completion_length": 100_000}, ["`max_completion_length` (100,000) leaves no room"]),
        (ROWS, {**LAUNCHED, "demonstration_column": "answer"}, ["'answer'"]),
        (ROWS[:1], {**LAUNCHED, "gradient_accumulation_steps": 2}, ["has 1 rows, and a step takes 2 prompts"]),
        (ROWS, {**LAUNCHED, "model_name_or_path": "models/none"}, ["models/none"]),
        (WITHOUT_SOLUTION, {**LAUNCHED, "reward_funcs": "math_accuracy_reward"}, ["reads the column 'solution'"]),
        (
            ROWS,
            {"stages": {"one": {}, "two": {"dataset_train_split": "none"}}},
            ["stage 'two': the dataset has no split 'none'"],
        ),
    ],
)
def test_what_a_run_reads_is_checked_before_any_starts(tmp_path, refused, in_this_process, rows, changes, parts):
    data = tmp_path / "rows.jsonl"
    data.write_text("".join(json.dumps(row) + "\n" for row in rows))
    held_out = tmp_path / "held_out.jsonl"
    held_out.write_text(json.dumps({"prompt": "9+9=", "completion": "9+9=>18", "solution": "18"}) + "\n")
    given = {"dataset_name": str(data), "dataset_test_file": str(held_out), "measure_rows": None}
    recipes = write_recipes(tmp_path / "recipes", **{**given, **changes})
    error = refused(recipes / "prefix_rft.yaml")
    assert "prefix_rft.yaml with no overrides: " in error
    assert all(part in error for part in parts), error


GSM8K = [{"question": f"What is {one} plus 1?", "answer": f"It is one more.\n#### {one + 1}"} for one in range(30)]


def write_gsm8k(folder: Path, **changes) -> Path:
    """Two recipes for a file of problems, some of which are held out in a file of their own; changes in the second."""
    for name, rows in (("my", GSM8K), ("held_out", GSM8K[:24])):
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    files = {"dataset_name": str(folder / "my.jsonl"), "dataset_test_file": str(folder / "held_out.jsonl")}
    given = {
        **files,
        "measure_rows": None,
        "reward_funcs": "math_accuracy_reward",
        "dataset_train_split": "train[20:]",
    }
    recipes = write_recipes(folder / "recipes", **{**given, **changes})
    sft = yaml.safe_load((recipes / "sft.yaml").read_text())
    sft = {name: value for name, value in (sft | given).items() if value is not None}
    (recipes / "sft.yaml").write_text(yaml.safe_dump(sft))
    return recipes


def test_recipes_whose_training_rows_leave_other_problems_to_measure_are_refused(tmp_path, refused, in_this_process):
    error = " ".join(refused(write_gsm8k(tmp_path, dataset_train_split="train[10:]")).split())
    assert "prefix_rft.yaml with no overrides has 10 held-out problems" in error
    assert "sft.yaml with no overrides has 20." in error
    assert "base.yaml" in error


def test_what_is_said_of_the_rows_is_said_once_with_the_number_of_problems(tmp_path, capsys, stand_in):
    line = ["compare", str(write_gsm8k(tmp_path)), "--seeds", "2", "--output_dir", str(tmp_path / "runs")]
    main(line)
    shown = capsys.readouterr().out
    assert shown.count("my.jsonl") == 1, shown
    assert "all can be run, and are measured on 20 held-out problems" in shown
    assert "before" not in shown

    main(line)
    first, second = capsys.readouterr().out.splitlines()[:2]
    assert first == "3 of 4 runs were finished before, and are not repeated."
    assert second == "Checking settings, data, rewards and models of 1 run ..."


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(("stream", "is_shown"), [(Terminal(), True), (io.StringIO(), False)])
def test_the_checks_have_a_bar_in_a_terminal_alone(monkeypatch, capsys, stream, is_shown):
    """While what is printed is held back to be said once."""
    monkeypatch.setattr(sys, "stderr", stream)
    with compare._said_once():
        assert list(compare._shown({"one": None, "two": None})) == [("one", None), ("two", None)]
    assert ("checking" in stream.getvalue()) == is_shown
    assert capsys.readouterr().out == ""


def test_of_a_finished_comparison_nothing_is_checked(tmp_path, capsys, stand_in):
    line = [
        "compare",
        str(write_recipes(tmp_path / "recipes")),
        "--seeds",
        "1",
        "--output_dir",
        str(tmp_path / "runs"),
    ]
    assert main(line) == 0
    capsys.readouterr()
    assert main(line) == 0
    shown = capsys.readouterr().out
    assert shown.startswith("2 of 2 runs were finished before, and are not repeated.\n")
    assert "Checking" not in shown
    assert "\n\n\n" not in shown


def test_flags_are_settings_of_all_runs_and_appear_in_the_report(tmp_path, stand_in):
    recipes = write_recipes(tmp_path / "recipes", {"recipes": ["sft"], "threshold": 0.4})
    runs = tmp_path / "runs"
    extra = ["--learning_rate", "1e-3", "--max_steps", "3", "--threshold", "0.9"]
    other = RECIPES / "grpo.yaml"
    measured = ["--measure_rows", "8", "--measure_max_new_tokens", "8", "--lab_level", "easy", "--measure_steps", "1"]
    line = [str(recipes), str(other), "--seeds", "1", "--output_dir", str(runs), *extra, *measured]
    assert main(["compare", *line]) == 0
    found = json.loads((runs / "results.json").read_text())
    assert found["threshold"] == 0.9
    assert found["command"] == f"prefix-rft compare {' '.join(line)}"
    settings = {row["label"]: row["experiments"][0]["settings"] for row in found["tables"][0]["rows"]}
    assert list(settings) == ["sft", "grpo"]  # that of the command line comes last
    assert all((one["learning_rate"], one["max_steps"]) == (1e-3, 3) for one in settings.values())
    assert "the first 8 of split `test` of `lab`, level `easy`, by `lab_exact_answer`" in found["measured"]


def test_a_second_comparison_in_the_folder_is_refused(tmp_path, capsys, stand_in):
    with exclusive_lock(tmp_path / "runs"):
        line = [str(write_recipes(tmp_path / "recipes")), "--output_dir", str(tmp_path / "runs")]
        assert main(["compare", *line]) == 2
    assert "Another command" in capsys.readouterr().err
    assert finished(tmp_path / "runs") == {}


def test_settings_for_many_processes_are_left_to_them(tmp_path, stand_in):
    # 4 rows on each of 2 processes make a group of 8, which 4 rows on one do not
    many = {"num_processes": 2, "per_device_train_batch_size": 4, "num_generations": 8}
    recipes = write_recipes(tmp_path / "recipes", **many)
    assert main(["compare", str(recipes), "--seeds", "1", "--output_dir", str(tmp_path / "runs")]) == 0


MAP = {
    "axes": {
        "level": {"levels": {"easy": {}, "hard": {"lab_level": "hard"}}},
        "demonstrations": {"levels": {"100%": {}, "50%": {"lab_demonstrated_share": 0.5}}},
    },
    "ignores": {"prefix_rft": ["demonstrations"]},
    "planes": [{"level": "all", "demonstrations": "all"}],
    "claims": [{"above": "prefix_rft", "below": "sft"}],
}


def test_a_map_continues_after_one_of_its_cells(tmp_path, capsys, in_this_process):
    recipes, runs = write_recipes(tmp_path / "recipes", {"map": MAP}, max_steps=1), tmp_path / "runs"
    line = ["compare", str(recipes), "--seeds", "1", "--output_dir", str(runs)]
    assert main([*line, "--cell", "level=hard,demonstrations=50%"]) == 0
    before = finished(runs)
    assert len(before) == 2
    (report,) = (runs / "cells").iterdir()
    assert re.fullmatch(r"demonstrations-50-level-hard-[0-9a-f]{8}", report.name)
    assert str(report) in capsys.readouterr().out
    assert (report / "figures" / "table1-accuracy.svg").is_file()
    assert not (runs / "results.json").exists()

    assert main(line) == 0
    shown = capsys.readouterr().out
    assert "2 of 6 runs were finished before" in shown
    after = finished(runs)
    assert len(after) == 6, "SFT in four cells, and Prefix-RFT, which one axis does not change, in two"
    assert {file: after[file] for file in before} == before
    assert "prefix_rft above sft" in shown
    found = json.loads((runs / "results.json").read_text())
    assert len(found["map"]["cells"]) == 4
    assert found["map"]["experiments"].keys() == {path.parents[1].name for path in after}
    assert "level `easy`" in found["measured"]
    assert "level `hard`" in found["measured"]
    cell = found["map"]["cells"][3]
    assert cell["levels"] == {"level": "hard", "demonstrations": "50%"}
    for name in cell["methods"].values():
        (run,) = found["map"]["experiments"][name]["runs"]
        curve = [json.loads(text) for text in (runs / name / "seed-0" / "curve.jsonl").read_text().splitlines()]
        assert run["accuracy"] == curve[-1]["accuracy"]
        assert run["problem_rewards"] == curve[-1]["problem_rewards"]
    assert (runs / "figures" / "map1.svg").is_file()


def test_the_folder_of_a_cell_is_named_for_its_levels_alone():
    levels = ["3%", "3", "3 %", "-3", "a-b", "a b", "3.5", "ä"]
    folders = [compare.cell_folder({"share": level}) for level in levels]
    assert len(set(folders)) == len(levels)
    assert compare.cell_folder({"style": "brief"}) == Path("cells/style-brief")
    assert compare.cell_folder({"a": "b/../../c"}).parent == Path("cells")
    assert compare.cell_folder({}).parent == Path("cells")


def test_in_a_cell_of_a_map_all_are_measured_on_the_same_problems(tmp_path, refused):
    levels = {"easy": {}, "mixed": {"except": {"sft": {"lab_level": "hard"}}}}
    mixed = {**MAP, "axes": {**MAP["axes"], "level": {"levels": levels}}}
    error = refused(write_recipes(tmp_path / "recipes", {"map": mixed}))
    assert "the recipes are measured on different problems" in error
    assert "level `easy`" in error
    assert "level `hard`" in error


def test_a_cell_is_refused_without_a_map_and_where_it_is_not_there(tmp_path, refused):
    assert "there is no `map:`" in refused(write_recipes(tmp_path / "plain"), "--cell", "level=hard")
    recipes = write_recipes(tmp_path / "recipes", {"map": MAP})
    assert "has no level 'harder'. Known: easy, hard. Did you mean 'hard'?" in refused(
        recipes, "--cell", "level=harder"
    )


def test_a_failed_run_is_missing_from_its_cells_alone(tmp_path, capsys, stand_in):
    recipes, runs = write_recipes(tmp_path / "recipes", {"map": MAP}), tmp_path / "runs"
    assert main(["compare", str(recipes), "--seeds", "2", "--output_dir", str(runs)]) == 1
    assert "4 of 12 runs failed" in capsys.readouterr().out
    assert "8 of 12 planned runs of the map are there" in (runs / "report.md").read_text()
