# The two commands a newcomer needs are `make run` and `make test`; `make help` lists the rest.

SHELL := /bin/bash
CARGO ?= cargo
NPM ?= npm
STAMP := dashboard/node_modules/.package-lock.json
DASHBOARD_SOURCES := $(shell find dashboard -path dashboard/node_modules -prune -o -path dashboard/dist -prune -o -type f -print 2>/dev/null)
BINARY := $(or $(CARGO_TARGET_DIR),target)/release/threadscape

PEERS := $(or $(CARGO_TARGET_DIR),target)/peers
NATIVE := $(PEERS)/native

.PHONY: help run build dashboard test test-rust test-dashboard test-browser lint bench bench-peers fuzz models clean need-node need-browser need-observed need-peers

help: ## what each target does
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /  make \1\t/' | expand -t 26

run: build ## build everything and serve the dashboard with the demo scenario
	$(BINARY) serve --scenario config/scenarios/demo.toml

build: dashboard ## the release binary with the dashboard in it
	$(CARGO) build --release --locked

dashboard: dashboard/dist/index.html ## only the dashboard, into dashboard/dist

dashboard/dist/index.html: $(STAMP) $(DASHBOARD_SOURCES)
	cd dashboard && $(NPM) run build
	@touch $@

$(STAMP): dashboard/package-lock.json | need-node
	cd dashboard && $(NPM) ci --ignore-scripts --no-audit --no-fund
	@touch $@

need-node:
	@node -e 'const [a,b]=process.versions.node.split(".").map(Number); process.exit(a>20||(a==20&&b>=19)?0:1)' 2>/dev/null \
	  || { echo "the dashboard needs Node.js 20.19 or newer with npm; found: $$(node --version 2>/dev/null || echo none)" >&2; exit 1; }

# Browser tests drive Debian's chromium. As root it is installed when it is missing.
need-browser:
	@command -v chromium >/dev/null || { \
	  if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
	    apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends chromium fonts-noto-cjk; \
	  else \
	    echo "the browser tests need chromium: run 'apt-get install chromium' as root, then 'make test' again" >&2; exit 1; \
	  fi; }

# The Rust tests look at other people's programs, and judge our stacks by gdb's. As root they are installed when missing;
# no service is started. Without them those tests are skipped, except on CI.
OBSERVED := cc c++ gdb eu-stack redis-server nginx java python3 setpriv
need-observed:
	@missing=; for program in $(OBSERVED); do command -v $$program >/dev/null || missing="$$missing $$program"; done; \
	ls /usr/lib/postgresql/*/bin/postgres >/dev/null 2>&1 || missing="$$missing postgres"; \
	if [ -z "$$missing" ]; then :; \
	elif [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
	  policy=/usr/sbin/policy-rc.d; \
	  if [ ! -e $$policy ]; then printf '#!/bin/sh\nexit 101\n' >$$policy; chmod +x $$policy; trap "rm -f $$policy" EXIT; fi; \
	  apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends \
	    gcc g++ libc6-dev gdb elfutils redis-server nginx postgresql default-jdk-headless python3 util-linux; \
	else \
	  echo "some tests are skipped for want of:$$missing; 'make need-observed' as root installs them" >&2; \
	fi

test: test-dashboard test-rust test-browser ## every test: dashboard units, Rust (loom models too), the page in a browser

test-rust: dashboard need-observed
	@if $(CARGO) nextest --version >/dev/null 2>&1; then $(CARGO) nextest run --locked --workspace; else $(CARGO) test --locked --workspace; fi

test-dashboard: $(STAMP)
	cd dashboard && $(NPM) run check && $(NPM) test

test-browser: dashboard need-browser
	$(CARGO) build --locked
	THREADSCAPE_BIN=$(or $(CARGO_TARGET_DIR),$(CURDIR)/target)/debug/threadscape node --test tests/browser/

lint: ## formatting and clippy, warnings are errors
	$(CARGO) fmt --all --check
	$(CARGO) clippy --locked --workspace --all-targets -- -D warnings

bench: ## what we promise to cost, against limits and peers, as one table
	@$(CARGO) bench --locked --bench reading --bench ledger --bench pools --bench workloads --bench serving --bench stacks

# Peers come from PyPI (torch, scipy, OpenCV and others: some 6 GiB in target/peers), crates.io and Debian.
need-peers: $(PEERS)/venv/.installed
	@command -v mpicxx >/dev/null && command -v g++ >/dev/null || { \
	  if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
	    apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends g++ openmpi-bin libopenmpi-dev; \
	  else \
	    echo "comparing with OpenMPI needs it: run 'apt-get install g++ openmpi-bin libopenmpi-dev' as root" >&2; exit 1; \
	  fi; }

$(PEERS)/venv/.installed: benches/peers/requirements.txt
	python3 -m venv $(PEERS)/venv
	$(PEERS)/venv/bin/pip install --quiet -r $<
	@touch $@

$(NATIVE)/%: benches/peers/native/%.cpp benches/peers/native/protocol.hpp | need-peers
	@mkdir -p $(NATIVE)
	$(if $(findstring mpi,$*),mpicxx,g++) -O3 -march=native -std=c++20 -fopenmp -o $@ $<

bench-peers: need-peers $(patsubst benches/peers/native/%.cpp,$(NATIVE)/%,$(wildcard benches/peers/native/*.cpp)) ## the workloads against what one would use instead; ONLY="title" for some rows
	cd benches/peers && $(CARGO) build --release --locked --target-dir $(abspath $(PEERS))
	@$(PEERS)/venv/bin/python benches/peers/run.py --ours $(PEERS)/release/ours --native $(NATIVE) --only "$(ONLY)"

SECONDS_EACH ?= 60
fuzz: ## libFuzzer on every parser of hostile bytes, on stable Rust; SECONDS_EACH=60, TARGETS="elf maps" for some
	SECONDS_EACH=$(SECONDS_EACH) RUNS=$(RUNS) fuzz/run $(TARGETS)

models: ## train the language model of the medusa workload again (some minutes; the checkpoint is in the repository)
	$(CARGO) run --locked --release -p threadscape-workloads --example train_medusa

clean:
	$(CARGO) clean
	rm -rf dashboard/dist dashboard/node_modules
