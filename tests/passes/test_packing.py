"""Packed rows give the log-probabilities, entropies and gradients of padded rows, or are refused."""

import inspect
import runpy
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from peft import LoraConfig, PrefixTuningConfig, PromptTuningConfig
from transformers import (
    AfmoeConfig,
    AttentionInterface,
    AutoTokenizer,
    FalconH1Config,
    Gemma3TextConfig,
    GPT2Config,
    GptOssConfig,
    Lfm2Config,
    LlamaConfig,
    MambaConfig,
    OPTConfig,
    Qwen2Config,
    Qwen3MoeConfig,
    Qwen3NextConfig,
)
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING
from trl import GRPOTrainer
from trl.trainer.utils import add_fused_lm_head

from prefix_rft_trl import PrefixGRPOConfig, lab
from prefix_rft_trl.passes.packing import PackedModel, PackedRows
from prefix_rft_trl.passes.packing_checks import (
    refuse_adapter,
    refuse_images,
    refuse_mixing,
    refuse_model,
    warning_of_masks,
)


VOCABULARY = 40
SIZES = {
    "vocab_size": VOCABULARY, "hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2, "head_dim": 8,
    "num_attention_heads": 2, "num_key_value_heads": 1, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2,
}  # fmt: skip
DROPPED = {"resid_pdrop": 0.1, "embd_pdrop": 0.1, "attn_pdrop": 0.1}
EXPERTS = {"num_experts": 4, "num_local_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 8}
WINDOWS = {"sliding_window": 3, "layer_types": ["sliding_attention", "full_attention"]}
CONFIGS = {
    "qwen2": lambda: Qwen2Config(**SIZES),
    "llama": lambda: LlamaConfig(**SIZES),
    "gemma3": lambda: Gemma3TextConfig(**SIZES, **WINDOWS),
    "gpt2": lambda: GPT2Config(**SIZES | {"n_embd": 16, "n_layer": 2, "n_head": 2} | DROPPED),
    "qwen3_moe": lambda: Qwen3MoeConfig(**SIZES, **EXPERTS),
    # Their masks know nothing of packed rows
    "gpt_oss": lambda: GptOssConfig(**SIZES, **EXPERTS, **WINDOWS),
    "afmoe": lambda: AfmoeConfig(**SIZES, **EXPERTS, num_dense_layers=1, **WINDOWS),
    "opt": lambda: OPTConfig(**SIZES | {"ffn_dim": 24, "word_embed_proj_dim": 16}),
    # Their layers have a state
    "mamba": lambda: MambaConfig(**SIZES),
    "qwen3_next": lambda: Qwen3NextConfig(**SIZES, **EXPERTS, layer_types=["linear_attention", "full_attention"]),
    "falcon_h1": lambda: FalconH1Config(**SIZES, mamba_d_ssm=16, mamba_n_heads=2, mamba_d_head=8, mamba_d_state=4),
    "lfm2": lambda: Lfm2Config(**SIZES, layer_types=["conv", "full_attention"]),
}
PACKED = ("qwen2", "llama", "gemma3", "gpt2", "qwen3_moe")


@pytest.fixture(scope="module")
def make_model():
    """Makes an untrained model with TRL's fused head, whose predictions are far from uniform."""
    made = {}

    def make(name, implementation="sdpa"):
        if (name, implementation) not in made:
            torch.manual_seed(0)
            config = CONFIGS[name]()
            architecture = MODEL_FOR_CAUSAL_LM_MAPPING[type(config)]
            model = architecture._from_config(config, attn_implementation=implementation).eval()
            with torch.no_grad():
                for parameter in model.parameters():
                    parameter.add_(torch.randn_like(parameter) * 0.2)
            add_fused_lm_head(model, temperature=0.9, outputs=("log_probs", "entropy"))
            made[name, implementation] = model
        return made[name, implementation]

    return make


# Equality


def score(model, input_ids, attention_mask, logits_to_keep, **options):
    """TRL's own method, without a trainer: log-probabilities, entropies and the loss of the routers."""
    method = inspect.unwrap(GRPOTrainer._get_per_token_logps_and_entropies)
    trainer = SimpleNamespace(accelerator=SimpleNamespace(autocast=nullcontext))
    return method(trainer, model, input_ids, attention_mask, logits_to_keep, compute_entropy=True, **options)


def score_unpadded(model, input_ids, attention_mask, logits_to_keep):
    """Each row alone without its padding: what padded rows should give, whatever positions a model counts."""
    logps, entropies = (torch.zeros(len(input_ids), logits_to_keep) for _ in range(2))
    for row, (ids, mask) in enumerate(zip(input_ids, attention_mask.bool(), strict=True)):
        completion = int(mask[-logits_to_keep:].sum())
        if completion:
            alone = ids[mask][None]
            scores = score(model, alone, torch.ones_like(alone), completion)
            logps[row, :completion], entropies[row, :completion] = scores[0][0], scores[1][0]
    return logps, entropies, None


def gradients(model, scores, weights):
    logps, entropies, aux_loss = scores
    loss = (weights * logps).sum() + (weights.flip(0) * entropies).sum() + (0 if aux_loss is None else aux_loss)
    wanted = [parameter for parameter in model.parameters() if parameter.requires_grad]
    return torch.cat([part.flatten() for part in torch.autograd.grad(loss, wanted, materialize_grads=True)])


def assert_same(model, packed, expected):
    weights = torch.randn(packed[0].shape, generator=torch.Generator().manual_seed(1))
    for found, wanted in zip(packed, expected, strict=True):
        if wanted is not None:
            torch.testing.assert_close(found, wanted, rtol=1e-5, atol=1e-5)
    found, wanted = (gradients(model, scores, weights) for scores in (packed, expected))
    assert (found - wanted).norm() <= 1e-5 * wanted.norm()


@st.composite
def batches(draw):
    """Rows with prompt tokens and completion tokens, of which a truncated completion is masked, and dead rows."""
    lengths = draw(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 6)), min_size=1, max_size=5))
    prompt, completion = draw(st.integers(1, 6)), draw(st.integers(1, 7))
    prompt, completion = (max(size, *(row[i] for row in lengths)) for i, size in enumerate((prompt, completion)))
    mask = torch.zeros(len(lengths), prompt + completion, dtype=torch.long)
    for row, (before, after) in enumerate(lengths):
        if before:
            mask[row, prompt - before : prompt + after] = 1
    torch.manual_seed(draw(st.integers(0, 99)))
    return torch.randint(3, VOCABULARY, mask.shape).where(mask.bool(), 0), mask, completion


@pytest.mark.parametrize("implementation", ["sdpa", "eager"])
@pytest.mark.parametrize("name", PACKED)
def test_packed_rows_give_what_padded_rows_give(name, implementation, make_model):
    model = make_model(name, implementation)
    options = {"compute_aux_loss": True} if name == "qwen3_moe" else {}

    @settings(max_examples=10)
    @given(batches())
    def check(batch):
        ids, mask, completion = batch
        if name == "gpt2":  # whose positions TRL counts from the padding on
            expected = score_unpadded(model, *batch)
        else:
            expected = score(model, *batch, **options if mask.any() else {})
        packed = score(PackedModel(model), *batch, **options if mask.any() else {})
        assert packed[0].shape == (len(ids), completion)
        assert not packed[0][mask[:, -completion:] == 0].any()
        if mask[:, -completion:].any():
            assert_same(model, packed, expected)
        else:
            assert not gradients(model, (*packed[:2], None), torch.ones_like(packed[0])).any()

    check()


@pytest.mark.parametrize("name", ["qwen2", "gpt2", "opt"])
def test_kernels_get_the_boundaries_of_the_rows(name, make_model):
    """Each layer attends within `cu_seq_lens_q`, without a mask, as flash attention does."""

    def attend(module, query, key, value, attention_mask, scaling=None, cu_seq_lens_q=None, **named):
        assert attention_mask is None
        lengths = [query.size(2)] if cu_seq_lens_q is None else cu_seq_lens_q.diff().tolist()
        assert max(lengths) == named.get("max_length_k", query.size(2))
        rows = zip(*(states.split(lengths, dim=2) for states in (query, key, value)), strict=True)
        attended = [sdpa(*row, is_causal=True, scale=scaling, enable_gqa=True) for row in rows]
        return torch.cat(attended, dim=2).transpose(1, 2), None

    sdpa = torch.nn.functional.scaled_dot_product_attention
    AttentionInterface.register("kernels", attend)
    model = make_model(name)
    mask = torch.tensor([[0, 1, 1, 1, 1], [0, 1, 1, 0, 0], [1, 1, 1, 1, 0]])
    batch = torch.randint(3, VOCABULARY, mask.shape), mask, 3
    expected = score_unpadded(model, *batch)
    model.set_attn_implementation("kernels")
    try:
        assert_same(model, score(PackedModel(model), *batch), expected)
        refuse_mixing(model, batch[0])
    finally:
        model.set_attn_implementation("sdpa")


def test_chunks_are_packed_one_by_one(make_model):
    model, calls = make_model("qwen2"), []
    ids, mask = torch.randint(3, VOCABULARY, (5, 6)), torch.ones(5, 6, dtype=torch.long).tril(2)
    handle = model.get_decoder().register_forward_pre_hook(
        lambda _, __, named: calls.append(named["input_ids"].shape), with_kwargs=True
    )
    with handle:
        packed = score(PackedModel(model), ids, mask, 3, batch_size=2)
    assert calls == [(1, 3 + 4), (1, 5 + 6), (1, 6)]
    assert_same(model, packed, score(model, ids, mask, 3))


# Arguments of the model


def test_rows_are_flattened_with_positions_and_boundaries():
    rows = PackedRows.of_mask(torch.tensor([[0, 1, 1, 1], [0, 0, 0, 0], [1, 1, 0, 0]]))
    labels = torch.tensor([[-100, -100, 5, 6], [-100] * 4, [7, 8, -100, -100]])
    assert rows.position_ids.tolist() == [[0, 1, 2, 0, 1]]
    assert rows.pack_labels(labels).tolist() == [[-100, 5, 6, -100, 8]]
    assert rows.boundaries["cu_seq_lens_q"].tolist() == [0, 3, 5]
    assert rows.boundaries["max_length_k"] == 3
    assert rows.unpack(torch.tensor([[1.0, 2.0, 3.0, 4.0]])).tolist() == [[0, 1, 2], [0, 0, 0], [4, 0, 0]]


@pytest.mark.parametrize("mask", [[[0, 0, 0], [0, 0, 0]], [[0, 0, 0], [0, 1, 0]]], ids=["none", "one"])
def test_a_batch_without_labels_still_calls_the_model_and_gives_a_gradient_of_zero(mask, make_model):
    model = make_model("qwen2")
    packed = score(PackedModel(model), torch.full((2, 3), 4), torch.tensor(mask), 2)
    assert packed[0].tolist() == [[0, 0], [0, 0]]
    assert packed[0].requires_grad
    assert not gradients(model, packed, torch.ones(2, 2)).any()


# Refusals


@pytest.mark.parametrize("name", ["mamba", "qwen3_next", "falcon_h1", "lfm2"])
def test_layers_with_a_state_are_refused_by_the_config(name, make_model, tmp_path):
    CONFIGS[name]().save_pretrained(tmp_path)
    for model in (str(tmp_path), make_model(name, "eager")):
        with pytest.raises(ValueError, match=f"those of {name}.* carry a state from one rollout of a packed row"):
            refuse_model(model)


@pytest.mark.parametrize("name", [*PACKED, "gpt_oss", "opt"])
def test_attention_is_not_refused_by_the_config(name, make_model, tmp_path):
    CONFIGS[name]().save_pretrained(tmp_path)
    refuse_model(str(tmp_path))
    refuse_model(make_model(name, "eager"))


def test_a_model_that_cannot_be_read_is_left_to_what_loads_it(tmp_path):
    refuse_model(str(tmp_path / "nothing"))


@pytest.mark.parametrize("name", ["gpt_oss", "afmoe", "opt", "lfm2"])
def test_a_model_that_mixes_rows_is_refused_by_trial(name, make_model):
    with pytest.raises(ValueError, match="would mix the rollouts of a batch"):
        refuse_mixing(make_model(name, "eager"), torch.arange(3, VOCABULARY))


@pytest.mark.parametrize("ids", [range(3, VOCABULARY), [3, 4], [5]], ids=["many", "two", "one"])
@pytest.mark.parametrize("name", PACKED)
def test_a_model_that_keeps_rows_apart_passes_the_trial(name, ids, make_model):
    model = make_model(name)
    model.train()
    model.get_input_embeddings().eval()  # as a user may have set it
    before = torch.get_rng_state()
    refuse_mixing(model, torch.tensor([[*ids], [*ids]]))
    assert torch.equal(torch.get_rng_state(), before)
    assert model.training
    assert not model.get_input_embeddings().training
    model.eval()


def test_adapters_with_virtual_tokens_are_refused():
    refuse_adapter(None)
    refuse_adapter(LoraConfig())
    with pytest.raises(ValueError, match="virtual tokens of PromptTuningConfig"):
        refuse_adapter(PromptTuningConfig(num_virtual_tokens=2, task_type="CAUSAL_LM"))


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ([None, ["prompt", "images"]], "has a column 'images'"),
        ([object(), ["prompt"]], "the processing class is a object"),
    ],
)
def test_images_are_refused(given, message):
    with pytest.raises(ValueError, match=message):
        refuse_images(*given)


# In a trainer


@pytest.mark.parametrize("value", [8, "8"])
def test_padding_that_is_asked_for_is_refused(value, tmp_path):
    settings = {"use_cpu": True, "bf16": False, "padding_free": True}
    PrefixGRPOConfig(str(tmp_path), pad_to_multiple_of="none", **settings)
    with pytest.raises(ValueError, match=r"the padding that `pad_to_multiple_of` \(8\) asks for"):
        PrefixGRPOConfig(str(tmp_path), pad_to_multiple_of=value, **settings)


@pytest.mark.parametrize("hybrids", [0, 1])
def test_a_model_with_a_state_is_refused_before_it_is_loaded(hybrids, make_trainer, tmp_path):
    CONFIGS["mamba"]().save_pretrained(tmp_path / "mamba")
    settings = {"padding_free": True, "num_prefix_generations": hybrids}
    with pytest.raises(ValueError, match="those of mamba"):
        make_trainer(model=str(tmp_path / "mamba"), **settings)
    with pytest.raises(ValueError, match="virtual tokens of PrefixTuningConfig"):
        make_trainer(others={"peft_config": PrefixTuningConfig(task_type="CAUSAL_LM")}, **settings)
    rows = lab.load_dataset("train", 16)
    with pytest.raises(ValueError, match="has a column 'image'"):
        make_trainer(train_dataset=rows.add_column("image", rows["prompt"]), **settings)


def test_flash_attention_is_advised_where_it_can_run_and_as_a_recipe_names_it():
    assert "flash_attention_2" not in warning_of_masks(on_cpu=True)
    assert "Set `padding_free=False`." in warning_of_masks(on_cpu=True)
    assert "Set `attn_implementation: flash_attention_2` in a recipe" in warning_of_masks(on_cpu=False)


LEAN = ("trim_padding", "group_rollouts_by_length", "skip_zero_weight_rollouts")


def train(trainer):
    """Trains; returns the log of each step, the weights, and how many rows the model was given at once for a loss."""
    rows = set()
    hook = trainer.model.register_forward_pre_hook(
        lambda _, __, named: rows.add(len(named["input_ids"])) if "fused_lm_head" in named else None, with_kwargs=True
    )
    with hook:
        trainer.train()
    steps = [entry for entry in trainer.state.log_history if "grad_norm" in entry]
    return steps, list(trainer.model.parameters()), rows


@pytest.mark.parametrize(
    "settings",
    [
        {},
        dict.fromkeys(LEAN, False),
        {"num_prefix_generations": 0, "gradient_accumulation_steps": 2, "num_iterations": 2},
        {"beta": 0.1, "mask_truncated_completions": True, "loss_type": "bnpo", "eval_strategy": "steps"},
        {"gradient_checkpointing": True, "prefix_loss_type": "cross_entropy", "gradient_accumulation_steps": 4},
    ],
    ids=["defaults", "nothing else", "no hybrids", "reference and evaluation", "checkpointing"],
)
def test_training_is_the_same_with_and_without_packing(settings, make_trainer, caplog):
    settings |= {"per_device_train_batch_size": 4, "optim": "sgd", "learning_rate": 0.1, "steps_per_generation": 2}
    settings |= {"others": {"eval_dataset": lab.load_dataset("train", 8)}, "eval_steps": 2}
    padded, packed = (train(make_trainer(padding_free=is_packed, **settings)) for is_packed in (False, True))
    assert warning_of_masks(on_cpu=True) in caplog.text
    torch.testing.assert_close(packed[1], padded[1], rtol=1e-5, atol=1e-6)
    assert packed[2] == {1}
    assert max(padded[2]) > 1
    for found, expected in zip(packed[0], padded[0], strict=True):
        assert found["grad_norm"] == pytest.approx(expected["grad_norm"], rel=1e-4)
        assert found.get("compute/padding", 0) == 0


def test_a_model_that_mixes_rows_is_refused_before_a_step(make_trainer, base_model):
    model = MODEL_FOR_CAUSAL_LM_MAPPING[OPTConfig]._from_config(CONFIGS["opt"]())
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.2)
    before = [parameter.clone() for parameter in model.parameters()]
    tokenizer = AutoTokenizer.from_pretrained(base_model)
    trainer = make_trainer(model=model, padding_free=True, others={"processing_class": tokenizer})
    with pytest.raises(ValueError, match="would mix the rollouts of a batch"):
        trainer.train()
    torch.testing.assert_close(list(model.parameters()), before, rtol=0, atol=0)


def test_benchmark_of_packing_prints_a_ratio(capsys):
    script = runpy.run_path(str(Path(__file__).parents[2] / "benchmarks" / "packing.py"))
    script["main"](["--rows", "2", "--rounds", "1"])
    rows, ragged, equal = map(float, capsys.readouterr().out.splitlines()[-1].strip("|").split("|"))
    assert rows == 2
    assert 0 < ragged < 10
    assert 0 < equal < 10
