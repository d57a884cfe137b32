# `make demo` and `make test` work on a fresh machine. Both create .venv if it is missing, with venv and
# pip and your pip settings (index, constraints, wheels).

PYTHON  ?= python3
WORKERS ?= 2
THREADS ?= 1
PORT    ?= 8000
MINUTES ?= 10

VENV := .venv
BIN  := $(VENV)/bin
PIP  := $(BIN)/python -m pip --disable-pip-version-check
# Module names of all benchmarks under implementations/.
BENCHMARKS := $(subst /,.,$(basename $(wildcard implementations/*/benchmark_*.py implementations/harness/*/benchmark_*.py)))

# Validates YAML against the schemas bundled with check-jsonschema.
SCHEMA := $(BIN)/check-jsonschema --quiet --builtin-schema vendor
FORMS  := $(filter-out %/config.yml,$(wildcard .github/ISSUE_TEMPLATE/*.yml))

CHECK_PYTHON = $(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "The atlas needs Python 3.11 or newer; '$(PYTHON)' is $$($(PYTHON) --version 2>&1)." >&2; \
	  echo "Use another interpreter: make PYTHON=python3.12 $(MAKECMDGOALS)" >&2; exit 1; }

# Hides the theme's notice about its successor.
export NO_MKDOCS_2_WARNING := 1

.DEFAULT_GOAL := help
.PHONY: help demo test test-all lint format check bench gpu gpu-wheels fuzz tutorials site serve clean

help: ## List these commands
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-10s %s\n", $$1, $$2}'

demo: $(VENV)/.demo ## Prune a real model with five methods, compare them, build the site (under 10 minutes)
	$(BIN)/python -m tools.demo

test: SELECT ?= not (full or browser or slow or fuzz)
test: $(VENV)/.all ## Run the fast tests, about 4 minutes on two cores (WORKERS=2 THREADS=1)
test-all: SELECT ?= not (slow or fuzz)
test-all: $(VENV)/.all ## Also test on the real model, all model families and in a browser (about 20 minutes)
test test-all:
	OMP_NUM_THREADS=$(THREADS) MKL_NUM_THREADS=$(THREADS) TOKENIZERS_PARALLELISM=false \
	  $(BIN)/python -m pytest -n $(WORKERS) --dist worksteal -m '$(SELECT)' $(PYTEST)

lint: $(VENV)/.all ## Check style, types, imports, workflows and issue forms
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache
	$(BIN)/zizmor --offline --quiet --persona pedantic .
	$(SCHEMA).github-workflows .github/workflows/*.yml
	$(SCHEMA).dependabot .github/dependabot.yml
	$(SCHEMA).github-issue-config .github/ISSUE_TEMPLATE/config.yml
	$(SCHEMA).github-issue-forms $(FORMS)
	$(SCHEMA).citation-file-format CITATION.cff
	@$(BIN)/python tools/size.py

format: $(VENV)/.all ## Format the code and apply safe lint fixes
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

check: $(VENV)/.catalog ## Check every entry of the catalog (seconds; installs no torch)
	$(BIN)/python tools/check_catalog.py

bench: $(VENV)/.all ## Measure speed and memory of harness and solvers (needs idle cores)
	@for benchmark in $(BENCHMARKS); do $(BIN)/python -m $$benchmark || exit 1; done

# These use the Python that has PyTorch for the GPU: make gpu PYTHON=/path/to/python
gpu: OUT     ?= build/gpu
gpu: MINUTES  = 9
gpu gpu-wheels: WHEELS ?= build/gpu-wheels
gpu: ## Test and measure the GPU of this machine (PYTHON=python with PyTorch, OUT=build/gpu, MINUTES=9)
	@$(CHECK_PYTHON)
	@started=$$(date +%s); $(PYTHON) -m tools.gpu.environment build/gpu-environment --wheels $(WHEELS) && \
	  build/gpu-environment/bin/python -m tools.gpu $(OUT) --minutes $(MINUTES) \
	  --started $$started --wheels $(WHEELS) $(OPTIONS)

gpu-wheels: ## Collect wheels for a machine with a GPU and no network (PYTHON_VERSION=3.12)
	@$(CHECK_PYTHON)
	@$(PYTHON) -m tools.gpu.wheels $(WHEELS) --python-version $(or $(PYTHON_VERSION),3.12) $(OPTIONS)

fuzz: $(VENV)/.all ## Fuzz everything that reads files or arguments (MINUTES=10)
	$(BIN)/python -m tests.fuzz --minutes $(MINUTES)

tutorials: $(VENV)/.all ## Run the notebooks in docs/tutorials and store their outputs
	$(BIN)/python tools/run_tutorials.py

site: $(VENV)/.site ## Build the site from catalog and records into site/
	$(BIN)/python -m tools.site
	$(BIN)/python -m mkdocs build --strict --quiet
	@echo "$(abspath site/index.html)"

serve: $(VENV)/.site ## Serve the site on this machine and rebuild it on every change (PORT=8000)
	@echo "http://127.0.0.1:$(PORT)/"
	$(BIN)/python -m tools.site
	$(BIN)/python -m mkdocs serve --dirty --quiet --dev-addr 127.0.0.1:$(PORT)

clean: ## Remove the environment, the built site and caches; keep runs/ and the results of make gpu
	rm -rf $(VENV) site dist .pytest_cache .mypy_cache .ruff_cache .hypothesis
	[ ! -d build ] || find build -mindepth 1 -maxdepth 1 ! -name 'gpu*' -exec rm -rf {} +
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# There is one environment; each stamp file records a set of installed extras.
$(VENV)/.made:
	@$(CHECK_PYTHON)
	$(PYTHON) -m venv $(VENV)
	@touch $@

# Dependency groups need pip 25.1; those of the catalog and the site do not include torch.
$(VENV)/.pip: | $(VENV)/.made
	$(PIP) install --quiet 'pip>=25.1'
	@touch $@

$(VENV)/.catalog: pyproject.toml | $(VENV)/.pip
	$(PIP) install --quiet --group catalog
	@touch $@

$(VENV)/.site: pyproject.toml | $(VENV)/.pip
	$(PIP) install --quiet --group site
	@touch $@ $(VENV)/.catalog

$(VENV)/.demo: pyproject.toml | $(VENV)/.pip
	$(PIP) install --quiet --group site --editable .
	@touch $@ $(VENV)/.site $(VENV)/.catalog

$(VENV)/.all: pyproject.toml | $(VENV)/.pip
	$(PIP) install --quiet --group site --editable '.[dev,eval,hub,scale,train]'
	@touch $@ $(VENV)/.demo $(VENV)/.site $(VENV)/.catalog
