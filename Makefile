# Two commands do everything on a fresh machine with python3 and make: `make quickstart` and `make test`.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/installed

.PHONY: quickstart test quick matrix check install wheel clean

quickstart: $(INSTALLED)
	$(BIN)/phonemi quickstart --run quickstart

# One thread for each process of the tests: their networks are too small to gain from more.
PYTEST := OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto --maxprocesses 8 --dist worksteal

test: $(INSTALLED) check
	$(PYTEST)

# What to run while working: under a minute.
quick: $(INSTALLED)
	$(PYTEST) -m "not slow"

# The core tests on the oldest and newest supported Python, torch and transformers.
matrix:
	$(PYTHON) tests/matrix.py

check: $(INSTALLED)
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy

install: $(INSTALLED)

wheel: $(INSTALLED)
	$(BIN)/python -m pip wheel --quiet --no-deps --wheel-dir dist .

$(INSTALLED): pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --editable '.[dev]'
	@# Compiled from C when it is installed; everything above comes as wheels.
	$(BIN)/python -m pip install --quiet --editable '.[eval]' || \
	    echo "PESQ could not be compiled (it needs a C compiler and Python's headers): it will be reported as missing"
	touch $@

clean:
	rm -rf $(VENV) dist quickstart .pytest_cache .ruff_cache .mypy_cache .hypothesis
