"""Old names of settings are read as the new ones, with one line for each name."""

import pytest

from prefix_rft_trl.run.fingerprint import RunFingerprint
from prefix_rft_trl.run.settings import RUN_SETTINGS
from prefix_rft_trl.utils.renamed import current_flags, current_settings, say_new_name


OLD, NEW = "lab_damaged_share", "lab_corrupted_share"


@pytest.fixture(autouse=True)
def _nothing_said_yet():
    say_new_name.cache_clear()


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ({OLD: 0.3, "max_steps": 2}, {NEW: 0.3, "max_steps": 2}),
        ({"stages": {"sft": {OLD: 0.3}}, f"rft.{OLD}": 1}, {"stages": {"sft": {NEW: 0.3}}, f"rft.{NEW}": 1}),
        ({"tables": [{"columns": {"30%": {OLD: 0.3}}}]}, {"tables": [{"columns": {"30%": {NEW: 0.3}}}]}),
        ({OLD: 0.3, NEW: 0.6}, {NEW: 0.6}),
        ({1: OLD}, {1: OLD}),
    ],
)
def test_settings_at_any_depth_get_their_current_names(capsys, content, expected):
    assert current_settings(content) == expected
    assert current_settings(content) == expected
    line = f"prefix-rft: `{OLD}` is now called `{NEW}`; the old name is still accepted.\n"
    assert capsys.readouterr().err == ("" if content == expected else line)


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (["--lab_damaged_share", "0.3"], ["--lab_corrupted_share", "0.3"]),
        (["--lab-damaged-share=0.3"], ["--lab_corrupted_share=0.3"]),
        (["--rft.lab_damaged_share", "0.3"], ["--rft.lab_corrupted_share", "0.3"]),
        (["--some-flag=lab_damaged_share", OLD], ["--some-flag=lab_damaged_share", OLD]),
    ],
)
def test_flags_get_their_current_names_and_nothing_else_changes(line, expected):
    assert current_flags(line) == expected


def test_the_fingerprint_of_an_older_run_is_compared_by_the_current_name(tmp_path):
    (tmp_path / RUN_SETTINGS).write_text(f'{{"fingerprint": {{"{OLD}": 0.3}}}}')
    (change,) = RunFingerprint.read(tmp_path).changes(RunFingerprint({NEW: 0.6}))
    assert (change.setting, change.there, change.here) == (NEW, 0.3, 0.6)
