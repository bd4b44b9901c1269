"""A probe of the lab's model, compared with computations of its own; killed, repeated, and on broken datasets."""

import json
import math
import os
import signal
import time
from collections.abc import Callable
from dataclasses import replace
from multiprocessing import get_context
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow.parquet as pq
import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from prefix_rft_trl import lab
from prefix_rft_trl.advice.advice_rules import MEND, UNJUDGED, advise
from prefix_rft_trl.advice.demonstration_facts import find_facts
from prefix_rft_trl.advice.probe import PROBE, SAMPLES, PlannedProbe, Remaining, plan_probe, run_probe
from prefix_rft_trl.advice.probe_result import PROBED_RATIOS, Probed, ProbeResult, Share
from prefix_rft_trl.advice.probed_subject import ProbeSettings
from prefix_rft_trl.cli.launch.probed_recipe import read_probed_recipe
from prefix_rft_trl.cli.launch.recipe import Recipe
from prefix_rft_trl.evaluation.engines import Engine
from prefix_rft_trl.utils.errors import UserError
from prefix_rft_trl.utils.files import exclusive_lock


BUDGET = 36  # tokens, less than some demonstrations have
LAB = {
    "model_name_or_path": "lab",
    "dataset_name": "lab",
    "reward_funcs": ["lab_exact_answer"],
    "num_generations": 4,
    "max_completion_length": BUDGET,
    "per_device_train_batch_size": 8,
    "max_steps": 5,
    "use_cpu": True,
    "bf16": False,
    "report_to": "none",
}
SMALL = ProbeSettings(num_problems=6, num_continuations=3, batch_size=8, seed=1)
TRANSFORMERS = Engine("transformers")


def plan(settings: ProbeSettings = SMALL, **changes: Any) -> PlannedProbe:
    probed = read_probed_recipe(Recipe({**LAB, **changes}))
    return plan_probe(probed.subject, settings, TRANSFORMERS, print)


def rows_file(folder: Path, rows: list[dict[str, Any]]) -> str:
    file = folder / "rows.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(file)


def first_rows(number: int) -> list[dict[str, str]]:
    return [dict(row) for row in lab.load_dataset("train").select(range(number))]


class Finished(NamedTuple):
    planned: PlannedProbe
    folder: Path
    result: ProbeResult

    def samples(self, name: str) -> list[dict[str, Any]]:
        files = sorted((self.folder / SAMPLES / name).glob("*.parquet"))
        return [row for file in files for row in pq.read_table(file).to_pylist()]


def mixed_rows() -> list[dict[str, str]]:
    """Worked demonstrations, bare answers, and ones that are too long and that the reward does not accept."""
    worked = first_rows(60)
    brief = [{**row, "completion": f"#{row['solution']}"} for row in worked]
    longer = [{**row, "completion": f"{row['completion']};;;;;;"} for row in worked]
    return [(worked, brief, longer)[place % 3][place] for place in range(60)]


@pytest.fixture(scope="module")
def mixed(tmp_path_factory) -> str:
    return rows_file(tmp_path_factory.mktemp("mixed"), mixed_rows())


@pytest.fixture(scope="module")
def finished(mixed, tmp_path_factory) -> Finished:
    folder = tmp_path_factory.mktemp("probe") / "lab"
    return Finished(planned := plan(dataset_name=mixed), folder, run_probe(planned, folder))


def test_successes_are_those_of_the_samples(finished):
    chosen = finished.planned.alone.rows
    assert len({*chosen["prompt"]}) == SMALL.num_problems
    found: dict[int, list[float]] = {}
    for sample in finished.samples("alone"):
        reward = lab.exact_answer_reward([sample["text"]], [chosen[sample["problem"]]["solution"]])
        found.setdefault(sample["problem"], []).extend(reward)
    assert [len(rewards) for rewards in found.values()] == [4] * 6
    assert finished.result.alone == Probed(tuple(sum(map(int, one)) for one in found.values()), (4,) * 6)


def test_continuations_begin_with_their_prefix_and_are_scored_with_it(finished):
    tokenizer, completions = AutoTokenizer.from_pretrained(lab.base_model_path()), set()
    for ratio, asked in finished.planned.continued.items():
        successes = [0] * 6
        for sample in finished.samples(asked.name):
            row = asked.rows[sample["problem"]]
            length = len(tokenizer(row["completion"])["input_ids"])
            cut = min(max(math.floor(ratio * min(length, BUDGET)), 1), min(length, BUDGET) - 1)
            prefix = tokenizer.decode(tokenizer(row["completion"])["input_ids"][:cut])
            assert sample["text"].startswith(prefix)
            assert sample["tokens"] <= BUDGET
            assert sample["is_truncated"] == (sample["tokens"] == BUDGET and not stops(tokenizer, sample))
            successes[sample["problem"]] += int(lab.exact_answer_reward([sample["text"]], [row["solution"]])[0])
            completions.add(sample["text"])
        assert finished.result.continued[ratio] == Probed(tuple(successes), (3,) * 6)
    assert [*finished.result.continued] == [*PROBED_RATIOS]
    assert len(completions) > 12, "they would all be the same"


def stops(tokenizer: Any, sample: dict[str, Any]) -> bool:
    """Whether the last token of a sample is one that its text does not show."""
    return len(tokenizer(sample["text"])["input_ids"]) < sample["tokens"]


def test_likelihoods_are_those_of_a_plain_forward_pass(finished):
    model = AutoModelForCausalLM.from_pretrained(lab.base_model_path(), dtype=torch.float32).eval()
    tokenizer = AutoTokenizer.from_pretrained(lab.base_model_path())
    logps, entropies, first = [], [], []
    demonstrated = finished.planned.continued[0.5].rows
    assert list(demonstrated["prompt"]) == list(finished.planned.alone.rows["prompt"]), "all rows have one"
    for row in demonstrated:
        prompt, ids = (tokenizer(row[name])["input_ids"] for name in ("prompt", "completion"))
        ids = ids[:BUDGET]
        with torch.no_grad():
            shares = model(torch.tensor([[*prompt, *ids]])).logits.double().log_softmax(-1)[0, len(prompt) - 1 : -1]
        own = [shares[place, token].item() for place, token in enumerate(ids)]
        logps, first = logps + own, first + own[:1]
        entropies += (-(shares.exp() * shares).sum(-1)).tolist()
    assert finished.result.token_logps == pytest.approx(logps, abs=2e-5)
    assert finished.result.token_entropies == pytest.approx(entropies, abs=2e-5)
    assert finished.result.first_token_logps == pytest.approx(first, abs=2e-5)


def test_facts_of_the_demonstrations(finished):
    rows, found = mixed_rows(), finished.result
    rewards = lab.exact_answer_reward([row["completion"] for row in rows], [row["solution"] for row in rows])
    lengths = [len(row["completion"]) for row in rows]  # a character is a token
    assert found.rows == 60
    assert found.demonstrated == found.readable_answers == Share(60, 60)
    assert found.accepted == Share(int(sum(rewards)), 60) == Share(40, 60)
    assert sorted(found.demonstration_tokens) == sorted(lengths)
    assert found.fitting == Share(sum(length < BUDGET for length in lengths), 60) == Share(40, 60)
    for ratio, share in found.answer_in_prefix.items():
        held = 0
        for row, length in zip(rows, lengths, strict=True):
            cut = min(max(math.floor(ratio * min(length, BUDGET)), 1), min(length, BUDGET) - 1)
            held += cut > row["completion"].rfind(row["solution"])
        assert share == Share(held, 60)
    assert found.answer_in_prefix[0.95].count == 20


def test_what_is_written_is_what_is_read(finished):
    assert ProbeResult.read(finished.folder / PROBE) == finished.result
    broken = finished.folder.parent / "broken.json"
    whole = json.loads((finished.folder / PROBE).read_text())
    for content in ({"alone": {}}, {**whole, "alone": {}}, {**whole, "fitting": 3}, {**whole, "token_logps": None}):
        broken.write_text(json.dumps(content))
        with pytest.raises(ValueError, match=r"broken\.json is damaged"):
            ProbeResult.read(broken)


def test_a_second_start_samples_nothing(finished, monkeypatch):
    monkeypatch.setattr(Engine, "load", lambda *_: pytest.fail("the model was loaded"))
    assert run_probe(plan(dataset_name=finished.planned.subject.dataset), finished.folder) == finished.result


@pytest.mark.parametrize(
    ("settings", "changes", "said"),
    [
        (ProbeSettings(num_problems=5, num_continuations=3, batch_size=8, seed=1), {}, "num_problems was 6 and is 5"),
        (SMALL, {"temperature": 0.5}, "temperature was 1.0 and is 0.5"),
        (SMALL, {"lab_level": "hard"}, "its weights, problems, answers or demonstrations were others"),
    ],
)
def test_a_probe_of_other_settings_is_refused(finished, mixed, settings, changes, said):
    before = {file: file.stat().st_mtime_ns for file in finished.folder.rglob("*")}
    with pytest.raises(ValueError, match="has a probe of other settings: ") as refused:
        run_probe(plan(settings, **{"dataset_name": mixed, **changes}), finished.folder)
    assert said in str(refused.value)
    assert str(refused.value).endswith("Take another `--folder`, or add --overwrite.")
    assert {file: file.stat().st_mtime_ns for file in finished.folder.rglob("*")} == before


def test_a_mended_row_makes_another_probe_even_if_it_was_not_sampled(finished, tmp_path):
    rows = mixed_rows()
    assert plan(dataset_name=rows_file(tmp_path, rows)).settings["content"] == finished.planned.settings["content"]
    sampled = {*finished.planned.alone.rows["prompt"], *finished.planned.continued[0.5].rows["prompt"]}
    next(row for row in rows if row["prompt"] not in sampled)["completion"] += "0"
    assert plan(dataset_name=rows_file(tmp_path, rows)).settings["content"] != finished.planned.settings["content"]


def test_a_folder_of_something_else_is_left_alone(finished, tmp_path):
    (tmp_path / "thesis.tex").write_text("mine")
    for overwrite in (False, True):
        with pytest.raises(ValueError, match=r"files that are not of a probe, such as thesis\.tex"):
            run_probe(finished.planned, tmp_path, overwrite)
    assert [file.name for file in tmp_path.iterdir()] == ["thesis.tex"]


def test_overwrite_starts_afresh_and_resumes_what_it_began(mixed, tmp_path):
    tiny = ProbeSettings(num_problems=2, num_samples=2, num_continuations=1)
    run_probe(plan(tiny, dataset_name=mixed), tmp_path / "lab")
    tinier = ProbeSettings(num_problems=1, num_samples=2, num_continuations=1)
    found = run_probe(plan(tinier, dataset_name=mixed), tmp_path / "lab", overwrite=True)
    assert found.alone.tries == (2,)
    assert ProbeResult.read(tmp_path / "lab" / PROBE) == found
    (tmp_path / "lab" / PROBE).unlink()  # as if it had been killed
    kept = {file: file.stat().st_mtime_ns for file in tmp_path.rglob("*.parquet")}
    assert run_probe(plan(tinier, dataset_name=mixed), tmp_path / "lab", overwrite=True) == found
    assert {file: file.stat().st_mtime_ns for file in tmp_path.rglob("*.parquet")} == kept


def test_a_killed_probe_resumes_to_the_same_file(finished, tmp_path):
    folder, planned = tmp_path / "lab", finished.planned
    process = get_context("fork").Process(target=run_probe, args=(planned, folder))
    process.start()
    end = time.monotonic() + 100
    while len(written := list(folder.glob("samples/*/samples-*.parquet"))) < 3:
        assert time.monotonic() < end, "it has not come so far"
        assert process.is_alive()
        time.sleep(0.001)
    os.kill(process.pid or 0, signal.SIGKILL)
    process.join()
    assert not (folder / PROBE).exists()
    kept = {file: file.stat().st_mtime_ns for file in written}
    result = run_probe(planned, folder)
    assert {file: file.stat().st_mtime_ns for file in kept} == kept
    assert (folder / PROBE).read_bytes() == (finished.folder / PROBE).read_bytes()
    assert result == finished.result


def test_two_at_a_time_are_refused(finished, tmp_path, monkeypatch):
    monkeypatch.setattr(exclusive_lock.__wrapped__, "__defaults__", (0.1, None, None))
    with exclusive_lock(tmp_path / "lab"), pytest.raises(ValueError, match="Another command is writing into"):
        run_probe(finished.planned, tmp_path / "lab")


TINY = ProbeSettings(num_problems=3, num_samples=2, num_continuations=1)


@pytest.fixture
def probe_rows(tmp_path) -> Callable[..., ProbeResult]:
    def probe(rows: list[dict[str, Any]], **changes: Any) -> ProbeResult:
        return run_probe(plan(TINY, dataset_name=rows_file(tmp_path, rows), **changes), tmp_path / "probe")

    return probe


def test_answers_that_the_reward_cannot_read_are_a_finding(probe_rows):
    rows = [{**row, "answer": "see the appendix" if place else None} for place, row in enumerate(first_rows(8))]
    found = probe_rows(rows, reward_funcs=["gsm8k_final_number"])
    assert found.readable_answers == Share(0, 8)
    assert found.accepted == Share(0, 0)
    assert found.alone == Probed((), ())
    assert math.isnan(found.groups_without_gradient)


def test_broken_data_is_found_without_a_model_and_mended_data_is_probed(tmp_path, monkeypatch):
    broken = rows_file(tmp_path, [{**row, "solution": "777"} for row in first_rows(16)])
    with monkeypatch.context() as patched:
        patched.setattr(Engine, "load", lambda *_: pytest.fail("the model was loaded"))
        found = run_probe(plan(TINY, dataset_name=broken), tmp_path / "probe")
        assert run_probe(plan(TINY, dataset_name=broken), tmp_path / "probe") == found
    advice = advise(found)
    assert (advice.outcome, advice.regime) == (MEND, UNJUDGED)
    assert found.accepted == Share(0, 16)
    assert (found.alone, found.continued, found.token_logps) == (Probed((), ()), {}, ())
    mended = plan(TINY, dataset_name=rows_file(tmp_path, first_rows(16)))
    assert run_probe(mended, tmp_path / "probe").alone.tries == (2, 2, 2)


def test_what_is_left_to_sample_is_told_before_it_is(mixed, tmp_path):
    told: list[Remaining] = []
    planned = plan(TINY, dataset_name=mixed)
    run_probe(planned, tmp_path / "lab", on_sampling=told.append)
    assert [one.answers for one in told] == [planned.answers] == [3 * 2 + 5 * 3]
    assert told[0].most_tokens <= planned.answers * BUDGET
    (tmp_path / "lab" / PROBE).unlink()
    next((tmp_path / "lab" / SAMPLES / "alone").glob("*.parquet")).unlink()
    run_probe(planned, tmp_path / "lab", on_sampling=told.append)
    assert told[1] == Remaining(6, 6 * BUDGET)
    run_probe(planned, tmp_path / "lab", on_sampling=told.append)
    assert len(told) == 2


def test_settings_of_another_command_are_left_alone(finished, tmp_path):
    (tmp_path / "settings.json").write_text('{"benchmark": "gsm8k"}')
    with pytest.raises(ValueError, match=r"not of a probe, such as settings\.json"):
        run_probe(finished.planned, tmp_path, overwrite=True)
    assert (tmp_path / "settings.json").is_file()


def test_rewards_get_the_ids_of_demonstrations(finished, monkeypatch):
    given = []

    def reward(completions, completion_ids, **_):
        given.extend(zip(completions, completion_ids, strict=True))
        return [1.0] * len(completions)

    subject = replace(finished.planned.subject, reward=reward)
    find_facts(subject, [0, 1])
    tokenizer = subject.tokenizer
    assert [tokenizer.decode(ids, skip_special_tokens=True) for _, ids in given] == [text for text, _ in given]
    assert all(ids for _, ids in given)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"top_k": 5}, "without `top_k` (5)"),
        ({"min_p": 0.1, "repetition_penalty": 1.2}, "`min_p` (0.1), `repetition_penalty` (1.2)"),
        ({"generation_kwargs": {"top_h": 0.5}}, "`generation_kwargs` ({'top_h': 0.5})"),
        ({"reward_funcs": ["lab_exact_answer", "lab_shown_work"]}, "The training sums 2 rewards"),
        ({"reward_funcs": ["think_format_reward"]}, "All rewards judge the form"),
    ],
)
def test_what_the_probe_does_otherwise_than_the_training_is_said(changes, said):
    probed = read_probed_recipe(Recipe({**LAB, **changes}))
    assert any(said in note for note in probed.notes)
    assert read_probed_recipe(Recipe({**LAB, "top_k": 0})).notes == ()


def test_demonstrations_that_the_reward_refuses_are_a_finding(probe_rows):
    found = probe_rows([{**row, "solution": "777"} for row in first_rows(8)])
    assert found.accepted == Share(0, 8)
    assert found.readable_answers == found.demonstrated == Share(8, 8)


def test_rows_without_demonstrations(probe_rows):
    found = probe_rows([{name: row[name] for name in ("prompt", "solution")} for row in first_rows(8)])
    assert found.demonstrated == Share(0, 8)
    assert found.continued == {}
    assert found.token_logps == found.first_token_logps == found.demonstration_tokens == ()
    assert found.accepted == found.fitting == Share(0, 0)
    assert found.alone.tries == (2, 2, 2)


def test_few_demonstrations_are_found_however_few(probe_rows):
    rows = first_rows(8)
    found = probe_rows([row if place in (3, 7) else {**row, "completion": None} for place, row in enumerate(rows)])
    assert found.demonstrated == Share(2, 8)
    assert found.alone.tries == (2, 2, 2)
    assert {probed.tries for probed in found.continued.values()} == {(1, 1)}


@pytest.mark.parametrize(
    ("rows", "changes", "said"),
    [
        ([{"question_of_mine": "1+1=", "solution": "2"}], {}, "no column 'prompt'"),
        ([{"prompt": "1+1=", "answer_of_mine": "2"}], {}, "reads the column 'solution'"),
        ([{"prompt": "1+1=", "completion": 3, "solution": "2"}], {}, "Row 0, column 'completion'"),
        ([{"prompt": "1+1=", "solution": "2"}], {"reward_funcs": None}, "no reward"),
        ([{"prompt": "1+1=", "solution": "2"}], {"demonstration_column": "worked"}, "no column 'worked'"),
    ],
)
def test_what_cannot_be_trained_on_is_refused_before_the_model(tmp_path, monkeypatch, rows, changes, said):
    monkeypatch.setattr(Engine, "load", lambda *_: pytest.fail("the model was loaded"))
    with pytest.raises((UserError, ValueError), match=said):
        plan(TINY, dataset_name=rows_file(tmp_path, rows), **changes)
