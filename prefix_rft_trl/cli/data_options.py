"""The flags of `prefix-rft data`, and what they are by default."""

import argparse

from prefix_rft_trl.data.convert.options import MAX_DEMONSTRATION_TOKENS, MAX_PROMPT_TOKENS
from prefix_rft_trl.data.convert.sources import SOURCES
from prefix_rft_trl.data.prompts import BOX_INSTRUCTION


DESCRIPTION = """\
Turn a dataset of others into the columns prompt, completion (the demonstrations) and solution (the answer), which
`prefix-rft train` and `trl sft` take, and say what was kept and dropped and why. Defaults are the paper's.

sources:
{sources}

`prefix-rft data check` reads a dataset before it is trained with, whoever made it."""

EPILOG = """\
  prefix-rft data gsm8k --output data/gsm8k.parquet
  prefix-rft data openr1-math --output data/openr1.parquet --tokenizer Qwen/Qwen2.5-Math-7B
  prefix-rft data columns --input mine.jsonl --output data/mine.parquet \\
      --prompt_column question --demonstration_column worked --answer_column answer"""


def make_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="prefix-rft data",
        usage="prefix-rft data SOURCE --output FILE [--OPTION VALUE ...]",
        description=DESCRIPTION.format(sources=sources_text()),
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("source", metavar="SOURCE", help="one of the above")
    _add_places(parser.add_argument_group("files"))
    _add_prompts(parser.add_argument_group("prompts"))
    _add_demonstrations(parser.add_argument_group("demonstrations"))
    _add_lengths(parser.add_argument_group("lengths"))
    _add_ablations(parser.add_argument_group("ablations"))
    return parser


def sources_text() -> str:
    """The sources, each on lines of its own."""
    import textwrap

    width = max(map(len, SOURCES)) + 4
    blank = " " * width
    entries = (
        textwrap.fill(source.purpose, 118, initial_indent=f"  {name}".ljust(width), subsequent_indent=blank)
        for name, source in SOURCES.items()
    )
    return "\n".join(entries)


def _add_places(group: argparse._ArgumentGroup) -> None:
    known = ", ".join(f"{source.input} for {name}" for name, source in SOURCES.items() if source.input)
    group.add_argument("--output", required=True, metavar="FILE", help="a .parquet or .jsonl file")
    group.add_argument("--overwrite", action="store_true", help="replace the file if it exists")
    group.add_argument(
        "--input", metavar="NAME", help=f"name on the Hub, or a local JSONL, JSON, Parquet or CSV file ({known})"
    )
    group.add_argument("--config", nargs="+", metavar="NAME", help="configurations on the Hub, one after the other")
    group.add_argument("--split", default="train", help="split (train)")
    group.add_argument("--max_rows", type=int, metavar="N", help="stop when N rows are kept")
    for name, default, what in (
        ("prompt_column", "prompt", "prompts"),
        ("demonstration_column", "completion", "demonstrations"),
        ("answer_column", "solution", "answers"),
    ):
        takers = ", ".join(source for source in SOURCES if name in SOURCES[source].options)
        help_text = f"{takers}: column of the {what} ({default}); a.b is what column a holds under b"
        group.add_argument(f"--{name}", metavar="COLUMN", help=help_text)


def _add_prompts(group: argparse._ArgumentGroup) -> None:
    group.add_argument("--system_prompt", metavar="TEXT", help="in front of each problem (none)")
    group.add_argument(
        "--instruction",
        metavar="TEXT",
        help=f'on a line after each problem; "" for none ("{BOX_INSTRUCTION}"; none for prompt-completion)',
    )
    group.add_argument("--plain_text", action="store_true", help="text instead of messages")


def _add_demonstrations(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--thinking",
        default="keep",
        metavar="keep|strip|TAG",
        help="keep the block between <think> and </think>, take it out, or write another tag: reasoning for "
        "<reasoning> (keep)",
    )
    group.add_argument(
        "--max_demonstrations", type=int, metavar="N", help="the first N of a problem; `trl sft` takes 1 (all)"
    )
    group.add_argument("--keep_mark", action="store_true", default=None, help="gsm8k: end with #### 72, without a box")
    group.add_argument(
        "--llama_marks",
        action="store_true",
        default=None,
        help="openr1-math, 220k: take generations that only the Llama judge marked correct too, which the reward may "
        "not recognise (those that Math-Verify marked)",
    )


def _add_lengths(group: argparse._ArgumentGroup) -> None:
    group.add_argument("--tokenizer", metavar="MODEL", help="drop what is too long in this model's tokens")
    group.add_argument("--max_prompt_tokens", type=int, metavar="N", help=f"({MAX_PROMPT_TOKENS})")
    group.add_argument("--max_demonstration_tokens", type=int, metavar="N", help=f"({MAX_DEMONSTRATION_TOKENS})")


def _add_ablations(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--demonstrations",
        type=float,
        default=1.0,
        metavar="SHARE",
        help="share of the problems that keep their demonstrations; the others stay without (1)",
    )
    group.add_argument(
        "--corrupt",
        type=float,
        default=0.0,
        metavar="SHARE",
        help="share of the demonstrations that get a slip and end in a wrong answer (0)",
    )
    group.add_argument(
        "--seed", type=int, default=0, help="what decides which (0); a smaller share is part of a larger one"
    )
