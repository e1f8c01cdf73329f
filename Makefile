PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
# Two workers, a file of tests at a time, in order: most of the time is compiling, on one core each.
# Files in .cache/jax keep compiled programs between test runs.
PYTEST := $(BIN)/python -m pytest -q -n 2 --dist loadfile --no-loadscope-reorder
SUITE := tests --ignore tests/parity --ignore tests/nightly

# The newest Python beside this one, as a version of pyenv or by its command.
NEWEST := $(firstword $(foreach one,3.14 3.13,$(wildcard $(HOME)/.pyenv/versions/$(one).*/bin/python) \
	$(shell command -v python$(one) 2>/dev/null)))
SHORT := tests/data_pipeline/test_loader_processes.py tests/luperson_jax/test_moco.py \
	tests/luperson_jax/test_checkpoint.py tests/luperson_jax/test_ranking.py \
	tests/contract/test_clustering_task.py tests/contract/test_directions.py

.PHONY: demo test parity newest shuffled nightly docs lint format types venv clean

demo: export GLIBC_TUNABLES ?= glibc.malloc.hugetlb=1:glibc.malloc.mmap_max=0:glibc.malloc.trim_threshold=1073741824
demo: $(STAMP)  ## pre-train, fine-tune and evaluate on drawn people; writes runs/demo/report.html
	$(BIN)/python scripts/demo.py --root runs/demo

test: $(STAMP)  ## all tests but those that compare with PyTorch
	$(PYTEST) $(SUITE)

parity: $(VENV)/.torch  ## the tests that compare with PyTorch
	$(PYTEST) --dist worksteal tests/parity \
		'tests/end_to_end/test_convert_command.py::test_a_pretraining_goes_on_after_a_detour_through_a_file[pth]'

newest:  ## a short test on the newest Python found: loader, step, checkpoint, ranking, a whole run
ifeq ($(NEWEST),)
	@echo "skipped: neither python3.14 nor python3.13 is here"
else
	test -x .venv-newest/bin/python || $(NEWEST) -m venv .venv-newest
	.venv-newest/bin/python -m pip install --quiet --disable-pip-version-check -r requirements.txt \
		-e . beartype==0.23.1 pytest==9.2.0 pytest-xdist==3.8.0 hypothesis==6.170.17
	.venv-newest/bin/python -m pytest -q -n 2 --dist worksteal -o addopts=-ra $(SHORT)
endif

shuffled: $(STAMP)  ## the tests of `make test` in a random order, which SEED=N names
	$(PYTEST) $(SUITE) -p randomly $(if $(SEED),--randomly-seed=$(SEED))

nightly: $(STAMP)  ## random kills, damaged files of whole runs, benchmarks of the smallest size; an hour and more
	$(BIN)/python -m pytest -q -n 0 -s tests/nightly

docs: $(VENV)/.docs  ## the pages as a site in docs/_site; dead links are errors
	$(BIN)/sphinx-build -q -W --keep-going -n docs docs/_site

lint: $(STAMP)  ## style and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright

format: $(STAMP)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

venv: $(STAMP)  ## the virtual environment that everything above uses

$(STAMP): requirements.txt pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "installing into $(VENV): about 1.7 GB, some minutes, and pip says nothing meanwhile"
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements.txt -e '.[dev]'
	touch $@

$(VENV)/.torch: $(STAMP)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c requirements.txt -e '.[torch]'
	touch $@

$(VENV)/.docs: $(STAMP)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c requirements.txt -e '.[docs]'
	touch $@

clean:
	rm -rf docs/_site $(VENV) .venv-newest .cache .pytest_cache .ruff_cache *.egg-info
