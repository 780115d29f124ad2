# Two commands need nothing but Python (3.11 or newer, with pip) and make:
#   make run     a service, a simulated seller and a PostgreSQL on this machine
#   make test    the whole suite, on a throw-away PostgreSQL

VENV := .venv
# Also inside the project's own environment, which has no pip, the Python that made it is found.
PYTHON ?= $(shell PATH=$$(printf '%s' "$$PATH" | tr : '\n' | grep -vxF '$(CURDIR)/$(VENV)/bin' | paste -sd: -); \
	for p in python3.13 python3.12 python3.11 python3; do \
	$$p -c 'import sys, pip; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && command -v $$p && break; done)
BIN := $(VENV)/bin
UV := .tools/bin/uv

export UV_SYSTEM_CERTS ?= true
export UV_PYTHON_DOWNLOADS := never
export UV_LINK_MODE := copy
unexport PYTHONDONTWRITEBYTECODE

.PHONY: run test test-browser screenshots messages check seed lock clean help FORCE

run: $(VENV)/ready  ## Run everything here. Options: PORT= SELLER_PORT= DATA=
	@exec $(BIN)/chain-orders dev $${PORT:+--port "$$PORT"} $${SELLER_PORT:+--seller-port "$$SELLER_PORT"} \
		$${DATA:+--data "$$DATA"}

test: $(VENV)/ready  ## The whole suite, by several processes (WORKERS=). ARGS= goes to pytest
	$(BIN)/python -m pytest -n $(or $(WORKERS),4) --dist loadfile --no-loadscope-reorder $(ARGS)

test-browser: $(VENV)/ready  ## The console in Debian's chromium, or in the one that CHROMIUM names, two at a time (WORKERS=)
	$(BIN)/python -m pytest -m browser -n $(or $(WORKERS),2) --dist load --maxschedchunk 1 tests/console $(ARGS)

screenshots: $(VENV)/ready  ## Pictures of every page of the console for docs/pages.md. ARGS= names some
	$(BIN)/python -m tests.console.screenshots $(ARGS)

messages: $(VENV)/ready  ## The console's messages for translators: console/locale/console.pot
	$(BIN)/python -m tests.messages

check: $(VENV)/ready  ## Lint, types, import contracts, lock files
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	@! grep -nE '://' requirements.lock requirements-dev.lock tools.lock fuzz.lock || { echo 'a lock file holds a URL'; exit 1; }

faults-send: $(VENV)/ready  ## Placements under fire. Options: ORDERS= SEED= SABOTAGE= RESULT=1
	$(BIN)/python -m tests.faults.sending $(if $(ORDERS),--orders $(ORDERS)) $(if $(SEED),--seed $(SEED)) \
		$(if $(SABOTAGE),--sabotage $(SABOTAGE)) $(if $(RESULT),--result)

faults-send-sabotage: $(VENV)/ready  ## The same on broken builds, each of which must fail. Options: ORDERS= SEED=
	$(BIN)/python -m tests.faults.sending --controls --orders $(or $(ORDERS),200) $(if $(SEED),--seed $(SEED))

simulate: $(VENV)/ready  ## Orders' lives under a virtual clock. Options: SEEDS=, or SEED= to play one again
	$(BIN)/python -m tests.simulation.runs $(if $(SEEDS),--seeds $(SEEDS)) $(if $(SEED),--seed $(SEED))

faults-steps: $(VENV)/ready  ## Workers that die at each step of a call. Options: ROUNDS= SABOTAGE= RESULT=1
	$(BIN)/python -m tests.faults.dying --rounds $(or $(ROUNDS),20) $(if $(SABOTAGE),--sabotage $(SABOTAGE)) \
		$(if $(RESULT),--result)

faults-calls: $(VENV)/ready  ## Each call of the database fails once, in every way. Options: ARGS=
	INJECT_ROUNDS=4 $(BIN)/python -m pytest tests/hearing/test_injected.py $(ARGS)

faults-key: $(VENV)/ready  ## 5,000 orders behind a revoked key: three calls until it is changed, then all are placed
	SEEN_PLACED=5000 $(BIN)/python -m pytest tests/sending/test_manners.py -k revoked_key $(ARGS)

faults-hear: $(VENV)/ready  ## Notifications under fire. Options: NOTIFICATIONS= SEED= SABOTAGE= RESULT=1
	$(BIN)/python -m tests.faults.hearing $(if $(NOTIFICATIONS),--notifications $(NOTIFICATIONS)) \
		$(if $(SEED),--seed $(SEED)) $(if $(SABOTAGE),--sabotage $(SABOTAGE)) $(if $(RESULT),--result)

faults-hear-sabotage: $(VENV)/ready  ## The same on broken builds. Options: NOTIFICATIONS= SEED=
	$(BIN)/python -m tests.faults.hearing --controls --notifications $(or $(NOTIFICATIONS),1500) \
		$(if $(SEED),--seed $(SEED))

faults-overload: $(VENV)/ready  ## Ten times as many notifications as can be stored. Options: ARGS=
	$(BIN)/python -m tests.faults.overload $(ARGS)

faults-import: $(VENV)/ready  ## An import whose service is killed, and that is run again. Options: LINES= SABOTAGE= RESULT=1
	$(BIN)/python -m tests.faults.importing --lines $(or $(LINES),2000) $(if $(SABOTAGE),--sabotage $(SABOTAGE)) \
		$(if $(RESULT),--result)

faults-import-sabotage: $(VENV)/ready  ## The same on broken builds. Options: LINES=
	$(BIN)/python -m tests.faults.importing --controls --lines $(or $(LINES),250)

faults-webhooks: $(VENV)/ready  ## Webhooks whose sender is killed. Options: WEBHOOKS= SABOTAGE= RESULT=1
	$(BIN)/python -m tests.faults.telling --webhooks $(or $(WEBHOOKS),5000) $(if $(SABOTAGE),--sabotage $(SABOTAGE)) \
		$(if $(RESULT),--result)

faults-alerts: $(VENV)/ready  ## A seller that is stopped for two minutes. Options: ARGS=
	$(BIN)/python -m tests.alerts.outage $(ARGS)

LONG := faults-send faults-send-sabotage faults-steps faults-calls faults-key faults-hear faults-hear-sabotage \
	faults-overload faults-import faults-import-sabotage faults-webhooks faults-alerts simulate fuzz fuzz-api \
	bench-hear bench-send bench-claim bench-find bench-console
.PHONY: prove $(LONG)

prove: test test-browser  ## Everything that is claimed, at its full length, one after the other. It takes hours
	@for one in $(LONG); do echo "== $$one"; $(MAKE) --no-print-directory $$one RESULT=1 || exit 1; done

fuzz-api: $(VENV)/ready  ## Every check of schemathesis in every phase, with a key of each role. Options: EXAMPLES=
	FUZZ_EXAMPLES=$(or $(EXAMPLES),50) $(BIN)/python -m pytest tests/operators/test_description.py \
		tests/hearing/test_fuzzed.py $(ARGS)

bench-send: $(VENV)/ready  ## Placements per second beside a bare loop. Options: ARGS=
	$(BIN)/python -m benchmarks.send $(ARGS)

bench-hear: $(VENV)/ready  ## The intake beside floors and ceilings; needs wrk and pgbench. Options: ARGS=
	$(BIN)/python -m benchmarks.hear $(ARGS)

bench-claim: $(VENV)/ready  ## The claim behind 1,000,000 done deliveries. Options: ARGS=
	$(BIN)/python -m benchmarks.claim $(ARGS)

bench-console: $(VENV)/ready  ## The console's first pages in front of 1,000,000 orders (ROWS=). Options: ARGS=
	$(BIN)/python -m benchmarks.console --rows $(or $(ROWS),1000000) $(ARGS)

bench-find: $(VENV)/ready  ## Finding orders among 1,000,000 (ROWS=) beside 10,000. Options: ARGS=
	$(BIN)/python -m benchmarks.find --rows $(or $(ROWS),1000000) $(ARGS)

seed: $(VENV)/ready  ## Invented orders (ROWS=) beside what `make run` or CHAIN_ORDERS_DATABASE_URL holds
	$(BIN)/python -m benchmarks.seeding --rows $(or $(ROWS),10000)

fuzz: $(VENV)/ready .tools/fuzz/ready  ## Coverage-guided fuzzing of what reads strangers' bytes. Options: RUNS=
	PYTHONPATH=.tools/fuzz $(BIN)/python -m tests.fuzz -runs=$(or $(RUNS),1000000) -max_len=600 -print_final_stats=1

.tools/fuzz/ready: fuzz.lock $(VENV)/ready
	$(UV) pip install --quiet --python $(BIN)/python --target .tools/fuzz --require-hashes -r fuzz.lock
	@touch $@

lock: $(UV)  ## Renew the lock files
	$(UV) pip compile pyproject.toml --universal --python-version 3.11 --generate-hashes --no-emit-index-url \
		--no-header --no-annotate $(ARGS) -o requirements.lock
	$(UV) pip compile pyproject.toml --all-extras --group dev --universal --python-version 3.11 --generate-hashes \
		--no-emit-index-url --no-header --no-annotate $(ARGS) -o requirements-dev.lock
	echo atheris==3.0.0 | $(UV) pip compile - --universal --python-version 3.11 --generate-hashes \
		--no-emit-index-url --no-header --no-annotate -o fuzz.lock
	echo 'uv==$(shell $(UV) --version | cut -d" " -f2)' | $(UV) pip compile - --generate-hashes \
		--no-emit-index-url --no-header --no-annotate -o tools.lock

# The environment is made again when a lock file or the Python changes.
$(VENV)/ready: $(UV) requirements-dev.lock pyproject.toml $(VENV)/.python
	$(UV) venv --quiet --allow-existing --python $(PYTHON) $(VENV)
	$(UV) pip sync --quiet --python $(BIN)/python --require-hashes --compile-bytecode requirements-dev.lock
	$(UV) pip install --quiet --python $(BIN)/python --no-deps --no-build-isolation --editable .
	@touch $@

$(VENV)/.python: FORCE
	@test -n "$(PYTHON)" || { echo 'Python 3.11 or newer with pip is needed; name it with PYTHON='; exit 1; }
	@mkdir -p $(VENV)
	@$(PYTHON) -c 'import sys; print(sys.version, sys.base_prefix)' > $@.new
	@if cmp -s $@.new $@; then rm $@.new; else find $(VENV) -mindepth 1 ! -name .python.new -delete; mv $@.new $@; fi

$(UV): tools.lock
	$(PYTHON) -m pip install --quiet --disable-pip-version-check --no-warn-script-location --upgrade \
		--target .tools --require-hashes -r tools.lock
	@touch $@

clean:  ## Remove the environment and the tools; data folders stay
	rm -rf $(VENV) .tools .mypy_cache .ruff_cache .pytest_cache

help:  ## This list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## */\t/' | expand -t 24
