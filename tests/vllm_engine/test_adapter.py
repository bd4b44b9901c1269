"""An adapter on a bfloat16 model: the engine samples from base plus adapter, and the base stays as it is."""

import pytest
import torch
from peft import LoraConfig, PeftModel
from transformers import AutoModelForCausalLM
from vllm import SamplingParams
from vllm.distributed.weight_transfer.packed_tensor import pack_tensors, unpack_tensor

from prefix_rft_trl import lab
from prefix_rft_trl.sampling.adapter_sync import merged_as_read


SYNCS = 50  # one a step
FUSED = {"qkv_proj": ["q_proj", "k_proj", "v_proj"], "gate_up_proj": ["gate_proj", "up_proj"]}


def base_in_bfloat16() -> torch.nn.Module:
    return AutoModelForCausalLM.from_pretrained(lab.base_model_path(), dtype=torch.bfloat16)


@pytest.fixture(scope="module")
def trainer(make_trainer):
    """After its last update, which the engine has too."""
    trainer = make_trainer(
        model_init_kwargs={"dtype": "bfloat16"},
        others={"peft_config": LoraConfig(r=8, lora_alpha=64, target_modules="all-linear", task_type="CAUSAL_LM")},
        max_steps=SYNCS,
        max_completion_length=24,
        learning_rate=1e-3,
        per_device_train_batch_size=8,
    )
    trainer.train()
    trainer.vllm_generation.sync_weights()
    return trainer


@pytest.fixture(scope="module")
def saved(trainer, tmp_path_factory):
    """What a user loads: the adapter that was saved, on the base that it was trained from."""
    folder = str(tmp_path_factory.mktemp("saved"))
    trainer.save_model(folder)
    return lambda: PeftModel.from_pretrained(base_in_bfloat16(), folder)


def test_base_is_bit_equal(trainer):
    weights = dict(trainer.model.get_base_model().named_parameters())
    for name, weight in base_in_bfloat16().named_parameters():
        place, _, kind = name.rpartition(".")
        assert torch.equal(weights.get(name, weights.get(f"{place}.base_layer.{kind}")), weight), name


def test_model_that_was_trained_is_the_one_that_was_saved(trainer, saved):
    ids = torch.arange(2, 18)[None]
    trained, loaded = trainer.model.eval(), saved().eval()
    with torch.no_grad():
        assert torch.equal(trained(ids).logits, loaded(ids).logits)
        with loaded.disable_adapter():
            assert (trained(ids).logits - loaded(ids).logits).abs().max() > 0.1  # the adapter has learned something


def test_engine_has_base_plus_adapter_bit_for_bit(trainer, saved):
    expected = dict(saved().merge_and_unload().named_parameters())
    worker = trainer.vllm_generation.llm.llm_engine.model_executor.driver_worker
    for name, weight in worker.model_runner.model.named_parameters():
        place, layer, kind = name.rsplit(".", 2)
        parts = torch.cat([expected[f"{place}.{part}.{kind}"] for part in FUSED.get(layer, [layer])])
        assert torch.equal(weight[: len(parts)], parts.to(weight.dtype)), name  # the vocabulary is padded


def test_engine_samples_from_base_plus_adapter(trainer, saved):
    prompt = trainer.processing_class("12+34=")["input_ids"]
    params = SamplingParams(temperature=1.0, max_tokens=16, logprobs=0, seed=1)
    (answer,) = trainer.vllm_generation.llm.generate([{"prompt_token_ids": prompt}], params, use_tqdm=False)
    ids = list(answer.outputs[0].token_ids)
    found = [logprobs[token].logprob for token, logprobs in zip(ids, answer.outputs[0].logprobs, strict=True)]

    def logps(model: torch.nn.Module) -> torch.Tensor:
        with torch.no_grad():
            logits = model.float().eval()(torch.tensor([prompt + ids])).logits[0, len(prompt) - 1 : -1]
        return logits.log_softmax(-1)[torch.arange(len(ids)), torch.tensor(ids)]

    torch.testing.assert_close(logps(saved().merge_and_unload()), torch.tensor(found), atol=1e-4, rtol=0)
    assert (logps(base_in_bfloat16()) - torch.tensor(found)).abs().max() > 0.01


def test_package_for_a_server_is_base_plus_adapter(trainer, saved):
    named_params = trainer.vllm_generation._iter_named_params()
    with merged_as_read(trainer.model):
        package = pack_tensors(named_params, lambda item: item[1], buffer_size_bytes=2**30)
    expected = dict(saved().merge_and_unload().named_parameters())
    fields = (package.names, package.shapes, package.dtypes, package.tensor_sizes)
    unpacked = dict(unpack_tensor(package.packed_tensor, *fields))
    assert unpacked.keys() == expected.keys()
    assert [name for name, weight in unpacked.items() if not torch.equal(weight, expected[name])] == []
