"""A model on benchmarks, from what is on disk already to its figures."""

import json
from pathlib import Path

from tqdm import tqdm

from prefix_rft_trl.comparison.jobs import only_one
from prefix_rft_trl.models.sources import Source
from prefix_rft_trl.sampling.generate import encode_prompts

from .benchmark import Benchmark
from .data_parallel import sample_all
from .engines import Engine, load_tokenizer
from .record import FIGURES, claim_folder, write_whole
from .running import missing_chunks, read_samples
from .scores import Figures, figures_of


def evaluate(source: Source, benchmarks: list[Benchmark], engine: Engine, output_dir: Path) -> dict[str, Figures]:
    """
    The figures of a model for each benchmark, with what is on disk of it and what it samples now.

    Args:
        source (`Source`): the model.
        benchmarks (`list[Benchmark]`): what it is asked.
        engine (`Engine`): what runs it.
        output_dir (`Path`): `<model>/<benchmark>` in it gets the samples as Parquet, their settings and the figures.

    Raises:
        ValueError: if the folder has samples of other settings, or another command is writing into it.
        RuntimeError: if one of several processes dies. What has been sampled is kept.
    """
    folder = output_dir / source.name
    with only_one(folder):
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
    write_whole(folder / FIGURES, json.dumps(figures.as_json()) + "\n")
    return figures
