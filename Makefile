# Two commands on a machine that has Python 3.11 or newer and make:
#   make quickstart   sets up and shows Prefix-RFT beside plain GRPO
#   make test         sets up and passes the tests
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
INSTALL := $(BIN)/python -m pip install --constraint constraints.txt

.PHONY: quickstart test lint unit benchmark clean

quickstart: $(VENV)/installed
	$(BIN)/prefix-rft lab

test: lint unit

lint: $(VENV)/installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# The tests run in parallel, so each keeps to one thread: for tiny models that is faster than two.
unit: $(VENV)/installed-dev
	OMP_NUM_THREADS=1 $(BIN)/pytest --numprocesses 2 --dist worksteal --cov --cov-report term --cov-fail-under 90

benchmark: $(VENV)/installed
	$(BIN)/python benchmarks/step_time_and_memory.py

$(VENV)/installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(INSTALL) --editable .
	touch $@

$(VENV)/installed-dev: $(VENV)/installed
	$(INSTALL) --editable ".[dev]"
	touch $@

clean:
	rm -rf $(VENV) runs .coverage* .hypothesis .mypy_cache .pytest_cache .ruff_cache
