"""What a pass leaves out changes no gradient: lean runs against the padded way, optimizer step by optimizer step."""

import copy
import functools
import gc
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import hypothesis
import pytest
import torch
from datasets import Dataset
from hypothesis import strategies as st
from peft import LoraConfig
from transformers import (
    AutoTokenizer,
    GPT2Config,
    GPT2LMHeadModel,
    MixtralConfig,
    MixtralForCausalLM,
    PreTrainedModel,
    Qwen2Config,
    Qwen2ForCausalLM,
    TrainerCallback,
)
from trl import GRPOTrainer

from prefix_rft_trl import PrefixGRPOConfig, PrefixGRPOTrainer, lab


LEAN = ("trim_padding", "group_rollouts_by_length", "skip_zero_weight_rollouts")
PADDED = dict.fromkeys(LEAN, False)
END, VOCABULARY, BUDGET = 1, 19, 24
SETTINGS = {
    "use_cpu": True, "bf16": False, "gradient_checkpointing": False, "report_to": "none", "save_strategy": "no",
    "logging_steps": 1, "disable_tqdm": True, "max_completion_length": BUDGET, "num_generations": 4, "seed": 3,
    "per_device_train_batch_size": 4, "gradient_accumulation_steps": 4, "max_steps": 2, "max_grad_norm": 0.0,
    "optim": "sgd", "learning_rate": 0.03, "lr_scheduler_type": "constant", "prefix_ratio_schedule": "constant",
    "num_prefix_generations": 2, "prefix_selection": "top_entropy_per_rollout", "prefix_top_entropy_quantile": 0.5,
}  # fmt: skip
Outputs = dict[str, Any]


# Runs: fixed completions, every third group without a gradient


class FixedRollouts(PrefixGRPOTrainer):
    """Samples nothing: completions are drawn from the seed, some as long as the budget; `change` changes a batch."""

    change: Callable[[Outputs], Outputs] | None = None

    def _generate_single_turn(self, prompt_ids, images, multimodal_fields, num_generations, has_tool_images=False):
        draws = random.Random(self._step)
        prefixes = (self.rollout_batch.prefixes if self.model.training else None) or [None] * len(prompt_ids)
        budget = self.max_completion_length
        return [drawn_completion(draws, prefix.ids if prefix else [], budget) for prefix in prefixes], None

    def _generate_and_score_completions(self, inputs):
        outputs = super()._generate_and_score_completions(inputs)
        return self.change(outputs) if self.change and self.model.training else outputs


def drawn_completion(draws: random.Random, prefix: list[int], budget: int) -> list[int]:
    left = budget - len(prefix)
    length = min(left, 1 + int(draws.lognormvariate(1.5, 0.8)))
    ending = [END] if draws.random() < 0.7 else []
    return [*prefix, *(draws.randrange(2, VOCABULARY) for _ in range(length - len(ending))), *ending]


def graded_reward(completions: list[str], live: list[bool], **others: Any) -> list[float]:
    return [sum(map(ord, text)) % 11 / 10 if is_live else 0.1 for text, is_live in zip(completions, live, strict=True)]


@functools.cache
def scored_rows(number: int, live: tuple[bool, ...]) -> Dataset:
    rows = lab.load_dataset("train", number).to_dict()
    rows["prompt"] = [prompt[place % 5 * 2 :] for place, prompt in enumerate(rows["prompt"])]  # of 4 to 12 tokens
    return Dataset.from_dict({**rows, "live": [live[row % len(live)] for row in range(number)]})


@dataclass
class Run:
    """What the optimizer was given at each step, the weights at the end, and the log.

    `positions` of the model's passes with a gradient.
    """

    gradients: list[dict[str, torch.Tensor]] = field(default_factory=list)
    weights: dict[str, torch.Tensor] = field(default_factory=dict)
    log: list[dict[str, float]] = field(default_factory=list)
    random_state: torch.Tensor | None = None
    positions: int = 0


class Gradients(TrainerCallback):
    def __init__(self, run: Run):
        self.run = run

    def on_pre_optimizer_step(self, args, state, control, model, **others):
        named = model.named_parameters()
        self.run.gradients.append({name: weight.grad.clone() for name, weight in named if weight.grad is not None})


@functools.cache
def tiny_model(kind: str) -> PreTrainedModel:
    torch.manual_seed(0)
    ends = {"eos_token_id": END, "pad_token_id": 0, "bos_token_id": None}
    shape = {"vocab_size": VOCABULARY, "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, **ends}
    llama = {**shape, "intermediate_size": 32, "num_key_value_heads": 2, "initializer_range": 0.3}
    if kind == "gpt2":
        gpt2 = {"n_embd": 16, "n_layer": 2, "n_head": 2, "n_positions": 64, "initializer_range": 0.3, **ends}
        return GPT2LMHeadModel(
            GPT2Config(vocab_size=VOCABULARY, **gpt2, resid_pdrop=0.0, embd_pdrop=0.0, attn_pdrop=0.0)
        )
    if kind == "moe":
        return MixtralForCausalLM(MixtralConfig(**llama, num_local_experts=4, output_router_logits=True))
    model = Qwen2ForCausalLM(Qwen2Config(**llama, tie_word_embeddings=False))
    if kind == "certain":  # log-probabilities far below that whose inverse a float can hold
        model.lm_head.weight.data *= 60
    return model


@pytest.fixture(scope="module")
def tokenizer():
    return AutoTokenizer.from_pretrained(lab.base_model_path())


@pytest.fixture(scope="module", autouse=True)
def nothing_to_collect() -> Iterator[None]:
    """Every run collects garbage at its start, for half a second if it walks through all that was imported."""
    gc.freeze()
    yield
    gc.unfreeze()


@pytest.fixture
def train(tokenizer, tmp_path) -> Callable[..., Run]:
    """Trains a tiny model; `live` says, in turn, which prompts of the `rows` have rewards that differ."""

    def run(
        model: str = "qwen2",
        rows: int = 24,
        live: tuple[bool, ...] = (True, False, True),
        change: Callable[[Outputs], Outputs] | None = None,
        lora: bool = False,
        eval_dataset: Dataset | None = None,
        trainer_class: type[PrefixGRPOTrainer] | None = None,
        **settings: Any,
    ) -> Run:
        args = PrefixGRPOConfig(str(tmp_path), **settings)
        policy = copy.deepcopy(tiny_model(model)).to(torch.bfloat16 if args.bf16 else torch.float32)
        if args.beta and not lora:  # TRL loads the reference model
            policy.save_pretrained(tmp_path / "reference")
            policy.config._name_or_path = str(tmp_path / "reference")
        adapter = LoraConfig(task_type="CAUSAL_LM", target_modules=["q_proj", "v_proj"], r=2) if lora else None
        others = {"processing_class": tokenizer, "peft_config": adapter, "eval_dataset": eval_dataset}
        trainer = (trainer_class or FixedRollouts)(policy, graded_reward, args, scored_rows(rows, live), **others)
        trainer.change = change
        done = Run()

        def count(module, given, named):
            done.positions += named["input_ids"].numel() * torch.is_grad_enabled()

        trainer.add_callback(Gradients(done))
        trainer.model.register_forward_pre_hook(count, with_kwargs=True)
        trainer.train()
        done.weights = {name: weight.detach() for name, weight in trainer.model.named_parameters()}
        done.log, done.random_state = trainer.state.log_history, torch.get_rng_state()
        return done

    return run


def distance(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> float:
    return sum(float((one[name].double() - other[name].double()).square().sum()) for name in one) ** 0.5


def norm(values: dict[str, torch.Tensor]) -> float:
    return sum(float(value.double().square().sum()) for value in values.values()) ** 0.5


@pytest.fixture
def compare(train) -> Callable[..., tuple[Run, Run]]:
    """Trains the lean and the padded way: gradients of each step, losses and weights are equal."""

    def both(within: float = 1e-5, least: float = 1e-3, **settings: Any) -> tuple[Run, Run]:
        settings = {**SETTINGS, **settings}
        lean, padded = train(**settings), train(**{**settings, **PADDED})
        assert len(lean.gradients) == len(padded.gradients) >= 2
        largest = max(map(norm, padded.gradients))
        assert largest >= least
        for step, (found, expected) in enumerate(zip(lean.gradients, padded.gradients, strict=True)):
            assert found.keys() == expected.keys()
            assert distance(found, expected) <= within * (norm(expected) or largest), f"step {step}"
        assert distance(lean.weights, padded.weights) <= within * norm(padded.weights)
        for found, expected in zip(lean.log, padded.log, strict=True):
            if "loss" in expected:
                assert found["loss"] == pytest.approx(expected["loss"], rel=within, abs=within * 0.1)
        assert torch.equal(lean.random_state, padded.random_state)
        assert lean.positions <= padded.positions
        return lean, padded

    return both


def in_words(settings: dict[str, Any]) -> str:
    return ", ".join(f"{name} {getattr(value, '__name__', value)}" for name, value in settings.items())


# What the loss is


def stale(outputs: Outputs) -> Outputs:
    """As if the policy had moved since: ratios are outside of the clip range too."""
    if "old_per_token_logps" in outputs:
        noise = torch.randn(outputs["old_per_token_logps"].shape, generator=torch.Generator().manual_seed(0))
        outputs["old_per_token_logps"] = outputs["old_per_token_logps"] + 0.3 * noise * outputs["completion_mask"]
    return outputs


LOSSES = ["dr_grpo", "grpo", "sapo", "luspo", "dapo", "cispo", "vespo", "bnpo"]
TWICE = {"num_iterations": 2, "gradient_accumulation_steps": 2, "steps_per_generation": 2, "change": stale}


def of_level(level: str) -> dict[str, Any]:
    """Prefix tokens are in no loss with a ratio for each sequence."""
    others = {"prefix_loss_type": "cross_entropy", "prefix_loss_coef": 1.0} if level == "sequence" else {}
    return {"importance_sampling_level": level, **others}


@pytest.mark.parametrize("level", ["token", "sequence"])
@pytest.mark.parametrize("loss_type", LOSSES)
def test_every_loss_type(compare, loss_type, level):
    lean, padded = compare(**TWICE, **of_level(level), loss_type=loss_type)
    assert lean.positions < 0.75 * padded.positions


OF_PREFIXES: list[dict[str, Any]] = [
    {"prefix_loss_type": "ppo_unclipped", "prefix_advantage": "on_policy"},
    {"prefix_loss_type": "shaped", "prefix_advantage": "dr_grpo_prefix", "loss_type": "dapo"},
    {"prefix_loss_type": "ppo", "prefix_advantage": "dr_grpo_prefix_v2", "loss_type": "grpo"},
    {"prefix_advantage": "dr_grpo_prefix_v2", "prefix_selection": "none", "gradient_accumulation_steps": 4},
    {"prefix_loss_type": "cross_entropy", "prefix_loss_coef": 1.0},
    {"prefix_loss_type": "cross_entropy", "prefix_loss_coef": 1.0, "steps_per_generation": 2},
    {"prefix_loss_type": "cross_entropy", "prefix_loss_coef": 1.0, "prefix_selection": "none"},
    {"prefix_selection": "top_entropy", "prefix_top_entropy_quantile": 1.0, "num_prefix_generations": 4},
    {"prefix_selection": "random", "prefix_top_entropy_quantile": 1.0},
    {"prefix_selection": "none", "loss_type": "cispo"},
    {"prefix_ratio_schedule": "whole", "prefix_top_entropy_quantile": 1.0, "max_completion_length": 40},
    {"num_prefix_generations": 0, "loss_type": "dapo", "scale_rewards": "group"},
    {"num_prefix_generations": 0, "loss_type": "bnpo", "scale_rewards": "batch"},
]  # fmt: skip


@pytest.mark.parametrize("settings", OF_PREFIXES, ids=in_words)
def test_every_weight_of_prefixes(compare, settings):
    compare(**{**TWICE, **settings})


# What needs rows that have no weight of their own, or does not let them change places

OTHER_TERMS: list[dict[str, Any]] = [
    {"beta": 0.1},
    {"beta": 0.1, "use_bias_correction_kl": True, "loss_type": "bnpo", "steps_per_generation": 2},
    {"entropy_coef": 0.1},
    {"use_adaptive_entropy": True, "entropy_coef": 0.1, "entropy_target": 3.0},
    {"top_entropy_quantile": 0.5},
    {"top_entropy_quantile": 0.1, "prefix_selection": "bottom_entropy"},
    {"model": "moe", "router_aux_loss_coef": 0.1},
]


@pytest.mark.parametrize("settings", OTHER_TERMS, ids=in_words)
def test_every_other_term_of_the_loss(compare, settings):
    compare(**settings)


# Which rows and tokens are in the loss


def with_tools(outputs: Outputs) -> Outputs:
    """Results of tools: in the middle of rows, in one case of the whole row."""
    mask = torch.ones_like(outputs["completion_mask"])
    mask[::2, 2:4], mask[3] = 0, 0
    return stale({**outputs, "tool_mask": mask})


def one_live_row(outputs: Outputs) -> Outputs:
    alone = torch.arange(len(outputs["advantages"])) == 2
    names = [name for name in ("advantages", "prefix_advantages") if name in outputs]
    return {**outputs, **{name: torch.where(alone, 0.7, 0.0) for name in names}}


def sampled_by_another(outputs: Outputs) -> Outputs:
    outputs = stale(outputs)
    return {**outputs, "sampling_per_token_logps": outputs["old_per_token_logps"] + 0.1}


CERTAIN = {"model": "certain", "learning_rate": 1e-5, "within": 1e-4}
ROWS: list[dict[str, Any]] = [
    {"mask_truncated_completions": True},
    {"mask_truncated_completions": True, "loss_type": "dapo", "num_prefix_generations": 0},
    {**TWICE, "off_policy_mask_threshold": 0.01},
    {**TWICE, "off_policy_mask_threshold": 0.05, "change": sampled_by_another, "loss_type": "grpo"},
    {"num_prefix_generations": 0, "change": with_tools, "loss_type": "grpo"},
    {"num_prefix_generations": 0, "change": with_tools, "loss_type": "vespo", "mask_truncated_completions": True},
    {"change": one_live_row},
    {"change": one_live_row, "loss_type": "bnpo", **of_level("sequence")},
    {"pad_to_multiple_of": 8},
    {"pad_to_multiple_of": 8, **TWICE, "loss_type": "luspo"},
    {**CERTAIN, **TWICE, "change": None},
    {**CERTAIN, "prefix_loss_type": "shaped"},
]  # fmt: skip


@pytest.mark.parametrize("settings", ROWS, ids=in_words)
def test_every_mask(compare, settings):
    compare(**settings)


# Windows: micro-batches of an optimizer step, and of a generation batch

WINDOWS: list[dict[str, Any]] = [
    {"steps_per_generation": 2, "gradient_accumulation_steps": 4},
    {"steps_per_generation": 2, "gradient_accumulation_steps": 4, "loss_type": "dr_grpo"},
    {"steps_per_generation": 4, "gradient_accumulation_steps": 2, "max_steps": 3},
    {"steps_per_generation": 3, "gradient_accumulation_steps": 2, "max_steps": 3},
    {"steps_per_generation": 2, "gradient_accumulation_steps": 3},
    {"steps_per_generation": 3, "gradient_accumulation_steps": 2, "num_iterations": 2, "max_steps": 4},
    {"steps_per_generation": 3, "gradient_accumulation_steps": 2, "rows": 3, "max_steps": 4},  # epochs of 2 and 1
    {"steps_per_generation": 6, "gradient_accumulation_steps": 4, "rows": 6, "loss_type": "dr_grpo"},  # of 4 and 2
    {"per_device_train_batch_size": 1, "gradient_accumulation_steps": 8},
    {"per_device_train_batch_size": 16, "gradient_accumulation_steps": 1, "loss_type": "luspo"},
]


@pytest.mark.parametrize("window", WINDOWS, ids=in_words)
def test_every_window(compare, window):
    compare(**{"loss_type": "dapo", "change": stale, **window})


# How the model is trained

TRAINED: list[dict[str, Any]] = [
    {"lora": True, **TWICE},
    {"lora": True, "beta": 0.1},
    {"gradient_checkpointing": True, "gradient_checkpointing_kwargs": {"use_reentrant": False}},
    {"gradient_checkpointing": True, "gradient_checkpointing_kwargs": {"use_reentrant": True}, **TWICE},
    {"lora": True, "gradient_checkpointing": True, "gradient_checkpointing_kwargs": {"use_reentrant": True}},
    {"model": "moe", "router_aux_loss_coef": 0.0},
    {"model": "gpt2", **TWICE},
    {"bf16": True, **TWICE, "change": None, "prefix_top_entropy_quantile": 1.0, "within": 5e-2},
]  # fmt: skip


@pytest.mark.parametrize("settings", TRAINED, ids=in_words)
def test_every_way_to_train(compare, settings):
    compare(**settings)


class OwnLoss(FixedRollouts):
    """A loss of a user's, which gives every rollout a gradient."""

    def _compute_loss(self, model, inputs):
        return super()._compute_loss(model, inputs | {"advantages": inputs["advantages"] + 0.5})


def test_a_loss_of_ones_own_gets_all_rollouts(compare):
    lean, _ = compare(trainer_class=OwnLoss)
    assert lean.log[0]["compute/rows"] == 1.0


@pytest.mark.parametrize("settings", [{"trim_padding": False}, {"pad_to_multiple_of": 64}], ids=in_words)
def test_no_second_part_where_it_saves_nothing(train, settings, monkeypatch):
    passes = []
    forward = GRPOTrainer._get_per_token_logps_and_entropies

    def count(self, model, ids, *args, **named):
        passes.append(ids.shape)
        return forward(self, model, ids, *args, **named)

    monkeypatch.setattr(GRPOTrainer, "_get_per_token_logps_and_entropies", count)
    train(**{**SETTINGS, "max_steps": 1, **settings}, live=(True,))
    assert len(passes) == SETTINGS["gradient_accumulation_steps"]


@pytest.mark.parametrize("hybrids", [0, 2])
def test_figures_of_sequences_are_of_the_trained_ones(train, hybrids):
    whole = {"per_device_train_batch_size": 16, "gradient_accumulation_steps": 1, "steps_per_generation": 1}
    settings = {**SETTINGS, **whole, "num_iterations": 2, "change": stale, "epsilon": 0.01, "max_steps": 1}
    settings |= {**of_level("sequence"), "num_prefix_generations": hybrids}
    (lean,), (padded,) = (train(**{**settings, **way}).log[:1] for way in ({}, PADDED))
    share = lean["compute/tokens" if hybrids else "compute/rows"]  # hybrid rollouts have an advantage for each token
    assert 0 < share < 1
    assert lean["clip_ratio/region_mean"] * share == pytest.approx(padded["clip_ratio/region_mean"])
    assert padded["clip_ratio/region_mean"] > 0
    settings |= {"importance_sampling_level": "token", "loss_type": "vespo"}
    assert "vespo/phi_seq_mean" not in train(**settings).log[0]


# Steps without any gradient


def test_equal_rewards_are_no_gradient_though_their_mean_is_rounded(train):
    eight = {"num_generations": 8, "per_device_train_batch_size": 8, "max_steps": 1}
    rewards = torch.full((1, 8), 0.1)
    assert (rewards != rewards.nanmean(dim=1)).all()
    assert train(**{**SETTINGS, **eight}, live=(False,)).log[0]["compute/rows"] == 0.0


ADAM = {"optim": "adamw_torch", "weight_decay": 0.1, "learning_rate": 1e-2, "adam_epsilon": 1e-3}


@pytest.mark.parametrize("checkpointing", [False, True])
@pytest.mark.parametrize("live", [(True, True, False, False), (False, False, True, True)], ids=["last", "first"])
def test_steps_without_a_live_row_move_the_weights_as_the_padded_way_does(compare, live, checkpointing):
    settings = {"per_device_train_batch_size": 4, "gradient_accumulation_steps": 2, "shuffle_dataset": False}
    lean, padded = compare(**ADAM, **settings, live=live, max_steps=4, gradient_checkpointing=checkpointing)
    norms = [norm(gradients) > 0 for gradients in padded.gradients]
    assert norms == [live[0], live[2]] * 2
    assert all(len(gradients) == len(lean.weights) for gradients in lean.gradients)


# Anything


@dataclass(frozen=True)
class Drawn:
    """Replaces masks and advantages of a batch by what a seed draws: many advantages are 0, many masks empty."""

    seed: int
    live: float
    has_tools: bool

    def __call__(self, outputs: Outputs) -> Outputs:
        draws = torch.Generator().manual_seed(self.seed)
        mask = outputs["completion_mask"]
        ends = torch.randint(0, mask.size(1) + 1, (len(mask), 1), generator=draws)
        mask = mask * (torch.arange(mask.size(1)) < ends)
        changed = {"completion_mask": mask, "num_items_in_batch": mask.sum()}
        for name in {"advantages", "prefix_advantages", "prefix_mask"} & outputs.keys():
            is_live = torch.rand(len(mask), generator=draws) < self.live
            drawn = torch.randn(len(mask), generator=draws) * is_live
            changed[name] = outputs[name] & mask.bool() if name == "prefix_mask" else drawn
        if self.has_tools:
            changed["tool_mask"] = (torch.rand(mask.shape, generator=draws) < 0.8).long()
        return stale({**outputs, **changed})


cuts = st.sampled_from([(1, 4), (2, 3), (4, 1), (8, 2)])
drawn_settings = st.fixed_dictionaries(
    {
        "change": st.builds(Drawn, st.integers(0, 10**6), st.sampled_from([0.1, 0.5, 1.0]), st.booleans()),
        "loss_type": st.sampled_from(LOSSES),
        "level": st.sampled_from(["token", "sequence"]),
        "steps_per_generation": st.sampled_from([4, 8]),
        "num_iterations": st.sampled_from([1, 2]),
        "num_prefix_generations": st.sampled_from([0, 3]),
        "scale_rewards": st.sampled_from(["none", "group"]),
    }
)


@hypothesis.settings(max_examples=8, suppress_health_check=list(hypothesis.HealthCheck))
@hypothesis.given(cuts, drawn_settings)
def test_any_rows_masks_and_cuts(compare, cut, drawn):
    rows, steps = cut
    settings = {**drawn, **of_level(drawn["level"])}
    del settings["level"]
    compare(per_device_train_batch_size=rows, gradient_accumulation_steps=steps, least=0.0, **settings)


# What is passed through


@pytest.mark.parametrize("settings", [{}, PADDED], ids=["lean", "padded"])
def test_a_pass_with_images_is_that_of_trl(make_trainer, settings, monkeypatch):
    seen = []

    def forward(trainer, model, input_ids, attention_mask, logits_to_keep, batch_size=None, **others):
        seen.append(others)
        return torch.rand(len(input_ids), logits_to_keep), None, None

    monkeypatch.setattr(GRPOTrainer, "_get_per_token_logps_and_entropies", forward)
    trainer = make_trainer(**settings)
    images = {"pixel_values": torch.rand(5, 3, 2, 2), "image_sizes": torch.rand(5, 2), "num_images": [2, 3]}
    mask = torch.tensor([[0, 0, 1, 1, 1, 0], [0, 1, 1, 1, 0, 0]])
    trainer._get_per_token_logps_and_entropies(trainer.model, mask, mask, 3, 1, token_type_ids=mask, **images)
    (others,) = seen
    assert all(others[name] is value for name, value in images.items())


# Figures


@pytest.mark.parametrize("setting", LEAN)
def test_every_setting_by_itself(compare, setting):
    compare(**{**PADDED, setting: True, "change": stale})


def test_figures_of_own_width_are_those_of_the_padded_way(compare):
    settings = {"prefix_selection": "top_entropy", "prefix_top_entropy_quantile": 0.2, "steps_per_generation": 8}
    evaluation = {"eval_strategy": "steps", "eval_steps": 1, "per_device_eval_batch_size": 8}
    lean, padded = compare(
        **{**PADDED, "trim_padding": True}, **settings, **evaluation, eval_dataset=scored_rows(4, (True,))
    )
    differing = ("time", "runtime", "per_second", "compute/")
    for found, expected in zip(lean.log, padded.log, strict=True):
        names = [name for name in expected if not any(part in name for part in differing)]
        assert names == [name for name in found if not any(part in name for part in differing)]
        assert [found[name] for name in names] == pytest.approx(
            [expected[name] for name in names], rel=1e-5, abs=1e-6, nan_ok=True
        )
    assert len([entry for entry in padded.log if "eval_loss" in entry]) == 2
