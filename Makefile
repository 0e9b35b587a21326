PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
MANIFESTS := tests/deploy/test_manifests.py tests/deploy/test_manifests_security.py \
	tests/deploy/test_manifests_settings.py tests/deploy/test_schemas.py tests/deploy/test_rules.py \
	tests/deploy/test_image.py
READY := $(VENV)/.ready

.PHONY: help install demo test check audit image compose bench screenshots clean

help: ## Show this list
	@grep -E '^[a-z]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

install: $(READY) ## Make the environment in .venv

$(READY): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo "Credstream needs Python 3.11 or newer; try: make PYTHON=python3.11"; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $(READY)

demo: $(READY) ## A credential goes through the whole system, told as a story
	@$(BIN)/python examples/first_light.py

test: $(READY) ## Run the tests
	$(BIN)/pytest -q -n 3

check: $(READY) ## Lint, types, architecture, manifests, alert rules
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/pytest -q -n 2 $(MANIFESTS)

audit: ## Ask whether a locked version has a known hole (needs a network)
	$(PYTHON) -m venv .audit
	.audit/bin/pip install --quiet --disable-pip-version-check pip-audit
	.audit/bin/pip-audit --strict --disable-pip --require-hashes --requirement requirements.lock

image: ## Build the image and run it as production would (root, podman)
	deploy/image/check.sh

compose: ## Run compose.yaml and send jobs through it (root, podman, a network)
	$(PYTHON) -m venv .compose
	.compose/bin/pip install --quiet --disable-pip-version-check podman-compose==1.6.0
	PATH="$$PWD/.compose/bin:$$PATH" deploy/image/compose.sh

bench: $(READY) ## Compare with BullMQ and with raw streams, side by side
	$(BIN)/python -m bench.run

screenshots: $(READY) ## Take the pictures of the dashboard in docs/images
	$(BIN)/python -m tests.dashboard.screenshots

clean: ## Remove everything that was made
	rm -rf $(VENV) .audit .compose .node bench/bullmq/node_modules bench/fastify/node_modules tests/interop/node_modules tests/dashboard/node_modules tests/dashboard/pictures dist .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
