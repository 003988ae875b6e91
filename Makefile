# Every target sets up what it needs and is quick the second time.
.DEFAULT_GOAL := help
MAKEFLAGS += --no-builtin-rules
PYTHON ?= python3
export PYTHON
BIN := .venv/bin
VENV := .venv/.made
DEPLOY_VENV := .venv-deploy/.made
KAFKA := .kafka/.made
APICURIO := .apicurio/.made
SPRING := tests/interop/spring/target/.made

.PHONY: help
help: ## this list
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / { printf "make %-13s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

$(VENV): requirements/dev.txt pyproject.toml scripts/venv.sh
	@bash scripts/venv.sh

$(DEPLOY_VENV): requirements/deploy.txt scripts/deploy_venv.sh
	@bash scripts/deploy_venv.sh

$(KAFKA): scripts/kafka/pom.xml scripts/kafka_jars.sh
	@bash scripts/kafka_jars.sh

$(APICURIO): scripts/apicurio.sh
	@bash scripts/apicurio.sh

$(SPRING): scripts/spring_jar.sh tests/interop/spring/pom.xml $(shell find tests/interop/spring/src)
	@bash scripts/spring_jar.sh

.PHONY: venv
venv: $(VENV) ## .venv with the locked packages

.PHONY: kafka
kafka: $(KAFKA) ## Apache Kafka's jars (needs java and mvn)

.PHONY: registry
registry: $(APICURIO) ## Apicurio Registry (needs mvn; its Java is in .venv)

.PHONY: lint
lint: $(VENV) ## format, lint, types, import contracts
	@$(BIN)/ruff format --check --quiet . || { echo "make: not formatted: run 'make format'" >&2; exit 1; }
	@$(BIN)/ruff check --quiet .
	@$(BIN)/mypy
	@$(BIN)/lint-imports --no-logo

.PHONY: check
check: lint ## the same, and the unit tests: a minute and a half
	@$(BIN)/pytest --quiet tests/unit

.PHONY: format
format: $(VENV) ## format and mend what can be mended
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix .

.PHONY: test
test: $(VENV) $(KAFKA) $(APICURIO) ## every test, on real Kafka, PostgreSQL and a schema registry
	@$(BIN)/pytest --quiet

.PHONY: demo
demo: $(VENV) ## three services, one killed, every order billed once; needs neither Java nor Docker
	@if [ "$(BROKER)" = kafka ]; then $(MAKE) --no-print-directory kafka; fi
	@$(BIN)/python -m examples.shop.demo

.PHONY: up
up: ## the shop by Docker Compose, built and healthy; COMPOSE_PROFILES=observability: dashboards too
	@bash scripts/compose.sh up --build --detach --wait
	@bash scripts/compose.sh ps

.PHONY: down
down: ## the end of `make up`; VOLUMES=1: its data too
	@bash scripts/compose.sh --profile '*' down $(if $(VOLUMES),--volumes)

.PHONY: logs
logs: ## what the services of `make up` write, until Ctrl-C
	@bash scripts/compose.sh --profile '*' logs --follow --tail 100

.PHONY: spike
spike: $(VENV) $(KAFKA) ## orders faster than they are billed, with billing and Kafka away
	@$(BIN)/python -m examples.shop.spike

.PHONY: crash-table
crash-table: $(VENV) $(KAFKA) ## SIGKILL at every arrow of the road
	@$(BIN)/python -m tests.crash.table

.PHONY: outbox-chaos
outbox-chaos: $(VENV) $(KAFKA) ## relays and brokers killed while writers commit and roll back; then each event is looked for
	@$(BIN)/python -m tests.outbox_chaos

.PHONY: chaos
chaos: $(VENV) $(KAFKA) ## faults on brokers, database and processes; then each record is looked for
	@$(BIN)/python -m tests.chaos

.PHONY: chaos-seeds
chaos-seeds: $(VENV) $(KAFKA) ## what chaos once found, again
	@$(BIN)/python -m tests.chaos --seeds

.PHONY: chaos-mutants
chaos-mutants: $(VENV) $(KAFKA) ## deliberate bugs, each of which chaos must find
	@$(BIN)/python -m tests.chaos.mutant_table

.PHONY: replay-test
replay-test: $(VENV) $(KAFKA) ## dead letters replayed to the group that failed, the replay killed on its way
	@$(BIN)/python -m tests.replay

.PHONY: fuzz
fuzz: $(VENV) $(KAFKA) ## 100,000 random records, each of which must be accounted for
	@$(BIN)/python -m tests.fuzz

.PHONY: interop
interop: $(VENV) $(KAFKA) $(SPRING) ## a Spring Boot service beside ours on one broker
	@$(BIN)/python -m tests.interop

.PHONY: msk-iam-test
msk-iam-test: $(VENV) $(KAFKA) ## MSK IAM without AWS, TLS, SCRAM, OAuth: let in, refused, renewed
	@$(BIN)/python -m tests.security

.PHONY: deploy-check
deploy-check: $(VENV) $(DEPLOY_VENV) ## chart, Terraform, IAM policies, image and Compose file, read by their tools (needs terraform)
	@$(BIN)/python -m tests.deploy

.PHONY: k8s-check
k8s-check: $(VENV) ## a real API server takes what deploy/kubernetes gives it (builds it once)
	@$(BIN)/python -m tests.deploy.kubernetes

.PHONY: compose-test
compose-test: $(VENV) $(KAFKA) $(APICURIO) ## the image and the Compose file: orders posted, services killed, books balanced
	@$(BIN)/python -m tests.deploy.compose

.PHONY: bench-quick
bench-quick: $(VENV) $(KAFKA) ## the listener beside a hand-written loop
	@$(BIN)/python -m benchmarks.quick

.PHONY: bench-relay
bench-relay: $(VENV) $(KAFKA) ## how fast one process empties an outbox, and several that share it
	@$(BIN)/python -m benchmarks.relay

.PHONY: bench-retry
bench-retry: $(VENV) $(KAFKA) ## how late retries come under load, and what a stuck key costs the others
	@$(BIN)/python -m benchmarks.retry

.PHONY: wheel-test
wheel-test: $(VENV) ## the built wheel in a clean environment outside the tree
	@PYTHONPATH=. $(BIN)/python scripts/wheel_test.py

.PHONY: lock
lock: $(VENV) ## lock the packages anew, with hashes
	@bash scripts/lock.sh
	@$(MAKE) --no-print-directory venv

.PHONY: audit
audit: $(VENV) ## known vulnerabilities of the locked packages (asks the network)
	@$(BIN)/pip-audit --disable-pip --require-hashes -r requirements/dev.txt

.PHONY: clean
clean: ## remove what make made
	rm -rf .venv .venv-deploy .kafka .apicurio .docker .k8s tests/interop/spring/target .mypy_cache .pytest_cache .ruff_cache .import_linter_cache .hypothesis dist build
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
