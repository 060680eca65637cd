# make demo         Table 6 of the demo preset: own .venv, corpus, training, decoding, scoring
# make tables       all seven tables of the demo and the report: results/report/index.html opens from disk
# make pictures     the README's table and docs/images, from the demo's results.duckdb (needs Chromium)
# make quick        the fast tests, a minute or two
# make test         all tests, a quarter of an hour on two cores; in the same .venv
# make slurm-test   the workflow on a SLURM cluster of two nodes on this machine (Debian: slurm-wlm and munge), some minutes
# make lint         style, types, layers, spelling, links: ruff, snakefmt, snakemake --lint, mypy, lint-imports, codespell
# make reference    rewrite config/README.md from the descriptions in src/mlcslm/config/schema.py
# make foundation   pretrain the demo's two foundation models again, into resources/foundation (hours)
# make lock         resolve pyproject.toml again and pin the result in requirements.lock and requirements-dev.lock
# make clean        remove the demo's results, .venv and caches; results of other presets stay

VENV := .venv
BIN := $(VENV)/bin
TABLE := results/tables/table6
FOUNDATION := results/foundation
# The first Python here that will do; `make PYTHON=/path/to/python3.11 demo` names one.
PYTHON ?= $(shell for python in python3.11 python3.12 python3; do \
	$$python -c 'import ensurepip, sys, venv; sys.exit(not (3, 11) <= sys.version_info < (3, 13))' 2>/dev/null \
	&& echo $$python && break; done)
PIP := $(BIN)/python -m pip --disable-pip-version-check
# Jobs and tests that call `python` or `snakemake` get those of the environment.
IN_VENV := PATH="$(CURDIR)/$(BIN):$$PATH"
TESTS ?=

# Snakemake calls the Python of .venv unquoted, and make itself splits names at spaces.
ifneq ($(shell printf '%s' "$$PWD" | LC_ALL=C tr -dc '[:space:]"\047\\$$`&|;<>()*?[]{}!#~' | od -c -A n),)
$(error $(CURDIR): a space, a quote or another special character is in this folder's name, by which every job would \
fail. Move the checkout into a folder without one; folders of data and results may have them)
endif

.PHONY: demo tables pictures quick test slurm-test lint reference foundation lock clean
.DELETE_ON_ERROR:

demo: $(VENV)/.installed
	$(IN_VENV) snakemake --cores all $(TABLE).csv

tables: $(VENV)/.installed
	$(IN_VENV) snakemake --cores all all results/report/index.html

pictures: $(VENV)/.installed-dev
	$(BIN)/python docs/make_pictures.py

# One process: another would import torch and transformers once more, which is a good part of the time.
quick: $(VENV)/.installed-dev
	$(IN_VENV) OMP_NUM_THREADS=1 python -m pytest -m "not slow" $(TESTS)

# Many tests are so small that more threads would only wait for each other. `make test TESTS=tests/text` runs some.
test: $(VENV)/.installed-dev
	$(IN_VENV) OMP_NUM_THREADS=1 python -m pytest -n 2 --dist loadgroup --no-loadscope-reorder $(TESTS)

slurm-test: $(VENV)/.installed-dev
	@for daemon in munged slurmctld slurmd; do PATH="$$PATH:/usr/sbin:/sbin" command -v $$daemon >/dev/null || \
		{ echo "make: no $$daemon found to test with (Debian, Ubuntu: apt-get install slurm-wlm munge);" \
		"no service has to run, the test starts its own." >&2; exit 1; }; done
	$(IN_VENV) OMP_NUM_THREADS=1 MLCSLM_SLURM_TEST=1 python -m pytest tests/slurm

lint: $(VENV)/.installed-dev
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/snakefmt --check Snakefile workflow
	$(IN_VENV) snakemake --lint
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/codespell
	$(BIN)/python .ci/check_links.py

reference: $(VENV)/.installed
	$(BIN)/python -m mlcslm.config.reference config/README.md

foundation: $(VENV)/.installed
	$(IN_VENV) snakemake --cores all $(FOUNDATION)/encoder/model.safetensors $(FOUNDATION)/language_model/model.safetensors
	rm -rf resources/foundation/encoder resources/foundation/language_model
	cp -R $(FOUNDATION)/encoder $(FOUNDATION)/language_model resources/foundation/

# The stamps are newer than what they were installed from, so that nothing is installed twice.
$(VENV)/.installed: requirements.lock pyproject.toml
	@test -n "$(PYTHON)" || { echo "make: no Python 3.11 or 3.12 with venv found (Debian 12, Ubuntu 24.04: apt-get install" \
		"python3 python3-venv python3-dev). If it has another name: make PYTHON=/path/to/python3.11" >&2; exit 1; }
	@command -v g++ >/dev/null || { echo "make: no g++ found, which meeteval is compiled with (Debian, Ubuntu:" \
		"apt-get install g++ python3-dev)." >&2; exit 1; }
	test -x $(BIN)/pip || $(PYTHON) -m venv $(VENV)
	@echo "Installing requirements.lock into $(VENV): some minutes, meeteval is compiled."
	$(PIP) install --quiet --requirement requirements.lock
	$(PIP) install --quiet --no-deps --editable .
	touch $@

$(VENV)/.installed-dev: requirements-dev.lock $(VENV)/.installed
	$(PIP) install --quiet --requirement requirements.lock --requirement requirements-dev.lock
	touch $@

# A new environment holds what pyproject.toml asks for and nothing else. A build's own label (2.13.0+cpu) is left out,
# so that the lock fits CPU and CUDA builds.
FREEZE := $(VENV)-lock/bin/pip freeze --all --exclude pip --exclude mlcslm | sed 's/+.*//'
lock:
	rm -rf $(VENV)-lock && $(PYTHON) -m venv $(VENV)-lock
	$(VENV)-lock/bin/pip install --quiet --editable .
	{ echo "# Written by make lock: what pyproject.toml asks for, without extras."; $(FREEZE); } > requirements.lock
	$(VENV)-lock/bin/pip install --quiet --editable '.[dev,slurm]'
	{ echo "# Written by make lock: what the extras dev and slurm add to requirements.lock."; \
		$(FREEZE) | grep -vxFf requirements.lock; } > requirements-dev.lock
	rm -rf $(VENV)-lock

clean:
	rm -rf results $(VENV) .pytest_cache .ruff_cache .mypy_cache .import_linter_cache .hypothesis build src/*.egg-info
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
