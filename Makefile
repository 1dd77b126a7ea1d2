# The targets that a person or CI calls; plain `make` lists them.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready-$(shell cat requirements.lock pyproject.toml | sha256sum | cut -c1-12)

.DEFAULT_GOAL := help
SECONDS ?= 60
.PHONY: help setup demo browser test test-long mutants fuzz check bench lock clean

help:  ## list the targets
	@grep -E '^[a-z-]+: .*##' $(MAKEFILE_LIST) | sed -E 's/: .*## /\t/' | expand -t 12

setup: $(READY)  ## make .venv from the lock file

$(READY):
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --requirement requirements.lock
	$(BIN)/pip install --quiet --no-deps --editable .
	rm -f $(VENV)/.ready-*
	touch $@

demo: setup  ## corpus, training, registered model and a 100,000-character sample, on this machine
	$(BIN)/python jobs/reproduce.py --recipe pystdlib

browser:  ## Debian's Chromium, in which tests open the pages (apt-get, as root)
	test -x "$${CHROMIUM:-/usr/bin/chromium}" || { apt-get update && apt-get install -y --no-install-recommends chromium; }

test: setup  ## the suite
	$(BIN)/python -m pytest -m "not long" -n 3 --dist loadgroup

test-long: setup  ## what takes minutes each: kill schedules, elastic runs
	$(BIN)/python -m pytest -m long

mutants: setup  ## small faults put into the pure modules: each module's own test must notice
	$(BIN)/python tests/mutants.py

fuzz: setup  ## wrong input from chance at every door: make fuzz SECONDS=60
	$(BIN)/python -m tests.fuzz --seconds $(SECONDS)

check: setup  ## lint, format, types, known vulnerabilities
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python .ci/audit

bench: setup  ## the demo by stage; training and sampling against plain PyTorch
	$(BIN)/python benchmarks/demo.py
	$(BIN)/python benchmarks/train.py
	$(BIN)/python benchmarks/sample.py

lock: setup  ## write requirements.lock from what is installed
	$(BIN)/pip freeze --exclude-editable --exclude unreasonable | sed -E 's/^(torch==[0-9.]+)\+.*/\1/' > requirements.lock

clean:  ## remove what the targets made in this folder
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis *.egg-info build dist
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
