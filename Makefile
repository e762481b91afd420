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

# From the records of analysis/results.
figures: $(INSTALLED)
	$(BIN)/python -m analysis.build
	$(BIN)/python -m analysis.notebook_runs

# Records first: what a CPU recomputes without captured maps.
figures-fresh: $(INSTALLED)
	$(BIN)/faqd-train grid digits --out runs/digits
	$(BIN)/faqd-train distill digits-fa run.capture=32 'run.capture_epochs=[1,2,3,5,7,10,15,20,25]' --teacher runs/digits/digits-teacher --out runs/digits-captured --overwrite
	$(BIN)/python -m analysis.collect runs runs/digits/*/
	$(BIN)/python -m analysis.studies affinities --run runs/digits-captured --about "Digits, 4W4A student by FA, 30 epochs"
	$(BIN)/python -m analysis.studies ranks --run runs/digits-captured --about "Digits, 4W4A student by FA"
	$(BIN)/python -m analysis.studies fixed-probes
	$(BIN)/python -m analysis.studies floating-point
	$(BIN)/python -m analysis.studies cost
	$(BIN)/faqd-math verify --json runs/verify.json
	$(BIN)/python -m analysis.collect claims runs/verify.json --name standard --command "faqd-math verify --json FILE"
	$(MAKE) figures

# The record behind paper_figures/speed: some ten minutes in which nothing else should run.
bench: $(INSTALLED)
	$(BIN)/python -m analysis.studies speed

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
