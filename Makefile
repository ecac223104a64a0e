.DEFAULT_GOAL := help
PYTHON ?= python3
BIN := .venv/bin
UV := $(shell command -v uv 2>/dev/null)
LOCK := uv pip compile -q --universal --generate-hashes --no-emit-index-url --python-version 3.11

.PHONY: help run test check format openapi docs lock clean

help: ## show this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

.venv/bin/python:
ifneq ($(UV),)
	uv venv -q --allow-existing .venv
else
	$(PYTHON) -m venv .venv
endif

.venv/.run: requirements.lock | .venv/bin/python
ifneq ($(UV),)
	VIRTUAL_ENV=.venv uv pip install -q --require-hashes -r requirements.lock
else
	$(BIN)/python -m pip install -q --disable-pip-version-check --require-hashes -r requirements.lock
endif
	@touch $@

.venv/.dev: requirements-dev.lock | .venv/bin/python
ifneq ($(UV),)
	VIRTUAL_ENV=.venv uv pip install -q --require-hashes -r requirements-dev.lock
else
	$(BIN)/python -m pip install -q --disable-pip-version-check --require-hashes -r requirements-dev.lock
endif
	@touch $@

run: .venv/.run ## serve on 127.0.0.1:8000 with the built-in sandbox
	UPSTREAM_URL=sandbox: LOG_FORMAT=text exec $(BIN)/python -m app

test: .venv/.dev ## run every test
	$(BIN)/python -m pytest

check: .venv/.dev ## lint, format and type checks
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: .venv/.dev ## put the code into shape
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

openapi: .venv/.dev ## write openapi/openapi.yaml from the code
	$(BIN)/python -m tools.openapi

docs: .venv/.dev ## write the documents and tables that come from the code
	$(BIN)/python -m tools.docs

lock: ## compile the lock files from pyproject.toml (needs uv)
	$(LOCK) --upgrade pyproject.toml -o requirements.lock
	$(LOCK) --upgrade -c requirements.lock --group dev pyproject.toml -o requirements-dev.lock

clean: ## remove what the other targets made
	rm -rf .venv .mypy_cache .ruff_cache .hypothesis .coverage
