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


@pytest.mark.parametrize(
    ("arguments", "code", "parts"),
    [
        (["--help"], 0, COMMANDS),
        (["lab", "--help"], 0, ["--steps", "--seed", "--output_dir"]),
        (["--version"], 0, [f"prefix-rft {__version__}\n"]),
        (["trian"], 2, ["'trian'", "'train'"]),
    ],
)
def test_help_version_and_an_unknown_command_say_what_there_is(arguments, code, parts, capsys):
    with pytest.raises(SystemExit) as stop:
        main(arguments)
    assert (stop.value.code or 0) == code
    shown = "".join(capsys.readouterr())
    assert all(part in shown for part in parts), shown


def test_a_file_of_the_current_folder_hides_no_package(tmp_path):
    for name in ("yaml", "rich", "datasets"):
        (tmp_path / f"{name}.py").write_text("raise SystemExit('it hides a package')")
    line = [sys.executable, "-m", "prefix_rft_trl.cli.main", "recipes"]
    done = subprocess.run(line, cwd=tmp_path, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
