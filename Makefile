# Every target makes or reuses .venv; nothing but Python 3.11-3.13 and a package index is needed.
PYTHON ?= $(shell for p in python3.11 python3.12 python3.13 python3; do \
  command -v $$p >/dev/null 2>&1 && $$p -c 'import sys; sys.exit(not (3,11) <= sys.version_info[:2] <= (3,13))' 2>/dev/null && echo $$p && break; done)
VENV ?= .venv
BENCH_VENV ?= .venv-bench
PY = $(VENV)/bin/python
STAMP = $(VENV)/.installed
JOBS ?= 2

.PHONY: demo test conformance lint wheel-test bench models clean

$(STAMP): pyproject.toml
	@test -n "$(PYTHON)" || { echo "coregraft needs Python 3.11, 3.12 or 3.13: make PYTHON=/path/to/python"; exit 1; }
	test -x $(PY) || $(PYTHON) -m venv $(VENV)
	$(PY) -m pip install --quiet --disable-pip-version-check --upgrade 'pip>=24' 'setuptools>=77' wheel
	$(PY) -m pip install --quiet --disable-pip-version-check --config-settings editable_mode=compat -e '.[dev]'
	touch $(STAMP)

demo: $(STAMP)
	$(VENV)/bin/coregraft demo --output demo-out

test: $(STAMP)
	$(PY) -m pytest -n $(JOBS) -q

conformance: $(STAMP)
	$(PY) -m tests.conformance.run --jobs $(JOBS) --update
	$(PY) -m tests.conformance.run --jobs $(JOBS) --update --format neuralnetwork
	$(PY) -m tests.conformance.run --jobs $(JOBS) --update --others
	$(PY) -m tests.conformance.variants.run --jobs $(JOBS) --update
	$(PY) -m tests.conformance.variants.run --jobs $(JOBS) --update --others
	$(PY) -m tests.conformance.operators

lint: $(STAMP)
	$(PY) -m ruff check .
	$(PY) -m mypy

wheel-test: $(STAMP)
	$(PY) -m pytest -q tests/house/test_wheel.py --run-wheel

models: $(STAMP)
	$(PY) -m benchmarks.fetch_models

bench: $(STAMP)
	test -x $(BENCH_VENV)/bin/python || $(PYTHON) -m venv $(BENCH_VENV)
	$(BENCH_VENV)/bin/python -m pip install --quiet --disable-pip-version-check -r benchmarks/requirements.txt
	$(BENCH_VENV)/bin/python -m pip install --quiet --disable-pip-version-check --no-deps --config-settings editable_mode=compat -e .
	$(BENCH_VENV)/bin/python -m benchmarks.run

clean:
	rm -rf $(VENV) $(BENCH_VENV) build dist demo-out *.egg-info
