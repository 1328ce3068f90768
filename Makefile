# `make help` says what there is. Nothing but Python 3.11+ (with its venv module) has to be installed by hand.
PYTHON ?= python3
PORT ?= 8000
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
SOURCES := api assistant demo domain knowledge migrations tests

.DEFAULT_GOAL := help
.PHONY: help run test check fix revision fuzz crash timers failover bench bench-growth bench-knowledge bench-build bench-processes eval ide clean

help: ## Say what there is
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /  make \1\t/' | expand -t 22

# The stamp names the Python and the dependencies that were installed; a change of either installs again.
$(STAMP): pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo 'Sortie needs Python 3.11 or newer: make PYTHON=python3.12 …' >&2; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo 'Installing into $(VENV) (once; some minutes) …' >&2
	@$(BIN)/python -m pip install --disable-pip-version-check --progress-bar off --editable '.[dev]' >&2
	@touch $(STAMP)

run: $(STAMP) ## Serve GraphQL and its IDE on PORT (8000), with the demo company in an empty database
	@exec $(BIN)/sortie start --port $(PORT)

test: $(STAMP) ## Run all tests, on SQLite and on a PostgreSQL that they start themselves
	@$(BIN)/python -m pytest -n 2 --dist loadgroup $(ARGS)

check: $(STAMP) ## Check style, types, the floor plan and the generated files
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports --no-logo
	@$(BIN)/python -m pytest -q tests/api/test_printed.py

fix: $(STAMP) ## Repair style and write the generated files anew
	@$(BIN)/ruff check --fix --quiet . || true
	@$(BIN)/ruff format .
	@$(BIN)/python -m api.printed

revision: $(STAMP) ## Write the next migration from the models: make revision MESSAGE="what changes"
	@$(BIN)/python -m migrations $(MESSAGE)

fuzz: $(STAMP) ## Put drawn documents to a real server for two minutes, then 20,000 to both ways of reading (some 20 minutes)
	@$(BIN)/python -m tests.fuzz $(ARGS)
	@SORTIE_DRAWN=10000 SORTIE_SEED=$${SORTIE_SEED:-100000} $(BIN)/python -m pytest -n 2 -q tests/api/test_both_paths.py

crash: $(STAMP) ## Kill the server 20 times among 10,000 writes on both databases, and tamper with the ledger
	@$(BIN)/python -m bench.crash $(ARGS)

timers: $(STAMP) ## Kill a process among 1,000 timers, on each database (6 minutes)
	@$(BIN)/python -m bench.timers $(ARGS)

failover: $(STAMP) ## Kill a server, a worker and PostgreSQL under load, and count what is lost (3 minutes)
	@$(BIN)/python -m bench.failover $(ARGS)

bench: $(STAMP) ## Measure speed beside PostGraphile and on SQLite: 20 minutes, two cores; installs wrk and the peer
	@$(BIN)/python -m bench.answers
	@$(BIN)/python -m bench.reads $(ARGS)

bench-growth: $(STAMP) ## Measure the reads among 10 thousand to 10 million activities and draw docs/growth.svg
	@$(BIN)/python -m bench.growth $(ARGS)

bench-knowledge: $(STAMP) ## Measure the search of the knowledge among 1,000 to 100,000 passages and draw docs/knowledge-scale.svg
	@$(BIN)/python -m bench.knowledge_scale $(ARGS)

bench-build: $(STAMP) ## Encode 10,000 passages on the embedded index while it is searched and published into (5 to 15 minutes; --texts FILE)
	@$(BIN)/python -m bench.knowledge_build $(ARGS)

bench-processes: $(STAMP) ## Measure reads, writes and drafts with 1, 2 and 4 processes and draw docs/processes.svg (8 minutes)
	@$(BIN)/python -m bench.processes $(ARGS)

eval: $(STAMP) ## Measure retrieval on the questions of bench/retrieval and compare with its thresholds (2 minutes)
	@$(BIN)/python -m bench.retrieval_sets $(ARGS)

ide: ## Build the page at GET /graphql again (needs Node.js; its result is committed)
	@cd api/ide && npm ci --ignore-scripts --no-audit --no-fund && npm run --silent build

clean: ## Remove the environment and every cache; var/ with its data stays
	@rm -rf $(VENV) build *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
