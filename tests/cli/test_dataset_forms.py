"""From each form of file and each form of row to a trained step, with nothing but `dataset_name`."""

import gzip
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas
import pytest
from datasets import Dataset, DatasetDict

from prefix_rft_trl.cli.main import main
from prefix_rft_trl.rewards.answers import completion_text


TEMPLATE = (
    "{% for message in messages %}<{{ message['role'] }}>{{ message['content'] }}\n{% endfor %}"
    "{% if add_generation_prompt %}<assistant>{% endif %}"
)
PROBLEM, WORKED, ANSWER = "Add 3 and 4.", "3 + 4 = 7, so 7.", "7"
MARKED, BOXED = "3 + 4 = 7\n#### 7", r"3 + 4 is \boxed{7}"
ROWS = [{"problem": PROBLEM, "solution": WORKED, "answer": ANSWER}] * 2
LINES = "".join(json.dumps(row) + "\n" for row in ROWS)
QUOTED = f'problem,solution,answer\n{PROBLEM},"{WORKED}",7\n'
WHOLE_DEMONSTRATIONS = (
    "--reward_funcs", "lab_exact_answer", "--prefix_ratio_schedule", "whole", "--num_generations", "2",
    "--max_completion_length", "24", "--log_completions", "true",
)  # fmt: skip
TABBED = f"problem\tsolution\tanswer\n{PROBLEM}\t{WORKED}\t7\n"


@pytest.fixture(scope="session")
def chat_model(byte_tokenizer: Callable[..., Any], save_tiny_model: Callable[..., Path]) -> Path:
    """Folder of an untrained model with a chat template, whose tokens are bytes."""
    named = {"pad_token": "<end>", "eos_token": "<end>", "chat_template": TEMPLATE}
    return save_tiny_model(byte_tokenizer(special_tokens=["<end>"], **named), "chat_model")


@pytest.fixture
def trained_step(chat_model: Path, tmp_path: Path, monkeypatch, capfd) -> Callable[..., tuple[str, Any]]:
    """Trains one step on a dataset; returns what was said, and the completions, half of which are demonstrations."""
    monkeypatch.chdir(tmp_path)

    def train(dataset: str, *flags: str, trainer: str = "prefix_grpo") -> tuple[str, Any]:
        code = main([
            "train", "--model_name_or_path", str(chat_model), "--dataset_name", dataset, "--use_cpu", "true", "--bf16",
            "false", "--report_to", "none", "--save_strategy", "no", "--per_device_train_batch_size", "2",
            "--gradient_accumulation_steps", "1", "--max_steps", "1", "--logging_steps", "1", "--output_dir", "run",
            *(WHOLE_DEMONSTRATIONS if trainer == "prefix_grpo" else ()), "--trainer", trainer, *flags,
        ])  # fmt: skip
        said = "".join(capfd.readouterr())
        assert code == 0, said
        assert json.loads(Path("run/trainer_state.json").read_text())["global_step"] == 1
        tables = [pandas.read_parquet(file) for file in Path("run/completions").glob("*.parquet")]
        return said, pandas.concat(tables) if tables else None

    return train


def write(name: str, content: str | bytes) -> None:
    path = Path(name)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content if isinstance(content, bytes) else content.encode())


FILES: dict[str, Callable[[str], Any]] = {
    "rows.jsonl": lambda name: write(name, LINES),
    "ROWS.JSONL": lambda name: write(name, LINES),
    "rows.ndjson": lambda name: write(name, LINES),
    "rows.json": lambda name: write(name, json.dumps(ROWS)),
    "rows.jsonl.gz": lambda name: write(name, gzip.compress(LINES.encode())),
    "rows.json.gz": lambda name: write(name, gzip.compress(json.dumps(ROWS).encode())),
    "rows.JSONL.GZ": lambda name: write(name, gzip.compress(LINES.encode())),
    "rows.parquet": lambda name: Dataset.from_list(ROWS).to_parquet(name),
    "rows.csv": lambda name: write(name, QUOTED),
    "rows.Csv": lambda name: write(name, "\ufeff" + QUOTED),
    "rows.tsv": lambda name: write(name, TABBED),
    "rows.tsv.gz": lambda name: write(name, gzip.compress(TABBED.encode())),
    "saved": lambda name: Dataset.from_list(ROWS).save_to_disk(name),
    "saved_splits": lambda name: DatasetDict(train=Dataset.from_list(ROWS)).save_to_disk(name),
    "folder": lambda name: [write(f"{name}/{file}", LINES) for file in ("a.jsonl", "B.JSONL", "more/test.jsonl")],
    "tables": lambda name: [write(f"{name}/{file}", TABBED) for file in ("train.TSV", "test.TSV")],
    "~/rows.jsonl": lambda name: write(name.replace("~", "home"), LINES),
}


@pytest.mark.parametrize("name", FILES)
def test_a_file_trains_as_it_is(name, trained_step, monkeypatch):
    monkeypatch.setenv("HOME", str(Path("home").resolve()))
    FILES[name](name)
    said, table = trained_step(name)
    assert "is read as problem and solution" in said
    assert set(table["prompt"]) == {PROBLEM}
    assert WORKED in set(table["completion"])


def turns(*turns: tuple[str, str], keys: tuple[str, str] = ("role", "content")) -> list[dict[str, str]]:
    return [dict(zip(keys, turn, strict=True)) for turn in turns]


SHAREGPT = turns(("system", "Add."), ("human", PROBLEM), ("gpt", BOXED), keys=("from", "value"))
IN_TURNS = f"<user>{PROBLEM}\n"


def as_text(prompt: Any) -> str:
    return prompt if isinstance(prompt, str) else "".join(f"<{turn['role']}>{turn['content']}\n" for turn in prompt)


COLUMNS = {  # row, how it is named, prompt, demonstration
    "prompt and completion": ({"prompt": PROBLEM, "completion": BOXED}, "answer from its end", PROBLEM, BOXED),
    "prompt, completion, answer": (
        {"prompt": PROBLEM, "completion": WORKED, "answer": 7},
        "answer from answer",
        PROBLEM,
        WORKED,
    ),
    "messages": (
        {"messages": turns(("user", PROBLEM), ("assistant", MARKED)), "id": 3},
        "messages: prompt and demonstration from messages,",
        IN_TURNS,
        MARKED,
    ),
    "messages of several turns": (
        {
            "messages": turns(("user", "Hi"), ("assistant", "Hello"), ("user", PROBLEM), ("assistant", WORKED)),
            "answer": "7",
        },
        "messages: prompt and demonstration from messages, answer from answer",
        f"<user>Hi\n<assistant>Hello\n{IN_TURNS}",
        WORKED,
    ),
    "ShareGPT": ({"conversations": SHAREGPT}, "ShareGPT conversations", f"<system>Add.\n{IN_TURNS}", BOXED),
    "ShareGPT with a column of system messages": (
        {"system": "Add.", "conversations": SHAREGPT[1:]},
        "ShareGPT",
        f"<system>Add.\n{IN_TURNS}",
        BOXED,
    ),
    "conversations as JSON in text": (
        {"conversations": json.dumps(SHAREGPT)},
        "ShareGPT",
        f"<system>Add.\n{IN_TURNS}",
        BOXED,
    ),
    "Alpaca": (
        {"instruction": "Add.", "input": "3 and 4", "output": BOXED},
        "Alpaca: prompt from instruction and input, demonstration from output",
        "Add.\n\n3 and 4",
        BOXED,
    ),
    "Alpaca without an input": ({"instruction": PROBLEM, "input": "", "output": MARKED}, "Alpaca", PROBLEM, MARKED),
    "problem, solution, answer": (ROWS[0], "demonstration from solution, answer from answer", PROBLEM, WORKED),
    "problem and solution, as in MATH": (
        {"problem": PROBLEM, "solution": BOXED, "level": "1"},
        "demonstration from solution, answer from its end",
        PROBLEM,
        BOXED,
    ),
    "GSM8K": (
        {"question": PROBLEM, "answer": MARKED},
        "GSM8K: prompt from question, demonstration from answer, answer from its end",
        PROBLEM,
        MARKED,
    ),
    "capital letters": (
        {"ID": 1, "Question": PROBLEM, "Response": WORKED, "Final_Answer": ANSWER},
        "demonstration from Response, answer from Final_Answer",
        PROBLEM,
        WORKED,
    ),
}


@pytest.mark.parametrize("form", COLUMNS)
def test_rows_train_as_they_are(form, trained_step):
    row, name, prompt, demonstration = COLUMNS[form]
    write("my.jsonl", f"{json.dumps(row)}\n" * 2)
    said, table = trained_step("my.jsonl")
    line = " ".join(said[said.index("my.jsonl is read as") :].split())
    assert name in line
    assert all(len(line) <= 80 for line in said.splitlines() if "read as" in line)
    assert set(map(as_text, table["prompt"])) == {prompt}
    assert demonstration in set(map(completion_text, table["completion"]))


@pytest.mark.parametrize("name", ["rows.jsonl", "rows.csv", "rows.jsonl.gz", "saved", "folder"])
def test_a_stream_of_a_file_trains(name, trained_step):
    FILES[name](name)
    said, table = trained_step(name, "--dataset_streaming", "true")
    assert "is read as problem and solution" in said
    assert WORKED in set(table["completion"])


def test_conversations_train_by_sft_and_stream(trained_step):
    write("my.jsonl", f"{json.dumps({'conversations': SHAREGPT})}\n" * 2)
    assert "ShareGPT conversations" in trained_step("my.jsonl", "--dataset_streaming", "true", trainer="sft")[0]


def test_columns_that_are_named_win(trained_step):
    row = {"question": PROBLEM, "solution": BOXED, "output": "draft", "answer": "wrong", "gold": "7"}
    write("my.jsonl", f"{json.dumps(row)}\n" * 2)
    said, table = trained_step("my.jsonl", "--demonstration_column", "output", "--answer_column", "gold")
    assert "prompt from question, demonstration from output, answer from gold" in " ".join(said.split())
    assert "draft" in set(table["completion"])
