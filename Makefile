PYTHON ?= python3
BIN := .venv/bin

.PHONY: quickstart test help docs docs-serve wheel

# Train dynamics, prior and policy on the bundled data: about a quarter of an hour on two cores.
quickstart: .venv/installed
	$(BIN)/lit-offrl fit --config configs/quickstart.yaml

# Lint, types and tests. The slow ones run with: .venv/bin/pytest -m slow
test: .venv/installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/pytest -n 2

# The text of `lit-offrl fit --help`; a test compares it with the options.
help: .venv/installed
	mkdir -p build
	$(BIN)/python -W ignore -c "from lit_offrl.cli.fit_parser import make_fit_parser; print(make_fit_parser().format_help(), end='')" > build/fit_help.txt
	mv build/fit_help.txt lit_offrl/cli/fit_help.txt

# The site, in build/docs; a warning is an error. docs-serve shows it at http://127.0.0.1:8000.
docs: .venv/docs-installed
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

docs-serve: .venv/docs-installed
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs serve

# sdist and wheel, in dist/; the wheel is run from an empty folder, with the other packages of .venv.
wheel: .venv/build-installed
	.ci/wheel $(BIN)

.venv/build-installed: .venv/installed
	$(BIN)/pip install -c constraints.txt -e '.[build]'
	touch $@

.venv/docs-installed: .venv/installed
	$(BIN)/pip install -c constraints.txt -e '.[docs]'
	touch $@

.venv/installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/pip install -c constraints.txt torch==2.13.0
	$(BIN)/pip install -c constraints.txt -e '.[test]'
	touch $@
