# make demo (what the demo and the viewer need) | test | test-fast | install | lint | bench | docs | docs-images | fuzz | release-set | release-check   (each sets up .venv from the project's own files first)
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
EXTRAS ?= dev
comma := ,
STAMP := $(VENV)/.installed-$(subst $(comma),-,$(EXTRAS))

SIZE ?= about 2.2 GB; it took 95 s with a fast network
SECONDS_EACH ?= 10

.PHONY: install demo test test-fast lint bench docs docs-images fuzz release-set release-check clean

install: $(STAMP)

# A stamp names its extras: .installed-demo-viewer holds '.[demo,viewer]'.
$(VENV)/.installed-%: pyproject.toml constraints.txt package-lock.json hatch_build.py
	@echo "installing into $(VENV): $(SIZE)"
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	PIP_CONSTRAINT=$(CURDIR)/constraints.txt $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[$(subst -,$(comma),$*)]'
	@touch $@

# What the demo and the viewer need; where everything is installed already, nothing is added.
demo: SIZE := about 1.6 GB; it took 58 s with a fast network
demo: $(if $(wildcard $(STAMP)),$(STAMP),$(VENV)/.installed-demo-viewer)
	$(BIN)/python -m mil_heatmaps.cli.demo

test: $(STAMP)
	$(BIN)/python -m pytest -n 2

test-fast: $(STAMP)
	$(BIN)/python -m pytest -n 2 -m "not slow"

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python docs/check_words.py

bench: $(STAMP)
	@for script in benchmarks/bench_*.py; do echo "== $$script"; $(BIN)/python $$script || exit 1; done

docs: $(STAMP)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[docs]'
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet

docs-images: $(STAMP)
	$(BIN)/python docs/make_images.py

fuzz: $(STAMP)
	$(BIN)/python benchmarks/fuzz.py --seconds $(SECONDS_EACH)

release-set: $(STAMP)
	$(BIN)/python release/release_set.py
	$(BIN)/python release/release_set.py --pypi

release-check: $(STAMP)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[release]'
	$(BIN)/python release/release_check.py
	$(BIN)/python release/release_build.py

clean:
	rm -rf $(VENV)
