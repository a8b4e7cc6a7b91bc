# Two commands do all the set-up: `make demo` and `make test`.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check install --quiet -c constraints.txt
OLDEST := .venv-oldest
# The floors have no files for a newer Python.
PYTHON_OLDEST ?= python3.11
TORCH_OLDEST ?= $(shell sed -n 's/^torch==//p' constraints-oldest.txt)
INTEGRATIONS := .venv-integrations

ON_ALL_CORES := -n auto --maxprocesses 8 --dist worksteal

.PHONY: help demo test test-oldest test-integrations lint types tests coverage audit fuzz sweep docs docs-test bench bench-quick wheel home format clean
.DEFAULT_GOAL := help

help:  ## show this list
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*##/\t/'

# --- environment: one stamp for each set of extras, remade when what it depends on changes
$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and f"sklrec needs Python 3.11 or newer, $(PYTHON) is {sys.version.split()[0]}; try: make PYTHON=python3.11")'
	$(PYTHON) -m venv $(VENV)

$(VENV)/.extra-%: $(BIN)/python pyproject.toml setup.cfg constraints.txt
	@echo "installing sklrec[$*] into $(VENV)"
	@$(PIP) -e '.[$*]'
	@touch $@

demo: $(VENV)/.extra-plot  ## MovieLens 100K to ratings and recommendations
	$(BIN)/python docs/examples/plot_movielens.py

test: lint  ## lint, types, doctests and tests
	@$(MAKE) --no-print-directory -j2 types tests  # mypy leaves all cores but one idle

lint: $(VENV)/.extra-test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(VENV)/.extra-test
	$(BIN)/mypy

tests: $(VENV)/.extra-test
	$(BIN)/python -m pytest $(ON_ALL_CORES)

coverage: $(VENV)/.extra-test  ## tests, and which lines and branches they reach
	$(BIN)/python -m coverage run -m pytest $(ON_ALL_CORES)
	$(BIN)/python -m coverage combine --quiet
	$(BIN)/python -m coverage report

test-oldest: $(OLDEST)/.made  ## tests on the floors of pyproject.toml; TORCH_OLDEST=VERSION takes another torch
	$(OLDEST)/bin/python -m pytest $(ON_ALL_CORES)

$(OLDEST)/.made: pyproject.toml setup.cfg constraints-oldest.txt
	$(PYTHON_OLDEST) -m venv --clear $(OLDEST)
	sed 's/^torch==.*/torch==$(TORCH_OLDEST)/' constraints-oldest.txt > $(OLDEST)/constraints.txt
	$(OLDEST)/bin/python -m pip --disable-pip-version-check install --quiet -c $(OLDEST)/constraints.txt -e '.[test]'
	@touch $@

test-integrations: $(INTEGRATIONS)/.made  ## models stored by skops and MLflow
	$(INTEGRATIONS)/bin/python -m pytest tests/test_integrations.py

$(INTEGRATIONS)/.made: pyproject.toml setup.cfg
	$(PYTHON) -m venv $(INTEGRATIONS)
	$(INTEGRATIONS)/bin/python -m pip --disable-pip-version-check install --quiet -e '.[integrations]' pytest hypothesis $$(grep '^torch==' constraints.txt)
	@touch $@

audit: $(VENV)/.extra-test  ## known vulnerabilities of the pinned versions
	@$(PIP) pip-audit
	$(BIN)/pip-audit --strict --disable-pip --no-deps -r constraints.txt || { echo "audit: either the list above names vulnerable versions, or pip-audit could not ask for one; it needs the advisory database of the package index"; exit 1; }

fuzz: $(VENV)/.extra-test  ## random data, calls, interrupts, files and requests for hours; FUZZ=number of calls
	$(BIN)/python tests/abuse/fuzz.py $(FUZZ)

sweep: $(VENV)/.extra-test  ## about 22,000 calls of public functions with wrong arguments
	$(BIN)/python tests/abuse/wrong_calls.py

docs: $(VENV)/.extra-docs  ## build the documentation into docs/_build/html; warnings are errors
	$(BIN)/sphinx-build -W --keep-going -b html docs docs/_build/html

docs-test: docs  ## open the built pages in headless Chromium, if there is one: console, search, sizes
	$(BIN)/python docs/check_pages.py

bench: $(VENV)/.extra-benchmarks  ## all benchmarks beside the peers; BENCH="--ratings FILE" adds a log
	$(BIN)/python -m benchmarks $(BENCH)

bench-quick: $(VENV)/.extra-benchmarks  ## ratios to peers in minutes, next to the ratios of the last release
	$(BIN)/python -m benchmarks quick --quick

wheel: $(VENV)/.extra-test  ## build sdist and wheel into dist/; the wheel is the same for the same commit
	@$(PIP) build
	umask 022; SOURCE_DATE_EPOCH=$${SOURCE_DATE_EPOCH:-$$(git log -1 --format=%ct || date +%s)} $(BIN)/python -m build

home:  ## write the address of the project into metadata and links: make home URL=https://...
	$(PYTHON) set_home.py $(URL)

format: $(VENV)/.extra-test  ## let ruff mend what it can
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:  ## remove the environment, caches and builds
	rm -rf $(VENV) $(OLDEST) $(INTEGRATIONS) build dist *.egg-info .mypy_cache .pytest_cache .ruff_cache .hypothesis
	rm -rf docs/_build docs/generated docs/auto_examples
