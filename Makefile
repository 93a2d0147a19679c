# `make demo` is all that a fresh checkout needs; `make lint test` is what CI runs.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: help install demo test test-slow test-install privacy faults faults-mutants lint format bench docs constraints wheel clean

help:  ## Show this
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "%-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "segadmin needs Python 3.11 or newer: make PYTHON=python3.11 …")'
	$(PYTHON) -m venv $(VENV)

# Once for every change of what is needed; what is installed already is not fetched again.
$(VENV)/.installed-%: pyproject.toml constraints.txt | $(BIN)/python
	@echo 'Installing segadmin[$*] into $(VENV); the first time takes minutes.'
	@$(BIN)/python -m pip install -qq --disable-pip-version-check -c constraints.txt -e '.[$*]'
	@touch $@

install: $(VENV)/.installed-dev  ## Make .venv with everything that development needs

demo: $(VENV)/.installed-demo  ## The main job on real data, start to finish, on this machine
	$(BIN)/segadmin demo

test: install  ## Run the tests that take seconds
	$(BIN)/pytest -n 2 --dist worksteal

test-slow: install  ## Run the tests that take minutes
	$(BIN)/pytest -m slow

test-install: install  ## Run the built wheel with each documented set of extras, in environments that hold nothing else
	$(BIN)/pytest -m install -n 2 --dist worksteal

privacy: install  ## Erase users who are everywhere, and look for them in every byte
	$(BIN)/pytest -m privacy tests/privacy -n 2 --dist worksteal

faults: install  ## Let everything die, hang and lie, and see that nothing is lost or done twice
	$(BIN)/python -m pytest -m faults tests/faults -n 2 --dist worksteal --timeout 400 -p tests.faults.report

faults-mutants: install  ## Take the safeguards out one by one: each time a test must fail
	$(BIN)/python -m tests.faults.mutants

lint: install  ## Check style, types and the direction of imports
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports

format: install  ## Mend style
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

bench: install  ## Measure enqueuing, recovery, thousands of steps and of jobs, broken brokers, and the demo
	$(BIN)/python -m bench.enqueue
	$(BIN)/python -m bench.recovery
	$(BIN)/python -m bench.engine
	$(BIN)/python -m bench.queue
	$(BIN)/python -m bench.broken_broker
	$(BIN)/python -m bench.hostile
	$(BIN)/python -m bench.demo

docs: install  ## Write the generated pages anew
	$(BIN)/python docs/generate.py

constraints: install  ## Write constraints.txt anew from what is installed
	$(BIN)/python .ci/constraints.py > constraints.new
	mv constraints.new constraints.txt

wheel: install  ## Build the wheel into dist/
	$(BIN)/python -m build --wheel --no-isolation

clean:  ## Remove what was made, but not .segadmin: that is data
	rm -rf $(VENV) dist build .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
