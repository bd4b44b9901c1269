"""`prefix-rft completion`: print what makes a shell complete commands, their flags and the names of recipes."""

import re
from contextlib import redirect_stderr, redirect_stdout, suppress
from importlib import import_module
from io import StringIO

from prefix_rft_trl.utils.recipe_files import recipe_names

from .flags import command_parser


DESCRIPTION = """\
Print what makes a shell complete the commands, their flags and the names of recipes.

  eval "$(prefix-rft completion bash)"       in ~/.bashrc
  eval "$(prefix-rft completion zsh)"        in ~/.zshrc, after compinit"""
HELP = [  # of parts of a command
    ("data", "check"), ("data", "sample"), ("recipes", "show"), ("recipes", "copy"), ("recipes", "model"),
]  # fmt: skip
FLAG = re.compile(r"(?<![\w-])--[a-z]\w*")
SCRIPT = """\
_prefix_rft() {{
  local current="${{COMP_WORDS[COMP_CWORD]}}" before="${{COMP_WORDS[COMP_CWORD-1]}}" words=""
  if [ "$COMP_CWORD" -eq 1 ]; then
    words="{commands}"
  elif [ "$before" = --config ]; then
    words="{recipes}"
  elif [ "${{current#-}}" != "$current" ]; then
    case "${{COMP_WORDS[1]}}" in
{cases}
    esac
  fi
  COMPREPLY=($(compgen -W "$words" -- "$current"))
}}
complete -o default -F _prefix_rft prefix-rft"""


def run(argv: list[str]) -> int:
    parser = command_parser("completion", DESCRIPTION)
    parser.add_argument("shell", choices=("bash", "zsh"))
    shell = parser.parse_args(argv).shell
    if shell == "zsh":
        print("autoload -Uz bashcompinit && bashcompinit")
    print(completion_script())
    return 0


def completion_script() -> str:
    """The functions of bash, made from the help of the commands."""
    from .main import COMMANDS

    flags = {command: flags_of([command]) for command in COMMANDS}
    settings = settings_of_training()
    for command, part in HELP:
        flags[command] |= flags_of([command, part])
    for command in ("train", "advise"):
        flags[command] |= settings
    cases = "\n".join(f'      {command}) words="{" ".join(sorted(found))}" ;;' for command, found in flags.items())
    return SCRIPT.format(commands=" ".join(COMMANDS), recipes=" ".join(recipe_names()), cases=cases)


def flags_of(command: list[str]) -> set[str]:
    """The flags that the help of a command speaks of."""
    shown = StringIO()
    with redirect_stdout(shown), redirect_stderr(StringIO()), suppress(SystemExit):
        import_module(f".{command[0]}", __package__).run([*command[1:], "--help"])
    return set(FLAG.findall(shown.getvalue()))


def settings_of_training() -> set[str]:
    """Those of TRL too, which the help of `train` does not list."""
    from .launch.arguments import CONFIGS, make_parser

    actions = [action for trainer in CONFIGS for action in make_parser(trainer)._actions]
    return {flag for action in actions for flag in action.option_strings if FLAG.fullmatch(flag)}
