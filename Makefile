# glmlite: the two commands are `make demo` and `make test`. Everything they need is set up in .venv
# (and .toolchain, where a Python 3.7 is found) on first use.

SHELL := /bin/sh
VENV := .venv
PYTHON := $(VENV)/bin/python
TOOLCHAIN := .toolchain
# MindSpore has wheels for these; `make PYTHON3=/path/to/python …` overrides the choice.
PYTHON3 ?= $(shell scripts/find_python.sh 3.11 3.12 3.10)
TEST_PROCESSES ?= 2
PYTHON37 ?= $(shell scripts/find_python.sh 3.7)

.PHONY: help demo test lint format toolchain toolchain-if-possible bench bench-6b bench-peers wheel \
    clean

help:
	@echo "make demo       export the demo model, check it, ask it two questions"
	@echo "make test       run every test (with real MindSpore Lite where a Python 3.7 is found)"
	@echo "make lint       ruff and mypy"
	@echo "make format     let ruff rewrite the sources"
	@echo "make toolchain  build .toolchain/ (Python 3.7, MindSpore 2.0.0, MindSpore Lite 2.0.0)"
	@echo "make bench      start-up time, the loop's own cost per token, a tiny model's speed"
	@echo "make bench-6b   speed and memory of a 6B model in int4, random weights (4 GB of disk)"
	@echo "make bench-peers  glmlite beside chatglm.cpp and llama.cpp (builds both; 40 GB of disk)"
	@echo "make wheel      build the wheel into dist/"
	@echo "make clean      remove what the above made, except .venv and .toolchain"

demo: $(VENV)/.installed toolchain-if-possible
	@$(PYTHON) -m glmlite.demo

test: $(VENV)/.installed toolchain-if-possible
	@$(PYTHON) -m pytest -n $(TEST_PROCESSES) --dist loadfile

lint: $(VENV)/.installed
	@$(PYTHON) -m ruff check .
	@$(PYTHON) -m ruff format --check .
	@$(PYTHON) -m mypy

format: $(VENV)/.installed
	@$(PYTHON) -m ruff check --fix-only .
	@$(PYTHON) -m ruff format .

bench: $(VENV)/.installed
	@$(PYTHON) benchmarks/startup_time.py
	@$(PYTHON) benchmarks/host_overhead.py
	@$(PYTHON) -m glmlite.cli bench --random tiny --recipe cpu_int8

bench-6b: $(VENV)/.installed
	@$(PYTHON) -m glmlite.cli bench --random glm2_6b --recipe cpu_int4

bench-peers: $(VENV)/.installed
	@$(PYTHON) benchmarks/peers/install.py
	@$(PYTHON) benchmarks/peers/compare.py

wheel: $(VENV)/.installed
	@$(PYTHON) -m pip wheel --quiet --no-deps --wheel-dir dist .

clean:
	rm -rf build dist .pytest_cache .mypy_cache .ruff_cache

$(VENV)/.installed: pyproject.toml
	@if [ -z "$(PYTHON3)" ]; then \
	    echo "glmlite needs Python 3.10, 3.11 or 3.12 (MindSpore has no wheels for others)."; \
	    echo "Debian: apt install python3 python3-venv; or: make PYTHON3=/path/to/python3.11 $(MAKECMDGOALS)"; \
	    exit 1; \
	fi
	@test -x $(PYTHON) || $(PYTHON3) -m venv $(VENV) || \
	    { rm -rf $(VENV); echo "python -m venv failed; Debian: apt install python3-venv"; exit 1; }
	@echo "Installing glmlite with MindSpore into $(VENV) (once; about 800 MB) …"
	@$(PYTHON) -m pip install --quiet --upgrade pip
	@$(PYTHON) -m pip install --quiet --editable '.[mindspore,onnx,plots,dev]'
	@touch $@

toolchain: $(TOOLCHAIN)/.installed

toolchain-if-possible:
	@if [ -e $(TOOLCHAIN)/.installed ] || [ -n "$(PYTHON37)" ]; then \
	    $(MAKE) --no-print-directory toolchain; \
	else \
	    echo "No Python 3.7 found: going on without real MindSpore Lite (see make toolchain)."; \
	fi

# The only MindSpore Lite on PyPI is 2.0.0 for Python 3.7; MindSpore 2.0.0 writes what it reads.
$(TOOLCHAIN)/.installed:
	@if [ -z "$(PYTHON37)" ]; then \
	    echo "No Python 3.7 found on PATH or below pyenv. Install one (pyenv install 3.7), or name it:"; \
	    echo "make PYTHON37=/path/to/python3.7 toolchain"; \
	    exit 1; \
	fi
	@echo "Building $(TOOLCHAIN) with MindSpore 2.0.0 and MindSpore Lite 2.0.0 (once) …"
	@test -x $(TOOLCHAIN)/bin/python || $(PYTHON37) -m venv $(TOOLCHAIN)
	@$(TOOLCHAIN)/bin/python -m pip install --quiet --upgrade pip
	@$(TOOLCHAIN)/bin/python -m pip install --quiet mindspore-lite==2.0.0 mindspore==2.0.0 'numpy<1.22'
	@touch $@
