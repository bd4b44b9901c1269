"""Own successes on the real path: what is stored and replayed, how it is trained, and that a run can be resumed."""

import logging
import math

import numpy as np
import pytest
import torch

from prefix_rft_trl.method.replay import OwnSuccess
from prefix_rft_trl.run.success_bank import BANK_FILE, SolvedProblem, SuccessBank
from prefix_rft_trl.run.success_history import problem_key


def some_solve(completions, **columns):
    """Solves some rollouts of most groups."""
    return [float(sum(map(ord, text)) % 2) for text in completions]


OWN = {
    "demonstration_source": "own", "prefix_prompt_share": 0.5, "prefix_ratio_schedule": "whole",
    "prefix_loss_type": "shaped", "prefix_top_entropy_quantile": 1.0, "reward_funcs": some_solve, "temperature": 2.0,
    "learning_rate": 2e-4, "per_device_train_batch_size": 16, "max_steps": 6,
}  # fmt: skip


CUT_OFF = {"max_completion_length": 3, "temperature": 3.0}


@pytest.fixture
def without_demonstrations(lab_rows):
    return lab_rows(12).remove_columns("completion")


class ExpectedBank:
    """The bank and its draws once more, a group at a time."""

    def __init__(self, trainer, completion_scores):
        self.trainer, self.score = trainer, completion_scores
        self.held, self.mastered, self.replays, self.cut_off = {}, set(), 0, 0

    def scores(self, prompt, ids):
        """Log-probabilities and entropies of a completion, alone in its batch."""
        row = {"prompt_ids": torch.tensor([prompt]), "completion_ids": torch.tensor([ids])}
        masks = {f"{side}_mask": torch.ones_like(row[f"{side}_ids"]) for side in ("prompt", "completion")}
        with torch.no_grad():
            logps, entropies = self.score(self.trainer.model, row | masks)
        return logps[0], entropies[0].mean().item()

    def draw(self, step):
        """From the groups that get a problem of the bank to the prompt and the success."""
        by_bucket, chosen = {}, {}
        for prompt in sorted(self.held, key=problem_key):
            if self.held[prompt]["solved"]:
                by_bucket.setdefault(self.held[prompt]["solved"], []).append(prompt)
        for group in (1, 3):  # half of four
            filled = sorted(bucket for bucket in by_bucket if by_bucket[bucket])
            if not filled:
                continue
            densities = np.array([math.exp(-((bucket - 2) ** 2) / 2) for bucket in filled])
            rng = np.random.default_rng([self.trainer.args.seed, step, group, 2])
            bucket = filled[rng.choice(len(filled), p=densities / densities.sum())]
            prompt = by_bucket[bucket].pop(int(rng.integers(len(by_bucket[bucket]))))
            held = self.held[prompt]
            successes = [(self.scores(held["ids"], ids)[1], ids) for ids in held["successes"]]
            chosen[group] = prompt, min(successes)[1]
        self.replays += len(chosen)
        return chosen

    def remember(self, generation, chosen):
        rewards = some_solve(self.trainer._tokenizer.batch_decode(generation.completion_ids, skip_special_tokens=True))
        for group in range(4):
            prompt, rows = generation.inputs[4 * group]["prompt"], range(4 * group, 4 * group + 4)
            solved = sum(rewards[row] == 1.0 for row in rows)
            if solved == 4:
                self.mastered.add(prompt)
                self.held.pop(prompt, None)
            elif prompt in self.held:
                self.held[prompt]["solved"] = solved
            if not 0 < solved < 4 or prompt in self.mastered:
                continue
            own = [row for row in rows if rewards[row] == 1.0 and not (group in chosen and row == rows[0])]
            ids = [generation.completion_ids[row] for row in own if generation.completion_ids[row][-1] == 1]
            self.cut_off += len(own) - len(ids)
            for completion in [ids for ids in ids if len(ids) > 1][-2:]:
                held = self.held.pop(prompt, {"ids": self.trainer._tokenizer(prompt)["input_ids"], "successes": {}})
                held["successes"].pop(tuple(completion), None)
                held["successes"][tuple(completion)] = self.scores(held["ids"], completion)[0]
                held["successes"] = dict(list(held["successes"].items())[-2:])
                self.held[prompt] = held | {"solved": solved}
            self.held = dict(list(self.held.items())[-5:])


@pytest.mark.parametrize(
    "settings", [{}, {"steps_per_generation": 2, "per_device_train_batch_size": 8}, CUT_OFF], ids=str
)
def test_bank_and_its_draws_are_those_of_the_method(
    make_double_trainer, record, completion_scores, without_demonstrations, settings
):
    limits = {"own_successes_max_problems": 5, "own_successes_per_problem": 2}
    trainer = make_double_trainer(
        train_dataset=without_demonstrations, **{**OWN, **limits, "max_steps": 8, **settings}
    )
    generations, expected = record(trainer), ExpectedBank(trainer, completion_scores)
    generate = trainer._generate_and_score_completions

    def compare(inputs):
        chosen, before = expected.draw(trainer.state.global_step), [row["prompt"] for row in inputs]
        outputs = generate(inputs)
        generation = generations[-1]
        for row in range(16):
            prompt, success = chosen.get(row // 4, (before[row], ()))
            assert generation.inputs[row]["prompt"] == prompt
            length = len(success) if row % 4 == 0 else 0
            assert generation.prefix_lengths[row] == length
            assert tuple(generation.completion_ids[row][:length]) == tuple(success)[:length]
            logps = torch.zeros(outputs["completion_ids"].size(1), dtype=torch.float64)
            if length:
                assert len(generation.completion_ids[row]) == length  # its end of sequence is there once
                logps[:length] = expected.held[prompt]["successes"][tuple(success)]
            torch.testing.assert_close(outputs["demonstration_logps"][row].double(), logps)
        expected.remember(generation, chosen)
        return outputs

    trainer._generate_and_score_completions = compare
    trainer.train()
    bank = trainer.success_bank
    assert bank.mastered == set(map(problem_key, expected.mastered))
    assert bank.buckets == {problem_key(prompt): held["solved"] for prompt, held in expected.held.items()}
    assert list(bank.problems) == list(map(problem_key, expected.held))
    for held, own in zip(expected.held.values(), bank.problems.values(), strict=True):
        assert [tuple(success.ids.tolist()) for success in own.successes] == list(held["successes"])
        for success, logps in zip(own.successes, held["successes"].values(), strict=True):
            torch.testing.assert_close(success.logps, logps)
    assert expected.replays > len(generations)
    assert (expected.cut_off > 0) == (settings == CUT_OFF)
    assert any(len(held["successes"]) == 2 for held in expected.held.values())


def test_gradient_is_that_of_exgrpo(
    make_double_trainer, completion_scores, assert_loss_and_gradient, without_demonstrations
):
    trainer = make_double_trainer(train_dataset=without_demonstrations, **OWN)
    trainer.train()
    inputs = trainer._buffered_inputs[0]
    assert (inputs["prefix_lengths"] > 0).any()
    logps, _ = completion_scores(trainer.model, inputs)
    inputs["demonstration_logps"] -= torch.rand(logps.shape, generator=torch.Generator().manual_seed(1))
    inputs["advantages"] += 0.25  # that of a group of one reward is 0
    inputs["prefix_advantages"] = inputs["advantages"]
    objective = torch.zeros(())
    for row, position in inputs["completion_mask"].nonzero().tolist():
        logp, advantage = logps[row, position], inputs["advantages"][row]
        if position < inputs["prefix_lengths"][row]:
            ratio = torch.exp(logp - inputs["demonstration_logps"][row, position])  # pi / pi_then
            objective = objective + advantage * ratio / (ratio + 0.1)
        else:
            objective = objective + advantage * torch.exp(logp - logp.detach())
    model, tokens = trainer.model, len(logps) * trainer.max_completion_length
    model.zero_grad()
    (-objective / tokens).backward()
    expected = {name: weight.grad.clone() for name, weight in model.named_parameters()}
    model.zero_grad()
    trainer.compute_loss(model, inputs).backward()
    for name, weight in model.named_parameters():
        largest = expected[name].abs().max().item()
        assert largest > 0
        torch.testing.assert_close(weight.grad, expected[name], rtol=1e-6, atol=1e-6 * largest, msg=name)


def test_long_and_certain_success_is_preferred_to_a_short_and_uncertain_one(
    make_double_trainer, completion_scores, without_demonstrations
):
    trainer = make_double_trainer(train_dataset=without_demonstrations, **OWN)
    expected, draws = ExpectedBank(trainer, completion_scores), np.random.default_rng(0)
    example = without_demonstrations[0]
    prompt = trainer._tokenizer.encode(example["prompt"])
    drawn = [[*draws.integers(2, 19, length).tolist(), 1] for length in [2] * 20 + [6] * 20]
    found = sorted((*expected.scores(prompt, ids)[1:], ids) for ids in drawn)  # by their mean entropies
    long = next(entry for entry in found if len(entry[1]) == 7)
    short = next(entry for entry in found if len(entry[1]) == 3 and long[0] < entry[0] < 7 / 3 * long[0])
    assert short[0] * 3 < long[0] * 7  # by a sum it would be the other
    for order in ([long, short], [short, long]):
        successes = [OwnSuccess(torch.tensor(ids), torch.zeros(len(ids))) for _, ids in order]
        chosen = trainer._most_certain_successes({0: SolvedProblem(example, torch.tensor(prompt), successes, 2)})
        assert chosen[0].ids.tolist() == long[1]


def test_prefixes_of_own_successes_are_continued(train, without_demonstrations):
    run = train(
        train_dataset=without_demonstrations,
        **{**OWN, "prefix_ratio_schedule": "constant", "prefix_ratio_low": 0.5, "prefix_loss_type": "ppo"},
        num_prefix_generations=4,
        prefix_selection="none",
    )
    hybrid, known = 0, set()
    for generation in run.generations:
        for row, (length, ids) in enumerate(zip(generation.prefix_lengths, generation.completion_ids, strict=True)):
            if length:
                assert any(other[:length] == tuple(ids[:length]) and len(other) > length + 1 for other in known)
                assert row // 4 in (1, 3)
                hybrid += 1
        solved = some_solve(run.trainer._tokenizer.batch_decode(generation.completion_ids, skip_special_tokens=True))
        pairs = zip(solved, generation.prefix_lengths, generation.completion_ids, strict=True)
        known |= {tuple(ids) for is_solved, length, ids in pairs if is_solved and not length}
    assert hybrid > 4


@pytest.mark.parametrize("start", [0.0, 0.999])
def test_nothing_is_stored_before_the_start(train, without_demonstrations, start):
    run = train(train_dataset=without_demonstrations, **OWN, own_successes_start=start)
    assert run.logged("bank/problems")[0] > 0 if start == 0 else not any(run.logged("bank/problems"))
    assert max(run.logged("bank/replayed")) == (0.5 if start == 0 else 0)
    assert run.logged("bank/replayed")[0] == 0
    if start == 0:
        assert all(map(float.__le__, run.logged("bank/problems"), run.logged("bank/successes")))


def test_share_of_the_start_is_that_of_a_step(train, without_demonstrations):
    shares = []

    def growing(completions, **columns):
        shares.append((len(shares) + 1) / 8)
        return [float(row % 8 < 8 * shares[-1]) for row in range(len(completions))]

    run = train(
        train_dataset=without_demonstrations,
        **{**OWN, "reward_funcs": growing, "max_steps": 5},
        own_successes_start=0.25,
    )
    assert [problems > 0 for problems in run.logged("bank/problems")] == [False, False, True, True, True]


def test_table_of_completions_marks_replayed_rows(train, without_demonstrations, tmp_path):
    import pandas as pd

    run = train(train_dataset=without_demonstrations, **OWN, log_completions=True, num_completions_to_print=0)
    tables = [pd.read_parquet(file) for file in sorted((tmp_path / "completions").glob("*.parquet"))]
    for table, share in zip(tables, run.logged("bank/replayed"), strict=True):
        assert table["replayed"].mean() == share
        assert set(table["prompt"][table["hybrid"]]) == set(table["prompt"][table["replayed"]])


@pytest.mark.parametrize(
    "settings", [{}, {"steps_per_generation": 2, "per_device_train_batch_size": 8, "save_steps": 3}], ids=str
)
def test_resumed_run_is_the_unbroken_one(make_trainer_in, record, without_demonstrations, tmp_path, settings):
    settings = {**OWN, "save_strategy": "steps", "save_steps": 2, "max_steps": 6, **settings}
    trainers = [make_trainer_in(tmp_path, train_dataset=without_demonstrations, **settings) for _ in range(2)]
    generations = list(map(record, trainers))
    trainers[0].train()
    trainers[1].train(resume_from_checkpoint=str(tmp_path / f"checkpoint-{settings['save_steps']}"))
    left = len(generations[1])
    assert 0 < left < len(generations[0])
    for unbroken, resumed in zip(generations[0][-left:], generations[1], strict=True):
        assert (unbroken.inputs, unbroken.completion_ids) == (resumed.inputs, resumed.completion_ids)
    assert any(any(generation.prefix_lengths) for generation in generations[1])
    banks = [trainer.success_bank for trainer in trainers]
    assert banks[0].buckets == banks[1].buckets
    assert banks[0].mastered == banks[1].mastered
    after = dict(trainers[1].model.named_parameters())
    assert all(torch.equal(weight, after[name]) for name, weight in trainers[0].model.named_parameters())


def test_checkpoint_without_a_bank_starts_an_empty_one(
    make_trainer, monkeypatch, without_demonstrations, tmp_path, caplog
):
    settings = {**OWN, "save_strategy": "steps", "save_steps": 1, "max_steps": 2}
    with monkeypatch.context() as patched:
        patched.setattr(SuccessBank, "save", lambda bank, folder: None)
        make_trainer(train_dataset=without_demonstrations, **settings).train()
    resumed = make_trainer(train_dataset=without_demonstrations, **settings)
    with caplog.at_level(logging.WARNING):
        resumed.train(resume_from_checkpoint=str(tmp_path / "checkpoint-1"))
    assert f"{tmp_path / 'checkpoint-1'} has no own successes ({BANK_FILE}): the bank starts empty." in caplog.text
    assert 0 < len(resumed.success_bank.problems) <= 4  # of the last step


def test_runs_on_demonstrations_have_no_bank(train, tmp_path):
    run = train(save_strategy="steps", save_steps=2)
    assert run.trainer.success_bank is None
    assert not list(tmp_path.rglob(BANK_FILE))
    assert not run.logged("bank/problems")
    assert "demonstration_logps" not in run.generations[0].outputs
