# Everything a learner needs: `make run`, `make lab`, `make test`. Each sets up .venv if something is missing there.
# Runs with GNU make 3.81 (macOS) and later.

PYTHON   ?= python3
# More for pip, e.g. on Linux without a GPU:  make run PIP_ARGS="--extra-index-url https://download.pytorch.org/whl/cpu"
PIP_ARGS ?=
# Parallel unit tests; the notebooks run one after the other, because their time and memory are measured.
TEST_JOBS ?= 2
# What each notebook finds when it is tested: nothing, as in a first run, or (kept) the corpora that are there.
CACHE ?= empty
# Seconds that one notebook cell may take.
CELL_TIMEOUT ?= 120

VENV := .venv
BIN  := $(VENV)/bin
OUT  ?= results/study
NOTEBOOKS ?= notebooks
# Faults per module that `make mutants` tries.
SAMPLE ?= 8
# How much of `make torture`, and which parts (all): PARTS=fuzz
SHARE ?= 1
PARTS ?=
# Which cells of `make matrix`: NOX="-p 3.13 -k pinned"
NOX ?=
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.PHONY: help run test unit notebook-test lab lint notebooks docs links explore licences audit address bundle browser mutants matrix torture clean ready ready-dev ready-docs
.DEFAULT_GOAL := help

help:
	@echo "make run        a scaling study on this machine: plan, predict, train, score; report in $(OUT)/report.html"
	@echo "make lab        open the course in JupyterLab"
	@echo "make explore    the planners on one page, without a notebook: move a slider, see what changes"
	@echo "make test       unit tests, then every notebook against its saved outputs"
	@echo "make lint       ruff and mypy"
	@echo "make notebooks  run the notebooks and save their outputs (NOTEBOOKS=notebooks/02_model_scaling.ipynb for one)"
	@echo "make docs       the course as a website, with the notebooks' saved outputs, in site/html/index.html"
	@echo "make links      ask every external link whether it is there (needs the network)"
	@echo "make licences   the licence of each installed package, by what it says of itself"
	@echo "make audit      known vulnerabilities of the pinned packages (needs the network; what it could not ask, it says)"
	@echo "make address    for a fork: write its address into badges, notebooks and metadata (REPO=owner/name)"
	@echo "make bundle     one archive to install without a network: wheels, corpora, notebooks (about 500 MB, in dist/)"
	@echo "make browser    JupyterLab walked through in a browser (needs chromium)"
	@echo "make mutants    do the tests of ROOM notice small faults? (ROOM=laws SAMPLE=8; minutes, by hand)"
	@echo "make matrix     the tests under Python 3.11, 3.12 and 3.13 with the pinned and the newest torch (hours, gigabytes)"
	@echo "make torture    hostile files and objects, killed processes, full disks: thousands of cases (SHARE=0.1 for a tenth)"
	@echo "make clean      remove caches and results (the installation in $(VENV) stays)"
	@echo "Variables: PYTHON=python3.12, PIP_ARGS='...' for pip install"

run: ready
	@$(BIN)/scalept study --out $(OUT)

lab: ready
	@$(BIN)/python -m jupyterlab --ServerApp.root_dir=. --LabApp.default_url=/lab/tree/notebooks/00_start_here.ipynb

explore: ready
	@$(BIN)/python -m scalept_lab.plots.page

test: unit notebook-test

unit: ready-dev
	@OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -n $(TEST_JOBS) --dist loadfile -m "not slow and not timing and not browser" tests
	@$(BIN)/python -m pytest -q -m "timing and not slow" tests; status=$$?; \
	  if [ $$status -ne 0 ] && [ $$status -ne 5 ]; then exit $$status; fi  # 5: there is none

notebook-test: ready-dev
	@$(BIN)/python -m pytest -q --nbval --nbval-current-env \
	  --nbval-cell-timeout=$(CELL_TIMEOUT) --notebook-cache=$(CACHE) $(NOTEBOOKS)

browser: ready-dev
	@$(MAKE) --no-print-directory -s $(VENV)/.installed-browser
	@$(BIN)/python -m pytest -q -s -m browser tests/browser

lint: ready-dev
	@$(BIN)/python -m ruff check .
	@$(BIN)/python -m ruff format --check .
	@$(BIN)/python -m mypy
	@$(BIN)/lint-imports --no-logo --no-cache

notebooks: ready-dev
	@$(BIN)/scalept run --save $$(find $(NOTEBOOKS) -name '*.ipynb' -not -path '*/.ipynb_checkpoints/*' | sort)

docs: ready-docs
	@$(SPHINX) -b html . site/html
	@echo "Open site/html/index.html"

links: ready-docs
	@$(SPHINX) -b linkcheck . site/links

SPHINX := $(BIN)/python -m sphinx -c docs -d site/cache -j auto -q -W --keep-going

address:
	@REPO='$(subst ','\'',$(REPO))' $(PYTHON) .ci/address.py

bundle: ready
	@$(BIN)/python .ci/bundle.py -- $(PIP_ARGS)

licences: ready-dev
	@$(BIN)/python .ci/licences.py

# in an environment of its own: a tool that the kit does not need, and whose packages would be audited with it
AUDIT := $(VENV)/audit

audit: ready
	@test -x $(AUDIT)/bin/pip-audit || { $(BIN)/python -m venv $(AUDIT) && \
	  $(AUDIT)/bin/python -m pip install --quiet "pip-audit>=2.9,<3"; } || { \
	  echo "not done: pip-audit could not be installed; its lines above say why" >&2; exit 3; }
	@$(BIN)/python .ci/audit.py $(AUDIT)/bin/pip-audit

mutants: ready-dev
	@$(BIN)/python benchmarks/mutants.py --sample $(SAMPLE) $(or $(ROOM),$(error name a room or a module: make mutants ROOM=laws))

matrix: ready-dev
	@$(BIN)/nox $(NOX)

torture: ready-dev
	@OMP_NUM_THREADS=1 $(BIN)/python -m benchmarks.torture --share $(SHARE) $(PARTS)

clean:
	@rm -rf results site docs/api .nox .pytest_cache .mypy_cache .ruff_cache .hypothesis build dist
	@find . -path ./$(VENV) -prune -o \( -name __pycache__ -o -name .ipynb_checkpoints \) -type d -exec rm -rf {} +

# --- the installation ------------------------------------------------------------------------------------------
# A stamp in .venv says what was installed for the pyproject.toml and constraints.txt of that moment. A stamp whose
# installation no longer works (the folder was moved, Python was upgraded) is dropped first.

ready:
	@$(drop_broken_stamps)
	@$(MAKE) --no-print-directory -s $(VENV)/.installed

ready-dev:
	@$(drop_broken_stamps)
	@$(MAKE) --no-print-directory -s $(VENV)/.installed-dev

ready-docs:
	@$(drop_broken_stamps)
	@$(MAKE) --no-print-directory -s $(VENV)/.installed-docs

drop_broken_stamps = if [ -e $(VENV)/.installed ] && ! (cd / && "$(CURDIR)/$(BIN)/python" -c "$(WORKS)") 2>/dev/null; then \
  echo "The installation in $(VENV) does not work any more; mending it."; rm -f $(VENV)/.installed*; fi
WORKS := import sys, importlib.util as u, scalept_lab as s; sys.exit(not (u.find_spec('torch') and s.__file__.startswith('$(CURDIR)/')))

$(VENV)/.installed: pyproject.toml constraints.txt
	@$(call install,.)
	@touch $@

$(VENV)/.installed-dev: pyproject.toml constraints.txt
	@$(call install,.[dev$(comma)cluster])
	@touch $(VENV)/.installed $@

$(VENV)/.installed-browser: pyproject.toml constraints.txt
	@$(call install,.[dev$(comma)cluster$(comma)browser])
	@touch $(VENV)/.installed $(VENV)/.installed-dev $@

$(VENV)/.installed-docs: pyproject.toml constraints.txt
	@$(call install,.[docs])
	@touch $(VENV)/.installed $@

comma := ,

define install
set -e; \
if ! $(BIN)/python -c "" >/dev/null 2>&1; then \
  $(PYTHON) -c "import sys; sys.exit(sys.version_info < (3, 11, 5))" || { \
    echo "ScalePT Lab needs Python 3.11.5 or newer, and '$(PYTHON)' is not. Install one and name it: make PYTHON=python3.12 ..." >&2; exit 1; }; \
  echo "Creating $(VENV) with $$($(PYTHON) --version)"; \
  $(PYTHON) -m venv --clear $(VENV) || { rm -rf $(VENV); \
    echo "Could not create $(VENV). On Debian and Ubuntu: sudo apt install python3-venv" >&2; exit 1; }; \
fi; \
$(BIN)/python -m pip --version >/dev/null 2>&1 || $(BIN)/python -m ensurepip --upgrade >/dev/null; \
echo "Installing $(1) into $(VENV) (once; a few minutes if torch has to be downloaded)"; \
$(BIN)/python -m pip install --quiet --constraint constraints.txt $(PIP_ARGS) --editable '$(1)' || { \
  echo "pip could not install ScalePT Lab; its last lines above say why. Check the network and run make again: what is there stays." >&2; exit 1; }
endef
