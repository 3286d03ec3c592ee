# Needs Python >= 3.10 and make; everything else comes from the package index into $(VENV).
#   make demo    the main job on synthesised clips
#   make test    linter, types and the whole suite
# Another environment: make test VENV=/path/to/venv PYTHON=python3.12

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

# ruff, mypy, pytest in this order, also under -j: the last line printed is pytest's.
.NOTPARALLEL:
.PHONY: demo test lint types unit clean

demo: $(STAMP)
	$(BIN)/python tools/demo.py

test: lint types unit

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(STAMP)
	$(BIN)/mypy

unit: $(STAMP)
	@$(BIN)/python -m pytest

# The stamp comes last: an installation that broke off is taken up again.
$(STAMP): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet -c constraints.txt -e '.[dev]'
	@touch $@

clean:
	rm -rf .venv demo build dist .mypy_cache .pytest_cache .ruff_cache .hypothesis .benchmarks
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
