"""The page "Your own data", from a file like GSM8K to the picture, with a tiny model in place of the one it names."""

import json
import re
import shlex
from pathlib import Path

import pytest
import yaml
from transformers import AutoTokenizer

from prefix_rft_trl.cli.main import main


ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "your_data.md").read_text()
COMMANDS = [shlex.split(line) for line in re.findall(r"^(prefix-rft .*)$", "\n".join(
    re.findall(r"```bash\n(.*?)```", PAGE, re.DOTALL)), re.MULTILINE)]  # fmt: skip
RECIPE = re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)
MENTIONED = [shlex.split(line) for line in re.findall(r"`(prefix-rft (?:train|eval) [^`]*)`", PAGE)]
SMALL_MENTIONED = {"train": [], "eval": ["--backend", "transformers", "--max_new_tokens", "8"]}
SMALL = {  # in two steps of one group, by an untrained model
    "init": ["--max_steps", "2", "--num_generations", "4"],
    "compare": ["--seeds", "1", "--gradient_accumulation_steps", "1"],
    "data": [],
    "train": ["--gradient_accumulation_steps", "1"],
}


def write_problems(file: Path, number: int) -> None:
    """Problems with solutions in the form of GSM8K."""
    rows = []
    for first in range(number):
        second, total = first + 2, 2 * first + 2
        question = f"Natalia sold {first} clips in April and {second} in May. How many did she sell altogether?"
        answer = f"She sold {first}+{second} = <<{first}+{second}={total}>>{total} clips altogether.\n#### {total}"
        rows.append({"question": question, "answer": answer})
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))


@pytest.fixture
def chat_model(text_model, tmp_path) -> Path:
    tokenizer = AutoTokenizer.from_pretrained(text_model)
    tokenizer.chat_template = "{% for message in messages %}{{ message['content'] }}\n{% endfor %}"
    for file in text_model.iterdir():
        (tmp_path / "model").mkdir(exist_ok=True)
        (tmp_path / "model" / file.name).symlink_to(file)
    (tmp_path / "model" / "tokenizer_config.json").unlink()
    tokenizer.save_pretrained(tmp_path / "model")
    return tmp_path / "model"


def test_the_page_says_what_a_run_would_do_and_how_to_evaluate_it():
    assert [command[1] for command in MENTIONED] == ["train", "eval"]


def test_the_page_takes_four_commands_and_ten_lines_of_yaml():
    assert [command[1] for command in COMMANDS] == ["init", "data", "compare", "train"]
    assert sum(len(block.splitlines()) for block in RECIPE) <= 10


def test_the_page_leads_from_a_file_to_the_picture(chat_model, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    write_problems(Path("my.jsonl"), 30)
    (text,) = RECIPE
    for _, name, *words in COMMANDS:
        words = ["model" if "/SmolLM" in word else word for word in words]
        if "short_prefixes" in " ".join(words):
            Path(text.splitlines()[0].removeprefix("# ")).write_text(text)
        assert main([name, *words, *SMALL[name]]) == 0, capsys.readouterr().out

    base = yaml.safe_load(Path("my/base.yaml").read_text())
    assert (base["prompt_column"], base["demonstration_column"], base["test_share"]) == ("question", "answer", 0.1)
    said = capsys.readouterr().out
    assert "my.jsonl: 30 rows" in said
    assert "30 demonstrations right" in said
    for command in MENTIONED:
        assert main([*command[1:], *SMALL_MENTIONED[command[1]]]) == 0, capsys.readouterr().out
    report = Path("runs/compare-my")
    assert "data:image" in (report / "report.html").read_text()
    rows = json.loads((report / "results.json").read_text())["tables"][0]["rows"]
    assert [row["label"] for row in rows] == ["SFT", "GRPO", "SFT then GRPO", "Prefix-RFT"]
    curves = {row["label"]: row["experiments"][0]["runs"][0]["curve"] for row in rows}
    curves["alone"] = [
        json.loads(line) for line in Path("runs/my-short-prefixes/curve.jsonl").read_text().splitlines()
    ]
    for label, curve in curves.items():
        assert curve[-1]["step"] == (4 if label == "SFT then GRPO" else 2), label
    assert "num_generations" not in rows[0]["experiments"][0]["settings"]
