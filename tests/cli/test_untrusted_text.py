"""No command passes on what a dataset, a model or a log wants a terminal to do, nor what it writes as markup."""

import json
import re
from pathlib import Path

import pytest

from prefix_rft_trl.cli.main import main
from prefix_rft_trl.utils.printable import printable


EVIL = "\x1b]0;owned\x07\x1b[2J\x1b[31m\x9b1A\u202e[/red][bold]<script>alert(1)</script>\r\x08|`# x`![a](b)"
ROWS = [
    {
        "problem": f"{EVIL} What is {number} + 1?",
        "solution": f"{EVIL} It is #### {number + 1}",
        "answer": f"{number + 1}",
        "kind": EVIL,
    }
    for number in range(12)
]


@pytest.fixture
def rows(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    odd = [*ROWS, {**ROWS[0], "solution": EVIL, "answer": EVIL}, {**ROWS[1], "solution": ""}, ROWS[2]]
    Path("odd.jsonl").write_text("".join(json.dumps(row) + "\n" for row in odd))
    return tmp_path


COLUMNS = "--prompt_column problem --demonstration_column solution --answer_column answer"
TRAINING = (
    f"--model_name_or_path lab --dataset_name rows.jsonl {COLUMNS} --reward_funcs math_accuracy_reward --use_cpu true "
    "--bf16 false --max_completion_length 60 --per_device_train_batch_size 8 --max_steps 1 --report_to none"
)
COMMANDS = {
    "data check": (f"data check rows.jsonl {COLUMNS}", 0, "its working"),
    "data check, odd rows": (f"data check odd.jsonl {COLUMNS} --examples 9", 1, "states no final answer"),
    "data": (f"data columns --input odd.jsonl --output out.jsonl {COLUMNS}", 0, "A row as it is written"),
    "dry run": (f"train {TRAINING} --output_dir dry --dry_run", 0, "First hybrid rollout"),
    "train": (f"train {TRAINING} --output_dir run --log_completions true --logging_steps 1", 0, "To sample from it"),
    "init": (f"init rows.jsonl --output_dir mine --model lab {COLUMNS}", 0, "as the model will see it"),
}


@pytest.mark.parametrize(("command", "code", "part"), COMMANDS.values(), ids=COMMANDS)
def test_no_command_prints_what_a_terminal_obeys(command, code, part, rows, capfd):
    assert main(command.split()) == code
    said = "".join(capfd.readouterr())
    assert part in said
    without_bars = "\n".join(line.rpartition("\r")[2] for line in said.split("\n") if "%|" not in line)
    found = re.sub(r"\x1b\[A", "", without_bars)  # tqdm's
    assert printable(found) == found
