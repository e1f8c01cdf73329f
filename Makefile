PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
# Two workers, a file of tests at a time: most of the time is compiling, on one core each.
# Files in .cache/jax keep compiled programs between test runs.
PYTEST := $(BIN)/python -m pytest -q -n 2 --dist loadfile
SUITE := tests --ignore tests/parity --ignore tests/nightly

.PHONY: demo test parity shuffled nightly lint format types venv clean

demo: $(STAMP)  ## pre-train, fine-tune and evaluate on drawn people; writes runs/demo/report.html
	$(BIN)/python scripts/demo.py --root runs/demo

test: $(STAMP)  ## all tests but those that compare with PyTorch
	$(PYTEST) $(SUITE)

parity: $(VENV)/.torch  ## the tests that compare with PyTorch
	$(PYTEST) tests/parity tests/luperson_jax/test_benchmark.py \
		'tests/end_to_end/test_convert_command.py::test_a_pretraining_goes_on_after_a_detour_through_a_file[pth]'

shuffled: $(STAMP)  ## the tests of `make test` in a random order, which SEED=N names
	$(PYTEST) $(SUITE) -p randomly $(if $(SEED),--randomly-seed=$(SEED))

nightly: $(STAMP)  ## random kills and damaged files of whole runs; an hour and more
	$(BIN)/python -m pytest -q -n 0 -s tests/nightly

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
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements.txt -e '.[dev]'
	touch $@

$(VENV)/.torch: $(STAMP)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c requirements.txt -e '.[torch]'
	touch $@

clean:
	rm -rf $(VENV) .cache .pytest_cache .ruff_cache *.egg-info
