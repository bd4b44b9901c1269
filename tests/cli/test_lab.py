import json

from matplotlib.image import imread

from prefix_rft_trl.cli.main import main


def test_the_quickstart_makes_a_table_a_picture_and_two_models(tmp_path, capsys):
    (tmp_path / "grpo").mkdir()
    for stale in ("trainer_state.json", "log.txt"):  # an earlier quickstart does not count as this one
        (tmp_path / "grpo" / stale).write_text('{"global_step": 2, "max_steps": 2}')
    assert main(["lab", "--steps", "10", "--output_dir", str(tmp_path), "--seed", "1"]) == 0
    captured = capsys.readouterr()
    results = json.loads((tmp_path / "results.json").read_text())
    assert (results["seed"], results["steps"], results["base"]["step"]) == (1, 10, 0)
    for method, label in (("grpo", "GRPO"), ("prefix_rft", "Prefix-RFT")):
        found = results[method]
        assert found["step"] == 10
        assert f"{label:<12}{found['accuracy']:>10.2f}{found['step_by_step']:>20.1%}" in captured.out
        assert f"{label:<10} is in {tmp_path / method}" in captured.out
        assert (tmp_path / method / "model.safetensors").is_file()
        assert f"held-out accuracy {found['accuracy']:.2f}" in captured.err  # its progress bar
    assert f'"text-generation", "{tmp_path}/prefix_rft"' in captured.out
    height, width, _ = imread(tmp_path / "curves.png").shape
    assert width > height > 300


def test_a_run_that_fails_says_why_and_where_its_log_is(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("ACCELERATE_MIXED_PRECISION", "no such precision")
    assert main(["lab", "--steps", "10", "--output_dir", str(tmp_path)]) == 1
    error = capsys.readouterr().err
    assert "no such precision" in error
    assert "log.txt" in error


def test_files_of_the_user_are_not_cleared_away(tmp_path, refusal):
    mine = tmp_path / "prefix_rft" / "notes.txt"
    mine.parent.mkdir()
    mine.touch()
    assert "--output_dir" in refusal("lab", "--output_dir", tmp_path)
    assert mine.is_file()


def test_too_few_steps_are_refused(refusal):
    assert "--steps" in refusal("lab", "--steps", 1)
