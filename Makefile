PYTHON ?= python3
BIN := .venv/bin

.PHONY: quickstart test

# Train dynamics, prior and policy on the bundled data: about a quarter of an hour on two cores.
quickstart: .venv/installed
	$(BIN)/lit-offrl fit --config configs/quickstart.yaml

# Lint, types and tests. The slow ones run with: .venv/bin/pytest -m slow
test: .venv/installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/pytest -n 2

.venv/installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/pip install -c constraints.txt torch==2.13.0
	$(BIN)/pip install -c constraints.txt -e '.[test]'
	touch $@
