# Needs Python >= 3.10 and make; everything else comes from the package index into $(VENV).
#   make demo    the main job on synthesised clips
#   make test    linter, types and the whole suite; tests that read from nginx need Debian's nginx-light, or are skipped
#   make bench-parts  times index, order, read, decode, ring, each by itself
#   make bench   shardkit and its peers measured in turns, on clips made in $(BENCH_DATA); takes hours
#   make baselines  trains all baselines on synthetic clips, made in $(BASELINES_WORK); ten minutes on two cores
#   make bench-storage  reading over HTTP and S3, on the same clips; half an hour; needs Debian's nginx-light
# Another environment: make test VENV=/path/to/venv PYTHON=python3.12

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
PEERS_STAMP := $(VENV)/.installed-peers
BENCH_DATA ?= .bench
BASELINES_WORK ?= .baselines
# Many tests wait for processes and servers: three at a time keep two cores busy.
TEST_PROCESSES ?= 3

# ruff, mypy, pytest in this order, also under -j: the last line printed is pytest's.
.NOTPARALLEL:
.PHONY: demo test baselines bench bench-storage bench-parts lint types unit clean

demo: $(STAMP)
	$(BIN)/python tools/demo.py

test: lint types unit

baselines: $(STAMP)
	$(BIN)/python -m tools.baselines.experiments --work $(BASELINES_WORK) --json tools/baselines/results/synthetic.json

bench: $(PEERS_STAMP)
	$(BIN)/python -m benchmarks.loaders --data $(BENCH_DATA) --json benchmarks/results/loaders.json

bench-storage: $(PEERS_STAMP)
	$(BIN)/python -m benchmarks.storage --data $(BENCH_DATA) --json benchmarks/results/storage.json
	$(BIN)/python -m benchmarks.storage.report benchmarks/results/storage.json --readme benchmarks/README.md

bench-parts: $(STAMP)
	$(BIN)/python -m pytest benchmarks/parts --benchmark-enable --benchmark-json benchmarks/results/parts.json

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(STAMP)
	$(BIN)/mypy

unit: $(PEERS_STAMP)
	@$(BIN)/python -m pytest -n $(TEST_PROCESSES) --dist loadfile

# The stamp comes last: an installation that broke off is taken up again.
$(STAMP): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet -c constraints.txt -e '.[dev]'
	@touch $@

# The other loaders, for `make bench` and its tests. litdata alone without its dependencies: see pyproject.toml.
$(PEERS_STAMP): $(STAMP)
	$(BIN)/python -m pip install --quiet -c constraints.txt -e '.[bench]'
	$(BIN)/python -m pip install --quiet -c constraints.txt --no-deps litdata
	@touch $@

clean:
	rm -rf .venv demo build dist .mypy_cache .pytest_cache .ruff_cache .hypothesis .benchmarks
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
