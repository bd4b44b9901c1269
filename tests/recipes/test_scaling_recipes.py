"""accelerate, DeepSpeed and Slurm accept the files of recipes/accelerate, recipes/deepspeed and recipes/slurm."""

import json
import os
import re
import shlex
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import pytest
from accelerate.commands.launch import _validate_launch_command, launch_command_parser
from accelerate.utils.launch import prepare_deepspeed_cmd_env, prepare_multi_gpu_env

from prefix_rft_trl.cli.launch.arguments import split_launcher_flags
from prefix_rft_trl.cli.launch.recipe import Recipe


ROOT = Path(__file__).parents[2]
RECIPES = ROOT / "recipes"
ACCELERATE = sorted((RECIPES / "accelerate").glob("*.yaml"))
DEEPSPEED = sorted((RECIPES / "deepspeed").glob("*.json"))
SLURM = sorted((RECIPES / "slurm").glob("*.slurm"))
SCALING = ROOT / "docs" / "scaling.md"
THIRD_NODE = ["--num_machines", "3", "--num_processes", "24", "--machine_rank", "2", "--main_process_ip", "node0"]
ZERO = [path for path in ACCELERATE if path.stem.startswith("zero")]


def test_every_kind_of_sharding_has_a_file():
    assert {path.stem for path in ACCELERATE} >= {"ddp", "fsdp2", "zero1", "zero2", "zero3", "zero3_offload"}
    assert {path.stem for path in DEEPSPEED} >= {"zero1", "zero2", "zero3", "zero3_offload"}
    assert {path.stem for path in SLURM} == {"one_node", "vllm_server"}


def launched(path: Path, *flags: str):
    """How accelerate's launcher understands a configuration and flags."""
    arguments = launch_command_parser().parse_args(["--config_file", str(path), *flags, "script.py"])
    return _validate_launch_command(arguments)


def environment_of(path: Path) -> dict[str, str]:
    """What accelerate's launcher passes to the processes of a DeepSpeed configuration."""
    arguments, defaults, _ = launched(path, "--main_process_port", "0")
    arguments.deepspeed_fields_from_accelerate_config = ",".join(defaults.deepspeed_config)
    environment = prepare_deepspeed_cmd_env(arguments)[1]
    return {name: value for name, value in environment.items() if name.startswith("ACCELERATE_")}


@pytest.mark.parametrize("path", ACCELERATE, ids=lambda path: path.stem)
def test_accelerate_launches_a_configuration_on_one_node_and_on_several(path):
    arguments, defaults, _ = launched(path)
    name = path.stem.rstrip("0123456789")
    expected = "DEEPSPEED" if path.stem.startswith("zero") else {"ddp": "MULTI_GPU", "fsdp": "FSDP"}[name]
    assert defaults.distributed_type == expected
    assert (arguments.use_deepspeed, arguments.use_fsdp, arguments.multi_gpu) == (
        expected == "DEEPSPEED", expected == "FSDP", expected == "MULTI_GPU",
    )  # fmt: skip
    assert (arguments.num_processes, arguments.num_machines, arguments.mixed_precision) == (8, 1, "bf16")

    # Each node starts its own processes and meets the others at the first
    several, _, _ = launched(path, *THIRD_NODE, "--main_process_port", "29500")
    several.deepspeed_fields_from_accelerate_config = ""
    if several.use_deepspeed:
        command, _ = prepare_deepspeed_cmd_env(several)
        assert command is None  # DeepSpeed's own launcher would log in to the other nodes
    else:
        prepare_multi_gpu_env(several)
    assert (several.nproc_per_node, several.nnodes, several.node_rank) == ("8", "3", 2)
    assert several.rdzv_endpoint == "node0:29500"


def test_fsdp2_is_the_second_version_and_shards_layers():
    arguments, _, _ = launched(RECIPES / "accelerate" / "fsdp2.yaml", "--main_process_port", "0")
    expected = {"VERSION": "2", "AUTO_WRAP_POLICY": "TRANSFORMER_BASED_WRAP"}
    expected |= {"RESHARD_AFTER_FORWARD": "true", "STATE_DICT_TYPE": "FULL_STATE_DICT"}
    environment = prepare_multi_gpu_env(arguments)
    assert {name: environment[f"FSDP_{name}"] for name in expected} == expected


READING = """
import json, os, sys
from accelerate.utils import DeepSpeedPlugin
from deepspeed.runtime.config import DeepSpeedConfig

def read(config):
    config |= {"train_micro_batch_size_per_gpu": 2, "gradient_accumulation_steps": 4, "gradient_clipping": 1.0}
    config |= {"bf16": {"enabled": True}}
    del config["train_batch_size"]
    zero = config["zero_optimization"]
    config["zero_optimization"] = {name: value for name, value in zero.items() if value != "auto"}
    zero = DeepSpeedConfig(config).zero_config
    devices = [str(part.device) if part else "none" for part in (zero.offload_optimizer, zero.offload_param)]
    return [int(zero.stage), *devices, zero.gather_16bit_weights_on_model_save]

def plugin_config(environment):
    os.environ.update(environment)
    config = DeepSpeedPlugin().deepspeed_config
    return {**config, "steps_per_print": None}

files, environments = json.loads(sys.argv[1])
print("READ", json.dumps([[read(file) for file in files], [plugin_config(one) for one in environments]]))
"""


@pytest.fixture(scope="module")
def read() -> tuple[dict[str, list], dict[str, dict]]:
    """How DeepSpeed reads its files, and the configurations that accelerate's plugin makes, by name.

    In a process of its own, as importing DeepSpeed changes the process.
    """
    given = [[json.loads(path.read_text()) for path in DEEPSPEED], [environment_of(path) for path in ZERO]]
    environment = {**os.environ, "CUDA_VISIBLE_DEVICES": ""}
    command = [sys.executable, "-c", READING, json.dumps(given)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    files, plugins = json.loads(done.stdout.partition("READ ")[2].splitlines()[0])
    found = ((DEEPSPEED, files), (ZERO, plugins))
    return tuple({path.stem: one for path, one in zip(paths, read, strict=True)} for paths, read in found)


@pytest.mark.parametrize("path", DEEPSPEED, ids=lambda path: path.stem)
def test_deepspeed_shards_by_the_name_of_a_file(path, read):
    config = json.loads(path.read_text())
    stage, offloads = int(path.stem[4]), path.stem.endswith("_offload")
    expected = [stage, "cpu" if offloads else "none", "cpu" if offloads and stage == 3 else "none", stage == 3]
    assert read[0][path.stem] == expected
    filled = ("train_batch_size", "train_micro_batch_size_per_gpu", "gradient_accumulation_steps", "gradient_clipping")
    assert {config[name] for name in filled} == {"auto"}  # filled by the trainer, which refuses other numbers
    assert config["bf16"] == {"enabled": "auto"}
    assert f"recipes/deepspeed/{path.name}" in config["_comment"]


@pytest.mark.parametrize("path", ZERO, ids=lambda path: path.stem)
def test_accelerate_and_deepspeed_files_of_a_name_shard_alike(path, read):
    accelerate_reads = read[1][path.stem]
    deepspeed_reads = json.loads((RECIPES / "deepspeed" / f"{path.stem}.json").read_text())["zero_optimization"]
    zero = accelerate_reads["zero_optimization"]
    assert zero["stage"] == deepspeed_reads["stage"]
    for part in ("offload_optimizer", "offload_param"):
        assert zero[part]["device"] == deepspeed_reads.get(part, {"device": "none"})["device"]
    gathers = "stage3_gather_16bit_weights_on_model_save"
    assert zero[gathers] == deepspeed_reads.get(gathers, False)
    assert accelerate_reads["gradient_accumulation_steps"] == "auto"  # a number would be refused for any other


def commands_shown() -> list[str]:
    """Commands for GPUs, from the comments of recipes and the blocks of the page that are not run."""
    texts = [path.read_text() for path in [*ACCELERATE, *SLURM]]
    start = r"^# +((?:prefix-rft|sbatch) (?:.*\\\n#)*.*)"
    lines = [line for text in texts for line in re.findall(start, text, re.MULTILINE)]
    lines += [re.search(r"prefix-rft .*", json.loads(path.read_text())["_comment"])[0] for path in DEEPSPEED]
    for block in re.findall(r"```shell\n(.*?)```", SCALING.read_text(), re.DOTALL):
        lines += re.findall(r"^((?:.*\\\n)*.*\S)$", block, re.MULTILINE)
    return [re.sub(r"\\\n#? *", "", line) for line in lines]


@pytest.fixture(scope="module")
def user_folder(tmp_path_factory) -> Path:
    """A folder with `recipes` and the files that the page writes."""
    folder = tmp_path_factory.mktemp("user")
    (folder / "recipes").symlink_to(RECIPES)
    (folder / "runs").mkdir()
    for command in commands_shown():
        if command.startswith("sed "):
            subprocess.run(command, shell=True, cwd=folder, check=True)
    return folder


@pytest.mark.parametrize("command", dict.fromkeys(commands_shown()))
def test_the_commands_name_files_and_flags_that_exist(command, user_folder, monkeypatch):
    monkeypatch.chdir(user_folder)
    words = shlex.split(command.replace("RECIPE.yaml", "recipes/lab/prefix_rft.yaml"))
    read = [word for flag, word in pairwise(words) if flag != "--output_dir"]
    assert all(Path(word).is_file() for word in read if word.startswith(("recipes/", "runs/")))
    if words[0] == "prefix-rft":
        assert words[1] == "train"
        split_launcher_flags(Recipe.read(words[2:]))  # refuses unknown settings
    else:
        assert words[0] in ("sbatch", "sed", "mkdir")


def test_the_configuration_that_the_page_makes_is_for_cpus(user_folder):
    arguments, _, _ = launched(user_folder / "runs" / "zero2-cpu.yaml")
    assert (arguments.use_cpu, arguments.mixed_precision, arguments.use_deepspeed) == (True, "no", True)
