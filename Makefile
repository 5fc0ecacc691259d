# `make demo` trains a small r-LSTM from nothing; `make test` runs every check of the project.
PYTHON ?= python3
BIN := .venv/bin
export TF_CPP_MIN_LOG_LEVEL ?= 3

.PHONY: demo test lint docs attack clean

demo: .venv/run
	$(BIN)/python train.py --flagfile=configs/digits_r.cfg --workdir=runs/digits_r

# In five parts: TensorFlow keeps what it has compiled until a process ends. Processes share on disk
# what XLA has compiled, and XLA takes its short ways: most of it runs a few times.
test: export TF_XLA_FLAGS = --tf_xla_persistent_cache_directory=$(CURDIR)/.venv/xla
test: export XLA_FLAGS = --xla_backend_optimization_level=0 --xla_cpu_use_fusion_emitters=false \
  --xla_cpu_parallel_codegen_split_count=1
test: .venv/dev
	rm -rf .venv/xla
	$(BIN)/python -m pytest -n 2 --dist worksteal tests/test_[a-c]*.py
	$(BIN)/python -m pytest -n 2 --dist worksteal tests/test_[d-m]*.py
	$(BIN)/python -m pytest -n 2 --dist worksteal \
	  $(filter-out tests/test_training.py, $(wildcard tests/test_[n-r]*.py tests/test_[t-z]*.py))
	$(BIN)/python -m pytest -n 2 --dist worksteal tests/test_s*.py
	$(BIN)/python -m pytest -n 2 --dist worksteal tests/test_training.py

lint: .venv/dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

docs: .venv/dev  # into site/; a broken link or reference is an error
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet

attack: .venv/dev  # an hour or two
	$(BIN)/python -m tests.attack.inputs
	$(BIN)/python -m tests.attack.damage
	$(BIN)/python -m tests.attack.kill
	$(BIN)/python -m tests.attack.workers

.venv/bin/python:
	$(PYTHON) -m venv .venv

.venv/run: .venv/bin/python requirements.txt setup.py
	$(BIN)/python -m pip install --quiet -r requirements.txt
	$(BIN)/python -m pip install --quiet --no-deps --editable .
	touch $@

.venv/dev: .venv/run requirements-dev.txt
	$(BIN)/python -m pip install --quiet -r requirements-dev.txt
	touch $@

clean:
	rm -rf .venv runs site
