import subprocess
import sys

import pytest

from prefix_rft_trl import __version__
from prefix_rft_trl.cli.main import COMMANDS, main


HELP = [["--help"], *([command, "--help"] for command in COMMANDS)]


@pytest.mark.parametrize("arguments", HELP, ids=" ".join)
def test_help_does_not_wait_for_torch(arguments):
    program = (
        "import sys\nfrom prefix_rft_trl.cli.main import main\n"
        f"try: main({arguments})\nexcept SystemExit as stop: assert stop.code in (0, None)\n"
        "heavy = {'torch', 'transformers', 'trl', 'datasets', 'accelerate', 'matplotlib'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", program], check=True)


@pytest.mark.parametrize(
    ("arguments", "code", "parts"),
    [
        (["--help"], 0, COMMANDS),
        (["lab", "--help"], 0, ["--steps", "--seed", "--output_dir"]),
        (["--version"], 0, [f"prefix-rft {__version__}\n"]),
        (["trian"], 2, ["'trian'", "'train'"]),
    ],
)
def test_help_version_and_an_unknown_command_say_what_there_is(arguments, code, parts, capsys):
    with pytest.raises(SystemExit) as stop:
        main(arguments)
    assert (stop.value.code or 0) == code
    shown = "".join(capsys.readouterr())
    assert all(part in shown for part in parts), shown


@pytest.mark.parametrize(
    "line",
    ["init gone.jsonl --model lab", "data columns --input gone.jsonl --output x.jsonl", "data check gone.jsonl",
     "train --config lab/grpo --dataset_name gone.jsonl"],
)  # fmt: skip
def test_a_file_that_is_not_there_is_refused_before_libraries_are_imported(line, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    script = "import sys; from prefix_rft_trl.cli.main import main; code = main(sys.argv[1:])\n"
    script += "print(code, {'torch', 'datasets', 'transformers'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", script, *line.split()], capture_output=True, text=True, timeout=120)
    assert "there is no dataset file 'gone.jsonl'" in done.stderr
    assert done.stdout == "2 set()\n"


def test_what_is_read_in_a_moment_has_no_progress_bar(tmp_path, prefix_rft):
    file = tmp_path / "rows.jsonl"
    file.write_text('{"question": "What is 1+1?", "answer": "It is 2.\\n#### 2"}\n' * 4)
    done = prefix_rft("data", "check", str(file), "--benchmarks", "--num_workers", "1")
    assert "4 rows, 4 demonstrations" in done.stdout
    assert done.stderr == ""


def test_a_file_of_the_current_folder_hides_no_package(tmp_path):
    for name in ("yaml", "rich", "datasets"):
        (tmp_path / f"{name}.py").write_text("raise SystemExit('it hides a package')")
    line = [sys.executable, "-m", "prefix_rft_trl.cli.main", "recipes"]
    done = subprocess.run(line, cwd=tmp_path, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
