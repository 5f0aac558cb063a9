# Two commands matter: `make benchmark` and `make test`. Both set up what they need first.
.PHONY: setup benchmark test test-rest test-all test-nightly peers lint format clean help torture
.DEFAULT_GOAL := help

PYTHON ?= python3
VENV := .venv
PEERS := .venv-peers
JOBS ?= 2
BIN := $(VENV)/bin
UV_VERSION := $(shell sed -n 's/^uv==//p' constraints.txt)

# uv does not read pip's settings; a find-links folder or an index of pip's (clusters, mirrors) is handed on here.
export UV_FIND_LINKS ?= $(PIP_FIND_LINKS)
export HF_HUB_OFFLINE ?= 1

help:  ## list the commands
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 12

setup: $(VENV)/.ready  ## make the virtual environment .venv with the suite in it

$(VENV)/.ready: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check "uv==$(UV_VERSION)"
	$(BIN)/uv pip install --quiet --compile-bytecode --python $(BIN)/python --constraint constraints.txt --editable ".[dev]"
	@touch $@

benchmark: setup  ## score every target on every embedded data set and publish the board in leaderboard/v1
	$(BIN)/pytest --benchmark --align-publish=leaderboard/v1 $(ARGS)

# Each of the parallel tests may start a model: one thread each, or they spend their time waiting for each other.
test test-rest test-all test-nightly: export OMP_NUM_THREADS ?= 1
QUICK := smoke or not (slow or environment or nightly or torture)

test: setup  ## run the quick tests, a real model among them
	$(BIN)/pytest -n $(JOBS) --dist worksteal -m "$(QUICK)" $(ARGS)

# Environments first, several at a time: no test waits for another's (one that fails is its tests' to report). Then the
# tests of one file share a process.
test-rest: setup
	-$(BIN)/consilience environments --build --jobs $(JOBS)
	$(BIN)/pytest -n $(JOBS) --dist loadgroup -m "not (nightly or torture) and not ($(QUICK))" $(ARGS)

test-nightly: setup  ## run what takes hours: by hand, before an issue is resolved
	$(BIN)/pytest -n $(JOBS) -m nightly $(ARGS)

test-all: test test-rest  ## run all tests; those of every model build its environment first

# Three scripts share the time; each prints its count and seed, and can be run alone (overnight, say).
MINUTES ?= 3
torture: export OMP_NUM_THREADS ?= 1
torture: export CONSILIENCE_TORTURE_MINUTES = $(MINUTES)
torture: setup  ## mutated files, killed commands and races for MINUTES=n
	$(BIN)/pytest -m torture -s tests/torture $(ARGS)

# One thread for all, so that CPU seconds compare.
peers: export OMP_NUM_THREADS ?= 1
peers: $(PEERS)/.ready  ## time the metrics against other packages, in a virtual environment of their own
	$(PEERS)/bin/python -m benchmarks.against_peers $(ARGS)

# Of two pins of a package the first counts: the one the peers need.
$(PEERS)/.ready: pyproject.toml constraints.txt benchmarks/constraints-peers.txt | $(VENV)/.ready
	$(BIN)/uv venv --quiet --clear --python $(BIN)/python $(PEERS)
	awk -F== '!pinned[$$1]++' benchmarks/constraints-peers.txt constraints.txt > $(PEERS)/constraints.txt
	$(BIN)/uv pip install --quiet --python $(PEERS)/bin/python --constraint $(PEERS)/constraints.txt --editable ".[peers]"
	@touch $@

lint: setup  ## ruff, mypy --strict and the floors that imports keep to
	$(BIN)/ruff check . && $(BIN)/ruff format --check . && $(BIN)/mypy && $(BIN)/lint-imports

format: setup  ## let ruff rewrite the code
	$(BIN)/ruff check --fix . ; $(BIN)/ruff format .

clean:  ## remove the virtual environments and tool caches (not the embedding cache)
	rm -rf $(VENV) $(PEERS) .pytest_cache .mypy_cache .ruff_cache .hypothesis
