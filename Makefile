# Everything runs from a fresh clone with Python 3.11, git and make. `make help` lists the targets.
PYTHON ?= python3.11
VENV   := .venv
BIN    := $(VENV)/bin
READY  := $(VENV)/.ready
OUT    := outputs
# Processes of tests; each has one thread and takes about 1.5 GB.
JOBS   ?= 2
# One thread: the models are small, and a second torch process must not slow the first down.
export OMP_NUM_THREADS ?= 1
export TQDM_MININTERVAL ?= 1

.DEFAULT_GOAL := help
.PHONY: help demo test check contract notebooks figures clean

help:  ## list the targets
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

$(READY): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[dev]"
	@touch $@

demo: $(READY)  ## the main job: run the quickstart notebook, print the answers, write its figures
	@mkdir -p $(OUT)/demo
	$(BIN)/papermill notebooks/00_quickstart.ipynb $(OUT)/demo/00_quickstart.ipynb -k python3 --log-level WARNING -p run_dir $(CURDIR)/$(OUT)/demo
	@cat $(OUT)/demo/answers.txt
	@ls $(OUT)/demo/*.png $(OUT)/demo/00_quickstart.ipynb

test: $(READY)  ## all tests that need no GPU, the notebooks included
	$(BIN)/python -m pytest -q -m "not gpu and not slurm" -n $(JOBS) --dist worksteal
	$(BIN)/python -m pytest -q -n $(JOBS) --dist loadfile --nbval-lax --nbval-cell-timeout 180 notebooks

check: $(READY)  ## lint, format, types, stripped notebooks
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/nbstripout --verify --keep-count --extra-keys "metadata.papermill metadata.language_info.version" notebooks/*.ipynb

contract: $(READY)  ## the contract of every VLM adapter as a table, check by family
	$(BIN)/python -m pytest -q --contract-table tests/tiny_models/test_contract.py

notebooks: $(READY)  ## execute every notebook into outputs/notebooks
	@mkdir -p $(OUT)/notebooks
	@for notebook in notebooks/*.ipynb; do \
	  $(BIN)/papermill $$notebook $(OUT)/notebooks/$$(basename $$notebook) -k python3 --log-level WARNING || exit 1; done

figures: $(READY)  ## make the committed figures anew
	@mkdir -p $(OUT)/notebooks
	$(BIN)/papermill notebooks/00_quickstart.ipynb $(OUT)/notebooks/00_quickstart.ipynb -k python3 --log-level WARNING -p figure_dir $(CURDIR)/figures
	$(BIN)/papermill notebooks/01_method_step_by_step.ipynb $(OUT)/notebooks/01_method_step_by_step.ipynb -k python3 --log-level WARNING -p figure_dir $(CURDIR)/figures
	$(BIN)/papermill notebooks/02_four_vlms.ipynb $(OUT)/notebooks/02_four_vlms.ipynb -k python3 --log-level WARNING -p figure_dir $(CURDIR)/figures
	$(BIN)/papermill notebooks/04_seven_benchmarks.ipynb $(OUT)/notebooks/04_seven_benchmarks.ipynb -k python3 --log-level WARNING -p figure_dir $(CURDIR)/figures
	$(BIN)/papermill notebooks/26_controls.ipynb $(OUT)/notebooks/26_controls.ipynb -k python3 --log-level WARNING -p figure_dir $(CURDIR)/figures

clean:  ## remove outputs and caches (not the environment)
	rm -rf $(OUT) .pytest_cache .mypy_cache .ruff_cache .hypothesis
