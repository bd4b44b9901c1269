"""What the samples in a folder were made with: samples of other settings are never taken for them."""

import hashlib
import json
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from prefix_rft_trl.models.sources import Source

from .benchmark import Benchmark
from .engines import Engine


SETTINGS, FIGURES = "settings.json", "figures.json"
OF_ONE_MODEL = {"weights", "prompt_ids", "first_prompt", "seed", "batch_size", "num_samples"}


def claim_folder(
    folder: Path, benchmark: Benchmark, source: Source, engine: Engine, prompt_ids: list[list[int]]
) -> None:
    """Writes down what the samples of a folder are made with, or holds it against what they were made with.

    Raises:
        ValueError: if the folder has samples of other settings, naming them.
    """
    settings = _settings_of(benchmark, source, engine, prompt_ids)
    file = folder / SETTINGS
    if file.is_file():
        before = json.loads(file.read_text())
        other = [name for name in {**before, **settings} if before.get(name) != settings.get(name)]
        if other:
            changes = "; ".join(
                f"{name} was {before.get(name)!r:.80} and is {settings.get(name)!r:.80}" for name in other
            )
            raise ValueError(f"{folder} has samples of other settings: {changes}. Take another `--output_dir`.")
        return
    write_whole(file, json.dumps(settings, indent=1) + "\n")


def write_whole(file: Path, text: str) -> None:
    """Writes a file that is there whole or not at all."""
    file.parent.mkdir(parents=True, exist_ok=True)
    partial = file.with_suffix(".partial")
    partial.write_text(text)
    partial.replace(file)


def asked_differently(folders: Iterable[Path]) -> list[str]:
    """What folders of samples for one benchmark were not asked alike, such as `temperature (0.6, 1.0)`."""
    settings = [json.loads((folder / SETTINGS).read_text()) for folder in folders]
    names = dict.fromkeys(name for of_folder in settings for name in of_folder if name not in OF_ONE_MODEL)
    values = {name: dict.fromkeys(str(of_folder.get(name)) for of_folder in settings) for name in names}
    return [f"{name} ({', '.join(found)})" for name, found in values.items() if len(found) > 1]


def _settings_of(benchmark: Benchmark, source: Source, engine: Engine, prompt_ids: list[list[int]]) -> dict[str, Any]:
    return {
        "weights": source.fingerprint,
        "prompt_ids": _hash(prompt_ids),
        **engine.settings,
        "benchmark": benchmark.name,
        "problems": _hash(benchmark.rows.to_list()),
        "reward": benchmark.verifier,
        "reward_module": benchmark.reward.__module__,
        "reward_kwargs": benchmark.reward_kwargs or {},
        "first_prompt": benchmark.rows[0]["prompt"],
        "chat_template_kwargs": benchmark.template_kwargs or {},
        **asdict(benchmark.sampling),
    }


def _hash(content: Any) -> str:
    return hashlib.blake2b(json.dumps(content, default=str, sort_keys=True).encode(), digest_size=8).hexdigest()
