# Two commands: `make up` runs Pixelmill, `make test` tests it. Both make their own .venv.
PYTHON ?= python3
BIN := .venv/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check
ARGS ?=

.PHONY: help up test-setup test check format lint types imports chaos load soak clean

help: ## what there is
	@grep -hE '^[a-z%-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*##/\t/' | expand -t 16

up: .venv/.installed ## install, fetch weights, start everything (ARGS="--host 0.0.0.0 --port 8000")
	@exec $(BIN)/pixelmill up $(ARGS)

.venv/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "Pixelmill needs Python 3.11 or newer; this is $$($(PYTHON) --version). Set PYTHON=..."; exit 1; }
	$(PYTHON) -m venv .venv

.venv/.installed: pyproject.toml constraints.txt | .venv/bin/python
	$(PIP) install --quiet --editable . --constraint constraints.txt
	@touch $@

.venv/.installed-test: .venv/.installed
	$(PIP) install --quiet --editable '.[test]' --constraint constraints.txt
	@touch $@

.venv/.installed-bench: .venv/.installed-test
	$(PIP) install --quiet --editable '.[bench]' --constraint constraints.txt
	@touch $@

test-setup: .venv/.installed-test ## what tests need besides: test extras, Chromium
	@command -v chromium >/dev/null || { \
	  echo "installing Debian's chromium for the browser tests"; \
	  { apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq chromium >/dev/null; } || \
	  { echo "The browser tests need a program called chromium on the PATH; install it and try again."; exit 1; }; }

test: test-setup ## all tests, on real servers that they start themselves
	$(BIN)/pytest -n 2 --dist loadfile

check: format lint types imports test ## what CI runs

format: .venv/.installed-test ## is the code formatted? (ruff format . does it)
	$(BIN)/ruff format --check .

lint: .venv/.installed-test ## ruff, and the JavaScript's syntax where node is there
	$(BIN)/ruff check .
	@! command -v node >/dev/null || for file in web/static/*.js; do node --check $$file || exit 1; done

types: .venv/.installed-test ## mypy --strict
	$(BIN)/mypy

imports: .venv/.installed-test ## the layers of ARCHITECTURE.md
	$(BIN)/lint-imports

bench-%: .venv/.installed-bench ## a bench: chain, lists, hit, imaging, device, batching, scaling ...; prints a table, writes var/bench/<name>.json
	$(BIN)/python tests/bench/$*.py $(ARGS)

chaos: .venv/.installed-test ## break everything under load; a table, var/bench/chaos.json (ARGS="--only redis")
	$(BIN)/python tests/chaos/run.py $(ARGS)

load: .venv/.installed-test ## saturation and twice as much on a no-op model; var/bench/load.json (ARGS=--soak: 5 minutes)
	$(BIN)/python tests/bench/overload.py $(ARGS)

soak: .venv/.installed-test ## 15 minutes of good and odd traffic of 50 identities, every answer checked; var/bench/soak.json
	$(BIN)/python tests/bench/soak.py $(ARGS)

clean: ## forget caches, not data
	rm -rf .pytest_cache .mypy_cache .ruff_cache .hypothesis build *.egg-info
