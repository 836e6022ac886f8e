# make demo and make test work on a bare machine: each makes .venv first, from PyPI, when it is not there.
# Another Python: make test PYTHON=/path/to/python3.12. More for pytest: make test PYTEST="-k budget".
# Tests run in as many processes as there are cores, four at most, for each takes some gigabytes.

# The first of these that is new enough, and the names of the two that memline starts with.
PYTHON ?= $(shell for p in python3 python3.13 python3.12 python3.11; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$p && break; done)
VENV ?= .venv
PYTEST ?=

BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
NATIVE := $(wildcard cpp/include/memline/*.hpp cpp/kernels/* cpp/src/*.hpp cpp/src/*.cpp cpp/python/*.cpp)

.DEFAULT_GOAL := help
.PHONY: help venv demo test test-native lint types docs bench clean

help:
	@echo "make demo | test | test-native | lint | types | docs | bench | venv | clean"

venv: $(STAMP)

# The stamp is newer than what decides the installation, or the installation is done again.
$(STAMP): pyproject.toml CMakeLists.txt $(NATIVE)
	@test -n "$(PYTHON)" || { echo "memline needs Python 3.11 or newer: make $(MAKECMDGOALS) PYTHON=/path/to/python3" >&2; exit 1; }
	@echo "making $(VENV) with $(PYTHON); the first time this downloads some 200 MB"
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --editable '.[dev]'
	@touch $@

demo: $(STAMP)
	$(BIN)/python -m examples.demo

test: $(STAMP)
	$(BIN)/python -m pytest -n auto --maxprocesses 4 $(PYTEST)

# The C++ tests with AddressSanitizer and UndefinedBehaviorSanitizer.
test-native: $(STAMP)
	$(BIN)/cmake -S . -B build/native -DMEMLINE_TESTS=ON -DMEMLINE_SANITIZE=ON
	$(BIN)/cmake --build build/native --parallel 2
	$(BIN)/ctest --test-dir build/native --output-on-failure

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(STAMP)
	$(BIN)/pyright --pythonpath $(BIN)/python

# The documentation, into build/site; a warning ends it, and so does a page that would load something from elsewhere.
docs: $(STAMP)
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict --quiet
	@echo "open build/site/index.html; its search needs a server: $(BIN)/python -m http.server --directory build/site"

bench: $(STAMP)
	$(BIN)/python -m benchmarks

clean:
	rm -rf $(VENV) build dist .pytest_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
