# Two commands for everybody:
#   make demo    install, export the embedded model for this machine, segment a photo, measure, report
#   make test    lint, types and tests
# VENV and PYTHON can be given: make test VENV=/tmp/env PYTHON=python3.12

VENV   ?= .venv
PYTHON ?= $(shell for p in python3 python3.13 python3.12 python3.11 python3.10; do \
	$$p -c 'import sys; sys.exit(not (3, 10) <= sys.version_info < (3, 14))' 2>/dev/null \
	&& echo $$p && break; done)
PYTEST_ARGS ?=

BIN  := $(VENV)/bin
PIP  := $(BIN)/python -m pip --disable-pip-version-check --quiet
SAM  := $(BIN)/samedge
DEMO := build/demo
DATA := samedge/data/photos

# The demonstration's model, and the platform that suits this machine: OpenVINO on x86-64, ONNX
# Runtime elsewhere.
MODEL  ?= samedge-nano
TARGET ?= $(if $(filter x86_64 amd64,$(shell uname -m)),intel,cpu)
# PRECISION=auto also exports and measures lower precisions, in minutes instead of seconds.
PRECISION ?= fp32

.PHONY: demo test check pytest docs clean
.NOTPARALLEL:
.DEFAULT_GOAL := test

$(BIN)/python:
	@test -n "$(PYTHON)" || { echo "samedge needs Python 3.10 to 3.13; none was found. Name one: make PYTHON=/path/to/python3" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)

# One stamp per set of extras: the environment is complete when the stamp is newer than the pins.
$(VENV)/.installed-dev: pyproject.toml | $(BIN)/python
	@echo "Installing samedge and everything that its tests need into $(VENV) ..."
	$(PIP) install --editable ".[dev]"
	@touch $@

$(VENV)/.installed-demo: pyproject.toml | $(BIN)/python
	@test $(VENV)/.installed-dev -nt pyproject.toml || $(PIP) install --editable ".[export,eval,report]"
	@touch $@

demo: $(VENV)/.installed-demo
	@mkdir -p $(DEMO)
	$(SAM) export --target $(TARGET) --precision $(PRECISION) --model $(MODEL) \
		-o $(DEMO)/bundle --record $(DEMO)/export.json
	$(SAM) segment $(DATA)/astronaut.jpg --bundle $(DEMO)/bundle --box 153,15,301,189 \
		--box 134,348,209,424 --box 281,340,329,378 --box 278,343,508,512 --box 355,0,472,285 \
		--format overlay -o $(DEMO)/overlay.png
	$(SAM) eval --dataset $(DATA)/instances.json --images $(DATA) --bundle $(DEMO)/bundle \
		--bundle baseline:box --prompts box -o $(DEMO)/accuracy.json
	$(SAM) bench --bundle $(DEMO)/bundle --effort quick -o $(DEMO)/latency.json
	$(SAM) report $(DEMO)/accuracy.json $(DEMO)/latency.json $(DEMO)/export.json \
		--html $(DEMO)/report.html
	@echo
	@echo "The photo with its masks:  $(CURDIR)/$(DEMO)/overlay.png"
	@echo "Accuracy and latency:      $(CURDIR)/$(DEMO)/report.html"

test: check pytest

check: $(VENV)/.installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python tools/house.py

pytest: $(VENV)/.installed-dev
	$(BIN)/python -m pytest $(PYTEST_ARGS)

docs: $(VENV)/.installed-dev
	$(BIN)/python -m sphinx -W --keep-going -b html docs build/docs
	@echo "Documentation: build/docs/index.html"

clean:
	rm -rf build dist .pytest_cache .mypy_cache .ruff_cache
