# `make demo` and `make test` need nothing but Python 3.11, 3.12 or 3.13, and make.

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
VENV2 := $(VENV)-pandas2
STAMP2 := $(VENV2)/.installed
SITE := import sysconfig; print(sysconfig.get_path('purelib'))
PYTEST_ARGS ?=
# Compiling all of torch and transformers takes longer than installing them; what is imported
# is compiled then.
PIP_FLAGS := --quiet --no-compile
# What works on frames and columns; most of the other tests see arrays, whatever made them.
PANDAS_TESTS ?= tests/data tests/encoders tests/contract/test_encoders.py \
	tests/inspection/test_drift.py tests/properties/test_any_table.py \
	tests/vision_ext/test_image_encoder.py tests/behaviours/test_input.py \
	$(addprefix tests/text_ext/test_,design.py letter_encoder.py text_columns.py) \
	$(addprefix tests/deployment/test_,few_rows.py onnx_columns.py onnx_inputs.py row_reader.py) \
	tests/test_intake.py
# Two processes of one thread each: libraries that thread on their own get in the way of each other.
pytest_in = OMP_NUM_THREADS=1 $(1)/bin/python -m pytest -n 2 --dist worksteal $(PYTEST_ARGS)

.DEFAULT_GOAL := help
.PHONY: help demo test test-slow test-pandas2 lint format bench peers clean

help:  ## Show what there is to make.
	@grep -E '^[a-z0-9-]+:.*##' $(firstword $(MAKEFILE_LIST)) | sed -E 's/:.*## /\t/' | expand -t 16

demo: $(STAMP)  ## Fit a real table through the command line, predict, evaluate.
	rm -rf demo
	$(BIN)/tabular-automl demo

test: $(STAMP)  ## Run the fast tests.
	$(call pytest_in,$(VENV))

test-slow: $(STAMP)  ## Run the tests that take minutes.
	$(BIN)/python -m pip install $(PIP_FLAGS) -c constraints.txt -e '.[ray]'
	$(BIN)/python -m pytest -m slow $(PYTEST_ARGS)

test-pandas2: $(STAMP2)  ## Run with pandas 2.2 the fast tests that read tables (all: PANDAS_TESTS=tests).
	$(call pytest_in,$(VENV2)) $(PANDAS_TESTS)

lint: $(STAMP)  ## Check style, types and spelling.
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/codespell

format: $(STAMP)  ## Put all files into the project's style.
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: $(STAMP)  ## Compare with the baselines: make bench DATA=folder [OUT=file.csv] [ARGS=...]
	@test -n "$(DATA)" || { echo "Name the folder: make bench DATA=folder (it holds an index.csv)"; exit 2; }
	$(BIN)/python -m benchmarks.run "$(DATA)" --out "$(or $(OUT),benchmarks/results/bench.csv)" $(ARGS)
	$(BIN)/python -m benchmarks.table "$(or $(OUT),benchmarks/results/bench.csv)"

peers: .venv-autogluon/.installed .venv-flaml/.installed  ## Make the environments of the libraries that bench can compare with.

clean:  ## Remove the environments, caches and the demo.
	rm -rf $(VENV) $(VENV2) .venv-autogluon .venv-flaml demo build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis

# The stamp is written last, so an install that failed half-way is done again.
$(STAMP): pyproject.toml constraints.txt
	$(call make_venv,$(VENV))
	$(BIN)/python -m pip install $(PIP_FLAGS) -c constraints.txt -e '.[all,dev]'
	touch $@

# pandas 2.2, and what is installed already behind it. That is added last: pip would replace
# the pandas it finds there.
$(STAMP2): $(STAMP)
	rm -rf $(VENV2)
	$(BIN)/python -m venv $(VENV2)
	grep -v '^pandas' constraints.txt > $(VENV2)/constraints.txt
	$(VENV2)/bin/python -m pip install $(PIP_FLAGS) -c $(VENV2)/constraints.txt 'pandas==2.2.*'
	echo "import site; site.addsitedir('$$($(BIN)/python -c "$(SITE)")')" \
		> "$$($(VENV2)/bin/python -c "$(SITE)")/behind.pth"
	touch $@

# What they need clashes with each other's needs and with ours.
.venv-autogluon/.installed: benchmarks/peers/autogluon.txt
.venv-flaml/.installed: benchmarks/peers/flaml.txt
.venv-autogluon/.installed .venv-flaml/.installed:
	$(call make_venv,$(@D))
	$(@D)/bin/python -m pip install $(PIP_FLAGS) -r $<
	touch $@

define make_venv
@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' || { \
	echo "Python 3.11, 3.12 or 3.13 is needed; name one: make PYTHON=python3.12 ..."; exit 2; }
$(PYTHON) -m venv $(1)
endef
