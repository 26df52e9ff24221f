# Nothing to prepare: each target makes .venv when it needs it, from requirements-dev.txt, whose
# every line is pinned and hashed, with nothing but `python3 -m venv` and pip.

PYTHON ?= python3
UV ?= uv
ARGS ?=

venv := .venv
stamp := $(venv)/.complete
witness := .witness
witness_stamp := $(witness)/.complete
peers := .bench-peers
peers_stamp := $(peers)/.complete

.DEFAULT_GOAL := help
.PHONY: help demo test lint bench requirements clean

help:
	@echo 'tracebus: start here'
	@echo
	@echo '  make demo          payments, the evidence of them, and eight attempts to cheat'
	@echo '  make test          run the tests       make test ARGS="-k chain -x"'
	@echo '  make lint          ruff check, ruff format --check, mypy'
	@echo '  make bench         measure speed beside other libraries, installed into $(peers)'
	@echo '  make requirements  pin again after a change in pyproject.toml; UPGRADE=1 raises every pin'
	@echo '  make clean         remove .venv, caches and builds'
	@echo
	@echo 'The first run makes .venv and installs into it; after that, a change of requirements-dev.txt'
	@echo 'or pyproject.toml does. Another interpreter, from 3.11 on:  make clean test PYTHON=python3.13'

demo: $(stamp)
	@$(venv)/bin/tracebus demo $(ARGS)

test: $(stamp) $(witness_stamp)
	@$(venv)/bin/python -m pytest $(ARGS)

lint: $(stamp)
	$(venv)/bin/ruff check
	$(venv)/bin/ruff format --check
	$(venv)/bin/mypy

bench: $(stamp) $(peers_stamp)
	@$(venv)/bin/python tests/bench/bench.py --peers $(peers)/bin/python $(ARGS)

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

# A witness that is not ours, for the tests of anchors; without it they are skipped, and in CI they fail.
$(witness_stamp): tests/test_anchor/requirements-witness.txt | $(stamp)
	@rm -rf $(witness)
	@'$(PYTHON)' -m venv $(witness)
	@$(witness)/bin/python -m pip --disable-pip-version-check install -qq --ignore-requires-python \
	  --require-hashes -r $< || echo 'no witness: its tests are skipped' >&2
	@touch $(witness_stamp)

$(peers_stamp): tests/bench/requirements-peers.txt | $(stamp)
	@echo 'Setting up $(peers), once ...' >&2
	@rm -rf $(peers)
	@'$(PYTHON)' -m venv $(peers)
	@$(peers)/bin/python -m pip --disable-pip-version-check install -qq --require-hashes -r $<
	@touch $(peers_stamp)

# Universal: the same pins for every platform and every Python from 3.11 on. No header, no annotations
# and no index: the files say what is installed, not where it came from.
pin = --quiet --universal --python-version 3.11 --generate-hashes --no-header --no-annotate \
  $(if $(UPGRADE),--upgrade)

requirements:
	@command -v '$(UV)' >/dev/null || { echo 'this needs uv: pip install uv' >&2; exit 1; }
	'$(UV)' pip compile $(pin) --group dev pyproject.toml -o requirements-dev.txt
	'$(UV)' pip compile $(pin) tests/bench/requirements-peers.in -o tests/bench/requirements-peers.txt
	'$(UV)' pip compile $(pin) --python-version 3.12 tests/test_anchor/requirements-witness.in \
	  -o tests/test_anchor/requirements-witness.txt

clean:
	rm -f $(stamp) $(peers_stamp) $(witness_stamp)
	rm -rf $(venv) $(peers) $(witness) build dist *.egg-info .hypothesis .mypy_cache .pytest_cache .ruff_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
