# Two commands do everything on a fresh machine with python3 and make: `make quickstart` and `make test`.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/installed

.PHONY: quickstart test tests quick scale check docs matrix install wheel clean

quickstart: $(INSTALLED)
	$(BIN)/phonemi quickstart --run quickstart

# A process for each core, with one thread each: the networks of the tests are too small to gain from more. Bytecode is
# kept whatever the environment says: the tests start some hundred processes.
PYTEST := PYTHONDONTWRITEBYTECODE= OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto --maxprocesses 8 --dist worksteal

# The type checker has one core to itself, and the tests both when it is done.
test: $(INSTALLED)
	@$(MAKE) --no-print-directory -j 2 check tests

tests: $(INSTALLED)
	$(PYTEST)

# The tests for daily work: about a minute.
quick: $(INSTALLED)
	$(PYTEST) -m "not slow" --hypothesis-profile=short

# What takes minutes or needs Ray: kills, launches at once, and memory, at many recordings.
scale: $(INSTALLED)
	$(BIN)/python -m pip install --quiet --editable '.[cluster]'
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m scale

# The oldest and newest supported versions of Python, torch and transformers that install here.
matrix: $(INSTALLED)
	$(BIN)/python tests/matrix.py

# The site, in site/index.html. NO_MKDOCS_2_WARNING silences an announcement of the theme's makers.
docs: $(INSTALLED)
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet

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
	rm -rf $(VENV) dist site quickstart .pytest_cache .ruff_cache .mypy_cache .hypothesis
