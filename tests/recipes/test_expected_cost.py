"""The estimates of memory and time, against independent counts."""

import re
import shlex
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM, GPT2Config, LlamaConfig, Qwen2Config

from prefix_rft_trl.estimates.batch_layout import BatchLayout
from prefix_rft_trl.estimates.completion_lengths import LengthDistribution
from prefix_rft_trl.estimates.cost import (
    Workload,
    has_further_samples,
    memory,
    seconds_of_step,
    seconds_to_sample,
    seconds_to_train,
    two_digits,
)
from prefix_rft_trl.estimates.devices import GPUS, Device, device_here
from prefix_rft_trl.estimates.model_size import ModelSize


SETTINGS = {"model_name_or_path": "Qwen/Qwen2.5-Math-7B", "per_device_train_batch_size": 2}
SETTINGS |= {"gradient_accumulation_steps": 64, "max_completion_length": 8192}
VLLM = {**SETTINGS, "use_vllm": True, "vllm_gpu_memory_utilization": 0.01}
GPU = GPUS["h100"]


def work(settings, **others):
    return Workload.from_settings(settings, **others)


def test_demonstrations_of_a_second_dataset_pass_beside_the_rollouts(cost):
    model = cost.MODELS["Qwen/Qwen2.5-Math-7B"]
    plain, both = work(SETTINGS), work({**SETTINGS, "per_device_demonstration_batch_size": 1})
    tokens = 64 * (plain.prompt + plain.lengths.mean)
    seconds = 8 * 7.62e9 * tokens / (0.35 * GPU.operations)
    assert seconds_to_train(both, model, GPU) - seconds_to_train(plain, model, GPU) == pytest.approx(seconds, rel=1e-2)
    in_vllm = (work({**VLLM, "per_device_demonstration_batch_size": number}) for number in (0, 1))
    without, beside = (memory(found, model, GPU) for found in in_vllm)
    assert beside > without


def test_gpus_share_the_optimizer_states_and_vllm_reserves_its_share_unless_activations_need_more(cost):
    model = cost.MODELS["Qwen/Qwen2.5-Math-7B"]
    without = memory(work(VLLM, shards=8), model, GPU)
    assert memory(work(VLLM), model, GPU) - without == pytest.approx(14 * 7.62e9 * 7 / 8)
    large = work({**VLLM, "vllm_gpu_memory_utilization": 0.9}, shards=8)
    assert memory(large, model, GPU) == pytest.approx(15.24e9 + 14 * 7.62e9 / 8 + 0.9 * 80e9)
    on_server = {**VLLM, "vllm_gpu_memory_utilization": 0.9, "vllm_mode": "server"}
    assert memory(work(on_server, shards=8), model, GPU) == without


def test_without_vllm_all_keys_and_values_of_a_batch_are_in_memory(cost):
    model = cost.MODELS["Qwen/Qwen2.5-Math-7B"]
    cache = 128 * (150 + 8192) * 2 * 28 * 4 * 128 * 2
    assert memory(work(SETTINGS), model, GPU) == pytest.approx(16 * 7.62e9 + cache)


def test_training_time_is_operations_over_the_throughput_of_the_gpu(cost):
    model, equal = cost.MODELS["Qwen/Qwen2.5-Math-7B"], LengthDistribution(8192, 8192)
    positions, seconds = 128 * (150 + 8192), 7.62e9 / (0.35 * 989e12)
    all_live = work(SETTINGS, lengths=equal, without_gradient=0)
    assert seconds_to_train(all_live, model, GPU) == pytest.approx(8 * positions * seconds)
    half = work({**SETTINGS, "use_vllm": True, "vllm_gpu_memory_utilization": 0.3}, lengths=equal)
    assert seconds_to_train(half, model, GPU) == pytest.approx((8 / 2 + 2) * positions * seconds)


def test_sampling_takes_as_long_as_the_longest_completion(cost):
    model = cost.MODELS["Qwen/Qwen2.5-Math-1.5B"]
    one = {**VLLM, "per_device_train_batch_size": 1, "gradient_accumulation_steps": 1}
    one["vllm_gpu_memory_utilization"] = 0.4
    read = 2 * 1.54e9 + (150 + 0.4 * 8192) * 2 * 2 * 28 * 2 * 128
    assert seconds_to_sample(work(one), model, GPU) == pytest.approx(8192 * (read / (0.5 * 3.35e12) + 0.004))
    short = work(one, lengths=LengthDistribution(0.4 * 8192, 5000))
    assert seconds_to_sample(short, model, GPU) == pytest.approx(5000 * (read / (0.5 * 3.35e12) + 0.004))


SIZE = ModelSize(parameters=1e9, layers=10, hidden=100, intermediate=400, vocabulary=1000, key_value_heads=5, head=10)
DEVICE = Device("made up", memory=10e9, operations=1e13 / 0.35, bandwidth=2e12)  # 10 and 1 tera a second are reached
REUSED = {"per_device_train_batch_size": 4, "gradient_accumulation_steps": 8, "max_completion_length": 100}
REUSED |= {"dtype": "bfloat16"}
# A row of 100 + 40 tokens has 140 x 2 x 10 layers x 5 heads x 10 numbers of 2 bytes = 280 kB; the weights have 2 GB
WRITTEN_OUT = [  # settings, seconds that `sampled` rows take in 100 steps of decoding, steps they serve, log-probs
    ({}, 100 * ((2e9 + 32 * 280e3) / 1e12 + 0.008), 1, 0),
    ({"steps_per_generation": 16}, 100 * ((2e9 + 64 * 280e3) / 1e12 + 0.008), 2, 1),
    ({"steps_per_generation": 4}, 100 * ((2e9 + 16 * 280e3) / 1e12 + 0.008), 0.5, 0),
    ({"num_iterations": 4}, 100 * ((2e9 + 32 * 280e3) / 1e12 + 0.008), 4, 1 / 4),
    ({"generation_batch_size": 4 * 24 * 2}, 100 * ((2e9 + 96 * 280e3) / 1e12 + 0.008), 3, 1),
    (
        {"use_vllm": True, "vllm_gpu_memory_utilization": 0.3, "vllm_tensor_parallel_size": 2},
        100 * ((2e9 + 64 * 280e3) / 2 / 1e12 + 0.004),
        1,
        1,
    ),
    (  # 2 x 1.0014 GB of vLLM leave room for 10 rows of 64, which follow each other
        {"use_vllm": True, "vllm_gpu_memory_utilization": 0.10014, "vllm_tensor_parallel_size": 2},
        6.4 * 40 * ((2e9 + 10 * 280e3) / 2 / 1e12 + 0.004),
        1,
        1,
    ),
]


@pytest.mark.parametrize(("settings", "sampling", "steps", "scored"), WRITTEN_OUT, ids=lambda value: str(value))
def test_a_step_takes_its_share_of_what_is_sampled_at_a_time(settings, sampling, steps, scored):
    settings = {**REUSED, **settings}
    found = work(settings, shards=2, prompt=100)
    assert seconds_to_sample(found, SIZE, DEVICE) == pytest.approx(sampling)
    training = seconds_of_step(found, SIZE, DEVICE) - sampling / steps
    assert training == pytest.approx(seconds_to_train(found, SIZE, DEVICE))
    equal = work(settings, shards=2, prompt=100, lengths=LengthDistribution(40, 40), without_gradient=0)
    assert seconds_to_train(equal, SIZE, DEVICE) == pytest.approx((8 + 2 * scored) * 1e9 * 32 * 140 / 1e13)


def test_the_keys_and_values_of_all_rows_that_are_sampled_at_a_time_are_in_memory():
    one, four = (work({**REUSED, "steps_per_generation": passes}, prompt=100) for passes in (500, 2000))
    of_row = (100 + 100) * 2 * 10 * 5 * 10 * 2
    assert memory(four, SIZE, DEVICE) - memory(one, SIZE, DEVICE) == pytest.approx(1500 * 4 * of_row)


def test_vllm_without_room_for_a_row_has_no_negative_time():
    small = work({**REUSED, "use_vllm": True, "vllm_gpu_memory_utilization": 0.1}, prompt=100)
    assert seconds_to_sample(small, SIZE, DEVICE) > 0


@pytest.mark.parametrize(
    "config",
    [
        Qwen2Config(hidden_size=64, intermediate_size=96, num_hidden_layers=2, num_attention_heads=4, vocab_size=50),
        LlamaConfig(hidden_size=64, intermediate_size=96, num_hidden_layers=2, num_attention_heads=4, vocab_size=50),
        GPT2Config(n_embd=64, n_layer=2, n_head=4, vocab_size=50),
    ],
    ids=lambda config: config.model_type,
)
def test_the_size_of_a_model_is_that_of_its_config(config):
    config.num_key_value_heads = 4
    model = AutoModelForCausalLM.from_config(config)
    size = ModelSize.from_config(config)
    assert size.parameters == sum(weight.numel() for weight in model.parameters())
    cache = model(torch.tensor([[1]]), use_cache=True).past_key_values
    assert size.elements_of_token == sum(layer.keys.numel() + layer.values.numel() for layer in cache.layers)


def test_the_speed_of_this_machine_is_measured():
    device = device_here(on_cpu=True)
    assert 1e8 < device.operations < 1e14
    assert 1e8 < device.bandwidth < 1e12
    assert device.memory > 1e8


def test_the_parameters_of_an_adapter_are_those_that_peft_counts(cost):
    config = Qwen2Config(
        vocab_size=8, hidden_size=1536, intermediate_size=8960, num_hidden_layers=1, num_attention_heads=12,
        num_key_value_heads=2,
    )  # fmt: skip
    model = get_peft_model(
        AutoModelForCausalLM.from_config(config), LoraConfig(r=64, target_modules="all-linear", task_type="CAUSAL_LM")
    )
    assert cost.MODELS["Qwen/Qwen2.5-Math-1.5B"].adapter(64) == 28 * model.get_nb_trainable_parameters()[0]


def test_the_length_of_sft_rows_bounds_the_demonstrations():
    sft = {**SETTINGS, "trainer": "sft", "max_length": 4096}
    assert work(sft).budget == 3072
    assert work({**sft, "max_length": None}, lengths=LengthDistribution(300, 700)).budget == 700


@pytest.mark.parametrize(
    ("mean", "longest", "number"), [(96, 384, 64), (3277, 8192, 1024), (10, 500, 1000), (7, 7, 3)]
)
def test_a_sample_of_lengths_has_their_mean_and_their_longest(mean, longest, number):
    found = LengthDistribution(mean, longest).sample(number)
    assert sum(found) / number == pytest.approx(mean, rel=0.02)
    assert max(found) == longest
    assert found == sorted(found)


@pytest.mark.parametrize(("mean", "longest"), [(0, 5), (-1, 5), (6, 5), (float("nan"), 5), (5, float("inf"))])
def test_lengths_that_cannot_be_are_refused(mean, longest):
    with pytest.raises(ValueError, match="mean length"):
        LengthDistribution(mean, longest)


RAGGED = LengthDistribution(96, 384)
# 1,024 rows on one process: what is sampled at a time has exactly the lengths of the sample
LAYOUT = BatchLayout(
    rows=8, accumulation=128, sampled=1024, processes=1, group=8, has_own_width=True, is_grouped=True, left_out=1.0,
    is_packed=False,
)  # fmt: skip
SORTED = RAGGED.sample(1024)


def longest_of_each(rows):
    return sum(SORTED[rows - 1 :: rows]) * rows / 1024


POSITIONS = [  # layout, share of groups without gradient, positions a row
    ({}, 0, 20 + longest_of_each(8)),
    ({"rows": 2, "accumulation": 512}, 0, 20 + longest_of_each(2)),
    ({"rows": 1, "accumulation": 1024}, 0, 20 + longest_of_each(1)),
    ({"rows": 1, "accumulation": 1024, "is_grouped": False}, 0, 20 + longest_of_each(1)),
    ({"is_grouped": False, "is_packed": True}, 0, 20 + longest_of_each(1)),
    ({"has_own_width": False}, 0, 20 + 384),
    ({"has_own_width": False, "is_grouped": False}, 0.5, (20 + 384) / 2),
    ({"has_own_width": False, "left_out": 0.0}, 0.5, 20 + 384),
    ({"has_own_width": False, "left_out": 0.25}, 0.5, (20 + 384) * 7 / 8),
    ({"has_own_width": False}, 1, 0),
]


@pytest.mark.parametrize(("layout", "without", "expected"), POSITIONS, ids=lambda value: str(value))
def test_a_pass_has_the_positions_of_its_rows_and_their_padding(layout, without, expected):
    assert replace(LAYOUT, **layout).trained_positions(RAGGED, 20, without) == pytest.approx(expected)


@pytest.mark.parametrize("rows", [2, 4, 8])
@pytest.mark.parametrize("processes", [1, 4])
def test_each_setting_saves_positions_down_to_the_lower_bound(rows, processes):
    layout = replace(LAYOUT, rows=rows, accumulation=64 // rows, sampled=64, processes=processes)
    switched_off = {"left_out": 0.0}, {"is_grouped": False}, {"has_own_width": False}
    found = [layout.trained_positions(RAGGED, 20, 0.5)]
    for setting in switched_off:
        layout = replace(layout, **setting)
        found.append(layout.trained_positions(RAGGED, 20, 0.5))
    assert found == sorted(set(found))
    assert found[0] > (20 + 96) / 2
    if processes == 1:
        assert found[0] < (20 + 96) / 2 * 1.5


def test_processes_wait_for_the_one_with_most_rows():
    alone, together = (replace(LAYOUT, sampled=64, accumulation=8, processes=number) for number in (1, 8))
    equal = LengthDistribution(96, 96)
    assert alone.trained_positions(equal, 20, 0) == pytest.approx(together.trained_positions(equal, 20, 0))
    assert together.trained_positions(equal, 20, 0.5) > 1.2 * alone.trained_positions(equal, 20, 0.5)


LEFT_OUT = [
    ({}, 1),
    ({"beta": 0.04}, 0),
    ({"entropy_coef": 0.001}, 0),
    ({"top_entropy_quantile": 0.2}, 0),
    ({"use_adaptive_entropy": True}, 0),
    ({"router_aux_loss_coef": 0.001}, 0),
    ({"skip_zero_weight_rollouts": False}, 0),
    ({"prefix_loss_type": "cross_entropy", "num_prefix_generations": 2}, 0.75),
    ({"prefix_loss_type": "cross_entropy", "num_prefix_generations": 0}, 1),
    ({"prefix_advantage": "on_policy"}, 1),
    ({"prefix_advantage": "dr_grpo_prefix"}, 0.875),
]


@pytest.mark.parametrize(("settings", "expected"), LEFT_OUT, ids=lambda value: str(value))
def test_rows_that_a_loss_needs_are_not_left_out(settings, expected):
    found = work({**SETTINGS, **settings}, without_gradient=0.4)
    assert found.layout.left_out == expected
    assert f"40% of groups without gradient, {1 - 0.4 * expected:.0%} of rows trained" in found.assumptions


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({}, 0),
        ({"use_vllm": True, "vllm_gpu_memory_utilization": 0.3}, 1),
        ({"use_vllm": True, "vllm_gpu_memory_utilization": 0.3, "vllm_importance_sampling_correction": False}, 0),
        ({"beta": 0.1}, 1),
        ({"beta": 0.1, "num_iterations": 2}, 2),
        ({"steps_per_generation": 32}, 0),
        ({"steps_per_generation": 128}, 1),
        ({"trainer": "sft", "beta": 0.1}, 0),
    ],
    ids=lambda value: str(value),
)
def test_log_probs_take_a_pass_where_trl_makes_one(settings, expected):
    assert work({**SETTINGS, **settings}).scorings == expected


def test_settings_lay_out_the_rows():
    plain = work(SETTINGS).layout
    assert (plain.has_own_width, plain.is_grouped, plain.is_packed) == (True, True, False)
    off = {"trim_padding": False, "group_rollouts_by_length": False, "padding_free": True}
    padded = work({**SETTINGS, **off}).layout
    assert (padded.has_own_width, padded.is_grouped, padded.is_packed) == (False, False, True)
    assert not work({**SETTINGS, "loss_type": "bnpo"}).layout.is_grouped
    assert not work({**SETTINGS, "entropy_coef": 0.001}).layout.is_grouped
    assert work({**SETTINGS, "beta": 0.04}).layout.is_grouped
    sft = work({**SETTINGS, "trainer": "sft"})
    assert (sft.layout.has_own_width, sft.layout.is_grouped, sft.without_gradient) == (True, False, 0)
    assert work(SETTINGS, shards=1, processes=8).layout.processes == 8


@pytest.mark.parametrize(
    ("number", "shown"),
    [(0.0123, "0.012"), (9.94, "9.9"), (99.4, "99"), (99.6, "100"), (104, "104"), (119.9, "120"), (4321.0, "4,321")],
)
def test_an_estimate_has_no_exponent(number, shown):
    assert two_digits(number) == shown


@pytest.mark.parametrize(
    ("settings", "is_so"),
    [
        ({}, False),
        ({"prefix_stage_ratios": [0.5]}, True),
        ({"prefix_stage_ratios": [0.5], "prefix_stage_replaces": "rollout"}, True),
        ({"prefix_stage_ratios": [0.5], "prefix_stage_replaces": "none"}, False),
    ],
)
def test_stages_that_replace_nothing_sample_nothing_further(settings, is_so):
    assert has_further_samples(settings) == is_so


RECIPE = "recipes/qwen2.5-math-7b/prefix_rft.yaml"


def run(cost, monkeypatch, line):
    monkeypatch.setattr(sys, "argv", ["expected_cost.py", *shlex.split(line)])
    cost.main()


def test_lengths_and_groups_without_gradient_are_stated_and_change_the_figure(cost, monkeypatch, capsys):
    seconds = []
    for flags in ("", "--lengths 1200 8192", "--lengths 1200 8192 --without_gradient 0.75", "--lengths 600 600"):
        run(cost, monkeypatch, f"{RECIPE} {flags}")
        seconds.append(float(capsys.readouterr().out.split(" s a step")[0].split(", ")[-1]))
    assert seconds == sorted(seconds, reverse=True)
    assert len(set(seconds)) == len(seconds)
    run(cost, monkeypatch, f"{RECIPE} --lengths 600 600 --without_gradient 0.2")
    assert capsys.readouterr().out.splitlines()[1] == (
        "completions of 600 tokens, all equal; 20% of groups without gradient, 80% of rows trained"
    )


TABLE = (Path(__file__).parents[2] / "docs" / "recipes.md").read_text().partition("## Memory and time")[2]


def test_a_generation_batch_that_is_less_than_a_pass_of_each_process_counts_as_one():
    small = work({**REUSED, "generation_batch_size": 8}, processes=4)
    assert small.layout.sampled == REUSED["per_device_train_batch_size"]
    assert seconds_of_step(small, SIZE, DEVICE) > 0


@pytest.mark.parametrize(("given", "shown"), re.findall(r"^\| (.*) \| (\d+) \|$", TABLE, re.MULTILINE))
def test_the_figures_of_the_page_are_those_of_the_script(given, shown, cost, monkeypatch):
    off = dict.fromkeys(re.findall(r"`(\w+)`", given), False)
    monkeypatch.setattr(cost, "trainings", lambda recipe: {"": recipe | off})
    flags = " ".join(re.findall(r"`(--.*)`", given))
    seconds = []
    monkeypatch.setattr(cost, "seconds_of_step", lambda *work: seconds.append(seconds_of_step(*work)) or 1.0)
    run(cost, monkeypatch, f"{RECIPE} {flags}")
    assert [round(found) for found in seconds] == [int(shown)]


def test_the_page_has_figures_with_and_without_the_settings():
    assert len(re.findall(r"^\| .* \| \d+ \|$", TABLE, re.MULTILINE)) == 6


REFUSED = [
    ("--lengths 900 800", "must be above 0 and at most the longest"),
    ("--lengths 900 9000", "do not fit `max_completion_length` (8,192)"),
    ("--without_gradient 60", "(60) must be from 0 to 1"),
    ("--without_gradient nan", "(nan) must be from 0 to 1"),
]


@pytest.mark.parametrize(("flags", "said"), REFUSED)
def test_what_cannot_be_is_refused(flags, said, cost, monkeypatch, capsys):
    with pytest.raises(SystemExit) as ended:
        run(cost, monkeypatch, f"{RECIPE} {flags}")
    assert ended.value.code == 2
    assert said in " ".join(capsys.readouterr().err.split())
