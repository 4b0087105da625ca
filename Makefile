# `make help` lists what there is. Works with GNU make 3.81 and newer; needs Python 3.11 or newer and pip.
# PYTHON=python3.12 chooses another interpreter, ARGS="…" goes to the command that a target runs.

PYTHON ?= python3
ARGS ?=
BIN := .venv/bin
PYTEST := $(BIN)/python -m pytest
DATA_BACKEND ?= json

.DEFAULT_GOAL := help
.PHONY: help run test quick lint format test-unit test-unit-adapter test-integration test-integration-api \
        test-browser protocol compiled test-compiled conformance-peers faults simulate soak bench bench-servers docs constraints clean venv-run venv-dev system

help: ## this list
	@awk 'BEGIN { FS = ":.*## " } /^[a-z-]+:.*## / { printf "  make %-22s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

run: venv-run ## start it all: PostgreSQL, both servers, the proxy, sample data (Ctrl-C stops it)
	@exec $(BIN)/turnout demo $(ARGS)

test: venv-dev system lint ## everything: lint, types, then every test
	$(PYTEST) $(ARGS)

quick: lint test-unit ## lint, types and unit tests: before each commit

lint: venv-dev ## style, types and import rules
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/basedpyright
	$(BIN)/lint-imports

format: venv-dev ## put the code into the one format
	$(BIN)/ruff check --fix-only --quiet
	$(BIN)/ruff format

test-unit: venv-dev ## the pure parts, in seconds
	$(PYTEST) tests/unit $(ARGS)

test-unit-adapter: venv-dev ## both stores: their own parts, records, kept answers, and the protocol
	$(PYTEST) tests/unit/backends tests/contract/test_records.py tests/contract/test_idempotency.py tests/protocol $(ARGS)

test-integration: venv-dev ## real sockets and processes
	$(PYTEST) tests/integration $(ARGS)

test-integration-api: venv-dev ## the shop's API through the proxy, both upstreams compared; DATA_BACKEND=json|postgres is primary
	DATA_BACKEND=$(DATA_BACKEND) $(PYTEST) tests/contract tests/integration/test_both_upstreams.py $(ARGS)

compiled: venv-dev ## the hot path as native code, in build/compiled (needs a C compiler; a minute)
	$(BIN)/python .ci/compiled.py

# "." comes second: tests are taken from here, the proxy from build/compiled.
test-compiled: compiled system ## the RFC cases, the units and 300 simulated runs on the compiled proxy
	TURNOUT_COMPILED=1 $(PYTEST) -o pythonpath="build/compiled ." tests/conformance tests/unit/wire tests/unit/forward tests/unit/routing \
	  tests/unit/mirror tests/unit/journal $(ARGS)
	PYTHONPATH=build/compiled:. $(BIN)/python -P -m tests.simulation --runs 300 --no-progress

test-browser: venv-dev system ## the status page in a real Chromium
	$(PYTEST) tests/browser $(ARGS)

protocol: venv-dev ## does the server at URL=http://… keep docs/protocol.md? Without URL: do both of ours? (it fills the server)
	TURNOUT_PROTOCOL_URL=$(URL) $(PYTEST) tests/protocol $(ARGS)

# The long runs. Each stands once its folder has tests.
long = @if ls $(1)/test_*.py >/dev/null 2>&1; then exec $(PYTEST) $(1) $(2) $(ARGS); \
	else echo "make $@: not yet: $(1) has no tests" >&2; exit 1; fi

faults: venv-dev system ## kill -9, hangs, cuts and full disks under load: SEED=… RUNS=…
	@RUNS=$(or $(RUNS),200) SEED=$(or $(SEED),1) TURNOUT_KILLS=50 exec $(PYTEST) tests/faults $(ARGS)

# A peer fails cases by design: its own exit code says nothing here.
conformance-peers: venv-dev ## the conformance suite against HAProxy and nginx too; writes docs/conformance.md
	mkdir -p build/conformance
	for gateway in turnout haproxy nginx; do \
	  $(PYTEST) tests/conformance --gateway $$gateway --outcomes build/conformance/$$gateway.json --tb=no $(ARGS) || true; done
	$(BIN)/python -m tests.support.conformance_table build/conformance

simulate: venv-dev ## the mirror in a simulated world: SEED=… one seed with its trace, RUNS=… many (goes on where it stopped)
	@$(BIN)/python -m tests.simulation $(if $(SEED),--seed $(SEED)) $(if $(RUNS),--runs $(RUNS)) $(ARGS)

soak: venv-dev ## hours of traffic, with the memory watched
	$(call long,tests/soak)

bench: compiled ## Turnout beside nginx, HAProxy, Envoy, Traefik, Caddy; the table goes to docs/benchmarks.md
	$(BIN)/python -m tests.bench $(ARGS)
	$(BIN)/python -m tests.bench.stores

bench-servers: venv-dev ## only the two servers: beside json-server of npm, and beside asyncpg alone
	$(BIN)/python -m tests.bench.stores $(ARGS)

docs: venv-dev ## write the generated pages anew; do all documents still say what the code does?
	$(BIN)/python .ci/reference.py
	$(PYTEST) tests/unit/repo $(ARGS)

constraints: venv-dev ## write constraints.txt anew from what .venv holds
	$(BIN)/python .ci/pins.py > constraints.txt.new
	mv constraints.txt.new constraints.txt

clean: ## remove what was made: .venv, caches, the demo's data in .turnout
	rm -rf .venv .venv.lock .turnout build dist .pytest_cache .ruff_cache .hypothesis .import_linter_cache
	find proxy backends tests -name __pycache__ -type d -prune -exec rm -rf {} +

system:
	@.ci/system

venv-run venv-dev: venv-%:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
	  echo "Turnout needs Python 3.11 or newer; $(PYTHON) is $$($(PYTHON) --version 2>/dev/null || echo missing)." >&2; \
	  echo "Choose another: make PYTHON=python3.12 $(MAKECMDGOALS)" >&2; exit 1; }
	@$(PYTHON) .ci/venv.py $*
