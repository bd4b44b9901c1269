"""Runs on one process and on two: each kind of sharding trains all of its runs in one launch."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from filelock import FileLock
from transformers import AutoModelForCausalLM


RECIPES = Path(__file__).parents[2] / "recipes"
SCRIPT = Path(__file__).with_name("train_runs.py")
TIMEOUT = 400  # seconds of a launch, on a machine that is busy

# Adam makes a whole step of gradients that are rounding alone
SGD = {"optim": "sgd", "learning_rate": 2.0, "lr_scheduler_type": "constant"}
EVERY_OTHER = [False, True]


def run(rollouts: int, demonstrated: list[bool] = EVERY_OTHER, **settings: Any) -> dict[str, Any]:
    return {"rollouts": rollouts, "demonstrated": demonstrated, "settings": settings}


def accumulating(rollouts: int, steps: int, **settings: Any) -> dict[str, Any]:
    """A run of which each of two processes trains on its rollouts of a step in so many micro-batches."""
    of_process = {"per_device_train_batch_size": rollouts // 2 // steps, "gradient_accumulation_steps": steps}
    return run(rollouts, **{**SGD, "prefix_selection": "top_entropy_per_rollout", **of_process, **settings})


CROSS_ENTROPY = {"prefix_loss_type": "cross_entropy", "prefix_loss_coef": 1.0}
RUNS = {
    # 4 hybrid rows on one process and 2 on the other; then none at all; then none on the second process
    "uneven": run(
        12,
        [*[True] * 3, *[False] * 3, True, False, False, *[False] * 3],
        shuffle_dataset=False,
        max_steps=3,
        prefix_top_entropy_quantile=0.5,  # at which the threshold of one process is not that of both
        **SGD,
    ),
    # The hybrid rows are all of the first process, and have less to decode than those of the other
    "budgets": {**run(4, [True], max_steps=2, **SGD), "endless": True},
}
ACCUMULATION = {"one_by_eight": accumulating(16, 1), "four_by_two": accumulating(16, 4)}
ACCUMULATION["packed"] = accumulating(16, 4, padding_free=True)
ACCUMULATION_OF_CROSS_ENTROPY = {
    "one_by_eight_cross_entropy": accumulating(16, 1, **CROSS_ENTROPY),
    "four_by_two_cross_entropy": accumulating(16, 4, **CROSS_ENTROPY),
}
DDP_RUNS = {
    "group": run(12),
    "on_policy": run(12, prefix_advantage="on_policy"),
    # Its second step is the first one's again, beyond the bounds for some tokens
    "measured": accumulating(16, 2, num_iterations=2, max_steps=2, prefix_gradient_norm_steps=1, epsilon=0.01),
    # Of the two processes one has whole demonstrations alone, which fill the budget, and nothing to sample
    "whole": run(
        4, prefix_ratio_schedule="whole", prefix_loss_type="shaped", prefix_top_entropy_quantile=1.0,
        max_completion_length=33, max_steps=2, **SGD,
    ),
    "adaptive": run(
        12, prefix_ratio_schedule="adaptive", prefix_shared_in_group=True, prefix_success_reward=0.2, max_steps=3,
        **CROSS_ENTROPY, **{"learning_rate": 1e-5},
    ),
    # HPT's gate, open in some groups; and the terms and coefficients of its kind
    "gated": run(
        12, prefix_advantage="on_policy", prefix_loss_type="cross_entropy", prefix_loss_coef=0.5,
        prefix_loss_normalization="prompts", prefix_top_entropy_quantile=1.0, prefix_gate=0.0,
        prefix_gate_drops_rollouts=True, prefix_success_reward=0.9, loss_type="dapo", max_steps=3,
        prefix_loss_coef_schedule="cosine", prefix_loss_convex=True, **SGD,
    ),
}  # fmt: skip


def staged(ratios: list[float], drawn_by_row: bool = True, **settings: Any) -> dict[str, Any]:
    """A run with stages, of three groups which straddle the processes."""
    given = {"num_prefix_generations": 0, "max_steps": 4, "prefix_success_reward": 0.9, "prefix_selection": "none"}
    stages = {"prefix_stage_ratios": ratios, **SGD, "learning_rate": 0.3, **given, **settings}
    return {**run(12, [True], **stages), "staged": True, "drawn_by_row": drawn_by_row}


STAGED_RUNS = {
    "replaces_groups": staged([0.25, 0.5, 0.75], num_prefix_generations=2, prefix_selection="top_entropy_per_rollout"),
    "replaces_groups_greedily": staged([0.25, 0.5], False, num_prefix_generations=2),
    "replaces_a_rollout": staged([0.25, 0.5, 1], prefix_stage_replaces="rollout", prefix_stage_generations=[2, 3, 1]),
    "divides_groups_greedily": staged(
        [0.5, 1], False, prefix_stage_replaces="none", prefix_stage_generations=[1, 1],
        prefix_stage_thresholds=[0.0, 0.4],
    ),
    "other_problems": staged(
        [0, 0], prefix_stage_groups="equal", prefix_stage_prompts="other", prefix_stage_max_rollouts=12,
    ),
}  # fmt: skip
# 6 demonstrations of a second dataset in a step, of which one process trains 3 in one micro-batch, or 1 in each of 3
OF_SECOND_DATASET = {"num_prefix_generations": 0, "max_steps": 3, **CROSS_ENTROPY, "prefix_top_entropy_quantile": 1.0}
SECOND_DATASET = {
    f"{normalization}_of_{name}": {
        **accumulating(
            24,
            steps,
            **OF_SECOND_DATASET,
            prefix_loss_normalization=normalization,
            loss_type=loss_type,
            per_device_demonstration_batch_size=3 // steps,
        ),
        "second_dataset": 5,
    }
    for normalization, loss_type in (("tokens", "dr_grpo"), ("prompts", "dapo"))
    for name, steps in (("whole", 1), ("cut", 3))
}
# Replayed are the first group, of one process, and the last, of the other; then the one that both have a part of
OWN_SUCCESSES = {
    "own": {
        **run(
            12, demonstration_source="own", prefix_prompt_share=0.5, prefix_ratio_schedule="whole", max_steps=5,
            prefix_loss_type="shaped", prefix_top_entropy_quantile=1.0, prefix_success_reward=0.3,
            **{**SGD, "learning_rate": 0.2},
        ),
    },
}  # fmt: skip
# In the first step one group of three has hints, and its hybrid rows are all of the first process
HINTS = {
    "hints": run(
        12, [True], prefix_placement="prompt", prefix_hint_in_loss=False, prefix_prompt_share=0.5, max_steps=2,
        **{**SGD, "learning_rate": 0.1},
    )
}  # fmt: skip
FOUR_STEPS = {"max_steps": 4, "save_strategy": "steps", "save_steps": 2, "learning_rate": 1e-3}
RESUMING = {
    "unbroken": {**run(12, **FOUR_STEPS), "samples": True},
    "resumed": {**run(12, **FOUR_STEPS), "samples": True, "resumes": "unbroken/checkpoint-2"},
    "finished": {**run(12, **FOUR_STEPS), "samples": True, "resumes": "unbroken/checkpoint-4"},
}


def by_file(name: str) -> dict[str, dict[str, Any]]:
    """A run that takes its sharding from a file of `recipes/deepspeed`."""
    config = json.loads((RECIPES / "deepspeed" / f"{name}.json").read_text())
    return {f"{name}.json": {**accumulating(16, 4, deepspeed=config), "kind": name}}


def as_configured(name: str) -> dict[str, dict[str, Any]]:
    """A run in the environment of another configuration of `recipes/accelerate` than that of its launch."""
    return {f"{name}.yaml": {**accumulating(16, 4), "kind": name, "configuration": name}}


LEAN = ("trim_padding", "group_rollouts_by_length", "skip_zero_weight_rollouts")
ADAM = {"optim": "adamw_torch", "adam_epsilon": 1e-3, "weight_decay": 0.1, "learning_rate": 1e-3}
LEAN_CASES = {
    # Nothing to train on the first process; then on none of them; then in one group of each
    "idle": {
        **accumulating(16, 2, shuffle_dataset=False, max_steps=3, **ADAM),
        "live": [False, False, True, True, *[False] * 4, True, False, False, True],
    },
    # A generation batch of two steps, of four micro-batches and two, at which its epoch ends
    "uneven_steps": {
        **accumulating(32, 4, steps_per_generation=6, loss_type="dapo", max_steps=3, **CROSS_ENTROPY, **ADAM),
        "live": [True, False, False],
    },
}


def with_and_without_padding() -> dict[str, dict[str, Any]]:
    """Every case of `LEAN_CASES` with the settings of lean passes, and in the padded way."""
    padded = dict.fromkeys(LEAN, False)
    return {
        f"{name}_{way}": {**case, "settings": {**case["settings"], **settings}}
        for name, case in LEAN_CASES.items()
        for way, settings in (("lean", {}), ("padded", padded))
    }


OF_ZERO = {**RUNS, **ACCUMULATION, **ACCUMULATION_OF_CROSS_ENTROPY, **with_and_without_padding()}
KINDS = {
    "ddp": {**DDP_RUNS, **RUNS, **STAGED_RUNS, **SECOND_DATASET, **OWN_SUCCESSES, **with_and_without_padding()},
    "fsdp2": {**SECOND_DATASET, **RUNS, **OWN_SUCCESSES, **ACCUMULATION, **RESUMING, **with_and_without_padding()},
    "zero1": {**OF_ZERO, **by_file("zero1")},
    "zero2": {**OF_ZERO, **RESUMING, **by_file("zero2"), **by_file("zero2_offload")},
    "zero3": {
        **OF_ZERO,
        **OWN_SUCCESSES,
        **by_file("zero3"),
        **by_file("zero3_offload"),
        **as_configured("zero3_offload"),
    },
}
ON_SEVERAL_MACHINES = "zero1"  # two launchers, as on two nodes, with a process each
KINDS["ddp"] |= HINTS


ALL_IN_ONE_PASS = {"gradient_accumulation_steps": 1, "per_device_demonstration_batch_size": 6}
IN_ONE_BATCH = {"per_device_train_batch_size": 16, "gradient_accumulation_steps": 1}
ON_ONE_PROCESS = {
    **DDP_RUNS,
    **RUNS,
    **STAGED_RUNS,
    **OWN_SUCCESSES,
    **{
        name: {**given, "settings": {**given["settings"], **IN_ONE_BATCH}}
        for name, given in {**ACCUMULATION, **ACCUMULATION_OF_CROSS_ENTROPY}.items()
        if name.startswith("one_by")
    },
    "measured": {**DDP_RUNS["measured"], "settings": {**DDP_RUNS["measured"]["settings"], **IN_ONE_BATCH}},
}
SECOND_DATASET_ON_ONE = {
    name: {**given, "settings": {**given["settings"], "per_device_train_batch_size": 24, **ALL_IN_ONE_PASS}}
    for name, given in SECOND_DATASET.items()
    if name.endswith("whole")
}


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "one_and_two" in metafunc.fixturenames:
        cases = [(kind, name) for kind, runs in KINDS.items() for name in runs if name in ON_ONE_PROCESS]
        cases = [(kind, name) for kind, name in cases if name not in STAGED_RUNS]
        metafunc.parametrize("one_and_two", cases, ids="-".join, indirect=True)
    if "staged_one_and_two" in metafunc.fixturenames:
        metafunc.parametrize("staged_one_and_two", STAGED_RUNS, indirect=True)


@pytest.fixture
def one_and_two(request: pytest.FixtureRequest, trained: Callable[[str], Path]) -> tuple[Path, Path]:
    """The folders of a run on one process and on two."""
    kind, name = request.param
    return trained("one") / name, trained(kind) / name


@pytest.fixture
def staged_one_and_two(request: pytest.FixtureRequest, trained: Callable[[str], Path]) -> tuple[Path, Path]:
    """As `one_and_two`, of a run with stages."""
    return trained("one") / request.param, trained("ddp") / request.param


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory, free_port: Callable[[], int]) -> Callable[[str], Path]:
    """From a kind of sharding to the folder of its runs. Workers that run tests in parallel share what is trained."""
    parallel = "PYTEST_XDIST_WORKER" in os.environ
    base = tmp_path_factory.getbasetemp()
    root = (base.parent if parallel else base) / "distributed"
    root.mkdir(exist_ok=True)

    def train(kind: str) -> Path:
        folder, said = root / kind, root / f"{kind}.json"
        with FileLock(root / f"{kind}.lock"):
            if not said.is_file():
                folder.mkdir()
                runs = {**ON_ONE_PROCESS, **SECOND_DATASET_ON_ONE} if kind == "one" else KINDS[kind]
                said.write_text(json.dumps(run_together(commands(kind, folder, runs, free_port()))))
        error = json.loads(said.read_text())
        assert error is None, error
        return folder

    return train


@pytest.fixture(scope="session")
def start(base_model: str) -> dict[str, torch.Tensor]:
    """The weights that every run starts from."""
    return AutoModelForCausalLM.from_pretrained(base_model).double().state_dict()


@pytest.fixture
def hints_on_one(tmp_path: Path) -> Path:
    """The folder of the run with hints on one process, which has no tokens of prefixes to compare."""
    error = run_together(commands("one", tmp_path, HINTS, 0))
    assert error is None, error
    return tmp_path / "hints"


@pytest.fixture(scope="session")
def launch() -> Callable[[list[list[str]]], str | None]:
    return run_together


@pytest.fixture(scope="session")
def config_for_cpus() -> Callable[[str, Path], Path]:
    return write_config_for_cpus


def commands(kind: str, folder: Path, runs: dict[str, dict[str, Any]], port: int) -> list[list[str]]:
    """What a user types on each node, with accelerate's configuration of `recipes`, on CPUs."""
    for given in runs.values():
        if "configuration" in given:
            given["environment"] = environment_of(write_config_for_cpus(given["configuration"], folder))
    script = [str(SCRIPT), str(folder), kind, json.dumps(runs)]
    if kind == "one":
        return [[sys.executable, *script]]
    start = ["-m", "accelerate.commands.launch", "--config_file", str(write_config_for_cpus(kind, folder))]
    if kind != ON_SEVERAL_MACHINES:
        return [[sys.executable, *start, "--main_process_port", str(port), *script]]
    several = ["--num_machines", "2", "--main_process_ip", "127.0.0.1", "--main_process_port", str(port)]
    return [[sys.executable, *start, *several, "--machine_rank", rank, *script] for rank in "01"]


def write_config_for_cpus(name: str, folder: Path) -> Path:
    config = yaml.safe_load((RECIPES / "accelerate" / f"{name}.yaml").read_text())
    path = folder / f"accelerate-{name}.yaml"
    path.write_text(yaml.safe_dump({**config, "use_cpu": True, "mixed_precision": "no", "num_processes": 2}))
    return path


def environment_of(config: Path) -> dict[str, str]:
    """What accelerate's launcher tells the processes of a configuration for DeepSpeed."""
    from accelerate.commands.launch import _validate_launch_command, launch_command_parser
    from accelerate.utils.launch import prepare_deepspeed_cmd_env

    line = launch_command_parser().parse_args(["--config_file", str(config), "--main_process_port", "0", str(SCRIPT)])
    arguments, defaults, _ = _validate_launch_command(line)
    arguments.deepspeed_fields_from_accelerate_config = ",".join(defaults.deepspeed_config)
    environment = prepare_deepspeed_cmd_env(arguments)[1]
    return {name: value for name, value in environment.items() if name.startswith("ACCELERATE_")}


def run_together(commands: list[list[str]]) -> str | None:
    """Runs the commands at the same time; their output, if one fails or they hang."""
    environment = {**os.environ, "CUDA_VISIBLE_DEVICES": ""}
    with running(commands, environment) as processes:
        try:
            said = [process.communicate(timeout=TIMEOUT)[0] for process in processes]
        except subprocess.TimeoutExpired:
            return f"not done after {TIMEOUT} s"
    failed = any(process.returncode for process in processes)
    return "\n".join(text[-8000:] for text in said) if failed else None


@contextmanager
def running(commands: list[list[str]], environment: dict[str, str]) -> Iterator[list[subprocess.Popen]]:
    """The processes of the commands; at the end nothing is left of them, nor of what they have started."""
    processes: list[subprocess.Popen] = []
    try:
        for command in commands:
            pipes: Any = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
            processes.append(subprocess.Popen(command, env=environment, start_new_session=True, **pipes))
        yield processes
    finally:
        for process in processes:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
