# Two commands do everything on a machine with nothing but Python 3.11+: `make demo` and `make test`.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: help setup setup-dev demo test test-long lint bench docs lock clean

help: ## list the targets
	@grep -E '^[a-z-]+:.*## ' Makefile | awk -F':.*## ' '{printf "  make %-10s %s\n", $$1, $$2}'

.venv/pyvenv.cfg:
	$(PYTHON) -m venv .venv

.venv/.runtime: .venv/pyvenv.cfg requirements.lock pyproject.toml
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

.venv/.dev: .venv/.runtime requirements-dev.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements-dev.lock
	@touch $@

setup: .venv/.runtime ## make .venv with what eastwatch needs to run

setup-dev: .venv/.dev ## the same and the tools for tests and checks

demo: setup ## a simulated mesh through the real pipeline, on the embedded engine
	$(BIN)/eastwatch demo --once

test: setup-dev ## set up and run the tests
	$(BIN)/python -m pytest -n 2 -m "not long"

test-long: setup-dev ## long property, torture and quality runs
	$(BIN)/python -m pytest -n 2
	$(BIN)/python -m benchmarks.torture

lint: setup-dev ## ruff, import rules, pyright
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports
	$(BIN)/pyright --level error

bench: setup-dev ## how fast records come in, the table on stdout (the others: docs/performance.md)
	$(BIN)/python -m benchmarks.ingest

docs: setup-dev ## write the generated parts of the documentation, and check all of it
	$(BIN)/python -m eastwatch.pages
	$(BIN)/python -m pytest tests/test_docs.py

LOCK := uv pip compile pyproject.toml -q --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header

lock: ## renew the hashed lock files (needs uv)
	$(LOCK) --group build -o requirements.lock
	$(LOCK) --group build --group dev -o requirements-dev.lock

clean: ## remove .venv and caches
	rm -rf .venv .pytest_cache .ruff_cache .hypothesis build dist
