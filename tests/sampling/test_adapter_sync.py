"""TRL's own weight syncs of bfloat16 models with an adapter, into stand-ins for the engine and a server's client."""

import copy
import weakref
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from accelerate import Accelerator
from peft import LoraConfig, PeftModel, get_peft_model
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor
from transformers import Qwen2Config, Qwen2ForCausalLM, Qwen3MoeConfig, Qwen3MoeForCausalLM
from trl.distributed import DistributedBackend
from trl.generation.vllm_generation import VLLMGeneration

from prefix_rft_trl.sampling.adapter_sync import keep_base_weights, merged_as_read


SYNCS = 50
SIZES = {
    "vocab_size": 64, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 2,
    "num_key_value_heads": 1,
}  # fmt: skip
EXPERTS = ["mlp.experts.gate_up_proj", "mlp.experts.down_proj"]
ADAPTERS: dict[str, dict[str, Any]] = {
    "all linear": {"target_modules": "all-linear"},
    "DoRA": {"target_modules": "all-linear", "use_dora": True},
    "rsLoRA": {"target_modules": "all-linear", "use_rslora": True},
    "biases": {"target_modules": ["q_proj", "v_proj"], "lora_bias": True},
    "saved modules": {"target_modules": ["q_proj"], "modules_to_save": ["lm_head"]},
    "embedding": {"target_modules": ["embed_tokens", "q_proj"]},
    "tied embedding": {"target_modules": ["embed_tokens", "lm_head"], "is_tied": True},
    "tied head": {"target_modules": ["lm_head"], "is_tied": True},
    "parameters": {"target_parameters": ["mlp.down_proj.weight"]},
    "experts": {"target_modules": ["q_proj"], "target_parameters": EXPERTS, "has_experts": True},
}


def adapted_model(is_tied: bool = False, has_experts: bool = False, **adapter: Any) -> PeftModel:
    """The same model at each call, with an adapter that is not zero; TRL too keeps it in float32."""
    torch.manual_seed(0)
    if has_experts:
        config = Qwen3MoeConfig(num_experts=4, moe_intermediate_size=16, head_dim=16, **SIZES)
        model = Qwen3MoeForCausalLM(config)
    else:
        model = Qwen2ForCausalLM(Qwen2Config(tie_word_embeddings=is_tied, **SIZES))
    lora = LoraConfig(r=4, task_type="CAUSAL_LM", init_lora_weights=False, **adapter)
    return get_peft_model(model.to(torch.bfloat16), lora)


class Engine:
    """Stands in for `vllm.LLM`: copies what it is given, at once."""

    def __init__(self) -> None:
        self.weights: dict[str, torch.Tensor] = {}
        runner = SimpleNamespace(model_runner=SimpleNamespace(model=self))
        self.llm_engine = SimpleNamespace(model_executor=SimpleNamespace(driver_worker=runner))

    def load_weights(self, named: list[tuple[str, torch.Tensor]]) -> None:
        self.weights |= {name: param.clone() for name, param in named}

    def reset_prefix_cache(self) -> None:
        pass


class Client(Engine):
    """Stands in for TRL's `VLLMClient`, which packs many tensors and then sends them."""

    def update_named_params(self, metadata: list[tuple[str, str, list[int]]], named_params: Any) -> None:
        packed = list(named_params)
        assert [name for name, _, _ in metadata] == [name for name, _ in packed]
        self.load_weights(packed)


ENGINES = {"colocate": Engine, "server": Client}


def trl_generation(model: PeftModel, mode: str = "colocate") -> VLLMGeneration:
    """As it is after it has found its engine."""
    accelerator = Accelerator(cpu=True)
    generation = object.__new__(VLLMGeneration)
    vars(generation).update(
        {"llm" if mode == "colocate" else "vllm_client": ENGINES[mode]()},
        mode=mode, model=model, accelerator=accelerator, _dist=DistributedBackend(accelerator),
        enable_sleep_mode=False, _weight_metadata=None,
    )  # fmt: skip
    return generation


def received(generation: VLLMGeneration) -> dict[str, torch.Tensor]:
    return (generation.llm if generation.mode == "colocate" else generation.vllm_client).weights


def weights_of(model: torch.nn.Module) -> dict[str, torch.Tensor]:
    return {name: param.detach().clone() for name, param in model.named_parameters()}


def differing(found: dict[str, torch.Tensor], expected: dict[str, torch.Tensor]) -> list[str]:
    assert found.keys() == expected.keys()
    return [name for name, weight in found.items() if not torch.equal(weight, expected[name])]


def states_of(model: torch.nn.Module) -> dict[str, dict[str, Any]]:
    return {name: copy.copy(vars(module)) for name, module in model.named_modules()}


@pytest.mark.parametrize("mode", ENGINES)
@pytest.mark.parametrize("adapter", ADAPTERS.values(), ids=ADAPTERS)
def test_engine_gets_the_merged_model_and_the_base_stays(adapter, mode):
    model = adapted_model(**adapter)
    generation, before, states = trl_generation(model, mode), weights_of(model), states_of(model)
    keep_base_weights(generation)
    for _ in range(SYNCS):
        generation.sync_weights()
    assert differing(weights_of(model), before) == []
    assert states_of(model) == states
    assert differing(received(generation), weights_of(adapted_model(**adapter).merge_and_unload())) == []


@pytest.mark.parametrize("adapter", ADAPTERS.values(), ids=ADAPTERS)
def test_colocated_engine_gets_what_trls_first_sync_gives_it(adapter):
    ours, theirs = (trl_generation(adapted_model(**adapter)) for _ in range(2))
    keep_base_weights(ours)
    for generation in (ours, theirs):
        generation.sync_weights()
    assert differing(received(ours), received(theirs)) == []


def test_sharded_base_of_fsdp2_stays(tmp_path):
    model = adapted_model(target_modules="all-linear")
    torch.distributed.init_process_group("gloo", init_method=f"file://{tmp_path}/meet", rank=0, world_size=1)
    try:
        fully_shard(model, mesh=init_device_mesh("cpu", (1,)))
        generation, before = trl_generation(model), weights_of(model)
        generation._dist.fsdp_version = 2
        keep_base_weights(generation)
        for _ in range(2):
            generation.sync_weights()
        assert all(isinstance(param, DTensor) for param in model.parameters())
        assert differing(weights_of(model), before) == []
        merged = weights_of(adapted_model(target_modules="all-linear").merge_and_unload())
        assert differing(received(generation), merged) == []
    finally:
        torch.distributed.destroy_process_group()


def test_new_adapter_weights_reach_the_engine():
    model = adapted_model(target_modules="all-linear")
    generation = trl_generation(model)
    keep_base_weights(generation)
    generation.sync_weights()
    first = received(generation).copy()
    for name, param in model.named_parameters():
        if "lora_B" in name:
            param.data.neg_()
    generation.sync_weights()
    assert len(differing(received(generation), first)) == 14
    assert differing(received(generation), weights_of(model.merge_and_unload())) == []


def test_several_active_adapters_are_merged():
    def make() -> PeftModel:
        model = adapted_model(target_modules=["q_proj", "v_proj"])
        model.add_adapter("other", LoraConfig(r=2, init_lora_weights=False, target_modules=["q_proj", "up_proj"]))
        model.base_model.set_adapter(["default", "other"])
        return model

    generation = trl_generation(make())
    keep_base_weights(generation)
    generation.sync_weights()
    assert differing(received(generation), weights_of(make().merge_and_unload())) == []


def test_sync_that_fails_leaves_the_model_as_it_was(monkeypatch):
    model = adapted_model(target_modules="all-linear")
    generation, before, states = trl_generation(model), weights_of(model), states_of(model)
    keep_base_weights(generation)
    load = generation.llm.load_weights
    monkeypatch.setattr(generation.llm, "load_weights", lambda named: load(named) or named["of a layer"])
    with pytest.raises(TypeError):
        generation.sync_weights()
    assert states_of(model) == states
    assert differing(weights_of(model), before) == []


def test_one_parameter_is_copied_at_a_time():
    model = adapted_model(target_modules="all-linear")
    own, copies = {id(param) for param in model.parameters()}, []
    with merged_as_read(model):
        model.merge_adapter()
        for _, param in model.named_parameters():
            if id(param) not in own:
                copies.append(weakref.ref(param))
            assert sum(reference() is not None for reference in copies) <= 1
        model.unmerge_adapter()
    assert len(copies) == 14 + 6  # weights of linear layers, and the biases of some


@pytest.mark.parametrize("settings", [{"num_prefix_generations": 0}, {}], ids=["GRPO", "Prefix-RFT"])
def test_trainer_keeps_the_base(make_trainer: Callable[..., Any], monkeypatch, settings):
    monkeypatch.setattr(VLLMGeneration, "_init_vllm", lambda self: setattr(self, "llm", Engine()))
    lora = LoraConfig(r=4, target_modules="all-linear", init_lora_weights=False)
    trainer = make_trainer(
        use_vllm=True, model_init_kwargs={"dtype": "bfloat16"}, others={"peft_config": lora}, **settings
    )
    before = weights_of(trainer.model)
    trainer.vllm_generation.sync_weights()
    assert differing(weights_of(trainer.model), before) == []


# What it is for. If one of these fails, TRL has mended it, and `keep_base_weights` may go.


def test_trls_own_sync_changes_the_base():
    model = adapted_model(target_modules="all-linear")
    generation, before = trl_generation(model), weights_of(model)
    for _ in range(SYNCS):
        generation.sync_weights()
    assert len(differing(weights_of(model), before)) == 14


def test_trls_own_sync_sends_a_server_weights_without_the_adapter():
    generation = trl_generation(adapted_model(target_modules="all-linear"), "server")
    generation.sync_weights()
    merged = weights_of(adapted_model(target_modules="all-linear").merge_and_unload())
    assert len(differing(received(generation), merged)) == 14
