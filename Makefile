# Development tasks, each in the project's own environment (.venv).

PYTHON ?= python3
BIN := .venv/bin

.PHONY: install quick test slow endurance explore check format pictures

install:  # everything, with the test tools
	$(PYTHON) -m venv .venv
	$(BIN)/pip install -e '.[dev]'

quick:  # the fast tests, in under a minute
	$(BIN)/pytest -n 2 -m quick

test:  # all but the slow tests
	$(BIN)/pytest -n 6 --dist worksteal -m 'not slow'

slow:  # train real models, kill them, fill disks
	$(BIN)/pytest -n 5 --dist worksteal -m 'slow and not endurance'

endurance:  # the longest tests, whose parts others test too
	$(BIN)/pytest -n 5 --dist worksteal -m endurance

explore:  # random examples for the property tests, in minutes; FTWIZARD_EXAMPLES=N for more or fewer
	$(BIN)/pytest -n 6 --dist worksteal -m 'hypothesis and not slow' --hypothesis-profile explore

check:  # lint, format, types, import contracts
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format:
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

pictures:  # the pictures of the README; runs the demo
	$(BIN)/python -m tests.pictures
