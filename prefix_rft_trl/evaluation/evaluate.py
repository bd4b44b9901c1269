"""Evaluate a model on benchmarks: sample what is not on disk yet, and score all of it."""

import json
from collections.abc import Container, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from tqdm import tqdm

from prefix_rft_trl.models.sources import ModelSource
from prefix_rft_trl.rewards.registry import is_registered, name_of_reward
from prefix_rft_trl.utils.files import exclusive_lock, read_object, write_atomically
from prefix_rft_trl.utils.hashing import stable_hash
from prefix_rft_trl.utils.redaction import redacted

from .benchmark import Benchmark
from .data_parallel import sample_chunks
from .engines import Engine
from .scores import Scores, compute_scores


SETTINGS, SCORES, MERGED = "settings.json", "figures.json", "merged_model"


def evaluate(source: ModelSource, benchmarks: list[Benchmark], engine: Engine, output_dir: Path) -> dict[str, Scores]:
    """
    The scores of a model on each benchmark.

    Args:
        source (`ModelSource`): the model.
        benchmarks (`list[Benchmark]`): with the prompts in its tokens.
        engine (`Engine`): what runs it.
        output_dir (`Path`): `<model>/<benchmark>` in it gets samples (Parquet), their settings and the scores.

    Raises:
        ValueError: if the folder has samples of other settings, or another command is writing into it.
        WorkError: if one of several processes dies. What has been sampled is kept.
    """
    folder = output_dir / source.name
    with exclusive_lock(folder):
        sample_missing(source, benchmarks, engine, folder, "Take another `--output_dir`.")
        return {benchmark.name: _score(benchmark, folder) for benchmark in benchmarks}


def sample_missing(
    source: ModelSource, benchmarks: list[Benchmark], engine: Engine, folder: Path, remedy: str
) -> None:
    """Samples what a folder, which this process has locked, lacks of the samples of a model, with a progress bar.

    Raises:
        ValueError: with the remedy, if the folder has samples of other settings.
        WorkError: if one of several processes dies. What has been sampled is kept.
    """
    for benchmark in benchmarks:
        _claim_folder(folder / benchmark.name, benchmark, source, engine, remedy)
    missing = {benchmark.name: benchmark.samples_in(folder).missing(benchmark.chunks) for benchmark in benchmarks}
    for benchmark in benchmarks:
        if missing[benchmark.name]:
            benchmark.check_golds()
    to_sample = [(benchmark, chunk) for benchmark in benchmarks for chunk in missing[benchmark.name]]
    total = sum(len(benchmark.rows) * benchmark.sampling.num_samples for benchmark in benchmarks)
    done = total - sum(len(chunk.places) for _, chunk in to_sample)
    with tqdm(total=total, initial=done, desc=source.name, unit="sample", smoothing=0.05) as bar:
        if to_sample:
            with engine.merged(source, folder / MERGED) as loadable:
                sample_chunks(loadable, to_sample, folder, engine, bar.update)


def _score(benchmark: Benchmark, folder: Path) -> Scores:
    scores = compute_scores(benchmark.samples_in(folder).read(benchmark.chunks), benchmark.reward)
    write_atomically(folder / benchmark.name / SCORES, json.dumps(scores.as_json()) + "\n")
    return scores


def _claim_folder(folder: Path, benchmark: Benchmark, source: ModelSource, engine: Engine, remedy: str) -> None:
    """Records what the samples of a folder are made with.

    Raises:
        ValueError: if the folder has samples of other settings, naming them and the remedy.
    """
    settings = sample_settings(benchmark, source, engine)
    file = folder / SETTINGS
    if not file.is_file():
        write_atomically(file, json.dumps(settings, indent=1) + "\n")
        return
    if changes := changed_settings(read_settings(folder), settings, benchmark.prompting):
        raise ValueError(f"{folder} has samples of other settings: {'; '.join(changes)}. {remedy}")


def changed_settings(before: Mapping[str, Any], now: Mapping[str, Any], may_be_new: Container[str] = ()) -> list[str]:
    """What differs between recorded settings and those of now, apart from names that a record may lack."""
    return [
        f"{name} was {before.get(name)!r:.80} and is {now.get(name)!r:.80}"
        for name in {**before, **now}
        if before.get(name) != now.get(name) and (name in before or name not in may_be_new)
    ]


def sample_settings(benchmark: Benchmark, source: ModelSource, engine: Engine) -> dict[str, Any]:
    """All settings that samples and their scores are made with, and the model."""
    return {
        "weights": source.fingerprint,
        "prompt_ids": _hash(benchmark.prompt_ids),
        **shared_settings(benchmark, engine),
    }


def shared_settings(benchmark: Benchmark, engine: Engine) -> dict[str, Any]:
    """The settings that samples and their scores are made with, other than the model."""
    settings = {
        **engine.settings,
        "benchmark": benchmark.name,
        "problems": _hash(benchmark.rows.to_list()),
        "reward": benchmark.verifier,
        "reward_module": benchmark.reward.__module__,
        "reward_kwargs": benchmark.reward_kwargs or {},
        **_answer_settings(benchmark.reward),
        "first_prompt": benchmark.rows[0]["prompt"],
        **benchmark.prompting,
        "chat_template_kwargs": benchmark.template_kwargs or {},
        **asdict(benchmark.sampling),
    }
    return redacted(settings)


def _answer_settings(reward: Any) -> dict[str, Any]:
    """How answers are found in samples, where the name of the reward does not say it."""
    found = getattr(reward, "final_answer", None)
    if not callable(found):
        return {} if is_registered(reward) else {"answer_markers": getattr(reward, "answer_markers", None)}
    return {"final_answer": f"{found.__module__}.{name_of_reward(found)}"}


def _hash(content: Any) -> str:
    return f"{stable_hash(json.dumps(content, default=str, sort_keys=True)):016x}"


def read_settings(folder: Path) -> dict[str, Any]:
    """The settings that the samples of a benchmark in a folder were made with."""
    return redacted(read_object(folder / SETTINGS, f"Remove {folder}, and evaluate again."))
