# SPDX-License-Identifier: Apache-2.0
# All installed files are in .venv/; nothing outside the checkout is changed. Needs Python 3.10 to
# 3.12 with its headers, and a C++ compiler.
PYTHON ?= python3
VENV := .venv
CUDA := .venv-cuda
JAZZY := .venv-jazzy
# ROS 2 Jazzy needs this version; empty where there is none
PYTHON_JAZZY ?= $(shell for python in python3.12 $(HOME)/.pyenv/versions/3.12.*/bin/python3.12; do $$python -c "" 2> /dev/null && echo $$python && break; done)
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check
JAZZY_TESTS := rclpy_compat node_start node node_parameters node_images node_map lifecycle
SOURCES := $(wildcard $(shell git ls-files -co --exclude-standard -- infinitevggt_ros infinitevggt_core launch config msg srv ros_shims cmake 2>/dev/null))

.PHONY: demo test check cuda-check jazzy-check docs format install extras clean
.DEFAULT_GOAL := install

demo: install  ## play a synthetic room through the node; poses, depth, fused cloud, picture in demo/
	$(BIN)/infinitevggt demo --out demo

test: install  ## run every test
	$(BIN)/python -m pytest

check: $(VENV)/.requirements  ## check format, lint, types, layers and spelling
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/codespell

cuda-check: $(CUDA)/.requirements  ## test the CUDA path without a GPU, by PyTorch's CUDA build (5.5 GB)
	@if [ -e $(CUDA)/.skipped ]; then echo "cuda-check SKIPPED: PyTorch's CUDA build cannot be installed here"; else \
	$(CUDA)/bin/python test/cuda/null_gpu/build.py $(CUDA)/null_gpu && \
	$(CUDA)/null_gpu/run -m pytest test/cuda; fi

jazzy-check:  ## test the node with ROS 2 Jazzy from PyPI (Python 3.12)
	@if [ -z "$(PYTHON_JAZZY)" ]; then echo "jazzy-check SKIPPED: there is no Python 3.12"; else \
	$(MAKE) $(JAZZY)/.installed && \
	$(JAZZY)/bin/python -m pytest $(foreach name,$(JAZZY_TESTS),test/ros/test_$(name).py); fi

docs: $(VENV)/.docs  ## build the documentation: build/docs/index.html
	$(BIN)/python -m sphinx -W --keep-going -q -b html docs build/docs

format: $(VENV)/.requirements
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

install: $(VENV)/.installed

extras: install $(VENV)/.docs  ## packages for optional parts and their tests; install Debian's chromium yourself
	$(PIP) install $(foreach name,browser evo onnx viewer,-r requirements/extra/$(name).txt)

$(VENV)/bin/python:
	$(PYTHON) -c 'import sys; v = sys.version_info[:2]; sys.exit(f"Python 3.10 to 3.12 is needed, this is {v[0]}.{v[1]}: make PYTHON=python3.12" if not (3, 10) <= v <= (3, 12) else 0)'
	$(PYTHON) -m venv $(VENV)

$(VENV)/.requirements: $(wildcard requirements/*.txt) | $(VENV)/bin/python
	$(PIP) install $(foreach file,$^,-r $(file))
	@touch $@

# a failure to install is remembered, and said by cuda-check
$(CUDA)/.requirements: requirements/extra/cuda.txt
	$(PYTHON) -m venv $(CUDA)
	@rm -f $(CUDA)/.skipped
	$(CUDA)/bin/python -m pip --disable-pip-version-check install -r $< || touch $(CUDA)/.skipped
	@touch $@

$(VENV)/.docs: requirements/extra/docs.txt $(VENV)/.requirements
	$(PIP) install -r $<
	@touch $@

$(VENV)/.installed: $(VENV)/.requirements setup.py setup.cfg pyproject.toml package.xml CMakeLists.txt $(SOURCES)
	$(PIP) install --quiet --no-build-isolation --no-deps --force-reinstall .
	@touch $@

$(JAZZY)/.requirements: requirements/extra/jazzy.txt $(wildcard requirements/*.txt)
	$(PYTHON_JAZZY) -m venv $(JAZZY)
	$(JAZZY)/bin/python -m pip --disable-pip-version-check install -r $<
	@touch $@

$(JAZZY)/.installed: $(JAZZY)/.requirements setup.py setup.cfg pyproject.toml package.xml CMakeLists.txt $(SOURCES)
	$(JAZZY)/bin/python -m pip --disable-pip-version-check install --quiet --no-build-isolation --no-deps --force-reinstall .
	@touch $@

clean:
	rm -rf $(VENV) $(CUDA) $(JAZZY) build install log demo *.egg-info
