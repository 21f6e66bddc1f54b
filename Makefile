# Everything happens in .venv; nothing else is needed than python3 (3.11 or newer) with venv, and make.
PYTHON ?= python3
BIN := .venv/bin
SPACE ?= digits

.PHONY: help sweep test test-slow test-zoo test-random test-gpu test-cluster test-soak lint docs coverage mutants bench bench-answers bench-gpu install clean
.DEFAULT_GOAL := sweep

help:  ## these lines
	@sed -n 's/^\([a-z-]*\):.*## */\1: /p' Makefile

sweep: .venv/installed  ## run a space to its report (make sweep SPACE=cifar10-quick)
	$(BIN)/python -m orchestrator.sweep $(SPACE)

test: .venv/installed  ## the test suite, but for what takes minutes: the next six
	$(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder

test-slow: .venv/installed  ## Ray, servers and whole sweeps started and stopped; the largest networks
	$(BIN)/python -m pytest -m 'slow and not cluster' -n 3 --dist loadfile --no-loadscope-reorder -rs $(CHOSEN)

test-zoo: .venv/installed  ## odd and random networks, pruned, trained, tested and exported, against plain PyTorch
	$(BIN)/python -m pytest -m zoo -n 2 -rs tests/zoo tests/cases tests/trainables $(CHOSEN)

test-random: .venv/installed  ## the same of 2,000 random networks, and a table of the fast paths they took
	ZOO_NETWORKS=2000 $(BIN)/python -m pytest -m zoo tests/zoo/test_contract.py -k random

test-gpu: .venv/installed  ## every kind of trial on a pretended GPU, which needs g++ and a torch for CUDA
	$(BIN)/python -m pytest -m gpu -n 2 -rs tests/gpu $(CHOSEN)

test-cluster: .venv/installed  ## several Ray nodes, servers, all killed (a part: make test-cluster CHOSEN='-k slots')
	$(BIN)/python -m pytest -m cluster -rs tests/cluster tests/orchestrator $(CHOSEN)

test-soak: .venv/installed  ## a sweep killed at 200 of its writes, and 10,000 steps of a search against Optuna's study; an hour
	KILLS=200 SEARCH_STEPS=10000 $(BIN)/python -m pytest -m 'slow or not slow' $(CHOSEN) \
	    tests/orchestrator/running/test_killed_at_a_write.py tests/orchestrator/search/test_search_model.py

lint: .venv/installed  ## style and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

docs: .venv/installed  ## the pages of docs/ as HTML, into docs/_build; a warning is an error
	$(BIN)/python -m sphinx --fail-on-warning --keep-going --quiet -b html docs docs/_build

coverage: .venv/installed  ## what the tests run through, but for what they start in other processes
	$(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder \
	    --cov=orchestrator --cov=trainables --cov=pruners --cov=search_spaces \
	    --cov-report=term-missing:skip-covered

mutants: .venv/installed  ## whether each small change of the pruning core fails a test; an hour or two
	$(BIN)/python -m benchmarks.mutants

bench: .venv/installed  ## how fast it is: a table of ratios, in less than twenty minutes on two cores
	$(BIN)/python -m benchmarks

bench-answers: .venv/installed  ## how good its answers are: searches, early stopping, any pruner on any network, reports
	$(BIN)/python -m benchmarks.combinations
	$(BIN)/python -m benchmarks.fairness
	$(BIN)/python -m benchmarks.report
	$(BIN)/python -m benchmarks.search

bench-gpu: .venv/installed  ## what only a GPU can tell: numbers, memory, faults, speed; at most 8 minutes
	$(BIN)/python -m benchmarks.gpu

install: .venv/installed  ## everything into .venv, which the others do first

.venv/installed: pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "python 3.11 or newer is needed")'
	$(PYTHON) -m venv .venv
	@echo 'pip installs into .venv: some minutes without a word, and about 7 GB where torch comes with CUDA'
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[test,docs]'
	touch $@

clean:  ## delete .venv, results and caches
	rm -rf .venv results docs/_build .pytest_cache .mypy_cache .ruff_cache *.egg-info
