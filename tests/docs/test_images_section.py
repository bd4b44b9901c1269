"""The section on images of docs/data.md: its rows train, and its recipe is one of the command line."""

import re
from pathlib import Path

import yaml
from datasets import Dataset
from PIL import Image

from prefix_rft_trl.cli.main import main


SECTION = (Path(__file__).parents[2] / "docs" / "data.md").read_text().partition("\n## Images\n")[2]
PYTHON, RECIPE = (re.search(f"```{kind}\n(.*?)```", SECTION, re.DOTALL)[1] for kind in ("python", "yaml"))


def test_rows_of_the_page_train_by_its_recipe(tmp_path, monkeypatch, capsys, tiny_vlm):
    monkeypatch.chdir(tmp_path)
    Image.new("RGB", (28, 28), "red").save("apples.png")
    names = {"Dataset": Dataset, "Image": Image}
    exec(PYTHON, names)
    row = names["rows"][0]
    assert row["image"].size == (28, 28)
    texts = {"prompt": row["prompt"][0]["content"], "completion": row["completion"][0]["content"]}
    Path("data").mkdir()
    rows = {name: [value] * 2 for name, value in {**row, **texts}.items()}
    Dataset.from_dict(rows).to_parquet("data/apples.parquet")
    small = {
        "model_name_or_path": tiny_vlm("grids"), "use_cpu": True, "bf16": False, "max_completion_length": 48,
        "per_device_train_batch_size": 4, "num_generations": 4, "max_steps": 1, "output_dir": "run",
        "report_to": "none",
    }  # fmt: skip
    Path("apples.yaml").write_text(yaml.safe_dump({**yaml.safe_load(RECIPE), **small}))
    assert main(["train", "--config", "apples.yaml"]) == 0
    assert "step 1/1" in capsys.readouterr().out
    assert main(["inspect", "--config", "apples.yaml", "--rows", "0", "--output", "page.html"]) == 0
    assert "apples are there" in Path("page.html").read_text()
    capsys.readouterr()
    assert main(["data", "check", "--recipe", "apples.yaml", "--benchmarks"]) == 0
    found = capsys.readouterr().out
    assert re.search(r"same prompt as an earlier row +not checked", found)
    assert main(["train", "--config", "apples.yaml", "--conversational", "false", "--output_dir", "other"]) == 2
    assert "with `conversational: true` in a recipe" in capsys.readouterr().err
