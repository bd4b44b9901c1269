"""What each odd input gets: a sentence and an exit code, or a behaviour, never a traceback.

The tables are YAML files beside this one, a file for each kind of input. An entry has

    it            what is odd about it; entries of a table have different ones
    run           the command line after `prefix-rft`, or several; by default `train --config recipe.yaml`
    recipe        settings that are changed in the small recipe of the lab, which is written as recipe.yaml
    rows          rows of the dataset rows.jsonl, which the recipe then trains on
    model         copies of the lab's base model, by folder, and the files that are left out of each
    files         further files: text, a list of rows (for a name in .jsonl), or bytes (`!!binary`)
    environment   variables of the environment
    config        instead of a command: settings of a `PrefixGRPOConfig` that is refused
    exit_code     of the command; by default 2, refused: then no model is loaded
    says          parts of what is printed
    never_says    parts that are not printed
    leaves        files that there are afterwards
    leaves_no     files that there are not, as patterns
"""

import json
import shlex
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from transformers import PreTrainedModel

from prefix_rft_trl import PrefixGRPOConfig
from prefix_rft_trl.cli.main import main
from prefix_rft_trl.lab import base_model_path
from prefix_rft_trl.utils.recipe_files import FOLDER


TABLES = Path(__file__).with_name("tables")
KEYS = {
    "it", "run", "recipe", "rows", "model", "files", "environment", "config", "exit_code", "says", "never_says",
    "leaves", "leaves_no",
}  # fmt: skip
SMALL = {
    "max_steps": 1, "logging_steps": 1, "per_device_train_batch_size": 8, "num_generations": 8, "measure_steps": 0,
    "gradient_accumulation_steps": 1, "max_completion_length": 24, "save_strategy": "no", "output_dir": "run",
}  # fmt: skip


def read_tables() -> Iterator[Any]:
    for table in sorted(TABLES.glob("*.yaml")):
        for entry in yaml.safe_load(table.read_text(encoding="utf-8")):
            runs = entry.get("run")
            for line in runs if isinstance(runs, list) else [None]:
                name = f"{table.stem}: {entry['it']}" + (f", {line[:60]}" if line else "")
                yield pytest.param({**entry, "run": line} if line else entry, id=name)


@pytest.mark.parametrize("entry", read_tables())
def test_an_odd_input_gets_its_sentence(entry, tmp_path, monkeypatch, capfd, caplog):
    monkeypatch.chdir(tmp_path)
    assert entry.keys() <= KEYS, f"unknown keys: {entry.keys() - KEYS}"
    for name, value in entry.get("environment", {}).items():
        monkeypatch.setenv(name, value)
    write_files(entry)
    before = set(Path().rglob("*"))
    if "config" in entry:
        said = refusal_of(entry["config"])
    else:
        expected = entry.get("exit_code", 2)
        if expected == 2:
            monkeypatch.setattr(PreTrainedModel, "from_pretrained", refuse_to_load)
        code = exit_code(shlex.split(entry.get("run", "train --config recipe.yaml")))
        said = "".join(capfd.readouterr()) + caplog.text
        assert code == expected, said
    assert "Traceback" not in said, said
    for part in entry.get("says", []):
        assert part in said, said
    for part in entry.get("never_says", []):
        assert part not in said, said
    for name in entry.get("leaves", []):
        assert Path(name).exists(), f"{name} is missing"
    for pattern in entry.get("leaves_no", []):
        left = set(Path().glob(pattern)) - before
        assert not left, f"left behind: {left}"


def refusal_of(settings: dict[str, Any]) -> str:
    with pytest.raises(ValueError, match=r".") as refusal:
        PrefixGRPOConfig(**{"output_dir": "run", "use_cpu": True, "bf16": False, **settings})
    return str(refusal.value)


def write_files(entry: dict[str, Any]) -> None:
    changes = entry.get("recipe", {})
    if "rows" in entry:
        write("rows.jsonl", entry["rows"])
        changes = {"dataset_name": "rows.jsonl", **changes}
    recipe = {**yaml.safe_load((FOLDER / "lab/prefix_rft.yaml").read_text()), **SMALL, **changes}
    write("recipe.yaml", yaml.safe_dump(recipe))
    for folder, left_out in entry.get("model", {}).items():
        shutil.copytree(base_model_path(), folder, ignore=lambda *_: left_out)  # noqa: B023
    for name, content in entry.get("files", {}).items():
        write(name, content)


def write(name: str, content: str | bytes | list[Any]) -> None:
    file = Path(name)
    file.parent.mkdir(parents=True, exist_ok=True)
    if isinstance(content, list):
        content = "".join(json.dumps(row) + "\n" for row in content)
    file.write_bytes(content if isinstance(content, bytes) else content.encode())


def exit_code(arguments: list[str]) -> int:
    try:
        return main(arguments)
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else int(end.code is not None)


@classmethod
def refuse_to_load(cls: type, *args: Any, **kwargs: Any) -> Any:
    raise AssertionError("a model was loaded, though the input could have been refused before")


def test_the_tables_hold_many_inputs_and_none_twice():
    names = [parameters.id for parameters in read_tables()]
    assert len(names) == len(set(names))
