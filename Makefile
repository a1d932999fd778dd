# make demo    score real faces with the embedded model, offline, and write a report
# make test    run every test; make coverage: the same, with a table of what the tests reached
# make test-pythons  the SDK's tests on every Python from 3.10 to 3.13 that is found, with the oldest dependencies too
# make wheel   build the package into dist/; it installs nothing but pip
# make reliability  the tables of docs/reliability.md, in half an hour
# make docs    build the pages of docs/ as a site, into site/; broken links are errors
# make lint types bench clean
#
# Each target sets up what it needs in .venv. Needed beforehand: Python 3.10 or newer, make, a C compiler.

VENV := .venv
BIN := $(VENV)/bin
# Pinned, and installed before all else: where the index offers a CPU build of exactly this release, pip takes it.
TORCH := torch==2.13.0
PYTHONS := python3 python3.13 python3.12 python3.11 python3.10
NEW_ENOUGH := import ensurepip, sys, venv; sys.exit(sys.version_info < (3, 10))
PYTHON ?= $(shell for p in $(PYTHONS); do $$p -c "$(NEW_ENOUGH)" 2>/dev/null && echo $$p && break; done)
PYTEST_ARGS ?=
PYTEST := -m pytest

.PHONY: demo test coverage test-pythons lint types bench reliability docs wheel clean
.DELETE_ON_ERROR:

demo: $(VENV)/.demo
	$(BIN)/python examples/demo.py

test: $(VENV)/.dev
	$(BIN)/python $(PYTEST) $(PYTEST_ARGS)

# A process that a test kills leaves a file that cannot be read: combine passes over it, and says so.
coverage: $(VENV)/.dev
	rm -f .coverage*
	$(MAKE) test PYTEST="-m coverage run -m pytest"
	-$(BIN)/python -m coverage combine --quiet
	$(BIN)/python -m coverage report

test-pythons: $(VENV)/.made
	$(BIN)/python -m pip install --quiet uv
	$(BIN)/python tests/pythons.py

lint: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(VENV)/.dev
	$(BIN)/mypy

bench: $(VENV)/.dev
	$(BIN)/python benchmarks/cpu_scoring.py

reliability: $(VENV)/.dev
	@failed=0; for each in hostile_inputs kill_tests kill_training; do $(BIN)/python benchmarks/$$each.py || failed=1; done; exit $$failed

docs: $(VENV)/.docs
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

wheel: $(VENV)/.made
	rm -rf build
	$(BIN)/python -m pip wheel --quiet --no-deps --wheel-dir dist .

clean:
	rm -rf $(VENV) .pythons build dist demo site *.egg-info .coverage* .mypy_cache .pytest_cache .ruff_cache

$(VENV)/.made:
	@test -n "$(PYTHON)" || { echo "no Python 3.10 or newer with venv among: $(PYTHONS). Install one (Debian and Ubuntu: apt install python3-venv), or: make PYTHON=/path/to/python" >&2; exit 1; }
	@$(PYTHON) -c "$(NEW_ENOUGH)" || { echo "$(PYTHON) is older than 3.10, or comes without venv (Debian and Ubuntu: apt install python3-venv); use: make PYTHON=/path/to/python3.12" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); exit 1; }
	touch $@

$(VENV)/.demo: $(VENV)/.made pyproject.toml
	$(BIN)/python -m pip install --quiet --editable ".[cpu]"
	touch $@

$(VENV)/.dev: $(VENV)/.made pyproject.toml
	$(BIN)/python -m pip install --quiet "$(TORCH)"
	$(BIN)/python -m pip install --quiet --editable ".[cpu,dev,export,openvino-export,report,scale,serve,tensorrt-rtx,train]"
	touch $@

$(VENV)/.docs: $(VENV)/.dev pyproject.toml
	$(BIN)/python -m pip install --quiet --editable ".[docs]"
	touch $@
