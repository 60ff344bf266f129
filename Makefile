# Two commands to begin with: `make demo` sets up and runs the main job, `make test` sets up and
# passes the tests. A third, `make real`, fetches a real model and screens it. CONTRIBUTING.md explains the others.
PYTHON ?= python3
VENV ?= .venv
# to keep a torch of your own: VENV=its-environment CONSTRAINTS=
CONSTRAINTS ?= -c constraints.txt
BIN := $(VENV)/bin
INSTALL = $(BIN)/python -m pip install --quiet --disable-pip-version-check $(CONSTRAINTS) -e
PYTEST = OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto

# a room is a folder of src/draftproof; its tests have a folder of the same name
ROOM ?=
ROOM_PATHS = $(wildcard tests/$(ROOM) src/draftproof/$(ROOM))
# what loads no model
QUICK = tests/test_house.py tests/battery tests/lint tests/recorded tests/report tests/scoring \
  tests/stats src/draftproof/records src/draftproof/stats src/draftproof/scoring \
  --ignore tests/scoring/test_kept_labels.py

.PHONY: demo real test quick lint mutation clean

demo: $(VENV)/.local
	$(BIN)/draftproof demo

# says download, disk and time before it starts
real: $(VENV)/.real
	$(BIN)/draftproof demo --real

# every test, or with ROOM=stats those of one room
test: $(VENV)/.dev
ifeq ($(ROOM),)
	$(PYTEST)
else
	$(if $(ROOM_PATHS),,$(error no room is called '$(ROOM)'; the rooms are the folders of src/draftproof))
	$(PYTEST) $(ROOM_PATHS)
endif

# under a minute once set up: linters, types, and the tests that load no model
quick: lint
	$(PYTEST) -m 'not slow' $(QUICK)

lint: $(VENV)/.dev
	$(BIN)/ruff check --output-format concise .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# plants faults into what decides a verdict and asks whether a test notices; about an hour
mutation: $(VENV)/.dev
	$(INSTALL) '.[mutation]'
	$(BIN)/python -m tools.mutation

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/.local: pyproject.toml constraints.txt | $(BIN)/python
	$(INSTALL) '.[local]'
	touch $@

$(VENV)/.real: pyproject.toml constraints.txt | $(BIN)/python
	$(INSTALL) '.[real]'
	touch $@

$(VENV)/.dev: pyproject.toml constraints.txt | $(BIN)/python
	$(INSTALL) '.[dev]'
	touch $@

clean:
	rm -rf $(VENV) runs .pytest_cache .mypy_cache .ruff_cache
