# Two commands for everybody:
#   make demo    install, export the embedded model for this machine, segment a photo, measure, report
#   make test    lint, types and tests; `make slow` has the tests that take long
# VENV and PYTHON can be given: make test VENV=/tmp/env PYTHON=python3.12

VENV   ?= .venv
PYTHON ?= $(shell for p in python3 python3.13 python3.12 python3.11 python3.10; do \
	$$p -c 'import sys; sys.exit(not (3, 10) <= sys.version_info < (3, 14))' 2>/dev/null \
	&& echo $$p && break; done)
PYTEST_ARGS ?=
# LOCKED=1 tests with exactly the versions of requirements/ci.txt, by hash; what `make release`,
# `make audit` and `make fuzz` need beside that is not locked.
LOCKED ?= 0
LOCK   := requirements/ci.txt

BIN  := $(VENV)/bin
DEV  := $(VENV)/.installed-dev$(if $(filter 1,$(LOCKED)),-locked)
PIP  := $(BIN)/python -m pip --disable-pip-version-check --quiet
SAM  := $(BIN)/samedge
DEMO := build/demo
DATA := samedge/data/photos

# The demonstration: the embedded model for ONNX Runtime and, on x86-64, for OpenVINO, compared.
# EXPORT=0 leaves PyTorch out (gigabytes): it segments and measures the bundle in the package.
MODEL     ?= samedge-nano
TARGETS   ?= cpu $(if $(filter x86_64 amd64,$(shell uname -m)),intel)
PRECISION ?= fp32
EXPORT    ?= 1
OVERLAY   := --box 153,15,301,189 --box 134,348,209,424 --box 281,340,329,378 \
	--box 278,343,508,512 --box 355,0,472,285 --format overlay -o $(DEMO)/overlay.png

.PHONY: demo test check pytest slow lowest faults fuzz soak serve-soak lock audit release docs docs-check clean
.NOTPARALLEL:
.DEFAULT_GOAL := test

$(BIN)/python:
	@test -n "$(PYTHON)" || { echo "samedge needs Python 3.10 to 3.13; none was found. Name one: make PYTHON=/path/to/python3" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)

# One stamp per set of extras: the environment is complete when the stamp is newer than the pins.
$(DEV): pyproject.toml $(if $(filter 1,$(LOCKED)),$(LOCK)) | $(BIN)/python
	@echo "Installing samedge and everything that its tests need into $(VENV) ..."
ifeq ($(LOCKED),1)
	$(PIP) install --require-hashes --requirement $(LOCK)
	$(PIP) install --no-deps --no-build-isolation --editable .
else
	$(PIP) install --editable ".[dev]"
endif
	@touch $@

$(VENV)/.installed-demo: pyproject.toml | $(BIN)/python
	@echo "Installing samedge with what exports models, PyTorch among it (gigabytes);"
	@echo "make demo EXPORT=0 does without ..."
	@test $(DEV) -nt pyproject.toml || $(PIP) install --editable ".[export,eval,report]"
	@touch $@

$(VENV)/.installed-runtime: pyproject.toml | $(BIN)/python
	@echo "Installing samedge with ONNX Runtime and what measures ..."
	@test $(DEV) -nt pyproject.toml || $(PIP) install --editable ".[onnxruntime,eval,report]"
	@touch $@

ifeq ($(EXPORT),0)
demo: $(VENV)/.installed-runtime
	@mkdir -p $(DEMO)
	$(SAM) bench --effort quick -o $(DEMO)/latency.json
	$(SAM) eval --dataset $(DATA)/instances.json --images $(DATA) --prompts box,center \
		-o $(DEMO)/accuracy.json
	$(SAM) report $(DEMO)/accuracy.json $(DEMO)/latency.json --html $(DEMO)/report.html
	$(SAM) segment $(DATA)/astronaut.jpg $(OVERLAY)
else
demo: $(VENV)/.installed-demo
	@mkdir -p $(DEMO)
	$(SAM) compare --model $(MODEL) $(TARGETS:%=--target %) --precision $(PRECISION) \
		--dataset $(DATA)/instances.json --images $(DATA) -o $(DEMO)/compare
	@cp $(DEMO)/compare/report.html $(DEMO)/report.html
	$(SAM) segment $(DATA)/astronaut.jpg --bundle $(DEMO)/compare/bundles/cpu-$(PRECISION) $(OVERLAY)
endif
	@echo
	@echo "The photo with its masks:     $(CURDIR)/$(DEMO)/overlay.png"
	@echo "Which bundle to ship and why: $(CURDIR)/$(DEMO)/report.html"

test: check pytest

# A laden machine may start mypy's two processes too late for it (exit code 2): then it checks in one.
check: $(DEV)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy --num-workers 2 || { test $$? -eq 2 && $(BIN)/mypy; }
	$(BIN)/python tools/house.py

# Two processes, one thread each, a file's tests together: what they share is made once. Compiled
# modules are kept, whatever the shell says: hundreds of tests start a Python of their own. A test
# that hangs for a quarter of an hour fails the run, and shows where it stands.
pytest: $(DEV)
	PYTHONDONTWRITEBYTECODE= OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadfile -m "not slow" \
		--max-worker-restart 0 -o faulthandler_timeout=900 -o faulthandler_exit_on_timeout=true $(PYTEST_ARGS)

# What takes longer than about ten seconds a test: other tools' readers, training, whole exports.
slow: $(DEV)
	$(BIN)/python -m pytest -m slow $(PYTEST_ARGS)

# The oldest releases that pyproject.toml allows of what a device needs, under the tests of that.
LOWEST       := build/lowest
LOWEST_TESTS ?= $(addprefix tests/,bundle files formats live pixels predict tracking)
lowest:
	$(PYTHON) -m venv $(LOWEST)
	$(LOWEST)/bin/python -m pip --disable-pip-version-check --quiet install packaging \
		"tomli>=2.0; python_version < '3.11'"
	$(LOWEST)/bin/python tools/lowest.py > $(LOWEST)/constraints.txt
	$(LOWEST)/bin/python -m pip --disable-pip-version-check --quiet install \
		--editable ".[dev]" --constraint $(LOWEST)/constraints.txt
	OMP_NUM_THREADS=1 $(LOWEST)/bin/python -m pytest -n 2 --dist loadfile -m "not slow" \
		$(LOWEST_TESTS) $(PYTEST_ARGS)

# Two hundred kills over every command that writes, and each of its file-system steps made to fail.
faults: $(DEV)
	SAMEDGE_KILLS=200 SAMEDGE_FAULT_STEPS=1000 OMP_NUM_THREADS=1 \
		$(BIN)/python -m pytest -s -m slow tests/trust/test_whole_commands.py $(PYTEST_ARGS)

# A minute of coverage-guided fuzzing, where atheris installs.
FUZZ_SECONDS ?= 10
fuzz: $(DEV)
	$(PIP) install --editable ".[fuzz]"
	@$(BIN)/python -c "import atheris" || { echo "atheris does not install here: nothing is fuzzed."; exit 0; }; \
	set -e; for reader in manifest archive annotations record image rle; do \
		$(BIN)/python -W ignore -m tests.fuzz.coverage_guided $$reader -max_total_time=$(FUZZ_SECONDS); done

# 100,000 prompts over 1,000 pictures on every backend here: memory, open files and threads.
SOAK_PROMPTS ?= 100000
soak: $(DEV)
	set -e; for backend in $$(OMP_NUM_THREADS=1 $(BIN)/python -m benchmarks.soak --list); do \
		OMP_NUM_THREADS=1 $(BIN)/python -m benchmarks.soak --backend $$backend \
			--prompts $(SOAK_PROMPTS) -o build/soak-$$backend.json; done

# What continuous integration installs with LOCKED=1: versions and hashes for every platform.
# Give it a registry where uv does not know one: make lock UV_DEFAULT_INDEX=...
lock: $(VENV)/.installed-release
	$(BIN)/uv pip compile pyproject.toml --extra dev --universal --python-version 3.10 --upgrade \
		--generate-hashes --no-emit-index-url --no-annotate --custom-compile-command "make lock" \
		$(LOCK_ARGS) -o $(LOCK)

audit: $(DEV) $(VENV)/.installed-release
	$(BIN)/python tools/supply_chain.py audit
	$(BIN)/python tools/supply_chain.py licences

# Wheel, sdist and bill of materials in dist/. Two builds are equal to the byte.
release: $(DEV) $(VENV)/.installed-release
	SOURCE_DATE_EPOCH=$$(git log -1 --format=%ct) $(BIN)/python -m build --no-isolation
	$(BIN)/python tools/supply_chain.py sbom

$(VENV)/.installed-release: pyproject.toml | $(BIN)/python
	$(PIP) install --editable ".[release]"
	@touch $@

# An hour of clicks on `samedge serve`, every mask checked, its memory written down; each of 16 clients
# pauses so many seconds after a click.
SERVE_MINUTES ?= 60
SERVE_PAUSE ?= 0
serve-soak: $(DEV)
	@mkdir -p build
	OMP_NUM_THREADS=1 $(BIN)/python benchmarks/serve_load.py --clicks 1 --minutes $(SERVE_MINUTES) --pause $(SERVE_PAUSE) -o build/serve-soak.json

docs: $(DEV)
	$(BIN)/python -m sphinx -W --keep-going -b html docs build/docs
	@echo "Documentation: build/docs/index.html"

# Every Python block and command line of README and docs, in a folder with what they talk about.
docs-check: $(DEV)
	$(BIN)/python tools/docs_check.py

clean:
	rm -rf build dist .pytest_cache .mypy_cache .ruff_cache
