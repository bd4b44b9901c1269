"""Real trainers on tiny models, what they did, and stand-ins for what they need."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
import trl
from datasets import Dataset
from trl import GRPOTrainer

from prefix_rft_trl import lab


# Rows


@pytest.fixture(scope="session")
def lab_rows() -> Callable[..., Dataset]:
    """Rows of the lab; a column is replaced by a list, or by what a function makes of each of its values."""

    def make(number: int = 16, **columns: Any) -> Dataset:
        rows = lab.load_dataset("train", number).to_dict()
        replaced = {
            name: list(map(column, rows[name])) if callable(column) else column for name, column in columns.items()
        }
        return Dataset.from_dict({**rows, **replaced})

    return make


@pytest.fixture(scope="session")
def as_message() -> Callable[[str], Callable[[str], list[dict[str, str]]]]:
    """From a role to what makes a conversation of one message from a text."""
    return lambda role: lambda text: [{"role": role, "content": text}]


@pytest.fixture(scope="session")
def chat_model(byte_tokenizer: Callable[..., Any], save_tiny_model: Callable[..., Path]) -> str:
    """Folder of an untrained model with a byte-level tokenizer and the chat template of Qwen2.5."""
    special = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
    rows = lab.load_dataset("train", 64)
    texts = [*rows["prompt"], *rows["completion"], "user assistant system You are a helpful assistant."]
    tokenizer = byte_tokenizer(texts, special, pad_token=special[0], eos_token=special[2])
    tokenizer.chat_template = (Path(trl.__file__).parent / "chat_templates" / "qwen2_5.jinja").read_text()
    return str(save_tiny_model(tokenizer, "chat_model"))


# Runs


@dataclass
class Run:
    """A finished run: its trainer, and its generation batches before TRL shuffled them."""

    trainer: GRPOTrainer
    generations: list[Any]

    @property
    def generation(self) -> Any:
        """The only generation batch."""
        (generation,) = self.generations
        return generation

    def logged(self, name: str) -> list[float | None]:
        """What each step logged under a name, if it did: what sampling shows is logged when a step samples."""
        return [entry[name] for entry in self.trainer.state.log_history if "loss" in entry and name in entry]

    def ids(self, texts: list[str]) -> list[list[int]]:
        return [self.trainer._tokenizer(text)["input_ids"] for text in texts]

    def input_ids(self, column: str, generation: Any = None) -> list[list[int]]:
        """The ids of the prompts or demonstrations of a generation batch, by default of the only one."""
        return self.ids([row[column] for row in (generation or self.generation).inputs])


@pytest.fixture
def train(make_trainer: Callable[..., GRPOTrainer], record: Callable[..., list[Any]]) -> Callable[..., Run]:
    """Trains a trainer, or one that `make_trainer` makes of the settings, and says what it did."""

    def run(*args: Any, trainer: GRPOTrainer | None = None, resume_from: Path | None = None, **settings: Any) -> Run:
        trainer = trainer or make_trainer(*args, **settings)
        generations = record(trainer)
        trainer.train(resume_from_checkpoint=resume_from and str(resume_from))
        return Run(trainer, generations)

    return run


@pytest.fixture
def train_and_resume(train: Callable[..., Run], tmp_path: Path) -> Callable[..., tuple[Run, Run]]:
    """Trains four steps, then again from the checkpoint of the second; both runs have to end alike."""

    def run(**settings: Any) -> tuple[Run, Run]:
        settings = {"max_steps": 4, "save_strategy": "steps", "save_steps": 2, **settings}
        unbroken, resumed = train(**settings), train(**settings, resume_from=tmp_path / "checkpoint-2")
        assert resumed.logged("loss") == pytest.approx(unbroken.logged("loss"))
        after = dict(resumed.trainer.model.named_parameters())
        for name, weight in unbroken.trainer.model.named_parameters():
            torch.testing.assert_close(after[name], weight, msg=lambda m, n=name: f"{n}: {m}")
        return unbroken, resumed

    return run


@pytest.fixture(scope="session")
def unchanged_weights() -> Callable[[GRPOTrainer, Callable[[], Any]], list[str]]:
    """Names of the trained weights that a call (a run, mostly) leaves as they were."""

    def compare(trainer: GRPOTrainer, call: Callable[[], Any]) -> list[str]:
        trained = {name: weight for name, weight in trainer.model.named_parameters() if weight.requires_grad}
        before = {name: weight.detach().clone() for name, weight in trained.items()}
        assert before
        call()
        return [name for name, weight in trained.items() if torch.equal(weight, before[name])]

    return compare


# The loss, computed again


def score_tokens(
    model: Any, input_ids: torch.Tensor, attention_mask: torch.Tensor, tokens: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """Log-probabilities and entropies of the last tokens, from the logits of a model."""
    logits = model(input_ids=input_ids, attention_mask=attention_mask).logits[:, -tokens - 1 : -1]
    log_softmax = logits.log_softmax(-1)
    logps = log_softmax.gather(-1, input_ids[:, -tokens:].unsqueeze(-1)).squeeze(-1)
    return logps, -(log_softmax.exp() * log_softmax).sum(-1)


@pytest.fixture(scope="session")
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


@pytest.fixture(scope="session")
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


@pytest.fixture(scope="session")
def assert_prefixes_begin() -> Callable[[Run], None]:
    """Asserts that each hybrid row of a run begins with a demonstration of its prompt, and that there are some."""

    def demonstrations(column: Any) -> list[str]:
        if isinstance(column, str):
            return [column]
        return [
            text for each in column for text in demonstrations(each["content"] if isinstance(each, dict) else each)
        ]

    def check(run: Run) -> None:
        decode, rows = run.trainer._tokenizer.decode, 0
        for generation in run.generations:
            for row, length in enumerate(generation.prefix_lengths):
                text = decode(generation.outputs["completion_ids"][row, :length], skip_special_tokens=True)
                found = demonstrations(generation.inputs[row][run.trainer.args.demonstration_column])
                assert any(demonstration.startswith(text) for demonstration in found), (row, text, found)
                rows += bool(text)
        assert rows > 0

    return check


@pytest.fixture(scope="session")
def assert_loss_is_trls() -> Callable[[GRPOTrainer], None]:
    """Asserts that the loss of a trainer on its last batch, and its gradient, are those of TRL on the same batch.

    TRL's gets an advantage of 0, and no gradient, for the prefix tokens that the settings do not select, and what it
    decides by the tokens of a row or a batch is of sampled tokens.
    """

    def select(args: Any, inputs: dict[str, Any], entropies: torch.Tensor, prefix: torch.Tensor) -> torch.Tensor:
        scores = inputs["prefix_noise"] if args.prefix_selection == "random" else entropies.detach().float()
        scores = -scores if args.prefix_selection == "bottom_entropy" else scores
        selected = torch.zeros_like(prefix)
        rows = range(len(prefix)) if args.prefix_selection != "none" else ()
        parts = [[row] for row in rows] if args.prefix_selection == "top_entropy_per_rollout" else [list(rows)]
        for part in parts:
            tokens = [(row, place) for row in part for place in prefix[row].nonzero().flatten().tolist()]
            # Of equal ones the first in their rollouts, then those of the first rollout
            tokens.sort(key=lambda at: (-scores[at].item(), at[1], inputs["rollout_index"][at[0]].item()))
            below = (1 - args.prefix_token_rule.quantile) * (len(tokens) - 1)
            for token in tokens[: len(tokens) - math.ceil(below - 1e-6)]:
                selected[token] = True
        return selected & prefix

    def masks_of_sampled(prefix: torch.Tensor) -> dict[str, Callable[..., torch.Tensor]]:
        """What TRL weighs tokens by, counted over the tokens that were sampled; 1 for those of prefixes."""

        def high_entropy(entropies: torch.Tensor, mask: torch.Tensor, threshold: float) -> torch.Tensor:
            counted = mask.bool() & ~prefix
            lowest = torch.quantile(entropies[counted].float(), threshold) if counted.any() else 0.0
            return prefix | (counted & (entropies >= lowest))

        def off_policy(advantages, per_token_logps, sampling_per_token_logps, mask, off_policy_threshold):
            kept, moved = torch.ones_like(per_token_logps), (sampling_per_token_logps - per_token_logps).detach()
            for row, counted in enumerate(mask.bool() & ~prefix):
                is_far = counted.any() and moved[row][counted].mean() > off_policy_threshold
                kept[row][counted & is_far & (advantages[row] < 0)] = 0.0
            return kept

        def gamma(mask: torch.Tensor, **named: Any) -> torch.Tensor:
            return GRPOTrainer.get_gamma_weights(mask=mask * ~prefix, **named).masked_fill(prefix, 1.0)

        return {"get_high_entropy_mask": high_entropy, "get_off_policy_mask": off_policy, "get_gamma_weights": gamma}

    def loss_of_trl(trainer: GRPOTrainer, inputs: dict[str, Any], forward: Callable[..., Any]) -> torch.Tensor:
        positions = torch.arange(inputs["completion_ids"].size(1), device=inputs["completion_ids"].device)
        prefix = (positions < inputs["prefix_lengths"].unsqueeze(1)) & inputs["completion_mask"].bool()
        given = {name: value for name, value in inputs.items() if "prefix" not in name}

        def forward_and_detach(*args: Any, **named: Any) -> tuple:
            logps, entropies, aux_loss = forward(*args, **named)
            trained = select(trainer.args, inputs, entropies, prefix) | ~prefix
            advantages = torch.where(prefix, *(inputs[f"{of}advantages"].unsqueeze(1) for of in ("prefix_", "")))
            given["advantages"] = advantages * trained
            return *(torch.where(trained, value, value.detach()) for value in (logps, entropies)), aux_loss

        of_sampled = masks_of_sampled(prefix) | {"_get_per_token_logps_and_entropies": forward_and_detach}
        vars(trainer).update(of_sampled)
        try:
            return GRPOTrainer._compute_loss(trainer, trainer.model_wrapped, given)
        finally:
            for name in of_sampled:
                delattr(trainer, name)

    def check(trainer: GRPOTrainer) -> None:
        planned = next(batch for batch in trainer._buffered_inputs if batch["prefix_mask"].any())
        # In the same passes, so that they are rounded alike; tests/passes has what others give
        inputs = {name: value for name, value in planned.items() if not name.startswith(("pass_", "trained_"))}
        state, found = (trainer.entropy_coef, trainer._last_world_entropy), []
        for compute in (
            lambda: trainer.compute_loss(trainer.model_wrapped, dict(inputs)),
            lambda: loss_of_trl(trainer, inputs, trainer._get_per_token_logps_and_entropies),
        ):
            torch.manual_seed(0)  # of noise that some settings add
            trainer.entropy_coef, trainer._last_world_entropy = state
            trainer.model.zero_grad()
            with trainer.compute_loss_context_manager():
                loss = compute()
            loss.backward()
            gradients = {name: weight.grad for name, weight in trainer.model.named_parameters()}
            found.append((loss.item(), {name: grad.clone() for name, grad in gradients.items() if grad is not None}))
        (ours, our_gradients), (trls, gradients) = found
        assert ours == pytest.approx(trls, rel=1e-5, abs=1e-8)
        assert our_gradients.keys() == gradients.keys()
        assert any(gradient.any() for gradient in gradients.values())
        for name, gradient in gradients.items():
            torch.testing.assert_close(
                our_gradients[name], gradient, rtol=1e-4, atol=1e-7, msg=lambda m, n=name: f"{n}: {m}"
            )

    return check


# Sampling


class ServerSampler:
    """Stands in for a vLLM server: of each group it takes the first prompt and samples the whole group from it.

    A completion is the prompt's last token once more and the end, so that it tells which prompt it came from.
    """

    mode, tensor_parallel_size = "colocate", 1
    max_completion_length = 0  # what it samples is shorter than any budget

    def __init__(self, eos_token_id: int, logp: float):
        self.eos_token_id, self.logp = eos_token_id, logp
        self.requests: list[tuple[list[list[int]], int]] = []

    def sync_weights(self) -> None:
        pass

    def generate(self, prompts: list[list[int]], images: Any, num_generations: int, profiler: Any) -> tuple:
        self.requests.append((prompts, num_generations))
        first_of_group = [prompt for prompt in prompts[::num_generations] for _ in range(num_generations)]
        completions = [[prompt[-1], self.eos_token_id] for prompt in first_of_group]
        return None, completions, [[[self.logp]] * 2 for _ in completions], None


@pytest.fixture(scope="session")
def serve() -> Callable[..., ServerSampler]:
    """Lets a trainer sample from a vLLM server."""

    def use_server(trainer: GRPOTrainer, logp: float = -1.0) -> ServerSampler:
        sampler = ServerSampler(trainer.eos_token_ids[0], logp)
        trainer.use_vllm, trainer.vllm_generation, trainer._last_loaded_step = True, sampler, -1
        return sampler

    return use_server
