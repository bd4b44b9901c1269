import json

import pytest

from prefix_rft_trl.run import is_finished, last_checkpoint, read_curve
from prefix_rft_trl.run.folder import CURVE, STATE


def state(step: int) -> str:
    return json.dumps({"global_step": step, "max_steps": 4})


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (None, False), ("", False), (state(4)[:-1], False), (state(3), False), (state(4), True), (state(5), True),
        ("[]", False), ("null", False), ("{}", False), ('{"global_step": 4}', False), ('{"max_steps": 4}', False),
        ('{"global_step": null, "max_steps": 4}', False), ('{"global_step": "4", "max_steps": "4"}', False),
        ('{"global_step": 4, "max_steps": [4]}', False), ("\udcff", False),
    ],
)  # fmt: skip
def test_run_is_finished_when_its_complete_state_is_there(tmp_path, text, expected):
    if text is not None:
        (tmp_path / STATE).write_text(text, errors="surrogateescape")
    assert is_finished(tmp_path) is expected


def test_missing_folder_is_an_unfinished_run_without_checkpoints(tmp_path):
    assert not is_finished(tmp_path / "none")
    assert last_checkpoint(tmp_path / "none") is None
    assert read_curve(tmp_path / "none") == []


def test_last_checkpoint_is_the_last_complete_one(tmp_path):
    for name, text in (("2", state(2)), ("10", state(10)), ("12", state(12)[:9]), ("14", None), ("best", state(3))):
        (tmp_path / f"checkpoint-{name}").mkdir()
        if text is not None:
            (tmp_path / f"checkpoint-{name}" / STATE).write_text(text)
    assert last_checkpoint(tmp_path) == str(tmp_path / "checkpoint-10")
    assert last_checkpoint(str(tmp_path)) == str(tmp_path / "checkpoint-10")


def test_line_that_is_being_written_is_not_read(tmp_path):
    (tmp_path / CURVE).write_text('{"step": 0}\n{"step": 1}\n{"step": 2')
    assert read_curve(tmp_path) == [{"step": 0}, {"step": 1}]
