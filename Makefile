# What a newcomer needs: `make run` to see it work, `make test` to prove it. No target needs another
# to be called first.
.DEFAULT_GOAL := help
SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DELETE_ON_ERROR:

TARGET_DIR := $(abspath $(or $(CARGO_TARGET_DIR),target))
FAIRLEAD := $(TARGET_DIR)/debug/fairlead
CONFIG ?= conf/quickstart.toml
REAL := tests/real
NODE_STAMP := $(REAL)/node_modules/.fairlead-stamp
VENV_STAMP := $(REAL)/.venv/.fairlead-stamp

.PHONY: help deps tools-build tools-node tools-test build run test fmt lint

help: ## show this
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 10

deps: tools-build $(NODE_STAMP) $(VENV_STAMP) ## install what the build and all tests need

tools-build tools-node tools-test:
	@$(REAL)/tools.sh $(@:tools-%=%)

# Not `npm ci`: the SDK names optional packages of other platforms that a registry may not have; the
# lock cannot hold these, and `npm ci` then calls it out of step. This takes the versions of the lock.
$(NODE_STAMP): $(REAL)/package.json $(REAL)/package-lock.json | tools-node
	@echo "installing the real CLI and the Node SDK (about 320 MB in $(REAL)/node_modules)"
	npm install --no-save --prefix $(REAL) --no-audit --no-fund --loglevel=error
	@touch $@

$(VENV_STAMP): $(REAL)/requirements.txt | tools-test
	@echo "installing the Python SDK into $(REAL)/.venv"
	python3 -m venv $(REAL)/.venv
	$(REAL)/.venv/bin/pip install --quiet --disable-pip-version-check -r $(REAL)/requirements.txt
	@touch $@

build: tools-build ## build the debug binary
	cargo build --bin fairlead

run: tools-node build $(NODE_STAMP) ## run fairlead with conf/quickstart.toml and real CLIs, until Ctrl-C
	@FAIRLEAD_BIN=$(FAIRLEAD) node $(REAL)/js/quickstart.mjs $(CONFIG)

test: deps ## run every test: Rust, then real CLIs with the real SDKs
	cargo test
	cargo build --bin fairlead
	FAIRLEAD_BIN=$(FAIRLEAD) node --test --test-force-exit --test-concurrency=1 --test-reporter=spec $(REAL)/js/*.test.mjs

fmt: ## format the code
	cargo fmt

lint: tools-build ## check the format and run clippy
	cargo fmt --check
	cargo clippy --all-targets -- -D warnings
