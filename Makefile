# make run: install, then the whole paper in miniature.   make test: install, then the tests.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
export PATH := $(CURDIR)/$(BIN):$(PATH)

.DEFAULT_GOAL := help
.PHONY: help install run test test-quick lint readme benchmark format audit lock clean again

help:  ## Show what can be made
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## (.*)/make \1|\2/' | column -t -s '|'

STAMP := $(VENV)/.installed

install: $(STAMP)  ## Install everything into .venv/, with the versions and hashes of requirements.lock

# triton compiles for GPUs. `make GPU=1 install` installs it on a machine without one; a cluster's login node gets it too.
GPU ?= $(shell command -v nvidia-smi || command -v sbatch)
LOCK := $(VENV)/requirements.lock
# The lock names every package, so that nothing is left to resolve. Modules are compiled once and on all cores: where the
# environment forbids Python to keep what it compiles (PYTHONDONTWRITEBYTECODE), each process would compile them again.
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check --progress-bar off --no-deps --no-compile
UV := $(shell command -v uv)

# The commands of an environment hold its whole path, and its packages are for one Python. The stamp of a whole installation
# says which: a project that was copied or moved gets an environment of its own, and so does another PYTHON.
VERSION := import sys; print("%d.%d" % sys.version_info[:2])
ASKED := $(filter environment command,$(origin PYTHON))
FITS = test -x $(BIN)/python && test "`sed -n 1p $(STAMP) 2>&1`" = "`pwd -P`" \
  $(if $(ASKED),&& test "`sed -n 2p $(STAMP)`" = "`$(PYTHON) -c '$(VERSION)'`")

# Torch's wheels are large: a second run finds the stamp and does nothing.
$(STAMP): requirements.lock pyproject.toml $(shell $(FITS) || echo again)
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' || \
	  { echo "$(PYTHON) is `$(PYTHON) -V 2>&1`; the workflow needs 3.11, 3.12 or 3.13: make PYTHON=python3.12 $(MAKECMDGOALS)" >&2; exit 2; }
	@echo "Installing into $(VENV)/: 3 GB to download and 7 GB on the disk, most of it torch; some 3 minutes"
	@if $(FITS); then rm -f $(STAMP); \
	elif test -L $(VENV) && test -n "`ls -A $(VENV)/`"; then \
	  echo "$(VENV) is a link to `readlink $(VENV)`, which is not empty and no environment of this folder: remove the link and type the same again" >&2; exit 2; \
	else $(PYTHON) -m venv --clear $(VENV); fi
	@awk '/^[a-z]/ { keep = "$(GPU)" != "" || !/^triton==/ } keep' requirements.lock > $(LOCK)
	@$(if $(UV),$(UV) pip install --quiet --python $(BIN)/python --no-deps --require-hashes --requirement $(LOCK), \
	  $(PIP) --require-hashes --requirement $(LOCK))
	@$(PIP) --no-build-isolation --editable .
	@env -u PYTHONDONTWRITEBYTECODE $(BIN)/python -m compileall -qq -j 0 $(VENV)/lib || true  # a few are for other Pythons
	@{ pwd -P; $(BIN)/python -c '$(VERSION)'; } > $@

run: install  ## Run the whole paper in miniature, or what is out of date of it
	$(BIN)/snakemake --cores all

TEST := $(BIN)/pytest --numprocesses auto

test: install  ## Pass all tests
	$(TEST)

test-quick: install  ## Pass the tests that take seconds
	$(TEST) -m "not slow"

lint: install  ## Check style and security: ruff, snakefmt, snakemake --lint, bandit
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/snakefmt --check Snakefile workflow
	$(BIN)/snakemake --lint
	$(BIN)/bandit --quiet --configfile pyproject.toml --recursive src

readme: install  ## Renew the tables in README.md from the results of the miniature
	$(BIN)/pacavit readme

benchmark: install  ## Measure speed, as ratios to peers; takes half an hour or more, on an idle machine
	$(BIN)/python benchmarks/suite.py

format: install  ## Put the code in the house style
	$(BIN)/ruff check --fix
	$(BIN)/ruff format
	$(BIN)/snakefmt Snakefile workflow

audit: install  ## Look up known weaknesses of the locked versions (needs the internet)
	$(PYTHON) -m venv --clear .venv-audit
	.venv-audit/bin/python -m pip install --quiet pip-audit
	.venv-audit/bin/pip-audit --strict --require-hashes --disable-pip --requirement requirements.lock

lock:  ## Resolve requirements.lock anew from pyproject.toml (needs uv)
	uv pip compile --universal --generate-hashes --python-version 3.10 --extra dev pyproject.toml \
	  --output-file requirements.lock --custom-compile-command "make lock"

clean:  ## Remove the environment and caches, but no data or results
	rm -rf $(VENV) .venv-audit .pytest_cache .ruff_cache
