PYTHON ?= python3
WORKERS ?= 2
BIN := .venv/bin
STAMP := .venv/.installed

.PHONY: test demo install format clean

# Types are checked beside the tests, and reported after them.
test: install
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/pyright > .venv/pyright.log 2>&1 & types=$$!; \
	$(BIN)/pytest --numprocesses=$(WORKERS) --dist=worksteal --durations=15; failed=$$?; \
	wait $$types || failed=1; \
	cat .venv/pyright.log; exit $$failed

demo: install
	$(BIN)/dexsim demo

install: $(STAMP)

# MuJoCo's compiled modules come without types: they are read off here, for pyright.
# The stamp is written last, so that a broken installation is tried again.
$(STAMP): pyproject.toml
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --editable ".[dev]"
	rm -rf .venv/typings
	$(BIN)/pybind11-stubgen --ignore-all-errors --output-dir .venv/typings mujoco
	touch $@

format: install
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

clean:
	rm -rf .venv build dist .pytest_cache .ruff_cache
