"""Rows that do not go on from what an engine was given end the run, and so do settings that would make them."""

import pytest
import torch
from transformers import AutoModelForCausalLM

from prefix_rft_trl import lab
from prefix_rft_trl.sampling.returned_rows import check_rows


@pytest.mark.parametrize(
    ("returned", "message"),
    [
        ([[1, 2], [3]], None),
        ([[1, 2], [3], [4]], "The engine gave back 3 rows for 2 prompts, .*`num_prefix_generations=0`"),
        ([[1, 2]], "gave back 1 rows for 2 prompts"),
        ([], "gave back 0 rows for 2 prompts"),
        ([[3], [1, 2]], r"do not go on from their prompts, 2 of 2 \(first: row 0\)"),
        ([[1, 2], [0, 3]], r"do not go on from their prompts, 1 of 2 \(first: row 1\)"),
    ],
)
def test_rows_are_those_of_the_prompts(returned, message):
    if message is None:
        check_rows([[1, 2], [3]], returned, "The engine")
        return
    with pytest.raises(RuntimeError, match=message):
        check_rows([[1, 2], [3]], returned, "The engine")


def reversed_rows(generate):
    return lambda *args, **named: generate(*args, **named).flip(0)


def doubled_rows(generate):
    return lambda *args, **named: generate(*args, **named).repeat(2, 1)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (reversed_rows, "`generate` of Qwen2ForCausalLM gave back rows that do not go on from their prompts, 8 of 8"),
        (doubled_rows, "`generate` of Qwen2ForCausalLM gave back 16 rows for 8 prompts"),
    ],
)
@pytest.mark.parametrize("hybrids", [1, 4])
def test_generate_that_changes_rows_ends_the_run(make_trainer, base_model, change, message, hybrids):
    model = AutoModelForCausalLM.from_pretrained(base_model)
    model.generate = change(model.generate)
    with pytest.raises(RuntimeError, match=message):
        make_trainer(model=model, num_prefix_generations=hybrids, per_device_train_batch_size=8).train()


def test_continuous_batching_that_changes_rows_ends_the_run(make_trainer, base_model):
    model = AutoModelForCausalLM.from_pretrained(base_model)
    generate_batch = model.generate_batch

    def in_reverse(*args, **named):
        return dict(reversed(generate_batch(*args, **named).items()))

    model.generate_batch = in_reverse
    blocks = {"num_blocks": 64, "max_batch_tokens": 64}
    settings = {
        "use_transformers_continuous_batching": True,
        "transformers_continuous_batching_config": blocks,
        "per_device_train_batch_size": 8,
    }
    with pytest.raises(RuntimeError, match="Continuous batching of transformers gave back rows that do not go on"):
        make_trainer(model=model, **settings).train()


class Engine:
    """Stands in for vLLM: it answers what it is told to."""

    mode, tensor_parallel_size, max_completion_length = "colocate", 1, 0

    def __init__(self, answer, stop, **generation_kwargs):
        self.answer, self.stop, self.generation_kwargs = answer, stop, generation_kwargs

    def sync_weights(self):
        pass

    def generate(self, prompts, images, num_generations, profiler):
        prompt_ids, rows = self.answer(prompts)
        return prompt_ids, [[self.stop]] * rows, [[[-1.0]]] * rows, None


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (lambda prompts: (prompts, len(prompts)), None),
        (lambda prompts: (None, len(prompts)), None),
        (lambda prompts: (prompts[::-1], len(prompts)), "vLLM gave back rows that do not go on from their prompts"),
        (lambda prompts: ([ids[-2:] for ids in prompts], len(prompts)), "vLLM gave back rows that do not go on"),
        (lambda prompts: (None, 2 * len(prompts)), "vLLM gave back 16 rows for 8 prompts"),
    ],
    ids=["as asked", "without prompts", "in reverse", "prompts cut", "two of each"],
)
def test_vllm_that_changes_rows_ends_the_run(make_trainer, answer, message):
    trainer = make_trainer(max_steps=1, per_device_train_batch_size=8)
    trainer.use_vllm, trainer._last_loaded_step = True, -1
    trainer.vllm_generation = Engine(answer, trainer.eos_token_ids[0])
    trainer.vllm_importance_sampling_correction = False
    if message is None:
        trainer.train()
        return
    with pytest.raises(RuntimeError, match=message):
        trainer.train()


IN_USE = [
    ({"num_beams": 2}, "`num_beams` .2., which does not decode each row a token at a time"),
    ({"num_return_sequences": 2}, "`num_return_sequences` .2."),
    ({"max_time": 1e-9}, "`max_time` .1e-09., which could end a rollout within its prefix"),
    ({"prompt_lookup_num_tokens": 3}, "`prompt_lookup_num_tokens` .3."),
    ({"assistant_early_exit": 1}, "`assistant_early_exit` .1."),
    ({"stop_strings": [";"]}, "`stop_strings` .*could end a rollout within its prefix"),
    ({"min_length": 40}, "`min_length` .40., which is about a completion from its start"),
    ({"begin_suppress_tokens": [5]}, "`begin_suppress_tokens`"),
    ({"forced_eos_token_id": 1}, "`forced_eos_token_id`"),
    ({"penalty_alpha": 0.6, "top_k": 4}, "`penalty_alpha`"),
    ({"guidance_scale": 2.0}, "`guidance_scale` .2.0., which is not known to leave prefixes as they are"),
    ({"return_dict_in_generate": True}, "`return_dict_in_generate`"),
]


@pytest.mark.parametrize("owner", ["`trainer.generation_config`", "The model's generation config"])
@pytest.mark.parametrize(("settings", "message"), IN_USE)
def test_setting_that_came_after_the_checks_ends_the_run_by_name(make_trainer, owner, settings, message):
    trainer = make_trainer(num_prefix_generations=4)  # all prefixes are in the prompts then, and none is lost
    config = trainer.generation_config if "trainer" in owner else trainer.model.generation_config
    for name, value in settings.items():
        setattr(config, name, value)
    with pytest.raises(ValueError, match=f"{owner} has {message}"):
        trainer.train()


def test_other_stop_tokens_than_those_of_the_run_are_refused(make_trainer):
    trainer = make_trainer(max_steps=1)
    trainer.generation_config.eos_token_id = [trainer.eos_token_ids[0], 5]
    with pytest.raises(ValueError, match=r"`trainer.generation_config` has `eos_token_id` .*within its prefix"):
        trainer.train()
    trainer.generation_config.eos_token_id = trainer.eos_token_ids[0]
    trainer.train()


def test_settings_of_vllm_in_use_are_refused_by_name(make_trainer):
    trainer = make_trainer()
    trainer.use_vllm, trainer._last_loaded_step = True, -1
    trainer.vllm_generation = Engine(lambda prompts: (prompts, len(prompts)), trainer.eos_token_ids[0], n=2)
    with pytest.raises(ValueError, match=r"`trainer.vllm_generation.generation_kwargs` has `n` .2., which does not"):
        trainer.train()


def test_arguments_that_came_after_the_checks_are_refused_by_name(make_trainer):
    trainer = make_trainer()
    trainer.args.generation_kwargs = {"num_beams": 3}
    with pytest.raises(ValueError, match=r"`generation_kwargs` has `num_beams` .3."):
        trainer.train()


def test_evaluation_without_prefixes_may_use_beams(make_trainer):
    trainer = make_trainer(others={"eval_dataset": lab.load_dataset("train", 4)}, num_generations_eval=2)
    trainer.generation_config.num_beams = 2
    assert torch.isfinite(torch.tensor(trainer.evaluate()["eval_reward"]))
