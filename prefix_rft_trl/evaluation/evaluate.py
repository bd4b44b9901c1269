"""A model on benchmarks, from what is on disk already to its figures."""

import hashlib
import json
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from tqdm import tqdm

from prefix_rft_trl.models.sources import ModelSource
from prefix_rft_trl.sampling.generate import encode_prompts
from prefix_rft_trl.utils.files import exclusive_lock, write_atomically

from .benchmark import Benchmark
from .data_parallel import missing_chunks, read_samples, sample_all
from .engines import Engine, load_tokenizer
from .scores import Figures, figures_of


def evaluate(source: ModelSource, benchmarks: list[Benchmark], engine: Engine, output_dir: Path) -> dict[str, Figures]:
    """
    The figures of a model for each benchmark, with what is on disk of it and what it samples now.

    Args:
        source (`ModelSource`): the model.
        benchmarks (`list[Benchmark]`): what it is asked.
        engine (`Engine`): what runs it.
        output_dir (`Path`): `<model>/<benchmark>` in it gets the samples as Parquet, their settings and the figures.

    Raises:
        ValueError: if the folder has samples of other settings, or another command is writing into it.
        RuntimeError: if one of several processes dies. What has been sampled is kept.
    """
    folder = output_dir / source.name
    with exclusive_lock(folder):
        tokenizer = load_tokenizer(source)
        for benchmark in benchmarks:
            prompt_ids = encode_prompts(tokenizer, list(benchmark.rows["prompt"]), benchmark.template_kwargs)
            claim_folder(folder / benchmark.name, benchmark, source, engine, prompt_ids)
        missing = {benchmark.name: missing_chunks(benchmark, folder / benchmark.name) for benchmark in benchmarks}
        total = sum(len(benchmark.rows) * benchmark.sampling.num_samples for benchmark in benchmarks)
        waiting = sum(len(chunk.places) for chunks in missing.values() for chunk in chunks)
        for benchmark in benchmarks:
            if missing[benchmark.name]:
                benchmark.check_golds()
        with tqdm(total=total, initial=total - waiting, desc=source.name, unit="sample", smoothing=0.05) as bar:
            sample_all(source, benchmarks, folder, engine, bar.update)
        return {benchmark.name: _figures(benchmark, folder / benchmark.name) for benchmark in benchmarks}


def _figures(benchmark: Benchmark, folder: Path) -> Figures:
    figures = figures_of(read_samples(benchmark, folder))
    write_atomically(folder / FIGURES, json.dumps(figures.as_json()) + "\n")
    return figures


SETTINGS, FIGURES = "settings.json", "figures.json"

OF_ONE_MODEL = {"weights", "prompt_ids", "first_prompt", "seed", "batch_size", "num_samples"}


def claim_folder(
    folder: Path, benchmark: Benchmark, source: ModelSource, engine: Engine, prompt_ids: list[list[int]]
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
    write_atomically(file, json.dumps(settings, indent=1) + "\n")


def asked_differently(folders: Iterable[Path]) -> list[str]:
    """What folders of samples for one benchmark were not asked alike, such as `temperature (0.6, 1.0)`."""
    settings = [json.loads((folder / SETTINGS).read_text()) for folder in folders]
    names = dict.fromkeys(name for of_folder in settings for name in of_folder if name not in OF_ONE_MODEL)
    values = {name: dict.fromkeys(str(of_folder.get(name)) for of_folder in settings) for name in names}
    return [f"{name} ({', '.join(found)})" for name, found in values.items() if len(found) > 1]


def _settings_of(
    benchmark: Benchmark, source: ModelSource, engine: Engine, prompt_ids: list[list[int]]
) -> dict[str, Any]:
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
