import subprocess
import sys

import pytest

from prefix_rft_trl import __version__
from prefix_rft_trl.cli.main import COMMANDS, main


HELP = [["--help"], *([command, "--help"] for command in COMMANDS)]


@pytest.mark.parametrize("arguments", HELP, ids=" ".join)
def test_help_does_not_wait_for_torch(arguments):
    program = (
        "import sys\nfrom prefix_rft_trl.cli.main import main\n"
        f"try: main({arguments})\nexcept SystemExit as stop: assert stop.code in (0, None)\n"
        "heavy = {'torch', 'transformers', 'trl', 'datasets', 'accelerate', 'matplotlib'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", program], check=True)


def test_help_names_every_command(capsys):
    with pytest.raises(SystemExit):
        main(["--help"])
    shown = capsys.readouterr().out
    assert all(command in shown for command in COMMANDS)


def test_version_is_that_of_the_package(capsys):
    with pytest.raises(SystemExit):
        main(["--version"])
    assert capsys.readouterr().out.split() == ["prefix-rft", __version__]


def test_an_unknown_command_lists_the_known_ones(capsys):
    with pytest.raises(SystemExit) as stop:
        main(["trian"])
    assert stop.value.code == 2
    assert "train" in capsys.readouterr().err.replace("trian", "")
