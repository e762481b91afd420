# Everything a newcomer types. `make demo` and `make test` set themselves up.

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
# One thread a test process: two processes share the machine's cores.
PYTEST := OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 -q

.PHONY: demo bench figures figures-fresh companion test test-all lint clean

demo: $(INSTALLED)
	$(BIN)/python -m analysis.demo

# From the records of analysis/records.
figures: $(INSTALLED)
	$(BIN)/python -m analysis.products.build
	$(BIN)/python -m analysis.notebooks.execute

# Records first, about an hour. Studies of maps and weights of CIFAR-10 are computed anew where CIFAR
# names them, and kept otherwise:
#   make figures-fresh CIFAR='--run runs/cifar10-fa --weights runs/cifar10-float/weights.safetensors'
CIFAR ?=
figures-fresh: $(INSTALLED)
	$(BIN)/faqd-train grid digits --out runs/digits
	$(BIN)/python -m analysis.records.collect runs runs/digits/*/ --replace
	$(BIN)/faqd-math verify --json runs/verify.json
	$(BIN)/python -m analysis.records.collect claims runs/verify.json --name standard --replace
	$(BIN)/python -m analysis.studies all $(CIFAR) --replace
	$(MAKE) figures

# The record behind paper_figures/speed: some ten minutes in which nothing else should run.
bench: $(INSTALLED)
	$(BIN)/python -m analysis.studies speed --replace

# The site to read in a browser: build/companion/index.html.
companion: $(INSTALLED)
	$(BIN)/python -m analysis.companion

test: lint
	$(PYTEST)

test-all: lint
	$(PYTEST) -m 'slow or not slow'

lint: $(INSTALLED)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

$(INSTALLED): pyproject.toml .ci/constraints.txt
	@$(PYTHON) -c 'import sys; sys.version_info >= (3, 11) or sys.exit("Python %d.%d found, 3.11 or newer is needed: make PYTHON=python3.12" % sys.version_info[:2])'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint .ci/constraints.txt --editable '.[dev]'
	touch $@

clean:
	rm -rf $(VENV) .hypothesis .mypy_cache .pytest_cache .ruff_cache
