"""The progress of a run, and the time that it estimates."""

import time
from types import SimpleNamespace

import pytest

from prefix_rft_trl.run import progress_writer
from prefix_rft_trl.run.progress import PROGRESS, RunProgress
from prefix_rft_trl.run.progress_writer import ProgressWriter


class Clock:
    now = 100.0

    def perf_counter(self) -> float:
        return self.now

    time = perf_counter


@pytest.fixture
def simulate(tmp_path, monkeypatch):
    """(time passed, progress) after each step of a training that takes so many seconds."""

    def train(steps: int, step: float, measure: float, first: float = 0.0, measure_steps: int = 5):
        clock, found = Clock(), []
        monkeypatch.setattr(progress_writer, "time", clock)
        writer = ProgressWriter(str(tmp_path), measure_steps)
        state = SimpleNamespace(global_step=0, max_steps=steps, is_world_process_zero=True)
        writer.on_train_begin(None, state, None)
        found.append((clock.now, RunProgress.read(tmp_path)))
        clock.now += measure if measure_steps else 0.0
        for number in range(1, steps + 1):
            writer.on_step_begin(None, state, None)
            clock.now += step + (first if number == 1 else 0.0)
            state.global_step = number
            writer.on_step_end(None, state, None)
            found.append((clock.now, RunProgress.read(tmp_path)))
            if measure_steps and (number % measure_steps == 0 or number == steps):
                clock.now += measure
        writer.on_train_end(None, state, None)
        assert not (tmp_path / PROGRESS).exists()
        return [(clock.now - moment, progress) for moment, progress in found]

    return train


@pytest.mark.parametrize("measure_steps", [0, 1, 5, 7, 100])
@pytest.mark.parametrize(("step", "measure"), [(2.0, 60.0), (60.0, 2.0), (1.0, 0.0)])
def test_the_time_left_is_right_from_the_first_step_however_long_measurements_take(
    simulate, measure_steps, step, measure
):
    (_, before), *after = simulate(23, step, measure, measure_steps=measure_steps)
    assert (before.step, before.steps, before.seconds_left) == (0, 23, None)
    assert [progress.step for _, progress in after] == list(range(1, 24))
    for left, progress in after:
        assert progress.seconds_left == pytest.approx(left)


def test_a_run_says_that_it_measures_until_its_first_step(tmp_path):
    for measure_steps, is_measured in ((2, True), (0, False)):
        state = SimpleNamespace(global_step=0, max_steps=4, is_world_process_zero=True)
        writer = ProgressWriter(str(tmp_path), measure_steps)
        writer.on_train_begin(None, state, None)
        assert RunProgress.read(tmp_path).is_measuring == is_measured
        writer.on_step_begin(None, state, None)
        assert not RunProgress.read(tmp_path).is_measuring


def test_the_start_of_a_resumed_run_is_no_measurement(tmp_path, monkeypatch):
    clock = Clock()
    monkeypatch.setattr(progress_writer, "time", clock)
    writer, state = (
        ProgressWriter(str(tmp_path), 5),
        SimpleNamespace(global_step=10, max_steps=20, is_world_process_zero=True),
    )
    writer.on_train_begin(None, state, None)
    assert not RunProgress.read(tmp_path).is_measuring
    clock.now += 60.0  # to load what it resumes from
    writer.on_step_begin(None, state, None)
    clock.now += 2.0
    state.global_step = 11
    writer.on_step_end(None, state, None)
    assert RunProgress.read(tmp_path).seconds_left == pytest.approx(18)


def test_a_slow_first_step_counts_for_itself_alone(simulate):
    left, progress = simulate(40, 1.0, 3.0, first=50.0)[2]
    assert progress.seconds_left == pytest.approx(left)


def test_steps_are_written_at_most_once_a_second(simulate):
    found = [progress.step for _, progress in simulate(40, 0.125, 0.0)]
    assert sorted(set(found)) == [0, 8, 16, 24, 32, 40]


def test_the_time_left_passes_and_ends_at_zero():
    progress = RunProgress(3, 9, 60.0, time.time() - 20)
    assert progress.seconds_left_now == pytest.approx(40, abs=1)
    assert RunProgress(3, 9, 10.0, time.time() - 20).seconds_left_now == 0
    assert RunProgress(0, 9, None, time.time()).seconds_left_now is None


@pytest.mark.parametrize("content", ["", "{", "[]", "{}", '{"step": 1}', '{"step": 1, "other": 2}'])
def test_a_file_that_is_being_written_is_no_progress(tmp_path, content):
    (tmp_path / PROGRESS).write_text(content)
    assert RunProgress.read(tmp_path) is None


def test_a_folder_that_cannot_be_written_ends_no_run(tmp_path):
    RunProgress(1, 2, None, 0.0).write(tmp_path / "missing")
