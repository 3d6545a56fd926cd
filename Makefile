# make demo       set up, train a small VLIF on the CPU, leave a picture and a table in demo/
# make test       set up, check style and types, run the tests
# make test-slow  the heavier proofs
# make tutorial   run docs/tutorial.md (two minutes of training); pictures go to tutorial/
# make fuzz       hostile option files, manifests, images, checkpoints and archives, some 150,000 of them and new
#                 ones each time (20 minutes; FUZZ=10 make fuzz makes ten times as many)
# make bench      network, training, neurons, large images, scaling and counting (half an hour); tables and plots go
#                 to benchmarks/results, and ratios that got worse since the last commit are named
# make bench-network, bench-training, bench-neurons, bench-large, bench-scaling  one of them
# make bench-gpu  everything about a GPU, in less than nine minutes
# make bench-loader  how fast training data come, and what share of a training step that is (13 GB)
# make bench-spikify  networks of others with our neurons: that they learn and fire, what they cost (some minutes)
# make bench-counting  what counting operations costs beside a forward pass
# make bench-activation  under which settings the activations that the paper prints come out
# make bench-reliability  what a training survives, and whether its memory grows (half an hour)
# make clean      remove the environment and what the demo made
#
# PYTHON=python3.12 make test   chooses the interpreter; VENV=dir the environment.

VENV ?= .venv
FITS := import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 12))
PYTHON ?= $(shell for p in python3.12 python3.11 python3; do $$p -c '$(FITS)' 2>/dev/null && echo $$p && break; done)
BIN := $(VENV)/bin
READY := $(VENV)/.ready

BENCHMARKS := network training neurons large scaling
.PHONY: tutorial demo test test-slow fuzz bench $(BENCHMARKS:%=bench-%) bench-gpu bench-loader bench-counting bench-spikify bench-activation bench-reliability lint clean

demo: $(READY)
	$(BIN)/vlif demo

# two processes of one thread each: most tests wait for other processes, or have little for two threads;
# and what processes import is compiled once, also where Python is told to keep nothing that it compiled
test: lint
	PYTHONDONTWRITEBYTECODE= OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder --durations=30 --durations-min=5

tutorial: $(READY)
	$(BIN)/python docs/run_page.py docs/tutorial.md

test-slow: $(READY)
	$(BIN)/python -m pytest -m slow

FUZZ ?= 1
fuzz: $(READY)
	VLIF_FUZZ=$(FUZZ) OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q tests/fuzz --timeout 0

bench: $(BENCHMARKS:%=bench-%) bench-counting
	$(BIN)/python benchmarks/check.py

bench-network bench-training bench-neurons bench-scaling: bench-%: $(READY)
	$(BIN)/python benchmarks/$*.py

bench-large: $(READY)
	$(BIN)/python benchmarks/large_image.py

bench-gpu: $(READY)
	$(BIN)/python benchmarks/gpu.py

bench-loader: $(READY)
	$(BIN)/python benchmarks/loader.py --step

bench-spikify: $(READY)
	$(BIN)/python benchmarks/spikify.py

bench-reliability: $(READY)
	$(BIN)/python benchmarks/faults.py
	$(BIN)/python benchmarks/reliability.py

bench-counting: $(READY)
	$(BIN)/python benchmarks/counting.py

bench-activation: $(READY)
	$(BIN)/python benchmarks/activation.py

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/pyright --pythonpath $(BIN)/python

# torch comes first and builds run without isolation, because BasicSR's build imports torch and would
# download it a second time
$(READY): setup.py Makefile
	@$(or $(PYTHON),false) -c '$(FITS)' 2>/dev/null || { echo "error: Python 3.11 or 3.12 is needed (BasicSR 1.4.2 does not build on 3.13); install one, or name it: make PYTHON=/path/to/python3.12" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --upgrade pip setuptools wheel
	$(BIN)/pip install --quiet "torch>=2.6" "torchvision>=0.21"
	$(BIN)/pip install --quiet --no-build-isolation -e ".[dev]"
	touch $@

clean:
	rm -rf $(VENV) demo
