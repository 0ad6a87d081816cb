# Every target sets up what it needs on a fresh machine. `make demo` and `make test` are the two to try first.
.DEFAULT_GOAL := help
.PHONY: help setup demo test lint bench up capture clean

help:           ## what there is to do
	@grep -E '^[a-z-]+: .*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*##/\t/' | expand -t 16

setup:          ## install Python 3.13 and the locked environment
	@tools/bootstrap.sh

demo: setup     ## allow, mask, block, rewrite, wait, approve, deny, replay, verify on real PostgreSQL and HTTP
	@.venv/bin/sallyport demo

capture: setup  ## the demo, drawn into docs/images/demo.svg
	@.venv/bin/sallyport demo --capture docs/images/demo.svg

up: setup       ## control plane and edge on this machine, to play with
	@.venv/bin/sallyport up

lint: setup     ## format, style, types, import rules
	@.venv/bin/ruff format --check .
	@.venv/bin/ruff check .
	@.venv/bin/lint-imports --no-cache
	@.venv/bin/basedpyright

test: setup     ## lint and every test
	@$(MAKE) --no-print-directory lint
	@.venv/bin/pytest $(PYTEST_ARGS) || { \
	  echo 'What failed is run once more, alone: two busy cores make waits run out.'; \
	  .venv/bin/pytest -n 0 --last-failed --last-failed-no-failures none $(PYTEST_ARGS); }

bench: setup    ## ratios against direct connections and peers, saved to bench/latest.json
	@.venv/bin/python -m bench

clean:          ## remove what the targets made
	rm -rf .venv .tools .pytest_cache .ruff_cache .hypothesis build dist
