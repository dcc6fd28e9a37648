PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

# One thread a process, so that a run on a busy or a many-core machine computes the same bits and stays polite.
export OMP_NUM_THREADS ?= 1
export HF_HUB_DISABLE_TELEMETRY ?= 1

.DEFAULT_GOAL := help
.PHONY: help setup demo test test-fast lint format schema docs bench

help: ## Show this list
	@sed -nE 's/^([a-z-]+):.*## (.*)/  make \1\t\2/p' Makefile | expand -t 18

setup: $(READY) ## Make .venv with everything that users and developers need

$(READY): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; v = sys.version_info; sys.exit("fedsim needs Python 3.11 or newer, $(PYTHON) is %d.%d: make PYTHON=python3.12 ..." % v[:2] if v < (3, 11) else 0)'
	@echo "Setting up $(VENV): the first time takes some minutes."
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install -qq --disable-pip-version-check -c constraints.txt -e '.[dev]'
	@touch $(READY)

demo: $(READY) ## Run the quickstart scenario, and draw its picture
	$(BIN)/python -m fedsim scenario quickstart --set outputs.figures=true

test: lint ## Lint, types and all tests
	$(BIN)/python -m pytest --numprocesses 2 --dist loadfile --durations=15

test-fast: $(READY) ## The tests that take a few seconds each at most
	$(BIN)/python -m pytest --numprocesses 2 --dist loadfile -m "not slow"

lint: $(READY) ## Style and types
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy

format: $(READY) ## Rewrite the code in the project's style
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

schema: $(READY) ## Write scenarios/scenario.schema.json anew
	$(BIN)/python -m fedsim.scenario.editor scenarios/scenario.schema.json

docs: $(READY) ## Build the documentation site
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet
	@echo "open site/index.html (for its search: $(BIN)/python -m http.server --directory site)"

bench: $(READY) ## Measure speed and memory on this machine
	$(BIN)/python -m benchmarks.run
