# Nothing to prepare: each target makes .venv when it needs it, from requirements-dev.txt, whose
# every line is pinned and hashed, with nothing but `python3 -m venv` and pip.

PYTHON ?= python3
UV ?= uv
ARGS ?=

venv := .venv
stamp := $(venv)/.complete

.DEFAULT_GOAL := help
.PHONY: help demo test lint requirements clean

help:
	@echo 'tracebus: start here'
	@echo
	@echo '  make demo          payments, the evidence of them, and eight attempts to cheat'
	@echo '  make test          run the tests       make test ARGS="-k chain -x"'
	@echo '  make lint          ruff check, ruff format --check, mypy'
	@echo '  make requirements  pin again after a change in pyproject.toml; UPGRADE=1 raises every pin'
	@echo '  make clean         remove .venv, caches and builds'
	@echo
	@echo 'The first run makes .venv and installs into it; after that, a change of requirements-dev.txt'
	@echo 'or pyproject.toml does. Another interpreter, from 3.11 on:  make clean test PYTHON=python3.13'

demo: $(stamp)
	@$(venv)/bin/tracebus demo $(ARGS)

test: $(stamp)
	@$(venv)/bin/python -m pytest $(ARGS)

lint: $(stamp)
	$(venv)/bin/ruff check
	$(venv)/bin/ruff format --check
	$(venv)/bin/mypy

# The stamp comes last, so a set-up that was interrupted counts as none and starts over.
# -qq because pip on success has nothing to tell; its errors are still shown.
$(stamp): requirements-dev.txt pyproject.toml
	@command -v '$(PYTHON)' >/dev/null || \
	  { echo 'tracebus needs Python 3.11 or newer, and there is no "$(PYTHON)"; name one: make PYTHON=python3.13' >&2; exit 1; }
	@'$(PYTHON)' -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "tracebus needs Python 3.11 or newer, and $(PYTHON) is $$('$(PYTHON)' -V 2>&1); name another: make PYTHON=python3.13" >&2; exit 1; }
	@echo 'Setting up $(venv), once ...' >&2
	@rm -f $(stamp)
	@rm -rf $(venv)
	@'$(PYTHON)' -m venv $(venv)
	@$(venv)/bin/python -m pip --disable-pip-version-check install -qq --require-hashes -r requirements-dev.txt
	@$(venv)/bin/python -m pip --disable-pip-version-check install -qq --no-deps --no-build-isolation -e .
	@touch $(stamp)

# Universal: one file for every platform and every Python from 3.11 on. No header, no annotations
# and no index: the file says what is installed, not where it came from.
requirements:
	@command -v '$(UV)' >/dev/null || { echo 'this needs uv: pip install uv' >&2; exit 1; }
	'$(UV)' pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header \
	  --no-annotate $(if $(UPGRADE),--upgrade) --group dev pyproject.toml -o requirements-dev.txt

clean:
	rm -f $(stamp)
	rm -rf $(venv) build dist *.egg-info .hypothesis .mypy_cache .pytest_cache .ruff_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
