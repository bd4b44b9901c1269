"""The estimates of memory and time, against independent counts."""

import pytest
import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM, GPT2Config, LlamaConfig, Qwen2Config

from prefix_rft_trl.estimates.cost import Workload, memory, seconds_of_step, seconds_to_sample, seconds_to_train
from prefix_rft_trl.estimates.devices import GPUS, Device, device_here
from prefix_rft_trl.estimates.model_size import ModelSize


SETTINGS = {"model_name_or_path": "Qwen/Qwen2.5-Math-7B", "per_device_train_batch_size": 2}
SETTINGS |= {"gradient_accumulation_steps": 64, "max_completion_length": 8192}
VLLM = {**SETTINGS, "use_vllm": True, "vllm_gpu_memory_utilization": 0.01}
GPU = GPUS["h100"]


def work(settings, **others):
    return Workload.from_settings(settings, **others)


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
    model = cost.MODELS["Qwen/Qwen2.5-Math-7B"]
    tokens = 128 * (150 + 0.4 * 8192)
    assert seconds_to_train(work(SETTINGS), model, GPU) == pytest.approx(10 * 7.62e9 * tokens / (0.35 * 989e12))


def test_sampling_takes_as_long_as_the_longest_completion(cost):
    model = cost.MODELS["Qwen/Qwen2.5-Math-1.5B"]
    one = {**VLLM, "per_device_train_batch_size": 1, "gradient_accumulation_steps": 1}
    one["vllm_gpu_memory_utilization"] = 0.4
    read = 2 * 1.54e9 + (150 + 0.4 * 8192) * 2 * 2 * 28 * 2 * 128
    assert seconds_to_sample(work(one), model, GPU) == pytest.approx(8192 * (read / (0.5 * 3.35e12) + 0.004))


SIZE = ModelSize(parameters=1e9, layers=10, hidden=100, intermediate=400, vocabulary=1000, key_value_heads=5, head=10)
DEVICE = Device("made up", memory=10e9, operations=1e13 / 0.35, bandwidth=2e12)  # 10 and 1 tera a second are reached
REUSED = {"per_device_train_batch_size": 4, "gradient_accumulation_steps": 8, "max_completion_length": 100}
REUSED |= {"dtype": "bfloat16"}
# A row of 100 + 40 tokens has 140 x 2 x 10 layers x 5 heads x 10 numbers of 2 bytes = 280 kB; the weights have 2 GB
WRITTEN_OUT = [  # settings, seconds that `sampled` rows take in 100 steps of decoding, steps they serve, iterations
    ({}, 100 * ((2e9 + 32 * 280e3) / 1e12 + 0.008), 1, 1),
    ({"steps_per_generation": 16}, 100 * ((2e9 + 64 * 280e3) / 1e12 + 0.008), 2, 1),
    ({"steps_per_generation": 4}, 100 * ((2e9 + 16 * 280e3) / 1e12 + 0.008), 0.5, 1),
    ({"num_iterations": 4}, 100 * ((2e9 + 32 * 280e3) / 1e12 + 0.008), 4, 4),
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


@pytest.mark.parametrize(("settings", "sampling", "steps", "iterations"), WRITTEN_OUT, ids=lambda value: str(value))
def test_a_step_takes_its_share_of_what_is_sampled_at_a_time(settings, sampling, steps, iterations):
    found = work({**REUSED, **settings}, shards=2, prompt=100, answer=40)
    training = (8 + 2 / iterations) * 1e9 * 32 * 140 / 1e13
    assert seconds_to_sample(found, SIZE, DEVICE) == pytest.approx(sampling)
    assert seconds_of_step(found, SIZE, DEVICE) == pytest.approx(sampling / steps + training)


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
    assert work({**sft, "max_length": None}, longest=700).budget == 700
