"""The estimates of benchmarks/expected_cost.py, against independent counts."""

import pytest
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM, Qwen2Config


SETTINGS = {"model_name_or_path": "Qwen/Qwen2.5-Math-7B", "per_device_train_batch_size": 2}
SETTINGS |= {"gradient_accumulation_steps": 64, "max_completion_length": 8192}


def test_gpus_share_the_optimizer_states_and_vllm_reserves_its_share_unless_activations_need_more(cost):
    model, gpu = cost.MODELS["Qwen/Qwen2.5-Math-7B"], cost.GPUS["h100"]
    without = cost.memory(SETTINGS, model, gpu, 8)
    assert cost.memory(SETTINGS, model, gpu, 1) - without == pytest.approx(14 * 7.62e9 * 7 / 8)
    share = {"use_vllm": True, "vllm_gpu_memory_utilization": 0.9}
    assert cost.memory({**SETTINGS, **share}, model, gpu, 8) == pytest.approx(15.24e9 + 14 * 7.62e9 / 8 + 0.9 * 80e9)
    share["vllm_gpu_memory_utilization"] = 0.01
    assert cost.memory({**SETTINGS, **share}, model, gpu, 8) == without


def test_training_time_is_operations_over_the_throughput_of_the_gpu(cost):
    model, gpu = cost.MODELS["Qwen/Qwen2.5-Math-7B"], cost.GPUS["h100"]
    tokens = 128 * (150 + 0.4 * 8192)
    assert cost.seconds_to_train(SETTINGS, model, gpu) == pytest.approx(10 * 7.62e9 * tokens / (0.35 * 989e12))


def test_sampling_takes_as_long_as_the_longest_completion(cost):
    model, gpu = cost.MODELS["Qwen/Qwen2.5-Math-1.5B"], cost.GPUS["h100"]
    one = {**SETTINGS, "per_device_train_batch_size": 1, "gradient_accumulation_steps": 1}
    one["vllm_gpu_memory_utilization"] = 0.4
    read = 2 * 1.54e9 + (150 + 0.4 * 8192) * 2 * 2 * 28 * 2 * 128
    assert cost.seconds_to_sample(one, model, gpu) == pytest.approx(8192 * (read / (0.5 * 3.35e12) + 0.004))


def test_the_parameters_of_an_adapter_are_those_that_peft_counts(cost):
    config = Qwen2Config(
        vocab_size=8, hidden_size=1536, intermediate_size=8960, num_hidden_layers=1, num_attention_heads=12,
        num_key_value_heads=2,
    )  # fmt: skip
    model = get_peft_model(
        AutoModelForCausalLM.from_config(config), LoraConfig(r=64, target_modules="all-linear", task_type="CAUSAL_LM")
    )
    assert cost.MODELS["Qwen/Qwen2.5-Math-1.5B"].adapter(64) == 28 * model.get_nb_trainable_parameters()[0]


def test_the_length_of_sft_rows_bounds_the_demonstrations(cost):
    sft = {**SETTINGS, "trainer": "sft", "max_length": 4096}
    assert cost.budget(sft) == 3072
