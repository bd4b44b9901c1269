"""Pre-train a base model of the lab from a seed: `python -m prefix_rft_trl.lab.pretrain --output_dir DIR`.

Two stages, on problems of 2 operands up to the number of the level. In the first the model learns both bare answers
and worked solutions. In the second it sees almost only bare answers, until it works step by step about once in a
thousand answers: the skill is there, but exploration hardly ever meets it. On the level `hard` the first stage is cut
short, so that the model calculates badly. On `hard_third` and `hard_half` it is complete, and the second keeps a share
of worked solutions, so that the model is right about one time in three and in two. On `agent` it calls tools well,
and in the second stage hardly ever chooses to (`agent/conversations.py`).
"""

import argparse
import random
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

import torch
from tqdm.auto import tqdm
from transformers import GenerationConfig, PreTrainedTokenizerFast, Qwen2Config, Qwen2ForCausalLM

from .agent import products
from .agent.chat import chat_tokenizer
from .agent.conversations import sample_conversations
from .characters import character_tokenizer
from .task import LEVELS, answer, sample_prompt, worked_solution


ALPHABET = "0123456789+-*=;#"


@dataclass(frozen=True)
class PretrainingStage:
    """Settings of one stage.

    Attributes:
        worked_share (`float`): share of the examples that are worked solutions; on the level `agent` share of the
            conversations with calls that also train the choice to call.
    """

    steps: int
    learning_rate: float
    worked_share: float
    batch_size: int = 96


COMPLETE = PretrainingStage(steps=700, learning_rate=2e-3, worked_share=0.5)
BARE_ANSWERS = PretrainingStage(steps=200, learning_rate=3e-4, worked_share=0.0002)
STAGES = {
    "easy": (COMPLETE, BARE_ANSWERS),
    "hard": (replace(COMPLETE, steps=450), BARE_ANSWERS),
    "hard_third": (COMPLETE, replace(BARE_ANSWERS, worked_share=0.18)),
    "hard_half": (COMPLETE, replace(BARE_ANSWERS, worked_share=0.42)),
    products.LEVEL: (
        PretrainingStage(steps=400, learning_rate=2e-3, worked_share=1.0, batch_size=48),
        PretrainingStage(steps=240, learning_rate=1e-3, worked_share=0.0003, batch_size=48),
    ),
}


def untrained_model(tokenizer: PreTrainedTokenizerFast) -> Qwen2ForCausalLM:
    config = Qwen2Config(
        vocab_size=len(tokenizer),
        hidden_size=128,
        intermediate_size=256,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=4,
        max_position_embeddings=128,
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    model = Qwen2ForCausalLM(config)
    model.generation_config = GenerationConfig(
        eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id
    )
    return model


def sample_batch(
    rng: random.Random, tokenizer: PreTrainedTokenizerFast, worked_share: float, number: int, most_operands: int
) -> dict[str, torch.Tensor]:
    """A batch of problems with their solutions; labels of the prompt are masked."""
    prompts = [sample_prompt(rng, rng.randint(2, most_operands)) for _ in range(number)]
    solutions = [
        worked_solution(prompt) if rng.random() < worked_share else "#" + answer(prompt) for prompt in prompts
    ]
    texts = [prompt + solution + tokenizer.eos_token for prompt, solution in zip(prompts, solutions, strict=True)]
    batch = tokenizer(texts, return_tensors="pt", padding=True, padding_side="right")
    positions = torch.arange(batch["input_ids"].size(1))
    in_prompt = positions < torch.tensor([len(prompt) for prompt in prompts]).unsqueeze(1)
    labels = batch["input_ids"].masked_fill(in_prompt | (batch["attention_mask"] == 0), -100)
    return {"input_ids": batch["input_ids"], "attention_mask": batch["attention_mask"], "labels": labels}


def pretrain(seed: int = 0, level: str = "easy") -> tuple[Qwen2ForCausalLM, PreTrainedTokenizerFast]:
    """Train a level's base model from scratch, in about two minutes on one core."""
    torch.manual_seed(seed)
    rng = random.Random(seed)
    draw: Callable[..., dict[str, torch.Tensor]]
    if level == products.LEVEL:
        tokenizer, draw = chat_tokenizer(), sample_conversations
    else:
        tokenizer, draw = character_tokenizer(ALPHABET), partial(sample_batch, most_operands=LEVELS[level].operands)
    model = untrained_model(tokenizer)
    for number, stage in enumerate(STAGES[level], 1):
        optimizer = torch.optim.AdamW(model.parameters(), lr=stage.learning_rate, weight_decay=0.01)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, stage.learning_rate, total_steps=stage.steps)
        progress = tqdm(range(stage.steps), desc=f"stage {number} of {len(STAGES[level])}")
        for _ in progress:
            loss = model(**draw(rng, tokenizer, stage.worked_share, stage.batch_size)).loss
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            schedule.step()
            optimizer.zero_grad()
            progress.set_postfix(loss=f"{loss.item():.3f}", refresh=False)
    return model.eval(), tokenizer


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output_dir", required=True, help="folder of the model and its tokenizer")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--level", choices=STAGES, default="easy")
    arguments = parser.parse_args(argv)
    model, tokenizer = pretrain(arguments.seed, arguments.level)
    model.save_pretrained(arguments.output_dir)
    tokenizer.save_pretrained(arguments.output_dir)
    print(f"The lab's base model is in {arguments.output_dir}.")


if __name__ == "__main__":
    main()
