"""Real trainers on tiny models: a run of two steps takes a few tenths of a second."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
import trl
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast, Qwen2Config, Qwen2ForCausalLM
from trl import GRPOTrainer

from prefix_rft_trl import PrefixGRPOConfig, PrefixGRPOTrainer, lab


SMALL = {
    "use_cpu": True,
    "bf16": False,
    "gradient_checkpointing": False,
    "report_to": "none",
    "save_strategy": "no",
    "logging_steps": 1,
    "disable_tqdm": True,
    "max_completion_length": 40,
    "per_device_train_batch_size": 8,
    "num_generations": 4,
    "max_steps": 2,
    "learning_rate": 1e-3,
}


def text_of(completion: str | list[dict[str, Any]]) -> str:
    return completion if isinstance(completion, str) else completion[0]["content"]


def graded_reward(completions: list[Any], **kwargs: Any) -> list[float]:
    """A reward that hardly ever is the same for all rollouts of a group, unlike that of the lab's task."""
    return [sum(map(ord, text_of(completion))) % 11 / 10 for completion in completions]


@pytest.fixture
def make_trainer(base_model: str, tmp_path: Path) -> Callable[..., GRPOTrainer]:
    """Makes a trainer with `others` as its further arguments; what is not named here is a setting of its config."""

    def make(
        trainer_class: type[GRPOTrainer] = PrefixGRPOTrainer,
        config_class: type = PrefixGRPOConfig,
        *,
        model: Any = base_model,
        reward_funcs: Any = graded_reward,
        train_dataset: Any = None,
        others: dict[str, Any] | None = None,
        **settings: Any,
    ) -> GRPOTrainer:
        return trainer_class(
            model,
            reward_funcs,
            config_class(str(tmp_path), **{**SMALL, **settings}),
            lab.load_dataset("train", 16) if train_dataset is None else train_dataset,
            **(others or {}),
        )

    return make


def score_tokens(
    model: Any, input_ids: torch.Tensor, attention_mask: torch.Tensor, tokens: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """Log-probabilities and entropies of the last tokens, from the logits of a model."""
    logits = model(input_ids=input_ids, attention_mask=attention_mask).logits[:, -tokens - 1 : -1]
    log_softmax = logits.log_softmax(-1)
    logps = log_softmax.gather(-1, input_ids[:, -tokens:].unsqueeze(-1)).squeeze(-1)
    return logps, -(log_softmax.exp() * log_softmax).sum(-1)


@pytest.fixture
def completion_scores() -> Callable[..., tuple[torch.Tensor, torch.Tensor]]:
    """Log-probabilities and entropies of the completions of a batch."""

    def score(model: Any, inputs: dict[str, Any]) -> tuple[torch.Tensor, torch.Tensor]:
        ids = torch.cat([inputs["prompt_ids"], inputs["completion_ids"]], dim=1)
        mask = torch.cat([inputs["prompt_mask"], inputs["completion_mask"]], dim=1)
        return score_tokens(model, ids, mask, inputs["completion_ids"].size(1))

    return score


@pytest.fixture
def make_double_trainer(make_trainer: Callable[..., GRPOTrainer], monkeypatch: pytest.MonkeyPatch) -> Callable:
    """As `make_trainer`, in float64: TRL's kernel, which computes in float32, is replaced by the logits themselves."""

    def forward(trainer: GRPOTrainer, model: Any, ids: Any, mask: Any, tokens: int, *others: Any, **named: Any) -> Any:
        return *score_tokens(model, ids, mask, tokens), None

    def make(*args: Any, **settings: Any) -> GRPOTrainer:
        monkeypatch.setattr(GRPOTrainer, "_get_per_token_logps_and_entropies", forward)
        trainer = make_trainer(*args, **settings)
        trainer.model.double()
        return trainer

    return make


@pytest.fixture
def assert_loss_and_gradient() -> Callable[..., None]:
    """Compares a trainer's loss with one that the test wrote: its gradient, and its value, to 1e-6 in float64.

    The value is compared with that of `expected`, or with `value` where the trainer reports another number of the
    same gradient.
    """

    def compare(
        trainer: GRPOTrainer, inputs: dict[str, Any], expected: torch.Tensor, value: torch.Tensor | None = None
    ) -> None:
        model = trainer.model
        model.zero_grad()
        expected.backward()
        gradients = {name: weight.grad.clone() for name, weight in model.named_parameters()}
        model.zero_grad()
        found = trainer.compute_loss(model, inputs)
        found.backward()
        assert found.dtype == torch.float64
        assert found.item() == pytest.approx((expected if value is None else value).item(), rel=1e-6, abs=1e-9)
        for name, weight in model.named_parameters():
            largest = gradients[name].abs().max().item()
            assert largest > 0
            torch.testing.assert_close(
                weight.grad, gradients[name], rtol=1e-6, atol=1e-6 * largest, msg=lambda m, n=name: f"{n}: {m}"
            )

    return compare


@dataclass
class Generation:
    """A generation batch in the order of its plan, before TRL shuffles it."""

    inputs: list[dict[str, Any]]
    outputs: dict[str, Any]

    @property
    def prefix_lengths(self) -> list[int]:
        return self.outputs["prefix_lengths"].tolist()

    @property
    def completion_ids(self) -> list[list[int]]:
        masks = self.outputs["completion_mask"].bool()
        return [ids[mask].tolist() for ids, mask in zip(self.outputs["completion_ids"], masks, strict=True)]


@pytest.fixture
def record() -> Callable[[GRPOTrainer], list[Generation]]:
    """Keeps every generation batch of a trainer from now on."""

    def record_generations(trainer: GRPOTrainer) -> list[Generation]:
        generations: list[Generation] = []
        generate = trainer._generate_and_score_completions

        def generate_and_keep(inputs: list[dict[str, Any]]) -> dict[str, Any]:
            outputs = generate(inputs)
            generations.append(Generation(inputs, dict(outputs)))
            return outputs

        trainer._generate_and_score_completions = generate_and_keep
        return generations

    return record_generations


class ServerSampler:
    """Stands in for a vLLM server: of each group it takes the first prompt and samples the whole group from it.

    A completion is the prompt's last token once more and the end, so that it tells which prompt it came from.
    """

    mode, tensor_parallel_size = "colocate", 1
    max_completion_length = 0  # what it samples is shorter than any budget

    def __init__(self, eos_token_id: int, logp: float):
        self.eos_token_id, self.logp = eos_token_id, logp
        self.asked: list[tuple[list[list[int]], int]] = []

    def sync_weights(self) -> None:
        pass

    def generate(self, prompts: list[list[int]], images: Any, num_generations: int, profiler: Any) -> tuple:
        self.asked.append((prompts, num_generations))
        first_of_group = [prompt for prompt in prompts[::num_generations] for _ in range(num_generations)]
        completions = [[prompt[-1], self.eos_token_id] for prompt in first_of_group]
        return None, completions, [[[self.logp]] * 2 for _ in completions], None


@pytest.fixture
def serve() -> Callable[..., ServerSampler]:
    """Lets a trainer sample from a vLLM server."""

    def use_server(trainer: GRPOTrainer, logp: float = -1.0) -> ServerSampler:
        sampler = ServerSampler(trainer.eos_token_ids[0], logp)
        trainer.use_vllm, trainer.vllm_generation, trainer._last_loaded_step = True, sampler, -1
        return sampler

    return use_server


@pytest.fixture(scope="session")
def chat_model(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Folder of an untrained model with a byte-level tokenizer and the chat template of Qwen2.5."""
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    special = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    rows = lab.load_dataset("train", 64)
    bpe.train_from_iterator(
        [*rows["prompt"], *rows["completion"], "user assistant system You are a helpful assistant."],
        trainers.BpeTrainer(vocab_size=400, special_tokens=special, initial_alphabet=alphabet, show_progress=False),
    )
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=bpe, pad_token=special[0], eos_token=special[2], padding_side="left"
    )
    tokenizer.chat_template = (Path(trl.__file__).parent / "chat_templates" / "qwen2_5.jinja").read_text()
    torch.manual_seed(0)
    model = Qwen2ForCausalLM(
        Qwen2Config(
            vocab_size=len(tokenizer),
            hidden_size=32,
            intermediate_size=64,
            num_hidden_layers=2,
            num_attention_heads=2,
            num_key_value_heads=2,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
            bos_token_id=None,
        )
    )
    folder = str(tmp_path_factory.mktemp("chat_model"))
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder
