"""`prefix-rft init`: look at a dataset, and write recipes that train and compare on it."""

import re
import shlex
import textwrap
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from prefix_rft_trl.data.data_files import check_source, file_format
from prefix_rft_trl.data.texts import last_words
from prefix_rft_trl.utils.errors import UserError, as_user_error, nearest
from prefix_rft_trl.utils.files import check_writable_folder, write_atomically
from prefix_rft_trl.utils.printable import printable
from prefix_rft_trl.utils.redaction import redacted_words

from .flags import command_parser
from .launch.recipe import Recipe, parse_flags
from .starting_recipes import LongestTexts, Settings, Setup, check_recipes, recipe_texts


if TYPE_CHECKING:
    from datasets import Dataset, DatasetDict
    from transformers import PreTrainedTokenizerBase

    from prefix_rft_trl.data.own_rows import OwnRows
    from prefix_rft_trl.data.row_forms import RowForm

DESCRIPTION = """\
Look at a dataset and write a folder of recipes for it: Prefix-RFT, GRPO, SFT,
and SFT then GRPO, which share a base.yaml, with a comparison.yaml. Nothing is
trained.

  prefix-rft init my.jsonl --model Qwen/Qwen2.5-0.5B-Instruct
  prefix-rft compare my"""

EPILOG = """\
It says which columns it takes for prompts, demonstrations and answers. Where it
cannot tell, name them: --prompt_column, --demonstration_column,
--answer_column. Any further flag is a setting of base.yaml, such as
--dataset_config main, --reward_funcs my_rewards.exact or --max_steps 200."""

SHOWN_ROWS = 2
SHOWN_LINES = 8  # of a text
WIDTH = 80
TRIED = 100  # demonstrations, to find the reward
TEST_SHARE = 0.1
FEW = 20  # held-out rows
OF_RECIPES = ("base", "stages", "trainer", "output_dir")


def run(argv: list[str]) -> int:
    parser = command_parser("init", DESCRIPTION, epilog=EPILOG)
    parser.add_argument("dataset", help="a file, a folder of files, or a name on the Hub")
    parser.add_argument("--model", required=True, help="a folder, a name on the Hub, or `lab`")
    parser.add_argument("--output_dir", type=Path, metavar="FOLDER", help="for the recipes (the name of the dataset)")
    parser.add_argument("--overwrite", action="store_true", help="replace the recipes in the folder")
    arguments, flags = parser.parse_known_args(argv)
    check_source(arguments.dataset, is_streaming=True)  # before the imports, which take seconds
    folder = arguments.output_dir or Path(plain_name(arguments.dataset))
    _check_folder(folder, arguments.overwrite)
    given = _read_settings(flags)
    command = f"prefix-rft init {shlex.join(redacted_words(argv))}"
    setup = _look(arguments.dataset, arguments.model, given, plain_name(folder.resolve().name), command)
    texts = recipe_texts(setup)
    check_recipes(texts)
    for file, text in texts.items():
        write_atomically(folder / file, text)
    print()
    print(textwrap.fill(f"Written to {folder}: {', '.join(texts)}", WIDTH), end="\n\n")
    print("Check the data, see what a run would do and how long it would take, and compare:\n")
    recipe = shlex.quote(str(folder / "prefix_rft.yaml"))
    print(f"  prefix-rft data check --recipe {recipe}")
    print(f"  prefix-rft train --config {recipe} --dry_run")
    print(f"  prefix-rft compare {shlex.quote(str(folder))}")
    return 0


def plain_name(dataset: str) -> str:
    """A name for folders: `my-data` for `~/my data.jsonl.gz`, `gsm8k` for `openai/gsm8k`."""
    path = Path(dataset)
    while path.suffix.lower() == ".gz" or file_format(path.name.lower()):
        path = path.with_suffix("")
    return re.sub(r"[^\w.-]+", "-", path.name).strip("-.") or "mine"


def _check_folder(folder: Path, overwrites: bool) -> None:
    if folder.exists() and not folder.is_dir():
        raise UserError(f"{str(folder)!r} is a file. Name a folder for the recipes with --output_dir.")
    if folder.is_dir() and any(folder.iterdir()) and not overwrites:
        raise UserError(
            f"the folder {str(folder)!r} is there already, and nothing in it is overwritten. Name another with "
            "--output_dir, or replace its recipes with --overwrite."
        )
    with as_user_error(ValueError):
        check_writable_folder(folder)


def _read_settings(flags: list[str]) -> Settings:
    from .launch.arguments import CONFIGS, check_values, is_setting, settings_of

    given = parse_flags(flags)
    known = set().union(*map(settings_of, CONFIGS))
    for name in given:
        if name in OF_RECIPES:
            raise UserError(f"`{name}` differs from recipe to recipe: change it in the files that are written.")
        if name not in known:
            raise UserError(f"unknown setting '{name}' in the command line.{nearest(name, known)}")
    for trainer in CONFIGS:
        own = {name: value for name, value in given.items() if is_setting(trainer, name)}
        check_values(Recipe({"trainer": trainer, **own}))
    return given


def _look(dataset: str, model: str, given: Settings, name: str, command: str) -> Setup:
    """What the recipes depend on; prints it, and two rows as the model will see them."""
    import torch

    from prefix_rft_trl.data.held_out import pick_split
    from prefix_rft_trl.data.loading import load_splits
    from prefix_rft_trl.data.own_rows import ROLES, look_at
    from prefix_rft_trl.models.sources import count_parameters, resolve_model

    with as_user_error(ValueError):
        splits = load_splits(dataset, given.get("dataset_config"))
    split = given.get("dataset_train_split") or ("train" if "train" in splits else next(iter(splits)))
    trained = pick_split(splits, split)
    named = {role: given[f"{role}_column"] for role in ROLES if f"{role}_column" in given}
    rows = look_at(trained, named, needs_answer="reward_funcs" not in given)
    columns = rows.settings if named or _have(splits, rows.settings.values()) else {}
    data = {"model_name_or_path": model, "dataset_name": dataset, **columns}
    if split != "train":
        data["dataset_train_split"] = split
    held_out, number, left = _held_out(splits, trained, rows.form, given)
    tokenizer = _tokenizer(model)
    prompts = _prompt_settings(rows, tokenizer, given)
    reward, right = _reward(rows, columns.get("answer_column"), given)
    form = rows.form
    states_answer = form.answer is not None and form.answer == form.demonstration
    _print_facts(
        f"{dataset}: {rows.number:,} rows, read as {form.name}",
        {
            "prompts": form.prompt,
            "demonstrations": form.demonstration,
            "answers": f"{form.answer}, what it states in the end" if states_answer else form.answer,
            "instruction": prompts.get("instruction") or ("none" if "instruction" in given else _why_none(rows)),
            "reward": f"{', '.join(reward['reward_funcs'])}{right}",
            "held out": number and f"{number:,} {'rows' if number >= FEW else 'rows: few, so intervals will be wide'}",
            "GRPO only": rows.without and f"{rows.without:,} of {rows.looked_at:,} rows, without a demonstration",
            "no answer": rows.unanswered
            and f"{rows.unanswered:,} of {rows.looked_at:,} rows, which teach plain GRPO nothing",
        },
    )
    longest = _show_rows(rows, model, tokenizer, prompts)
    return Setup(
        command=command,
        name=name,
        data={**data, **prompts, **held_out},
        reward=reward,
        rows=left,
        held_out=number,
        longest=longest,
        parameters=count_parameters(resolve_model(model)),
        has_gpu=torch.accelerator.is_available(),
        given=given,
    )


def _have(splits: "DatasetDict", columns: Iterable[str]) -> bool:
    """Whether all splits have the columns; where they differ, each split is read by its form."""
    return all(set(columns) <= set(rows.column_names) for rows in splits.values())


def _held_out(
    splits: "DatasetDict", trained: "Dataset", form: "RowForm", given: Settings
) -> tuple[Settings, int | None, int]:
    """How problems are held out, their rows (`None` where the command line says it), and the rows to train on."""
    from prefix_rft_trl.data.held_out import draw_held_out, prompt_key

    rows = len(trained)
    if "dataset_test_file" in given or "measure_split" in given:
        return {}, None, rows
    share = given.get("test_share")
    for split in ("test", "validation"):
        if split in splits and share is None:
            return {"measure_split": split}, len(splits[split]), rows
    if rows < 2:
        raise UserError(
            "the dataset has one row, and a comparison needs some to train on and some to measure. Add rows, or name "
            "a file of held-out problems: --dataset_test_file."
        )
    share = TEST_SHARE if share is None else share
    read = trained.select_columns([name for name in form.columns if name in trained.column_names])
    keys = (prompt_key(form.read(row)["prompt"]) for row in read)
    number = len(draw_held_out(keys, share, given.get("test_seed", 0)))
    return {"test_share": share}, number, rows - number


def _why_none(rows: "OwnRows") -> str:
    if not rows.is_text:
        return "none, as prompts are messages"
    return "none: demonstrations have no box and no ####, or prompts say it already"


def _tokenizer(model: str) -> "PreTrainedTokenizerBase":
    from prefix_rft_trl.models.sources import load_tokenizer, resolve_model

    with as_user_error(ValueError, OSError):
        return load_tokenizer(resolve_model(model))


def _prompt_settings(rows: "OwnRows", tokenizer: "PreTrainedTokenizerBase", given: Settings) -> Settings:
    """The instruction that demonstrations follow, and whether prompts become messages for the model's template."""
    found = {"instruction": rows.instruction, "conversational": bool(rows.is_text and tokenizer.chat_template)}
    found |= {name: given[name] for name in found if name in given}
    return {name: value for name, value in found.items() if value}


def _reward(rows: "OwnRows", answer_column: str | None, given: Settings) -> tuple[Settings, str]:
    """The settings of the reward, and how many demonstrations it finds right."""
    if "reward_funcs" in given:
        return {
            "reward_funcs": [given["reward_funcs"]]
            if isinstance(given["reward_funcs"], str)
            else given["reward_funcs"]
        }, ""
    from prefix_rft_trl.data.row_forms import stated_solution
    from prefix_rft_trl.rewards.answers import message_text
    from prefix_rft_trl.rewards.fitting import VERIFIED, choose_reward

    tried = rows.rows[:: -(-len(rows.rows) // TRIED)]
    columns = {name: [row.columns[name] for row in tried] for name in tried[0].columns}
    found = choose_reward([message_text(row.demonstration) for row in tried], [row.answer for row in tried], columns)
    if found is None:
        row = tried[0]
        text = message_text(row.demonstration)
        stated = stated_solution(text)
        ends = f"states {stated[:40]!r}" if stated else "states no answer in a box, in answer tags or after ####"
        remedy = "name other columns (--demonstration_column, --answer_column)" if stated else "let them end in one"
        raise UserError(
            f"no reward finds most demonstrations right: that of row {row.number} {ends}; it ends in "
            f"{last_words(text, 40)!r}, and the right answer is {str(row.answer)[:40]!r}. Either {remedy}, or name "
            f"the reward: --reward_funcs {VERIFIED}, for a model that is asked for a box (--instruction), or one of "
            "your own."
        )
    settings: Settings = {"reward_funcs": [found.name]}
    if found.name == VERIFIED and answer_column:
        settings["reward_kwargs"] = {VERIFIED: {"solution_column": answer_column}}
    kind = "demonstrations" if found.tried == rows.number else "tried demonstrations"
    return settings, f" finds {found.right} of {found.tried} {kind} right"


def _print_facts(title: str, facts: dict[str, Any]) -> None:
    print(printable(title))
    for name, fact in facts.items():
        if fact:
            print(printable(textwrap.fill(f"  {name:16}{fact}", WIDTH, subsequent_indent=" " * 18)))


def _show_rows(rows: "OwnRows", model: str, tokenizer: "PreTrainedTokenizerBase", settings: Settings) -> LongestTexts:
    """Prints two rows as the model will see them; returns the lengths of all that were read."""
    from prefix_rft_trl.data.prompts import make_prompt
    from prefix_rft_trl.data.row_encoder import RowEncoder
    from prefix_rft_trl.models.sources import context_length, resolve_model
    from prefix_rft_trl.rewards.answers import message_text
    from prefix_rft_trl.sampling.generate import declared_stop_ids

    path = resolve_model(model)
    encoder = RowEncoder(tokenizer, declared_stop_ids(path, tokenizer))
    lengths: list[tuple[int, int]] = []
    for row in rows.rows:
        prompt = row.prompt
        if isinstance(prompt, str):
            prompt = make_prompt(
                prompt, instruction=settings.get("instruction"), conversational=bool(settings.get("conversational"))
            )
        with as_user_error(ValueError):
            prompt_ids = encoder.prompt_ids(prompt)
            ids, _ = encoder.demonstration(prompt, row.demonstration)
        lengths.append((len(prompt_ids), len(ids)))
        if len(lengths) <= SHOWN_ROWS:
            print(f"\nRow {row.number}, as the model will see it")
            _print_text(f"prompt, {len(prompt_ids)} tokens", tokenizer.decode(prompt_ids))
            _print_text(f"demonstration, {len(ids)} tokens", message_text(row.demonstration))
            if row.answer is not None:
                _print_text("answer", str(row.answer))
    return LongestTexts(
        max(length for length, _ in lengths), max(length for _, length in lengths), context_length(path)
    )


def _print_text(title: str, text: str) -> None:
    lines = [part for line in text.splitlines() for part in textwrap.wrap(line, WIDTH - 4) or [""]]
    left_out = len(lines) - SHOWN_LINES
    if left_out > 1:
        lines[SHOWN_LINES // 2 : -SHOWN_LINES // 2] = [f"[{left_out} lines]"]
    print(f"  {title}")
    print(printable(textwrap.indent("\n".join(lines), "    ")))
