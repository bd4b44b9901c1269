"""Construction of `PrefixGRPOTrainer` on a large dataset, beside TRL's `GRPOTrainer`, in seconds of processor time.

    python benchmarks/construction.py --rows 50000

Each trainer is made in a process of its own, several times in turn, with an untrained model of 16 dimensions, so that
what is measured is what the rows cost: all of them are read, and checked, before a step is made. To compare with
another version of the package, run it there (`--json`), or name its folder: `--other ../main`.
"""

import argparse
import json
import random
import statistics
import sys
import tempfile
import time
import warnings
from pathlib import Path
from typing import Any

from _measuring import in_a_process


ROWS = 50_000
FORMS = ("text", "messages")
TRAINERS = ("GRPOTrainer", "PrefixGRPOTrainer")
TEMPLATE = (
    "{% if messages[0].role == 'system' %}<|start|>system\n{{ messages[0].content }}<|end|>\n{% endif %}"
    "{% for message in messages %}{% if message.role != 'system' %}<|start|>{{ message.role }}\n"
    "{{ message.content }}<|end|>\n{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}<|start|>assistant\n{% endif %}"
)


def rows_of(number: int, form: str) -> Any:
    """Problems of about 250 characters with demonstrations of about 1,500, and a short answer."""
    from datasets import Dataset

    chance = random.Random(0)
    words = ["".join(chance.choices("aeiourstlnmdc", k=chance.randint(1, 9))) for _ in range(2_000)]
    words += [str(number) for number in range(200)] + ["=", "+", "so"]

    def text(length: int) -> str:
        return " ".join(chance.choices(words, k=length)) + "."

    def row() -> dict[str, Any]:
        prompt, completion = text(45), text(chance.choice((3, 100, 250, 400, 600)))
        if form == "messages":
            turns = [{"role": "user", "content": prompt}], [{"role": "assistant", "content": completion}]
            return {"prompt": turns[0], "completion": turns[1], "solution": "7"}
        return {"prompt": prompt, "completion": completion, "solution": "7"}

    return Dataset.from_list([row() for _ in range(number)])


def save_model(folder: str, texts: list[str]) -> None:
    """An untrained model, and a tokenizer of bytes that is trained on some of the texts."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast, Qwen2Config, Qwen2ForCausalLM

    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    special = ["<|start|>", "<|end|>"]
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=4_000, special_tokens=special, initial_alphabet=alphabet, show_progress=False
    )
    bpe.train_from_iterator(texts, trainer)
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=bpe, eos_token="<|end|>", pad_token="<|end|>")
    tokenizer.chat_template = TEMPLATE
    config = Qwen2Config(
        vocab_size=len(tokenizer), hidden_size=16, intermediate_size=32, num_hidden_layers=1, num_attention_heads=2,
        num_key_value_heads=2, eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id,
        bos_token_id=None,
    )  # fmt: skip
    Qwen2ForCausalLM(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def no_reward(completions: list[Any], **others: Any) -> list[float]:
    return [0.0] * len(completions)


def construct(trainer: str, data: str, model: str) -> None:
    """Prints the processor seconds of one construction."""
    warnings.filterwarnings("ignore")
    import trl
    from datasets import load_from_disk

    import prefix_rft_trl

    rows = load_from_disk(data)
    common = {"use_cpu": True, "bf16": False, "report_to": "none", "max_completion_length": 1024, "max_steps": 1}
    config_class = trl.GRPOConfig if trainer == "GRPOTrainer" else prefix_rft_trl.PrefixGRPOConfig
    trainer_class = trl.GRPOTrainer if trainer == "GRPOTrainer" else prefix_rft_trl.PrefixGRPOTrainer
    args = config_class(tempfile.mkdtemp(), **common)
    before, on_the_wall = time.process_time(), time.monotonic()
    trainer_class(model=model, reward_funcs=no_reward, args=args, train_dataset=rows)
    seconds = {"processor": time.process_time() - before, "wall": time.monotonic() - on_the_wall}
    print(json.dumps(seconds))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=ROWS)
    parser.add_argument("--times", type=int, default=3, help="constructions of each kind, of which the median counts")
    parser.add_argument("--other", metavar="FOLDER", help="a checkout of another version to compare with")
    parser.add_argument("--construct", nargs=3, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.construct:
        return construct(*arguments.construct)
    here = str(Path(__file__).parents[1])
    runs = [(name, here) for name in TRAINERS] + ([(TRAINERS[1], arguments.other)] if arguments.other else [])
    print(f"{'form':10} " + " ".join(f"{name + (' (other)' if place != here else ''):>26}" for name, place in runs))
    for form in FORMS:
        with tempfile.TemporaryDirectory() as folder:
            rows = rows_of(arguments.rows, form)
            rows.save_to_disk(f"{folder}/rows")
            texts = rows["completion"][:500]
            save_model(f"{folder}/model", texts if form == "text" else [turns[0]["content"] for turns in texts])
            taken: dict[tuple[str, str], list[float]] = {run: [] for run in runs}
            for _ in range(arguments.times):
                for name, place in runs:
                    given = ["--construct", name, f"{folder}/rows", f"{folder}/model"]
                    found = in_a_process(
                        __file__, given, PYTHONPATH=place, OMP_NUM_THREADS="1", TOKENIZERS_PARALLELISM="false"
                    )
                    taken[name, place].append(found["processor"])
        print(f"{form:10} " + " ".join(f"{statistics.median(seconds):>25.2f}s" for seconds in taken.values()))


if __name__ == "__main__":
    sys.exit(main())
