# Every target works on a bare machine with Python >= 3.11; what it needs it sets up in the user's cache.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
PYTHON ?= python3
VENV = $$($(PYTHON) hack/venv.py)

.PHONY: help
help: ## List the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F':.*## ' '{printf "  make %-16s %s\n", $$1, $$2}'

.PHONY: venv venv-path
venv: ## Make the virtual environment in the user's cache
	@$(PYTHON) hack/venv.py
venv-path: ## Print where the virtual environment is
	@$(PYTHON) hack/venv.py --path
