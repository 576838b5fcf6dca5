# `make` runs what CI runs; the other words are parts of it or take longer (CONTRIBUTING.md).
.PHONY: check quick house full

check:  ## tests, lint, types, import rules, the main job and the table in their smallest form
	bash .ci/run

quick:  ## the quick tier of the tests, lint, types, import rules
	uv run pytest -m "not slow"
	uv run ruff check .
	uv run ruff format --check .
	uv run mypy
	uv run lint-imports

house:  ## how large the tree is and how it hangs together, beside its bars
	uv run python .ci/house

full:  ## everything that takes longer
	bash .ci/full
