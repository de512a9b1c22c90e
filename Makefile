# `make demo` and `make test` set everything up by themselves; `make PYTHON=python3.12 test` chooses the Python.
PYTHON ?= $(shell for each in python3 python3.13 python3.12 python3.11; do \
	$$each -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' 2>/dev/null && echo $$each && break; done)
BIN := .venv/bin
READY := .venv/ready

.PHONY: demo test check bench setup golden clean

demo: $(READY)
	$(BIN)/fromscratch run recipes/demo.toml

test: $(READY)
	$(BIN)/python -m pytest

check: $(READY)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/codespell

bench: $(READY)
	for script in benchmarks/*.py; do PYTHONPATH=. $(BIN)/python $$script || exit; done

golden: $(READY)
	$(BIN)/python -m pytest --update-golden
	git --no-pager diff --stat -- tests/golden

setup: $(READY)

$(READY): pyproject.toml constraints.txt
	@test -n "$(PYTHON)" || { echo "error: no Python 3.11 to 3.13 was found"; echo "hint: make PYTHON=/path/to/python3.12 $(MAKECMDGOALS)"; exit 2; }
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[corpus,train,chat,serve,dev]'
	touch $@

clean:
	rm -rf .venv build dist src/*.egg-info .pytest_cache .mypy_cache .ruff_cache
