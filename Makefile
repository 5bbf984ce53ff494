# Every target works on a bare machine with Python 3.11 or newer; what it needs it sets up in the user's cache.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.ONESHELL:
PYTHON ?= python3
VENV = $$($(PYTHON) hack/environment.py)
CLUSTER ?= kubernaut
CODE = operator hack tests
FAULTS ?= short

.PHONY: help
help: ## List the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F':.*## ' '{printf "  make %-16s %s\n", $$1, $$2}'

.PHONY: demo demo-down
demo: ## The main job from nothing: real cluster, faults, repairs, history, patterns (2-3 min warm)
	@$(VENV)/bin/python hack/demo
demo-down: ## Take the demo away: processes, Postgres, cluster, interfaces
	@$(VENV)/bin/python hack/demo down

.PHONY: test unit
test: verify ## Every test that CI runs, from nothing
	@$(VENV)/bin/python hack/testing.py
unit: ## Unit and property tests: no cluster, seconds
	@$(VENV)/bin/python -m pytest tests/unit tests/property -q -n 2

.PHONY: verify
verify: ## Regenerate what is generated and demand no diff; format, lint, types, layers, sizes
	@bin="$(VENV)/bin"
	echo "verify: generated files"; $$bin/python hack/generate.py --check
	echo "verify: format and lint"; $$bin/ruff format --check --quiet $(CODE); $$bin/ruff check --quiet $(CODE)
	echo "verify: types"; $$bin/mypy operator hack tests
	echo "verify: layers"; PYTHONPATH=operator $$bin/lint-imports --no-cache
	echo "verify: documentation"; $$bin/python hack/docsite --check

.PHONY: docs
docs: ## The documentation site into build/docs/; warnings and dead links are errors (LINKS=1: ask for addresses outside)
	@$(VENV)/bin/python hack/docsite $(if $(LINKS),--links)

.PHONY: generate
generate: ## Write the generated files again
	@$(VENV)/bin/python hack/generate.py

.PHONY: cluster cluster-down
cluster: ## A local cluster (CLUSTER=name); prints its kubeconfig
	@$(PYTHON) hack/localcluster up --name $(CLUSTER)
cluster-down: ## Take the local cluster away
	@$(PYTHON) hack/localcluster down --name $(CLUSTER)

.PHONY: image
image: ## The container images as OCI archives in the user's cache; prints their paths (KIND=operator or analyst)
	@$(PYTHON) hack/image build $(KIND)

.PHONY: plugin
plugin: ## Archives of the kubectl plugin and krew's manifest, in build/plugin/ (PLATFORMS=linux-amd64)
	@$(VENV)/bin/python hack/plugin $(PLATFORMS)

.PHONY: run
run: ## The operator against the current kubeconfig
	@bin="$(VENV)/bin"; KUBERNAUT_LOG_FORMAT=$${KUBERNAUT_LOG_FORMAT:-text} exec $$bin/python -m kubernaut.app

.PHONY: bench
bench: ## Every benchmark; one JSON file each in build/bench/
	@$(VENV)/bin/python hack/bench

.PHONY: faults
faults: ## Kill points and outages against the real API server; FAULTS=long for the long run; JSON in build/faults/
	@$(VENV)/bin/python hack/faults $(if $(filter long,$(FAULTS)),--long)


.PHONY: scenarios
scenarios: ## Five kinds of faults healed end to end in 25 namespaces; JSON in build/scenarios/
	@$(VENV)/bin/python hack/demo scenarios

.PHONY: venv venv-path
venv: ## Make the virtual environment in the user's cache
	@$(PYTHON) hack/environment.py
venv-path: ## Print where the virtual environment is
	@$(PYTHON) hack/environment.py --path
