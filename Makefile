# make demo       shows what flatout does, in an environment of its own (.venv)
# make test       checks the code, builds the wheel and tests it, in an environment of its own (.venv-test-VERSION)
# make test-all   the same with every Python of PYTHONS
# make bench      measures flatout side by side with its peers, in an environment of its own (.venv-bench-VERSION)
# make bench-quick  the same in two minutes: fewer workloads, inputs and peers
# make bench-law  measures how well flatout predicts what each way takes (bench-law-quick: a part of it)
# make faults     tries what one task can do to the others, with flatout and its peers, in the benchmark's environment
# make choices    has flatout choose for the functions of tests/choices, in an environment of its own (.venv-choices-VERSION):
#                 ONLY=REGEX and TIMES=N for less; RECORD=FILE writes recordings for the tests
# make pictures   draws those of docs/limits.md anew (PYTHON=python3.11: later ones add up a little differently)
# make soak       runs of every kind for ten minutes (SECONDS=30: shorter) while their workers are killed
# make clean      takes away all that these have made
#
# They need nothing but make and a Python that is new enough: PYTHON=..., else the first that is found.

# The version and the command of the first that is a Python >= 3.11 and can make environments, or nothing.
# All are tried, since a command may be there and lead nowhere.
find = $(shell for python in $(1); do "$$python" -c 'import ensurepip, sys, venv; v = sys.version_info; \
	sys.exit(1) if v < (3, 11) else print(f"{v[0]}.{v[1]}{sys.abiflags}", sys.argv[1])' "$$python" 2>/dev/null \
	&& break; done)
pyenv = $(wildcard $(or $(PYENV_ROOT),$(HOME)/.pyenv)/versions/$(1).*/bin/python)

FOUND := $(call find,$(or $(PYTHON),python3.14 python3.13 python3.12 python3.11 python3))
VERSION := $(word 1,$(FOUND))
INTERPRETER := $(word 2,$(FOUND))
PYTHONS ?= $(foreach v,3.11 3.12 3.13 3.14,$(word 2,$(call find,python$(v) $(call pyenv,$(v)))))

DEMO := .venv
TEST := .venv-test-$(VERSION)
BENCH := .venv-bench-$(VERSION)
CHOICES := .venv-choices-$(VERSION)
# Folders too, so that a file taken away counts as a change.
SOURCES := $(shell find src -not -path '*__pycache__*') pyproject.toml README.md LICENSE

export PIP_DISABLE_PIP_VERSION_CHECK := 1
unexport PYTHONPATH PYTHONHOME

.PHONY: demo test test-all bench bench-quick bench-law bench-law-quick faults choices pictures soak clean

demo: $(DEMO)/.installed-$(VERSION)
	@$(DEMO)/bin/flatout demo

test: $(TEST)/.installed
	@$(TEST)/bin/ruff check src tests bench faults soak
	@$(TEST)/bin/ruff format --check src tests bench faults soak
	@$(TEST)/bin/mypy
	@$(TEST)/bin/lint-imports --no-logo
	@FLATOUT_TEST_WHEEL=1 $(TEST)/bin/pytest

test-all:
	@set -e; for python in $(or $(PYTHONS),$(missing)); do \
		echo "== $$python"; $(MAKE) --no-print-directory test PYTHON="$$python"; done

bench: $(BENCH)/.clusters $(BENCH)/.installed
	@$(BENCH)/bin/python -m bench --json build/bench.json --svg build/bench.svg

bench-quick: $(BENCH)/.installed
	@$(BENCH)/bin/python -m bench --quick --json build/bench-quick.json --svg build/bench-quick.svg

bench-law: $(BENCH)/.installed
	@$(BENCH)/bin/python -m bench.law --json build/bench-law.json --svg build/bench-law.svg

bench-law-quick: $(BENCH)/.installed
	@$(BENCH)/bin/python -m bench.law --quick --json build/bench-law-quick.json --svg build/bench-law-quick.svg

faults: $(BENCH)/.installed
	@$(BENCH)/bin/python -m faults --json build/faults.json --markdown build/faults.md

choices: $(CHOICES)/.installed
	@PYTHONPATH=tests $(CHOICES)/bin/python -m choices --only '$(ONLY)' --times $(or $(TIMES),20) \
		--json build/choices.json $(if $(RECORD),--record $(RECORD))

pictures: $(TEST)/.installed
	@$(TEST)/bin/python -m bench.services docs/limits

soak: $(TEST)/.installed
	@$(TEST)/bin/python -m soak --seconds $(or $(SECONDS),600) $(if $(SEED),--seed $(SEED))

$(DEMO)/.installed-$(VERSION): $(SOURCES)
	@$(call environment,$(DEMO))
	@$(DEMO)/bin/python -m pip install -qq .
	@touch $@

$(TEST)/.tools: pyproject.toml
	@$(call environment,$(TEST))
	@$(TEST)/bin/python -m pip install -qq --upgrade 'pip>=25.1' # the first that knows --group
	@$(TEST)/bin/python -m pip install -qq --group dev
	@touch $@

# The wheel is installed by force, since its version stays the same, and then once more for its dependencies.
$(TEST)/.installed: $(TEST)/.tools $(SOURCES)
	@rm -rf $(TEST)/dist
	@$(TEST)/bin/python -m build -qq --no-isolation --outdir $(TEST)/dist .
	@$(TEST)/bin/python -m pip install -qq --force-reinstall --no-deps $(TEST)/dist/*.whl
	@$(TEST)/bin/python -m pip install -qq $(TEST)/dist/*.whl
	@touch $@

$(BENCH)/.peers: pyproject.toml
	@$(call environment,$(BENCH))
	@$(BENCH)/bin/python -m pip install -qq --upgrade 'pip>=25.1' # the first that knows --group
	@$(BENCH)/bin/python -m pip install -qq --group bench
	@touch $@

$(BENCH)/.clusters: $(BENCH)/.peers
	@for group in bench-dask bench-ray; do $(BENCH)/bin/python -m pip install -qq --group $$group \
		|| echo "$$group cannot be installed here: the benchmark does without"; done
	@touch $@

$(BENCH)/.installed: $(BENCH)/.peers $(SOURCES)
	@$(BENCH)/bin/python -m pip install -qq --force-reinstall --no-deps .
	@$(BENCH)/bin/python -m pip install -qq .
	@touch $@

$(CHOICES)/.functions: pyproject.toml
	@$(call environment,$(CHOICES))
	@$(CHOICES)/bin/python -m pip install -qq --upgrade 'pip>=25.1' # the first that knows --group
	@$(CHOICES)/bin/python -m pip install -qq --group choices
	@touch $@

$(CHOICES)/.installed: $(CHOICES)/.functions $(SOURCES)
	@$(CHOICES)/bin/python -m pip install -qq --force-reinstall --no-deps .
	@$(CHOICES)/bin/python -m pip install -qq .
	@touch $@

# Made anew where the version differs or the interpreter beneath it has gone.
environment = $(if $(VERSION),,$(missing))$(1)/bin/python$(VERSION) -c '' 2>/dev/null \
	|| { echo "Making $(1) with $(INTERPRETER)"; $(INTERPRETER) -m venv --clear $(1); }
missing = $(error No Python >= 3.11 with its venv module was found ($(or $(PYTHON),on the PATH)): \
	install one, or say where it is: make PYTHON=/path/to/python3)

clean:
	rm -rf .venv .venv-test-* .venv-bench-* .venv-choices-* build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find src tests bench faults soak -name __pycache__ -prune -exec rm -rf {} +
