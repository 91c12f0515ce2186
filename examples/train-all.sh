#!/usr/bin/env bash
# Trains, checks and publishes every shipped module and baseline; what is done already is kept.
#   examples/train-all.sh [languages|directions|tasks|baselines|publish]...   (all of them by default)
set -euo pipefail
cd "$(dirname "$0")/.."
PYTHON=${PYTHON:-.venv/bin/python}
LANGUAGES=(mn ko en kk tr eu rw)
TASKS=(topic ner-ko ner-kk sentiment-ko)
read -ra METHODS <<< "${METHODS:-bottleneck lora}"

train() { # train NAME YAML [key=value ...]
  local name=$1 yaml=$2
  shift 2
  [ -f "runs/$name/run.json" ] || "$PYTHON" -m training module "training/configs/$yaml.yaml" "$@"
}

languages() {
  for language in "${LANGUAGES[@]}"; do
    for method in "${METHODS[@]}"; do
      train "$language-$method" language "language=$language" "method=$method"
    done
  done
}

directions() {
  for language in "${LANGUAGES[@]}"; do
    [ "$language" = en ] && continue
    train "$language-en-bottleneck" direction "source=$language" target=en
    train "en-$language-bottleneck" direction source=en "target=$language"
  done
}

tasks() {
  for task in "${TASKS[@]}"; do
    for method in "${METHODS[@]}"; do train "$task-$method" "$task" "method=$method"; done
  done
}

# The bare base under a fresh head, and the whole base fine-tuned.
baselines() {
  for task in "${TASKS[@]}"; do
    train "$task-head" "$task" "name=$task-head" train=head language_modules=null \
      optimisation.learning_rate=3.0e-3
    # All weights learn at a tenth of a module's rate; topics are learned by heart long before 2,000 steps.
    train "$task-base" "$task" "name=$task-base" train=base language_modules=null \
      optimisation.learning_rate=3.0e-4 $([ "$task" = topic ] && echo optimisation.steps=1000)
  done
}

# Bottlenecks serve by default: higher priority than LoRA of the same language or task.
publish() {
  local runs
  for method in "${METHODS[@]}"; do
    runs=()
    for name in "${LANGUAGES[@]}" "${TASKS[@]}"; do runs+=(--from "runs/$name-$method"); done
    "$PYTHON" -m export module models/mini-encoder "${runs[@]}" \
      --priority "$([ "$method" = bottleneck ] && echo 1 || echo 0)"
  done
  runs=()
  for language in "${LANGUAGES[@]}"; do
    [ "$language" = en ] && continue
    runs+=(--from "runs/$language-en-bottleneck" --from "runs/en-$language-bottleneck")
  done
  "$PYTHON" -m export module models/mini-translator "${runs[@]}"
}

for stage in "${@:-languages directions tasks baselines publish}"; do
  for each in $stage; do "$each"; done
done
