# `make demo` and `make test` need git, make and Python 3.11, 3.12 or 3.13; everything else is installed into .venv.
# The first interpreter that really runs and is of a version the project supports.
PYTHON ?= $(shell for p in python3.13 python3.12 python3.11 python3; do \
	$$p -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' 2>/dev/null && echo $$p && break; done)
BIN := .venv/bin
UV := $(BIN)/uv
READY := .venv/ready
DOCS := .venv-docs
export PATH := $(CURDIR)/$(BIN):$(PATH)
export DVC_NO_ANALYTICS := 1

.PHONY: setup demo demo-transfer check test fuzz coverage lint lock wheel server ui docs

setup: $(READY)

# uv comes from pip, everything else from the lock with its hashes: the same versions everywhere, and nothing unlisted.
# Bytecode is compiled now, on all cores, not by each first import; where Python may not write it, by every import.
$(READY): requirements.lock pyproject.toml
	@test -n "$(PYTHON)" || { echo "mobilebench needs Python 3.11, 3.12 or 3.13 and found none; install one, or run make PYTHON=/path/to/python3.12"; exit 1; }
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check uv
	$(UV) pip install --python $(BIN)/python --require-hashes --compile-bytecode -r requirements.lock
	$(UV) pip install --python $(BIN)/python --no-deps --no-build-isolation --editable .
	touch $@

# dvc.lock records what this machine trained: worth a commit after a real grid.
demo: $(READY)
	dvc repro
	mobilebench leaderboard
	@echo "Next: 'make ui' shows the runs, results/report.md the report."

# Pretrained weights against none, in a folder of its own. With DATA=id=PATH a folder of your images is trained on too.
demo-transfer: $(READY)
	mkdir -p demo-transfer
	cd demo-transfer && { test -d .dvc || dvc init --quiet --no-scm; }
	cd demo-transfer && { test -e params.yaml || mobilebench init demo_transfer $(addprefix --data ,$(DATA)); }
	cd demo-transfer && dvc repro && mobilebench leaderboard
	cd demo-transfer && mobilebench compare lite0_scratch lite0_probe && mobilebench compare lite0_scratch lite0_full

# Under a minute, for every change: style, types, the order of the rooms, the fast tests.
check: $(READY)
	ruff check .
	ruff format --check .
	mypy
	lint-imports --no-cache --no-logo
	pytest -n $(or $(JOBS),2) -m "not slow"

# All tests; what has to pass before a change lands. They start many processes: bytecode first, as for the packages.
test: $(READY)
	$(BIN)/python -m compileall -q mobilebench
	ruff check .
	ruff format --check .
	mypy
	lint-imports --no-cache --no-logo
	pytest -n $(or $(JOBS),2)

# The tests over random input with new examples (`make test` repeats its own); says how to repeat what it finds.
fuzz: $(READY)
	pytest -n $(or $(JOBS),2) -m hypothesis --hypothesis-profile=explore

# All tests, and which branches of the code they pass through. What runs in other processes is not counted.
coverage: $(READY)
	pytest -n $(or $(JOBS),2) --cov --cov-report=term

lint: $(READY)
	ruff check --fix .
	ruff format .
	mypy

# The wheel and the source archive, in dist/.
wheel: $(READY)
	$(BIN)/python -m hatchling build

ui: $(READY)
	mobilebench ui

# A tracking server for many workers, on PostgreSQL; docs/tracking-server.md.
server: $(READY)
	mobilebench server

# The site of docs/, in build/docs: every link and every name of the references checked, nothing loaded from elsewhere.
# A venv of its own, for it needs neither torch nor MLflow: the commands are imported without them.
docs: $(DOCS)/ready
	NO_MKDOCS_2_WARNING=1 $(DOCS)/bin/python -m mkdocs build --strict
	@echo "Open build/docs/index.html; its search needs a server: $(DOCS)/bin/python -m http.server --directory build/docs"

$(DOCS)/ready: requirements-docs.lock
	@test -n "$(PYTHON)" || { echo "mobilebench needs Python 3.11, 3.12 or 3.13 and found none"; exit 1; }
	test -x $(DOCS)/bin/python || $(PYTHON) -m venv $(DOCS)
	$(DOCS)/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements-docs.lock
	touch $@

# Newest versions that pyproject.toml allows, for all platforms and Python versions at once; no addresses.
lock: $(READY)
	$(UV) pip compile --quiet --upgrade --universal --python-version 3.11 --group dev --extra all --generate-hashes \
		--no-header --no-annotate --no-emit-index-url --output-file requirements.lock pyproject.toml
	$(UV) pip compile --quiet --upgrade --universal --python-version 3.11 --group docs --generate-hashes \
		--no-header --no-annotate --no-emit-index-url --output-file requirements-docs.lock
