"""What would give a hybrid rollout another start than its prefix is refused in a sentence, before a model is loaded.

What a sampler does all the same is found in the first batch. Plain GRPO keeps all options of TRL.
"""

import logging

import pytest
from transformers import AutoModelForCausalLM, AutoTokenizer, GenerationConfig
from trl import GRPOTrainer

from prefix_rft_trl import PrefixGRPOConfig, PrefixGRPOTrainer
from prefix_rft_trl.sampling.sampler_settings import IN_TRANSFORMERS, refuse_generation_config


NO_MODEL = "./no-such-model"
OTHER_ROWS, FROM_THE_START = "does not decode each row a token at a time", "is about a completion from its start"
ENDS, UNKNOWN = "could end a rollout within its prefix", "is not known to leave prefixes as they are"
BY_PROMPT, SAME_SEED = "goes by the prompt", "would be the same rollout"
BUDGET, CONSTRAINS = "share one budget: set `max_completion_length`", "its format would start over inside the demo"
IN_GENERATE = [
    *[(name, 2, OTHER_ROWS) for name in ("num_beams", "num_return_sequences", "num_beam_groups")],
    *[
        (name, 3, OTHER_ROWS)
        for name in ("prompt_lookup_num_tokens", "assistant_early_exit", "max_matching_ngram_size")
    ],
    *[(name, True, OTHER_ROWS) for name in ("use_mtp", "is_assistant")],
    ("diversity_penalty", 0.5, OTHER_ROWS),
    ("penalty_alpha", 0.6, OTHER_ROWS),
    ("dola_layers", "low", OTHER_ROWS),
    ("force_words_ids", [[5]], OTHER_ROWS),
    ("constraints", ["word"], OTHER_ROWS),
    ("min_length", 20, FROM_THE_START),
    ("begin_suppress_tokens", [5], FROM_THE_START),
    *[(name, token, FROM_THE_START) for name in ("forced_bos_token_id", "forced_eos_token_id") for token in (0, 5)],
    ("exponential_decay_length_penalty", [10, 1.1], FROM_THE_START),
    *[(name, value, ENDS) for name, value in (("eos_token_id", 5), ("eos_token_id", 0), ("max_time", 2.0))],
    ("stop_strings", "#", ENDS),
    ("guidance_scale", 1.5, UNKNOWN),
    ("token_healing", True, UNKNOWN),
    ("watermarking_config", {"greenlist_ratio": 0.3}, UNKNOWN),
    *[(name, 2, BY_PROMPT) for name in ("encoder_no_repeat_ngram_size", "encoder_repetition_penalty")],
    ("return_dict_in_generate", True, UNKNOWN),
    *[(name, 20, BUDGET) for name in ("max_new_tokens", "max_length")],
]
IN_VLLM = [
    *[(name, 2, OTHER_ROWS) for name in ("n", "best_of")],
    ("trace_decode_token_ids", [5], OTHER_ROWS),
    *[("seed", seed, SAME_SEED) for seed in (7, 0)],
    *[(name, {"regex": "[0-9]+"}, CONSTRAINS) for name in ("structured_outputs", "guided_decoding")],
    *[(name, 0.5, FROM_THE_START) for name in ("presence_penalty", "frequency_penalty")],
    ("thinking_token_budget", 10, FROM_THE_START),
    ("repetition_detection", {"max_pattern_size": 3}, UNKNOWN),
    ("logits_processors", ["some.Processor"], UNKNOWN),
    ("a_setting_of_tomorrow", 1, UNKNOWN),
    ("max_tokens", 20, BUDGET),
]
GIVEN = [*[({}, *given) for given in IN_GENERATE], *[({"use_vllm": True}, *given) for given in IN_VLLM]]


@pytest.fixture(scope="module")
def make_config(tmp_path_factory):
    folder = str(tmp_path_factory.mktemp("config"))
    return lambda **settings: PrefixGRPOConfig(folder, use_cpu=True, bf16=False, report_to="none", **settings)


@pytest.mark.parametrize(("engine", "name", "value", "message"), GIVEN, ids=str)
def test_sampler_setting_is_refused_by_name(make_config, engine, name, value, message):
    with pytest.raises(ValueError, match=rf"`generation_kwargs` has `{name}`.*{message}"):
        make_config(generation_kwargs={name: value}, **engine)
    assert make_config(generation_kwargs={name: value}, num_prefix_generations=0, **engine)
    assert make_config(generation_kwargs={name: None} if message != BUDGET else {}, **engine)


@pytest.mark.parametrize(
    "name", ["custom_generate", "assistant_model", "logits_processor", "prefix_allowed_tokens_fn"]
)
def test_argument_of_generate_is_no_setting(make_config, name):
    with pytest.raises(ValueError, match=f"Unknown `generation_kwargs`: '{name}'"):
        make_config(generation_kwargs={name: "some/repository"})


def test_structured_outputs_are_refused(make_config):
    with pytest.raises(ValueError, match=rf"`vllm_structured_outputs_regex` \('\[0-9\]\+'\).*{CONSTRAINS}"):
        make_config(use_vllm=True, vllm_structured_outputs_regex="[0-9]+")
    make_config(use_vllm=True, vllm_structured_outputs_regex="[0-9]+", num_prefix_generations=0)
    make_config(vllm_structured_outputs_regex="[0-9]+")  # which nothing reads


def test_end_is_free_where_the_prefix_is_in_the_prompt(make_config):
    make_config(generation_kwargs={"eos_token_id": 5}, use_transformers_continuous_batching=True)


# The model


@pytest.mark.parametrize(
    ("name", "value", "message"), [given for given in IN_GENERATE if given[2] not in (BUDGET, ENDS)], ids=str
)
def test_generation_config_of_the_model_is_refused_by_name(make_config, name, value, message):
    config = GenerationConfig()
    setattr(config, name, value)  # as a file of a later version may
    with pytest.raises(ValueError, match=rf"model's generation config has `{name}`.*{message}"):
        refuse_generation_config(config, make_config())
    refuse_generation_config(config, make_config(use_vllm=True))
    refuse_generation_config(config, make_config(use_transformers_continuous_batching=True))


def test_generation_config_of_the_model_may_say_what_a_run_overrides(make_config):
    said = {"max_length": 20, "eos_token_id": [0, 1], "top_k": 20, "do_sample": True, "num_beams": 4}
    config = GenerationConfig(**said, chat_format="chatml", max_window_size=6144)
    refuse_generation_config(config, make_config(generation_kwargs={"num_beams": 1}))


@pytest.mark.parametrize("is_loaded", [False, True])
def test_model_that_generates_otherwise_is_refused_before_it_trains(make_trainer, base_model, is_loaded, tmp_path):
    model = AutoModelForCausalLM.from_pretrained(base_model)
    model.generation_config.num_beams = 2
    if not is_loaded:
        model.generation_config.save_pretrained(tmp_path / "model")
        AutoTokenizer.from_pretrained(base_model).save_pretrained(tmp_path / "model")
    with pytest.raises(ValueError, match=r"model's generation config has `num_beams` \(2\)"):
        make_trainer(model=model if is_loaded else str(tmp_path / "model"))


def test_a_setting_without_effect_is_allowed(make_config):
    names = ("low_memory", "prefill_chunk_size", "assistant_lookbehind", "target_lookbehind")
    assert make_config(generation_kwargs={**dict.fromkeys(names, 2), "encoder_repetition_penalty": 1.0})


def test_settings_that_are_allowed_are_those_of_transformers():
    assert IN_TRANSFORMERS - vars(GenerationConfig()).keys() == set()


@pytest.mark.parametrize("processor", [object(), GenerationConfig()], ids=["object", "config"])
def test_processing_class_that_is_no_tokenizer_is_refused(make_trainer, processor):
    with pytest.raises(ValueError, match=f"the processing class is a {type(processor).__name__}. Pass the tokenizer"):
        make_trainer(model=NO_MODEL, others={"processing_class": processor})


def test_images_without_their_processor_are_refused(make_trainer, base_model, lab_rows):
    rows = lab_rows().add_column("image", [None] * 16)
    with pytest.raises(ValueError, match=r"has a column 'image', and the processing class is a .*reads text alone"):
        make_trainer(
            model=NO_MODEL,
            train_dataset=rows,
            others={"processing_class": AutoTokenizer.from_pretrained(base_model)},
        )


def test_regions_that_are_compiled_are_refused(make_trainer, monkeypatch):
    monkeypatch.setenv("ACCELERATE_DYNAMO_USE_REGIONAL_COMPILATION", "1")
    make_trainer()  # as nothing is compiled
    monkeypatch.setenv("ACCELERATE_DYNAMO_BACKEND", "eager")
    with pytest.raises(ValueError, match=r"compile regions of the model.*no rollout would be hybrid"):
        make_trainer(model=NO_MODEL)


# What only shows while it trains


def without_processors(generate):
    return lambda *args, logits_processor=None, **named: generate(*args, **named)


def of_one_token(generate):
    def one_token(*args, input_ids, **named):
        return generate(*args, input_ids=input_ids, **named)[:, : input_ids.size(1) + 1]

    return one_token


@pytest.mark.parametrize("change", [without_processors, of_one_token])
def test_generate_that_loses_prefixes_ends_the_run(make_trainer, base_model, change):
    model = AutoModelForCausalLM.from_pretrained(base_model)
    model.generate = change(model.generate)
    message = r"2 of 2 hybrid rollouts do not begin with their prefix: rollout 0 has \d of its 30 tokens, then \["
    with pytest.raises(RuntimeError, match=message):
        make_trainer(model=model).train()
    make_trainer(model=model, num_prefix_generations=0, max_steps=1).train()


def test_subclass_that_samples_by_itself_ends_the_run(make_trainer):
    class OtherSampler(PrefixGRPOTrainer):
        def _generate_single_turn(self, *args, **named):
            return GRPOTrainer._generate_single_turn(self, *args, **named)

    with pytest.raises(RuntimeError, match="2 of 2 hybrid rollouts do not begin with their prefix"):
        make_trainer(OtherSampler).train()


@pytest.mark.parametrize(
    ("method", "warnings"), [("_compute_loss", 1), ("compute_loss", 1), ("get_off_policy_mask", 0)]
)
def test_subclass_with_a_loss_of_its_own_is_warned_of(make_trainer, caplog, method, warnings):
    def compute(self, model, inputs, *others, **named):
        return GRPOTrainer._compute_loss(self, model, inputs)

    trainer = make_trainer(type("OtherLoss", (PrefixGRPOTrainer,), {method: compute}))
    with caplog.at_level(logging.WARNING):
        trainer.train()
    assert caplog.text.count("The loss of OtherLoss does not pass through") == warnings
