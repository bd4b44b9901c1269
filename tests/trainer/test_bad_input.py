"""What cannot work is refused before a model is loaded, with what to do instead; what is left out is counted."""

import logging

import pytest
from datasets import IterableDataset
from transformers import AutoModelForCausalLM, AutoProcessor, AutoTokenizer
from trl import GRPOConfig, GRPOTrainer

from prefix_rft_trl import PrefixGRPOTrainer, lab
from prefix_rft_trl.data import row_scan


NO_MODEL = "./no-such-model"  # loading it raises an OSError
TURNS = [{"role": "user", "content": "1+1="}, {"role": "assistant", "content": "2"}]
NO_DEMONSTRATION = r"None of the 4 rows has a demonstration.*num_prefix_generations=0"


# Datasets


@pytest.mark.parametrize(
    ("completions", "message", "in_a_stream_too"),
    [
        ([7, 8, 9, 10], r"Row 0, column 'completion'.*found int: '7'", True),
        ([TURNS] * 4, "Row 0.*roles: user, assistant", True),
        ([None] * 4, NO_DEMONSTRATION, False),
        ([""] * 4, NO_DEMONSTRATION, False),
        (["  \n"] * 4, NO_DEMONSTRATION, False),
        ([[], [""], [], []], NO_DEMONSTRATION, False),
    ],
    ids=repr,
)
def test_dataset_without_usable_demonstrations_is_refused(
    make_trainer, lab_rows, completions, message, in_a_stream_too
):
    rows = lab_rows(4, completion=completions)
    for dataset in [rows, rows.to_iterable_dataset()][: 1 + in_a_stream_too]:
        with pytest.raises(ValueError, match=message):
            make_trainer(model=NO_MODEL, train_dataset=dataset)


@pytest.mark.parametrize("streaming", [False, True])
def test_missing_demonstration_column_is_refused_with_the_columns_found(make_trainer, lab_rows, streaming):
    dataset = lab_rows(4).rename_column("completion", "answer")
    with pytest.raises(ValueError, match=r"no column 'completion'.*prompt, answer, solution.*demonstration_column"):
        make_trainer(model=NO_MODEL, train_dataset=dataset.to_iterable_dataset() if streaming else dataset)


def test_missing_prompt_column_is_refused_with_the_columns_found(make_trainer, lab_rows):
    with pytest.raises(ValueError, match="no column 'prompt'; its columns are: question"):
        make_trainer(model=NO_MODEL, train_dataset=lab_rows(4).rename_column("prompt", "question"))


@pytest.mark.parametrize(
    "dataset", [lab.load_dataset("train", 0), IterableDataset.from_generator(lambda: iter([]))], ids=type
)
def test_empty_dataset_is_refused(make_trainer, dataset):
    with pytest.raises(ValueError, match="training dataset is empty"):
        make_trainer(model=NO_MODEL, train_dataset=dataset)


def test_bad_row_far_down_a_stream_is_named_by_its_prompt(train, monkeypatch):
    rows = [{"prompt": f"{row}+1=", "completion": "3+4=7;#7" if row < 2 else 7, "solution": "7"} for row in range(4)]
    monkeypatch.setattr(row_scan, "ROWS_OF_STREAM", 2)
    with pytest.raises(ValueError, match=r"Row with the prompt '2\+1='"):
        train(train_dataset=IterableDataset.from_generator(lambda: iter(rows)), shuffle_dataset=False)


def test_thinking_that_the_chat_template_has_no_place_for_is_refused(make_trainer, lab_rows, as_message, chat_model):
    texts = ["", "2+2=4", "2+2=4", "<think>2+2=4</think>4"]
    tokenizer = AutoTokenizer.from_pretrained(chat_model)
    tokenizer.chat_template = "{{ messages[0]['content'] }}<think></think>"
    with pytest.raises(ValueError, match=r"Row 3, column 'completion': .*closes the thinking block"):
        make_trainer(
            model=chat_model,
            train_dataset=lab_rows(16, prompt=as_message("user"), completion=texts * 4),
            others={"processing_class": tokenizer},
        )


def test_dataset_of_another_type_is_refused_as_grpo_refuses_it(make_trainer):
    messages = []
    for trainer_class in (GRPOTrainer, PrefixGRPOTrainer):
        with pytest.raises(TypeError) as error:
            make_trainer(trainer_class, train_dataset=lab.load_dataset("train", 4).to_list())
        messages.append(str(error.value))
    assert messages[0] == messages[1]


# Arguments


def test_rollout_func_is_refused(make_trainer):
    with pytest.raises(ValueError, match=r"`rollout_func` takes over generation.*num_prefix_generations=0"):
        make_trainer(model=NO_MODEL, others={"rollout_func": lambda *args: None})


@pytest.mark.parametrize(
    "settings", [{}, {"others": {"rollout_func": lambda *args: None}, "num_prefix_generations": 0}], ids=["", "grpo"]
)
def test_good_input_gets_as_far_as_loading_the_model(make_trainer, settings):
    with pytest.raises(OSError, match=r"no-such-model|connect"):
        make_trainer(model=NO_MODEL, **settings)


def test_grpo_config_on_demonstrations_is_plain_grpo_with_a_warning(make_trainer, caplog):
    with caplog.at_level(logging.WARNING):
        make_trainer(config_class=GRPOConfig, max_steps=1)
        make_trainer(num_prefix_generations=0, max_steps=1)  # as it says
    assert caplog.text.count("`args` is a GRPOConfig, so this run is plain GRPO") == 1


def test_model_that_is_loaded_is_checked_by_its_own_config(make_trainer, base_model):
    model = AutoModelForCausalLM.from_pretrained(base_model)
    model.config.max_position_embeddings = 16
    with pytest.raises(ValueError, match=r"`max_completion_length` \(40\) leaves no room.* 16 positions"):
        make_trainer(model=model)


def test_tokenizer_is_loaded_once_as_trl_loads_it(make_trainer, monkeypatch):
    loaded, load = [], AutoProcessor.from_pretrained
    monkeypatch.setattr(
        AutoProcessor, "from_pretrained", lambda *args, **named: loaded.append(named) or load(*args, **named)
    )
    make_trainer(GRPOTrainer, GRPOConfig)
    make_trainer()
    assert len(loaded) == 2
    assert loaded[0] == loaded[1]


def test_misspelt_argument_is_named(make_trainer):
    with pytest.raises(TypeError, match="evaluation_dataset"):
        make_trainer(model=NO_MODEL, others={"evaluation_dataset": None})


# Rows that train as plain GRPO


def test_rows_without_a_prefix_are_counted(make_trainer, train, lab_rows, caplog):
    demonstrations = [None, "", " ", "4", *lab_rows(8)["completion"][4:]]
    rows = lab_rows(8, completion=demonstrations)
    with caplog.at_level(logging.WARNING):
        trainer = make_trainer(train_dataset=rows, per_device_train_batch_size=32, max_steps=1)
    assert "4 of 8 rows train as plain GRPO: 3 have no demonstration or an empty one" in caplog.text
    assert "1 have one that cannot be cut" in caplog.text
    run = train(trainer=trainer)
    first_rows = zip(run.generation.inputs[::4], run.generation.prefix_lengths[::4], strict=True)
    assert all((length > 0) == (len((row["completion"] or "").strip()) > 1) for row, length in first_rows)
    assert run.logged("prefix/demonstration_share") == [0.5]


def test_demonstration_longer_than_the_budget_is_cut(make_trainer, train, caplog):
    with caplog.at_level(logging.WARNING):
        trainer = make_trainer(max_completion_length=5, num_prefix_generations=4)
    assert "plain GRPO" not in caplog.text  # as each row has a demonstration
    assert "of 16 that were encoded, 16 have more tokens" in caplog.text
    run = train(trainer=trainer)
    for generation in run.generations:
        rows = zip(generation.prefix_lengths, generation.completion_ids, strict=True)
        assert all(1 <= length < len(ids) <= 5 for length, ids in rows)
    assert run.logged("prefix/demonstration_share") == [1.0, 1.0]
    tokens = len(run.generations[0].inputs[0]["completion"])  # as all demonstrations of the lab
    assert all(ratio <= 4 / tokens for ratio in run.logged("prefix/ratio"))
