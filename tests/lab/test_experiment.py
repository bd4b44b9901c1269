import json
from pathlib import Path

import pytest
import torch
import yaml
from transformers import AutoModelForCausalLM, AutoTokenizer

from prefix_rft_trl import PrefixGRPOConfig
from prefix_rft_trl.lab.experiment import METHODS, config, measure, run, sample_answers


RECIPES = Path(__file__).parents[2] / "recipes" / "lab"
OF_THE_QUICKSTART = {"max_steps": 120}


@pytest.mark.parametrize("method", METHODS)
def test_the_quickstart_trains_as_the_recipe_does_but_for_longer(method, tmp_path):
    recipe = yaml.safe_load((RECIPES / f"{method}.yaml").read_text())
    of_trainer = {name: recipe[name] for name in recipe if name in PrefixGRPOConfig.__dataclass_fields__}
    of_recipe = PrefixGRPOConfig(**of_trainer | OF_THE_QUICKSTART | {"output_dir": str(tmp_path)})
    assert config(method, str(tmp_path)).to_dict() == of_recipe.to_dict()


def test_a_run_leaves_its_model_and_its_curve(tmp_path):
    result = run("prefix_rft", str(tmp_path), max_steps=2, per_device_train_batch_size=8, logging_steps=1)
    lines = [json.loads(line) for line in (tmp_path / "curve.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [0, 1, 2]
    assert all(line["prefix/length"] > 0 for line in lines[1:])
    saved = AutoModelForCausalLM.from_pretrained(tmp_path)
    again = measure(saved, AutoTokenizer.from_pretrained(tmp_path))
    assert again == {name: result[name] for name in again} == {name: lines[-1][name] for name in again}
    assert result["seconds"] > 0


def test_measuring_does_not_change_a_run(base_model):
    model, tokenizer = AutoModelForCausalLM.from_pretrained(base_model), AutoTokenizer.from_pretrained(base_model)
    model.train()
    torch.manual_seed(3)
    state = torch.get_rng_state()
    assert sample_answers(model, tokenizer, ["1+1="]) == sample_answers(model, tokenizer, ["1+1="])
    assert torch.equal(torch.get_rng_state(), state)
    assert model.training
