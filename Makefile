# Everything runs from a fresh clone with Python 3.11, git and make. `make help` lists the targets.
PYTHON ?= python3.11
VENV   := .venv
BIN    := $(VENV)/bin
READY  := $(VENV)/.ready
SITE   := $(VENV)/.site
OUT    := outputs
# Processes of tests; each has one thread and takes about 1.5 GB.
JOBS   ?= 2
EXTRA  := metadata.papermill metadata.language_info.version
# One thread: the models are small, and a second torch process must not slow the first down.
export OMP_NUM_THREADS ?= 1
export TQDM_MININTERVAL ?= 1

.DEFAULT_GOAL := help
.PHONY: help demo lab test check contract environments harness rehearsal notebooks figures site clean

help:  ## list the targets
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

$(READY): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[dev]"
	@touch $@

demo: $(READY)  ## the main job: run the quickstart notebook, print the answers, write its figures
	@mkdir -p $(OUT)/demo
	$(BIN)/eg notebooks execute 00_quickstart $(OUT)/demo/00_quickstart.ipynb "run_dir=$(CURDIR)/$(OUT)/demo"
	@cat $(OUT)/demo/answers.txt
	@ls $(OUT)/demo/*.png $(OUT)/demo/00_quickstart.ipynb

# The whole repository is the root, so that links to docs and source files open, too.
lab: $(READY)  ## JupyterLab in the environment, opened at the quickstart notebook
	$(BIN)/jupyter-lab --ServerApp.root_dir=$(CURDIR) $(if $(filter 0,$(shell id -u)),--allow-root) notebooks/00_quickstart.ipynb

test: $(READY)  ## all tests that need no GPU, the notebooks included
	$(BIN)/python -m pytest -q -m "not gpu and not slurm and not rehearsal" -n $(JOBS) --dist worksteal
	ENTROPY_GROUNDING_RUN=smoke $(BIN)/python -m pytest -q -n $(JOBS) --dist loadfile --nbval-lax --nbval-cell-timeout 180 notebooks

check: $(READY)  ## lint, format, types, stripped notebooks
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/nbstripout --verify --keep-count --extra-keys "$(EXTRA)" notebooks/*.ipynb

contract: $(READY)  ## the contract of every VLM adapter as a table, check by family
	$(BIN)/python -m pytest -q --contract-table tests/tiny_models/vlm/test_contract.py

environments: $(READY)  ## the tiny VLMs in other environments (torchvision, lowest, newest, Python 3.12, the wheel): 20 minutes, 30 GB
	$(BIN)/python tests/environments/build.py $(ONLY)

harness: $(READY)  ## the tiny VLMs inside lmms-eval, every answer and score beside the stored rows: 5 minutes and 6 GB for lmms-eval, then 10 minutes
	$(BIN)/python tests/harness/run.py $(ONLY)

rehearsal: $(READY)  ## run=full on twins of the released checkpoints, from a hub on loopback: 23 minutes; FILES=DIR has the released small files
	$(BIN)/python -m pytest -q -m rehearsal -n $(JOBS) tests/rehearsal
	$(BIN)/python tests/rehearsal/run.py $(if $(FILES),--files $(FILES)) --out $(OUT)/rehearsal

notebooks: $(READY)  ## execute every notebook into outputs/notebooks, with few examples
	@mkdir -p $(OUT)/notebooks
	@for notebook in notebooks/*.ipynb; do \
	  ENTROPY_GROUNDING_RUN=smoke $(BIN)/eg notebooks execute $$notebook $(OUT)/notebooks/$$(basename $$notebook) || exit 1; done

figures: $(READY)  ## make the committed figures and executed notebooks again, from the stored rows
	$(BIN)/eg notebooks copies

$(SITE): $(READY)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[dev,site]"
	@touch $@

# A warning is an error, so a link between pages that leads nowhere ends the build.
site: $(SITE)  ## build the site of docs, executed notebooks and docstrings into outputs/site; LINKS=external checks links to the web, too
	$(BIN)/python -m sphinx -q -W --keep-going -c docs -d $(OUT)/site_cache . $(OUT)/site
	$(if $(filter external,$(LINKS)),$(BIN)/python -m sphinx -q -b linkcheck -c docs -d $(OUT)/site_cache . $(OUT)/site_links)
	@echo $(OUT)/site/index.html

clean:  ## remove outputs and caches (not the environment)
	rm -rf $(OUT) .pytest_cache .mypy_cache .ruff_cache .hypothesis
