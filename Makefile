.DEFAULT_GOAL := help
# The first Python between 3.11 and 3.13; another one with: make PYTHON=python3.12 …
PYTHON ?= $(shell for p in python3 python3.13 python3.12 python3.11; do $$p -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' 2>/dev/null && echo $$p && break; done)
VENV ?= .venv
BIN := $(VENV)/bin
# Where the GPU is: a Python with PyTorch; another page, or further words (--minutes 5, --small), for gpu-check.
GPU_PYTHON ?= python3
GPU_PAGE ?= docs/gpu.md
GPU_WORDS ?=
GPU_WHEELS := wheels/gpu
GPU_SITE := $(CURDIR)/runs/gpu/site
DEMO_DATA := runs/demo-episodes
DEMO_FRESH := runs/demo-fresh-episodes
DEMO := runs/demo/$(shell date +%Y-%m-%d_%H-%M-%S)

help: ## list the verbs
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | awk -F ':.*## ' '{sub(/:.*/, "", $$1); printf "  make %-14s %s\n", $$1, $$2}'

env: $(VENV)/.made ## make the environment in .venv

$(VENV)/.made: pyproject.toml constraints.txt
	@test -n "$(PYTHON)" || { echo "no Python 3.11 to 3.13 found; name one: make PYTHON=/path/to/python3.12"; exit 2; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	@touch $@

demo: env $(DEMO_DATA)/synth.json $(DEMO_FRESH)/synth.json ## fine-tune the tiny model on synthetic episodes, and report what its contexts hold of fresh ones, before and after
	$(BIN)/mobile-vla train experiment=demo data.root=$(DEMO_DATA) out=$(DEMO)/train
	$(BIN)/mobile-vla probe run=$(DEMO)/train data.root=$(DEMO_FRESH) checkpoint=start probe.plan.episodes=150 out=$(DEMO)/before
	$(BIN)/mobile-vla probe run=$(DEMO)/train data.root=$(DEMO_FRESH) probe.plan.episodes=150 probe.before=$(DEMO)/before 'probe.variants=[swap,paraphrase,donor]' out=$(DEMO)/after
	$(BIN)/mobile-vla compare left=$(DEMO)/before right=$(DEMO)/after out=$(DEMO)/report
	@echo "the report: $(DEMO)/report/report.html"

$(DEMO_DATA)/synth.json: | env
	$(BIN)/mobile-vla synth out=$(DEMO_DATA) episodes=200 'resolution=[360,640]'

$(DEMO_FRESH)/synth.json: | env
	$(BIN)/mobile-vla synth out=$(DEMO_FRESH) episodes=150 seed=1 'resolution=[360,640]'

test: env ## run the tests
	PYTHONDONTWRITEBYTECODE= OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadfile

test-slow: env ## run the tests that take minutes or gigabytes
	$(BIN)/python -m pytest -m slow

bench: env ## measure speed and memory, ours beside the lab's and upstream's, into runs/benchmarks; half an hour
	$(BIN)/python -m benchmarks --out runs/benchmarks/found.json --figure runs/benchmarks/growth.png

gpu-wheels: env ## fetch what a bare machine with PyTorch lacks, into wheels/gpu
	$(BIN)/python -m benchmarks.gpu.wheels $(if $(GPU_VERSION),--python $(GPU_VERSION)) --there '$(GPU_THERE)' --out $(GPU_WHEELS)

gpu-check: ## measure what a GPU gives, into docs/gpu.md; at most 8 minutes, with PyTorch and wheels/gpu alone
	test ! -d $(GPU_WHEELS) || $(GPU_PYTHON) -m pip install --quiet --no-index --no-deps --no-compile --upgrade --target $(GPU_SITE) $(GPU_WHEELS)/*.whl
	PYTHONPATH=$(CURDIR):$(GPU_SITE) $(GPU_PYTHON) -m benchmarks.gpu --page $(GPU_PAGE) $(GPU_WORDS)

validate: env ## simulate how often the verdicts are right, into docs/validation.md; four hours on 2 cores
	$(BIN)/python -m validation --power mobile_vla/analysis/figures/power.json

validate-quick: env ## run every case of the validation with few stores, into runs/validation/quick; ten minutes
	$(BIN)/python -m validation --quick

lint: env ## check style
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: env ## check types
	$(BIN)/pyright

wheel: env ## build the wheel into dist/
	$(BIN)/python -m build --wheel

clean: ## remove the environment and what builds leave, never runs
	rm -rf $(VENV) build dist *.egg-info

.PHONY: help env demo test test-slow bench gpu-wheels gpu-check validate validate-quick lint types wheel clean
