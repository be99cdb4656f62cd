# `make` says what there is. Nothing is needed beforehand but git, make and a Python.
# ARGS goes to what runs: make test ARGS="-k scaling", make demo ARGS=--exit

PYTHON ?= python3
BIN := .venv/bin

.DEFAULT_GOAL := help
.PHONY: help setup machine demo test check docs bench fuzz soak clean

help: ## This list
	@sed -n 's/^\([a-z]*\):[^#]*## /\1|/p' Makefile | awk -F'|' '{printf "  make %-7s %s\n", $$1, $$2}'

setup: ## Make .venv with the project and its tools, unless it is up to date
	@$(PYTHON) scripts/setup.py

machine: setup
	@test "$$APPRUNNER_TEST_SKIP_DOCKER" = 1 || $(WITH) $(BIN)/apprunner doctor --fix --quiet

demo: setup machine ## The whole story on the sample apps: deploy, commit, scale, zero, wake, bill
	@$(BIN)/apprunner demo $(ARGS)

test: WITH := APPRUNNER_REGISTRY_PORT=0
test: setup machine ## Every test, also those on a real Docker engine
	@$(BIN)/python -m pytest $(ARGS)

check: setup ## What must hold before a commit, in less than a minute and without Docker
	@$(BIN)/ruff check
	@$(BIN)/ruff format --check --quiet
	@$(BIN)/mypy
	@$(BIN)/lint-imports
	@$(BIN)/python -m pytest --quiet tests/decisions $(ARGS)

docs: setup ## Write docs/coverage.md and docs/apprunner-yaml.md anew
	@$(BIN)/python -m emulator.surfaces.api.coverage > docs/coverage.md
	@$(BIN)/python -m tests.decisions.oddities > docs/apprunner-yaml.md

bench: setup ## The benchmarks, as ratios against a peer measured in the same run
	@$(BIN)/python -m bench $(ARGS)

fuzz: setup ## The load balancer against byte streams made up for it (ARGS="SECONDS SEED")
	@$(BIN)/python scripts/fuzz.py $(ARGS)

soak: setup ## Five minutes of mixed load with deployments, kills and wakes (ARGS=20: seconds)
	@$(BIN)/python -m bench.soak $(ARGS)

clean: ## Remove .venv, caches and build products; no state, no containers
	rm -rf .venv build dist *.egg-info .coverage .coverage.* .hypothesis
	rm -rf .pytest_cache .mypy_cache .ruff_cache .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
