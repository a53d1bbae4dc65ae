# make repro  runs the pipeline of params.yaml and prints what came out (make repro PRESET=name: that preset first)
# make search runs its searches alone; in both, JOBS=n seeds side by side: as many as cores, one where there is a GPU
# make test   style, types, floors and the quick tests (make test-all: the slow ones too)
# make docs   the documentation site, in site/
# make coverage, mutation, audit, versions   how good the tests are; vulnerabilities; oldest and newest libraries
SHELL := /bin/bash
PYTHON ?= python3
export PATH := $(CURDIR)/.venv/bin:$(PATH)
export HF_HUB_OFFLINE ?= 1
CORES := $(shell getconf _NPROCESSORS_ONLN)
JOBS ?= $(if $(shell command -v nvidia-smi),1,$(CORES))

.PHONY: repro search test test-all check docs setup clean coverage mutation audit versions

setup: .venv/.installed

.venv/.installed: pyproject.toml constraints.txt versions.txt
	@$(PYTHON) -c 'import sys; sys.exit(0 if sys.version_info >= (3, 11) else f"Python 3.11 or newer is needed, {sys.executable} is {sys.version.split()[0]}; say make PYTHON=python3.11")'
	@.venv/bin/python -m pip --version > /dev/null 2>&1 || $(PYTHON) -m venv --clear .venv || \
	{ echo "no virtual environment can be made; Debian and Ubuntu have it in a package: apt install python3-venv"; exit 1; }
	.venv/bin/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	@touch $@

# The maps of a small search do not divide among cores, but its seeds do: each search has CORES / jobs threads.
# Decoding is divided likewise: proxy trainings take one thread each.
search: setup
ifdef PRESET
	midas init $(PRESET)
endif
	@set -e; if dvc status --quiet --with-deps select; then exit; fi; dvc repro data; \
	seeds=$$(dvc stage list --name-only | grep ^search@); number=$$(wc -w <<< "$$seeds"); \
	jobs=$$(($(JOBS) < number ? $(JOBS) : number)); threads=$$((jobs < $(CORES) ? $(CORES) / jobs : 1)); \
	if ((jobs > 1)); then export OMP_NUM_THREADS=$${OMP_NUM_THREADS:-$$threads} MIDAS_PROGRESS=$${MIDAS_PROGRESS:-plain}; fi; \
	xargs -n 1 -P $$jobs dvc --wait-for-lock repro --single-item <<< "$$seeds"; \
	xargs -n 1 -P $$jobs dvc --wait-for-lock repro --single-item <<< "$${seeds//search@/decode@}"

# Results differ in their last bits between kinds of processors. As long as a clone only tries the quickstart, git does
# not show the dvc.lock that this machine writes; with other parameters or code, or after `midas init`, it does.
repro: search
	@cmp -s params.yaml presets/quickstart.yaml && git diff --quiet HEAD -- . ':!dvc.lock' 2> /dev/null && \
	mark=--skip-worktree || mark=--no-skip-worktree; git update-index $$mark dvc.lock 2> /dev/null || true
	dvc repro
	@midas summary

check: setup
	ruff check .
	ruff format --check .
	mypy
	lint-imports

test: check
	pytest -n 2 --dist loadgroup -m 'not slow'

test-all: check
	pytest -n 2 --dist loadgroup

docs: setup
	NO_MKDOCS_2_WARNING=1 mkdocs build --strict

.venv/.quality: .venv/.installed
	.venv/bin/python -m pip install --quiet --constraint constraints.txt --editable '.[dev,quality]'
	@touch $@

coverage: .venv/.quality
	pytest -n 2 --dist loadgroup -m 'not slow' --cov --cov-report=term-missing --cov-fail-under=95

mutation: .venv/.quality
	mutmut run --max-children 2
	mutmut results --all true | awk -F': ' '{n[$$2]++} END {for (k in n) print k, n[k]}'

audit: .venv/.quality
	pip-audit --requirement constraints.txt --no-deps --disable-pip

versions: .venv/.quality
	nox -s tests

clean:
	rm -rf artifacts report site .checkpoints .pytest_cache .mypy_cache .ruff_cache
