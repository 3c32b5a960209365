# Every target sets the machine up first: `make demo` and `make test` work from a bare clone.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.PHONY: demo test lint format setup clean

setup: $(READY)


$(READY): pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet -e ".[dev]"
	touch $@

demo: $(READY)
	$(BIN)/nerfseg demo --output-path demo

test: $(READY)
	$(BIN)/python -m pytest -n auto --dist loadfile

# Pyright cannot follow package-dir, so it is shown the package as it is on import.
lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	mkdir -p build/lint/nerfseg_plugins
	ln -sfn $(CURDIR)/nerfseg_plugins/* $(CURDIR)/method_configs $(CURDIR)/dataparsers build/lint/nerfseg_plugins/
	$(BIN)/pyright

format: $(READY)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:
	rm -rf $(VENV) build *.egg-info
