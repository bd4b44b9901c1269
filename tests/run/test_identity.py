"""A checkpoint of another run is refused with what differs, before anything of it is loaded."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from datasets import Dataset
from peft import LoraConfig
from transformers import AutoModelForCausalLM, Qwen2Config, Qwen2ForCausalLM, Trainer

from prefix_rft_trl import lab
from prefix_rft_trl.cli.main import main
from prefix_rft_trl.run.folder import FILES
from prefix_rft_trl.run.identity import IDENTITY, describe_rows, describe_values, identify_run
from prefix_rft_trl.sft import CountingSFTTrainer, DemonstrationSFTConfig


LAB = Path(__file__).parents[2] / "recipes" / "lab"


def lora(**settings) -> dict:
    config = LoraConfig(**{"r": 4, "target_modules": ["q_proj", "v_proj"], "task_type": "CAUSAL_LM", **settings})
    return {"others": {"peft_config": config}}


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory, make_trainer):
    """Checkpoints of a full model and of an adapter, after one step."""
    folder = tmp_path_factory.mktemp("checkpoints")
    make_trainer(folder / "full", max_steps=1).train()
    make_trainer(folder / "lora", max_steps=1, **lora()).train()
    return {name: folder / name / "checkpoint-1" for name in ("full", "lora")}


@pytest.fixture(autouse=True)
def load_nothing(monkeypatch):
    """Fails a test that loads a checkpoint."""

    def load(*args, **kwargs):
        raise AssertionError("a checkpoint was loaded")

    monkeypatch.setattr(Trainer, "_load_from_checkpoint", load)


def smaller(base_model: str, **settings) -> Qwen2ForCausalLM:
    """An untrained model for the tokenizer of the lab's."""
    vocabulary = AutoModelForCausalLM.from_pretrained(base_model).config.vocab_size
    sizes = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 1, "num_attention_heads": 2}
    return Qwen2ForCausalLM(Qwen2Config(**{"vocab_size": vocabulary, "num_key_value_heads": 2, **sizes, **settings}))


def other_weights(base_model: str) -> torch.nn.Module:
    model = AutoModelForCausalLM.from_pretrained(base_model)
    model.get_output_embeddings().weight.data.add_(1)
    model._name_or_path = base_model
    return model


@pytest.fixture
def others(base_model, tmp_path):
    """Settings of trainers of other runs, by name: what the checkpoint is of, and what is said."""
    rows = lab.load_dataset("train", 16)
    small = tmp_path / "small"
    smaller(base_model).save_pretrained(small)
    for file in Path(base_model).glob("*token*"):
        shutil.copy(file, small)
    changed = tmp_path / "changed"
    shutil.copytree(base_model, changed)
    other_weights(base_model).save_pretrained(changed)
    return {
        "optimizer": ("full", {"optim": "adafactor"}, "the optimizer was adamw_torch, here it is adafactor"),
        "fewer rows": ("full", {"train_dataset": rows.take(12)}, "the dataset was 16 rows of"),
        "another order": ("full", {"train_dataset": rows.select(range(15, -1, -1))}, "(hash of some"),
        "another column": ("full", {"train_dataset": rows.add_column("source", ["a"] * 16)}, "here it is 16 rows of"),
        "adapter": ("full", lora(), "the adapter was none, here it is LORA, r 4"),
        "no adapter": ("lora", {}, "the adapter was LORA, r 4"),
        "rank": ("lora", lora(r=8), "here it is LORA, r 8"),
        "alpha": ("lora", lora(lora_alpha=64), "lora_alpha 64"),
        "modules": ("lora", lora(target_modules=["q_proj"]), "target_modules q_proj, v_proj, here it is"),
        "base": ("lora", {"model": str(changed), **lora()}, "the base of the adapter was a model with other weights"),
        "model": (
            "full",
            {"model": str(small)},
            "the number of layers was 2, here it is 1; the size of the",
        ),
    }


SHOWN_BY_FILES = ["adapter", "no adapter", "rank", "alpha", "modules", "model"]
SHOWN_BY_IDENTITY = ["optimizer", "fewer rows", "another order", "another column", "base", *SHOWN_BY_FILES]


@pytest.mark.parametrize(
    ("other", "is_old"),
    [*((other, False) for other in SHOWN_BY_IDENTITY), *((other, True) for other in SHOWN_BY_FILES)],
)
def test_checkpoint_of_another_run_is_refused(checkpoints, others, make_trainer, tmp_path, other, is_old):
    made_by, settings, said = others[other]
    checkpoint = shutil.copytree(checkpoints[made_by], tmp_path / "checkpoint-1")
    if is_old:
        (checkpoint / IDENTITY).unlink()
        (checkpoint / FILES).unlink()
        said = said.partition(";")[0]
    trainer = make_trainer(tmp_path, **settings)
    with pytest.raises(ValueError, match="is of another run") as refusal:
        trainer.train(str(checkpoint))
    assert str(refusal.value).startswith(f"Cannot resume from {checkpoint}: it is of another run: the ")
    assert said in str(refusal.value)
    assert "Resume it as it was started, or start a new run" in str(refusal.value)


def test_old_checkpoint_of_other_shapes_alone_is_refused(checkpoints, base_model, make_trainer, tmp_path):
    checkpoint = shutil.copytree(checkpoints["full"], tmp_path / "checkpoint-1")
    (checkpoint / IDENTITY).unlink()
    (checkpoint / FILES).unlink()
    (checkpoint / "config.json").unlink()
    folder = tmp_path / "small"
    smaller(base_model).save_pretrained(folder)
    for file in Path(base_model).glob("*token*"):
        shutil.copy(file, folder)
    with pytest.raises(ValueError, match=r"the shape of model\.\S+ was \[.*\], here it is \[.*\]\. Resume"):
        make_trainer(tmp_path, model=str(folder)).train(str(checkpoint))


def test_old_checkpoint_that_is_damaged_gets_a_sentence(checkpoints, make_trainer, tmp_path):
    checkpoint = shutil.copytree(checkpoints["full"], tmp_path / "checkpoint-1")
    (checkpoint / FILES).unlink()
    (checkpoint / "model.safetensors").write_bytes(b"version https://git-lfs.github.com/spec/v1")
    with pytest.raises(ValueError, match=r"its file model\.safetensors cannot be read: .*header"):
        make_trainer(tmp_path).train(str(checkpoint))


def test_sft_does_not_resume_from_a_run_of_grpo(checkpoints, tmp_path):
    rows = lab.load_dataset("train", 16).select_columns(["prompt", "completion"])
    args = DemonstrationSFTConfig(str(tmp_path), use_cpu=True, bf16=False, report_to="none", max_steps=2)
    trainer = CountingSFTTrainer(lab.base_model_path(), args, train_dataset=rows)
    with pytest.raises(ValueError, match="the trainer was GRPOTrainer, here it is SFTTrainer"):
        trainer.train(str(checkpoints["full"]))


ALLOWED = [
    {"learning_rate": 1e-5, "lr_scheduler_type": "cosine", "warmup_steps": 3},
    {"max_steps": 9},
    {"per_device_train_batch_size": 4, "gradient_accumulation_steps": 2},
    {"num_generations": 8, "temperature": 0.8, "prefix_advantage": "on_policy"},
    {"num_prefix_generations": 0},
    {"optim": "adamw_torch"},
    {"seed": 7, "output_dir": "elsewhere"},
]


@pytest.mark.parametrize("settings", ALLOWED, ids=str)
def test_settings_may_change(checkpoints, make_trainer, tmp_path, settings):
    make_trainer(tmp_path, **settings).refuse_other_run(str(checkpoints["full"]))


def test_subclass_is_the_same_run(checkpoints, make_trainer, tmp_path):
    from prefix_rft_trl import PrefixGRPOTrainer

    class Mine(PrefixGRPOTrainer):
        pass

    make_trainer(tmp_path, Mine).refuse_other_run(str(checkpoints["full"]))


@pytest.mark.parametrize("content", ["[]", "{}", "7", '{"dataset": null, "other": "x"}', "{"])
def test_identity_that_says_nothing_refuses_nothing(checkpoints, make_trainer, tmp_path, content):
    checkpoint = shutil.copytree(checkpoints["full"], tmp_path / "checkpoint-1")
    (checkpoint / IDENTITY).write_text(content)
    make_trainer(tmp_path).refuse_other_run(str(checkpoint))


def test_model_alone_may_get_another_optimizer(checkpoints, make_trainer, tmp_path):
    checkpoint = shutil.copytree(checkpoints["full"], tmp_path / "checkpoint-1")
    (checkpoint / "optimizer.pt").unlink()
    make_trainer(tmp_path, optim="adafactor").refuse_other_run(str(checkpoint))


def test_adapter_resumes_on_its_base_in_another_precision(checkpoints, base_model, make_trainer, tmp_path):
    settings = {"model_init_kwargs": {"dtype": "bfloat16"}}
    make_trainer(tmp_path, **lora(), **settings).refuse_other_run(str(checkpoints["lora"]))


def test_command_refuses_it_without_a_traceback(checkpoints, tmp_path, capfd):
    line = ["train", "--config", str(LAB / "prefix_rft.yaml"), "--output_dir", str(tmp_path / "run")]
    assert main([*line, "--resume_from_checkpoint", str(checkpoints["full"])]) == 2
    said = capfd.readouterr().err
    assert f"prefix-rft train: Cannot resume from {checkpoints['full']}: it is of another run: the dataset was" in said
    assert "Traceback" not in said
    assert not (tmp_path / "run" / "run_settings.json").exists()


def test_identity_of_a_model_that_trains_is_the_one_before(make_trainer, tmp_path):
    trainer = make_trainer(tmp_path, max_steps=1)
    before = dict(trainer.run_identity)
    trainer.train()
    assert (
        json.loads((tmp_path / "checkpoint-1" / IDENTITY).read_text())
        == before
        == identify_run(trainer) | {"optimizer": "adamw_torch"}
    )


def test_rows_are_described_by_their_content():
    rows = {"text": [f"row {row}" for row in range(1000)], "when": [None] * 1000}
    described = describe_rows(Dataset.from_dict(rows))
    assert described.startswith("1,000 rows of text, when (hash of some ")
    assert describe_rows(Dataset.from_dict(rows).shuffle(seed=1)) != described
    assert describe_rows(Dataset.from_dict({**rows, "text": ["other", *rows["text"][1:]]})) != described
    assert describe_rows(Dataset.from_dict({**rows, "text": [*rows["text"][:-1], "other"]})) != described
    assert describe_rows(Dataset.from_dict(rows).with_format("numpy")) == described
    assert describe_rows(Dataset.from_dict(rows).to_iterable_dataset()) is None
    assert describe_rows(Dataset.from_dict({"text": []})).startswith("0 rows of text")
    assert describe_rows(None) is None


def test_weights_that_a_process_lacks_are_not_described():
    assert describe_values([torch.empty(3, device="meta")]) is None
