"""Seams of TRL that `PrefixGRPOTrainer` relies on. A failure here names the one that TRL moved."""

import inspect
import math

import pytest
import torch
from trl import GRPOConfig, GRPOTrainer
from trl.trainer.utils import print_prompt_completions_sample

from prefix_rft_trl import lab


SIGNATURES = {
    "_generate_and_score_completions": ["inputs"],
    "_tokenize_prompts": ["prompts"],
    "_generate_single_turn": ["prompt_ids", "images", "multimodal_fields", "num_generations", "has_tool_images"],
    "_calculate_rewards": ["inputs", "prompts", "completions", "completion_ids_list"],
    "_log_completion_extra": ["column", "values"],
    "_compute_loss": ["model", "inputs"],
    "_prepare_inputs": ["generation_batch"],
    "get_high_entropy_mask": ["entropies", "mask", "threshold"],
    "_set_signature_columns_if_needed": [],
    "log": ["logs", "start_time"],
}
ATTRIBUTES = [
    "_buffered_inputs", "_entropy_bonus_enabled", "_is_vlm", "_logs", "_metrics", "_step", "_tokenizer",
    "aux_loss_enabled", "beta", "chat_template", "chat_template_kwargs", "eos_token_ids", "log_completions",
    "loss_type", "max_completion_length", "num_completions_to_print", "num_generations", "pad_to_multiple_of",
    "reward_weights", "top_entropy_quantile",
]  # fmt: skip
# In the order of one step: the plan, what the sampler is given, what it gave, the rewards, the loss, its forward pass
STATIONS = [
    "_generate_and_score_completions",
    "_tokenize_prompts",
    "_generate_single_turn",
    "_calculate_rewards",
    "_compute_loss",
    "_get_per_token_logps_and_entropies",
]


@pytest.fixture
def make_plain(make_trainer):
    return lambda **settings: make_trainer(GRPOTrainer, GRPOConfig, **settings)


@pytest.fixture
def after_a_step(make_plain):
    trainer = make_plain(max_steps=1)
    trainer.train()
    return trainer


@pytest.mark.parametrize(("seam", "parameters"), SIGNATURES.items(), ids=SIGNATURES)
def test_method_still_has_its_signature(seam, parameters):
    assert list(inspect.signature(getattr(GRPOTrainer, seam)).parameters)[1:] == parameters, f"TRL moved {seam}"


def test_forward_pass_still_begins_with_its_arguments():
    parameters = list(inspect.signature(GRPOTrainer._get_per_token_logps_and_entropies).parameters)[1:6]
    assert parameters == ["model", "input_ids", "attention_mask", "logits_to_keep", "batch_size"]


def test_constructor_still_has_its_arguments():
    parameters = list(inspect.signature(GRPOTrainer).parameters)
    assert parameters[:4] == ["model", "reward_funcs", "args", "train_dataset"]
    assert {"tools", "rollout_func", "environment_factory"} <= set(parameters)


def test_print_prompt_completions_sample_still_has_its_signature():
    expected = ["prompts", "completions", "rewards", "advantages", "step", "num_samples", "extra"]
    assert list(inspect.signature(print_prompt_completions_sample).parameters) == expected


def test_attributes_are_still_there(make_plain):
    trainer = make_plain()
    assert [name for name in ATTRIBUTES if not hasattr(trainer, name)] == []


def test_step_passes_each_seam_once_and_in_order(make_plain, monkeypatch):
    trainer, passed = make_plain(max_steps=1), []
    for seam in STATIONS:
        method = getattr(trainer, seam)
        monkeypatch.setattr(
            trainer,
            seam,
            lambda *args, method=method, seam=seam, **named: passed.append(seam) or method(*args, **named),
        )
    trainer.train()
    assert passed == STATIONS


def test_compute_loss_reads_the_weights_of_tokens_after_the_forward_pass(after_a_step, monkeypatch):
    events = []

    class Watched(dict):
        def __getitem__(self, key):
            events.append(key)
            return super().__getitem__(key)

        def get(self, key, default=None):
            events.append(key)
            return super().get(key, default)

    forward = after_a_step._get_per_token_logps_and_entropies
    monkeypatch.setattr(
        after_a_step,
        "_get_per_token_logps_and_entropies",
        lambda *args, **named: (forward(*args, **named), events.append("forward"))[0],
    )
    after_a_step._compute_loss(after_a_step.model, Watched(after_a_step._buffered_inputs[0]))
    for weight in ("advantages", "old_per_token_logps"):
        assert weight in events[events.index("forward") :], f"_compute_loss does not read {weight}"
        assert weight not in events[: events.index("forward")], f"_compute_loss reads {weight} before it is weighed"


def test_compute_loss_takes_no_old_logps_for_those_of_the_policy(after_a_step):
    inputs = after_a_step._buffered_inputs[0]
    missing = after_a_step._compute_loss(after_a_step.model, inputs)
    assert after_a_step._compute_loss(after_a_step.model, inputs | {"old_per_token_logps": None}) == missing


def test_compute_loss_takes_an_advantage_for_each_token(after_a_step):
    inputs = after_a_step._buffered_inputs[0]
    mask = inputs["completion_mask"]
    advantages = torch.arange(float(mask.numel())).view_as(mask)
    loss = after_a_step._compute_loss(after_a_step.model, inputs | {"advantages": advantages})
    torch.testing.assert_close(loss.detach(), -(advantages * mask).sum() / mask.sum())  # DAPO, at a ratio of 1


def test_get_per_token_logps_and_entropies_gives_both_for_each_completion_token(after_a_step, completion_scores):
    inputs, model = after_a_step._buffered_inputs[0], after_a_step.model
    ids = torch.cat([inputs["prompt_ids"], inputs["completion_ids"]], dim=1)
    mask = torch.cat([inputs["prompt_mask"], inputs["completion_mask"]], dim=1)
    tokens, real = inputs["completion_ids"].size(1), inputs["completion_mask"].bool()
    found = after_a_step._get_per_token_logps_and_entropies(model, ids, mask, tokens, compute_entropy=True)
    for values, expected in zip(found, completion_scores(model, inputs), strict=False):
        torch.testing.assert_close(values[real], expected[real])


def test_get_high_entropy_mask_ranks_the_masked_tokens_alone(make_plain):
    trainer = make_plain()
    entropies = torch.tensor([[0.9, 0.1, 0.5, 0.2], [0.3, 0.4, 0.8, 0.7]])
    mask = torch.tensor([[False, True, True, True], [True, True, False, False]])
    kept = trainer.get_high_entropy_mask(entropies, mask, 0.8)  # the quantile lies between 0.4 and 0.5
    assert kept.nonzero().tolist() == [[0, 2]]
    assert not trainer.get_high_entropy_mask(entropies, torch.zeros_like(mask), 0.8).any()


def test_calculate_rewards_gives_a_column_a_function_and_nan_for_none(make_plain):
    trainer = make_plain(
        reward_funcs=[
            lambda completions, **kwargs: [float(len(text)) for text in completions],
            lambda completions, **kwargs: [None] * len(completions),
        ]
    )
    rewards = trainer._calculate_rewards([{"prompt": "1+1="}] * 2, ["1+1="] * 2, ["#", "#2"], [[5], [5, 6]])
    assert rewards[:, 0].tolist() == [1.0, 2.0]
    assert rewards[:, 1].isnan().all()


def test_log_completion_extra_columns_and_advantages_hold_one_generation_batch(make_plain):
    def marking_reward(completions, log_extra, trainer_state, **kwargs):
        log_extra("batch", [trainer_state.global_step] * len(completions))
        return lab.exact_answer_reward(completions, **kwargs)

    trainer = make_plain(reward_funcs=marking_reward)
    trainer.train()
    assert list(trainer._logs["extra"]["batch"]) == [1] * 8
    assert len(trainer._logs["advantages"]) == len(trainer._logs["completion"]) == 8


def test_log_leaves_nan_out_of_the_average_of_a_metric(make_plain):
    trainer = make_plain()
    trainer.model.train()
    trainer._metrics["train"]["some"] = [math.nan, 3.0]
    trainer._metrics["train"]["none"] = [math.nan]
    trainer.log({})
    assert trainer.state.log_history[-1]["some"] == 3.0
    assert trainer.state.log_history[-1]["none"] is None


def test_log_prints_no_table_of_zero_completions(make_plain, capsys):
    trainer = make_plain(max_steps=1, log_completions=True, num_completions_to_print=0)
    trainer.train()
    assert "Completion" not in capsys.readouterr().out


@pytest.mark.parametrize("remove_unused_columns", [False, True])
def test_set_signature_columns_if_needed_leaves_a_list_to_append_to(make_plain, remove_unused_columns):
    trainer = make_plain(remove_unused_columns=remove_unused_columns)
    trainer._set_signature_columns_if_needed()
    assert "prompt" in trainer._signature_columns
    trainer._signature_columns.append("completion")
    columns = set(next(iter(trainer.get_train_dataloader()))[0])
    assert columns == ({"prompt", "completion"} if remove_unused_columns else {"prompt", "completion", "solution"})


def test_server_gets_groups_and_an_unknown_logp_is_a_ratio_of_one(make_plain, serve, train):
    trainer = make_plain(max_steps=1)
    sampler, run = serve(trainer, logp=math.nan), train(trainer=trainer)
    assert [num_generations for _, num_generations in sampler.requests] == [4]
    assert run.generation.outputs["importance_sampling_ratio"].unique().tolist() == [1.0]
