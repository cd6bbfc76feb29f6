# Two commands matter: `make demo` and `make test`. Both start from `make install` and need Python 3.11+, git and make.
PYTHON ?= python3
VENV := .venv
PIP := $(VENV)/bin/python -m pip --disable-pip-version-check
RUN := $(VENV)/bin
export ATTENDING_MIRROR ?= $(if $(wildcard ../shared/mirror),$(abspath ../shared/mirror),)

.PHONY: install install-dev demo test test-all unit lint types contracts bench clean

install: $(VENV)/.installed

$(VENV)/.installed: pyproject.toml constraints.txt
	$(PYTHON) -c "import sys; v=sys.version_info; sys.exit(0 if v>=(3,11) else f'Python 3.11 or newer is needed; this is {v.major}.{v.minor}: set PYTHON=')"
	$(PYTHON) -m venv $(VENV)
	$(PIP) install --quiet -c constraints.txt -e .
	touch $@

install-dev: $(VENV)/.installed-dev

$(VENV)/.installed-dev: $(VENV)/.installed
	$(PIP) install --quiet -c constraints.txt -e ".[dev]"
	touch $@

demo: install
	$(RUN)/attending demo

test: lint types contracts unit

unit: install-dev
	$(RUN)/python -m pytest -m "not slow" -q

test-all: lint types contracts
	$(RUN)/python -m pytest -q

lint: install-dev
	$(RUN)/ruff format --check .
	$(RUN)/ruff check .

types: install-dev
	$(RUN)/mypy

contracts: install-dev
	$(RUN)/lint-imports

bench:
	@echo "Benchmarks (each prints its figures and the machine; 'make install-dev' first, '.[bench]' for torch peers):"
	@for f in benchmarks/*.py; do printf '  %s/python %-28s %s\n' "$(RUN)" "$$f" "$$(sed -n '1s/^"""//p' $$f)"; done

clean:
	rm -rf $(VENV) build dist attending-demo
