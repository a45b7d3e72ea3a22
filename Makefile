PYTHON ?= python3
BIN := .venv/bin
STAMP := .venv/.installed

.PHONY: test demo install format clean

test: install
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/pyright
	$(BIN)/pytest

demo: install
	$(BIN)/dexsim demo

install: $(STAMP)

# The stamp is written last, so that a broken installation is tried again.
$(STAMP): pyproject.toml
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --editable ".[dev]"
	touch $@

format: install
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

clean:
	rm -rf .venv build dist .pytest_cache .ruff_cache
