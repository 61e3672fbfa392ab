# One target a job; `make help` lists them. Options for the testbed go into ARGS: make run ARGS="--clock virtual".
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-builtin-rules --no-print-directory
.DELETE_ON_ERROR:

VENV := .venv
BIN := $(VENV)/bin
CRATE := dataplane/Cargo.toml
# Its theme prints news about other programs unless it is told not to.
MKDOCS := NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs
FORMAT ?= table
SEEDS ?= 300
DRIVER ?=
KILLS ?= 100
FIRST ?= 0
ARGS ?=
BASE ?=
RECORD ?=
SECONDS ?= 60
SEED ?=
OF ?=
SAMPLE ?=
export PATH := $(HOME)/.cargo/bin:$(PATH)
export PIP_DISABLE_PIP_VERSION_CHECK := 1
# The tests start testbed some hundred times: it is compiled once.
unexport PYTHONDONTWRITEBYTECODE

# The first Python of version 3.11 or newer; a shim that leads nowhere fails the question and is passed over.
RECENT := import sys; sys.exit(sys.version_info < (3, 11))
PYTHON ?= $(shell for p in python3.11 python3.12 python3.13 python3; do \
	$$p -c '$(RECENT)' 2>/dev/null && command -v $$p && break; done)

# Cargo's live tests make namespaces, which takes root.
LIVE := $(if $(filter 0,$(shell id -u)),--features live)
# Each folder is in one of the passes of pytest: tests/unit/test_code.py sees to it.
COMPUTED_TESTS := tests/unit tests/virtual tests/validation tests/packaging tests/browser
LIVE_TESTS := tests/live tests/parity tests/docker
# What tests and checks of web/ need, where npm is there to fetch it; the bundle that ships is committed.
WEB_MODULES := web/node_modules/.package-lock.json
WEB = $(if $(shell command -v npm),$(WEB_MODULES))
RUST_SOURCES := $(shell find dataplane/src -name '*.rs') $(CRATE) dataplane/Cargo.lock

.PHONY: help setup run test lint docs references web rust-build rust-test python-test bench campaign validation survival fuzz mutants dist pgo-wheel image \
	lock licences clean packages toolchain

help: ## List the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /\1\t/' | expand -t 14

setup: $(VENV)/.testbed ## Make .venv with testbed in it, and install Debian packages when root

run: setup ## Run a lossless all-reduce between two data centres; DRIVER=docker for containers; ARGS="…" for testbed's options
	@$(if $(filter docker,$(DRIVER)),tools/run-containers $(BIN),$(BIN)/testbed run --clock auto $(DRIVER:%=--driver %)) \
		all_reduce -t two-dc -b 1M -e 16M -f 4 --set 'workload.ranks=[a1,b1,a2,b2]' $(ARGS)

test: ## Lint, then every test
	+@$(MAKE) --jobs=2 $(VENV)/.dependencies rust-build
	+@$(MAKE) lint rust-test python-test

lint: $(VENV)/.dependencies $(WEB) | toolchain ## Check format, style and types, and build the documentation
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(MKDOCS) build --strict
	$(if $(WEB),cd web && npm run --silent check,@echo "left out for want of npm: the types of web/")
	cargo fmt --manifest-path $(CRATE) --check
	PYO3_PYTHON=$(abspath $(BIN)/python) cargo clippy --quiet --locked --manifest-path $(CRATE) \
		--all-targets --features live,extension-module -- -D warnings

docs: $(VENV)/.dependencies ## Serve the documentation on this machine, and build it anew as it changes
	$(MKDOCS) serve

references: setup ## Write the pages of the documentation that are made of the code
	$(BIN)/python -m tools.references

web: $(WEB_MODULES) ## Build what reports are drawn by into testbed/data (needs Node); its sources are in web/
	cd web && npm run --silent build

# While one core waits for the packages of Python, the other may compile.
rust-build: | packages toolchain
	cargo test --no-run --quiet --locked --manifest-path $(CRATE) $(LIVE)

rust-test: | packages toolchain ## Test the data plane alone (the live tests too when root)
	cargo test --quiet --locked --manifest-path $(CRATE) $(LIVE)

python-test: setup $(WEB) ## Run pytest, on all processors where tests do not measure time; ARGS="…" for pytest's options
	$(BIN)/pytest --numprocesses auto --dist loadfile $(ARGS) $(COMPUTED_TESTS)
	$(if $(or $(LIVE),$(CI)),$(BIN)/pytest --numprocesses 2 --dist loadfile $(ARGS) $(LIVE_TESTS),\
		@echo "left out, since they make network namespaces and need root: $(LIVE_TESTS)")
	$(BIN)/pytest $(ARGS) tests/netem

bench: setup ## Measure speed, beside the last release and rivals; FORMAT=json for one JSON document, RECORD=1 to keep the figures
	@$(BIN)/python -m bench --format $(FORMAT) $(if $(RECORD),--record)

validation: setup ## Hold the testbed against closed forms and published figures; writes docs/validation.md
	@$(BIN)/python -m validation $(ARGS)

campaign: setup ## Run random cases against what must always hold; SEEDS=3000 for a night
	@$(BIN)/testbed campaign --seeds $(SEEDS) $(ARGS)

survival: setup ## Kill commands, agents and nodes at random moments; KILLS=200 for a night, FIRST=17 KILLS=1 for one again
	TESTBED_KILLS=$(KILLS) TESTBED_FIRST_KILL=$(FIRST) $(BIN)/pytest $(ARGS) tests/live/test_survival.py

fuzz: setup ## Hostile files, plans, messages, frames, captures; SECONDS=600 for each, OF=yaml,bus for some, SEED=7 for the same again
	@$(BIN)/python -m tools.fuzz --seconds $(SECONDS) $(SEED:%=--seed %) $(OF)

mutants: setup ## Break the code in small ways: do the tests notice? SAMPLE=20 mutants of each, ARGS="testbed/units.py …" for single modules
	@$(BIN)/python tools/mutants.py $(SAMPLE:%=--sample %) $(ARGS)

dist: setup ## Build the wheel (for Python 3.11 and later, no Rust needed to install it) and the source archive into dist/
	@rm -rf dist
	$(BIN)/maturin build --quiet --release --locked --out dist
	$(BIN)/maturin sdist --quiet --out dist
	@ls dist

pgo-wheel: setup ## Build the wheel into dist/ for publishing: optimised by a profile of runs, in three times the time
	@rm -rf dist
	tools/pgo-wheel $(VENV) dist
	@ls dist

image: dist ## Build the testbed as a container image, lossless-testbed; BASE=… for another base than Debian
	@tools/build-image $(VENV) dist/*.whl lossless-testbed $(BASE)

lock: ## Resolve the Python dependencies afresh into the lock files
	tools/lock $(PYTHON)

licences: $(VENV)/.dependencies | toolchain ## List the licence of every dependency, of Python, Rust and npm
	@$(BIN)/python tools/licences.py

clean: ## Remove everything that was built
	rm -rf $(VENV) dist site results dataplane/target testbed/_dataplane*.so .mypy_cache .ruff_cache .pytest_cache .hypothesis web/node_modules
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# What setup is made of. Its output goes to stderr, so that `run` and `bench` print their result alone on stdout.
packages:
	@tools/debian-packages $(PYTHON)

toolchain:
	@command -v cargo >/dev/null || { echo "cargo not found: install Rust with rustup, then repeat" >&2; exit 3; }

$(VENV)/.dependencies: requirements-dev.lock | packages
	@test -n "$(PYTHON)" || { echo "no Python 3.11 or newer found: install it, or name it with PYTHON=…" >&2; exit 3; }
	@# An environment of this Python stays, and gets what changed; one that was cut off in the making does not.
	@test -f $(VENV)/pyvenv.cfg && [ "$$($(BIN)/python -V)" = "$$($(PYTHON) -V)" ] && $(BIN)/python -m pip --version >/dev/null || \
		{ rm -f $(VENV)/pyvenv.cfg && $(PYTHON) -m venv --clear $(VENV) >&2; }
	@tools/with-progress "installing Python packages into $(VENV)" $(BIN)/pip install --quiet --require-hashes -r requirements-dev.lock >&2
	touch $@

$(WEB_MODULES): web/package-lock.json web/package.json | packages
	@command -v npm >/dev/null || { echo "npm not found: install Node, then repeat" >&2; exit 3; }
	@tools/with-progress "installing npm packages into web/node_modules" npm ci --silent --prefix web >&2
	@touch $@

$(VENV)/.testbed: $(VENV)/.dependencies $(RUST_SOURCES) pyproject.toml | toolchain
	@tools/build-dataplane $(VENV) >&2
	touch $@
