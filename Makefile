# Everything runs in .venv, made on first use; `make test` and `make demo` are all a new machine needs
PYTHON ?= python3
BIN := .venv/bin
PIP := $(BIN)/python -m pip install -q --disable-pip-version-check -c constraints.txt
META := settings.ini setup.py pyproject.toml constraints.txt

.PHONY: demo test bench docs clean

demo: .venv/.made
	$(BIN)/tsviz demo

test: .venv/.made-dev
	$(BIN)/python -m pytest

bench: .venv/.made-dev
	for o in cam methods inside callback read plot; do $(BIN)/python benchmarks/$$o.py || exit 1; done

docs: .venv/.made-dev
	$(BIN)/python docs/build.py

.venv/.made: $(META)
	$(PYTHON) -m venv .venv
	$(PIP) -e .
	touch $@

.venv/.made-dev: .venv/.made
	$(PIP) -e '.[dev]'
	touch $@

clean:
	rm -rf .venv build dist *.egg-info tsviz-demo docs_src
