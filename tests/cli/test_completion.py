"""The completion that is printed, in a real bash."""

import shlex
import subprocess

import pytest

from prefix_rft_trl.cli.completion import completion_script, flags_of
from prefix_rft_trl.cli.main import COMMANDS, main
from prefix_rft_trl.utils.recipe_files import recipe_names


@pytest.fixture(scope="module")
def complete(tmp_path_factory):
    """What bash offers for the last word of a line."""
    script = tmp_path_factory.mktemp("completion") / "completion.sh"
    script.write_text(completion_script())

    def offered(*words: str) -> list[str]:
        line = shlex.join(["prefix-rft", *words])
        program = (
            f"source {script}; COMP_WORDS=({line}); COMP_CWORD={len(words)}; _prefix_rft; "
            'printf "%s\\n" "${COMPREPLY[@]}"'
        )
        done = subprocess.run(["bash", "-uc", program], capture_output=True, text=True, check=True)
        assert done.stderr == ""
        return done.stdout.split()

    return offered


def test_first_word_is_a_command(complete):
    assert complete("") == list(COMMANDS)
    assert complete("re") == ["recipes"]
    assert complete("x") == []


@pytest.mark.parametrize(
    ("words", "flags"),
    [
        (["train", "--learning_r"], ["--learning_rate"]),  # of TRL
        (["train", "--prefix_ratio_sch"], ["--prefix_ratio_schedule"]),
        (["train", "--measure_sp"], ["--measure_split"]),
        (["train", "--config", "lab/sft", "--lora_al"], ["--lora_alpha"]),
        (["data", "check", "--toke"], ["--tokenizer"]),
        (["data", "sample", "--ke"], ["--keep", "--keep_mark"]),
        (["eval", "--num_sa"], ["--num_samples"]),
        (["lab", "--se"], ["--seed"]),
        (["lab", "--lora_al"], []),
        (["compare", "recipes/l"], []),  # bash then completes files
    ],
    ids=" ".join,
)
def test_flags_are_those_of_the_command(complete, words, flags):
    assert complete(*words) == flags


def test_recipes_are_completed_by_name(complete):
    assert complete("train", "--config", "") == recipe_names()
    assert complete("train", "--config", "lab/prefix_rft") == [
        name for name in recipe_names() if name.startswith("lab/prefix_rft")
    ]


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_its_flags(command):
    assert flags_of([command]) >= ({"--help"} if command != "train" else {"--config"})


def test_zsh_gets_the_same_through_its_emulation(capsys):
    assert main(["completion", "zsh"]) == 0
    assert capsys.readouterr().out == f"autoload -Uz bashcompinit && bashcompinit\n{completion_script()}\n"
