#!/usr/bin/env bash
# The whole flow on a toy corpus: text, vocabulary, base, modules, graphs, service, answers.
# About two minutes on two cores; everything it makes lies in runs/demo. `make demo` runs it.
set -euo pipefail
cd "$(dirname "$0")/.."
port="${PORT:-3100}"

step() { printf '\n== %s\n' "$*"; "$@"; }
ask() {
  printf '\n== POST /%s %s\n' "$1" "$2"
  python -c 'import sys, httpx; print(httpx.post(sys.argv[1], content=sys.argv[2]).text)' \
    "http://127.0.0.1:$port/$1" "$2"
}

rm -rf runs/demo
base=runs/demo/models/demo-encoder
step python -m langmod corpus examples/corpus.yaml
step python -m langmod tokenizer examples/tokenizer.yaml
step python -m langmod base examples/base.yaml
step python -m langmod module examples/language.yaml
step python -m langmod module examples/language.yaml language=kk
step python -m langmod module examples/task.yaml
step python -m langmod export "$base"
step python -m langmod publish "$base" --from runs/demo/ko-bottleneck --from runs/demo/article-bottleneck

LANGMOD_MODELS=runs/demo/models bentoml serve service.service:Langmod \
  --host 127.0.0.1 --port "$port" > runs/demo/service.log 2>&1 &
service=$!
trap 'kill "$service"; wait "$service" || true' EXIT
for _ in $(seq 100); do
  if python -c "import httpx, sys; sys.exit(not httpx.get('http://127.0.0.1:$port/readyz').is_success)" \
    2> /dev/null; then break; fi
  sleep 0.5
done
ask fill_mask '{"language": "ko", "texts": ["모든 사람은 교육을 받을 <mask>를 가진다."], "top_k": 3}'
ask classify '{"language": "ko", "task": "article", "texts": ["모든 사람은 휴식할 권리를 가진다."]}'

# Published while the service runs, served by the next request.
step python -m langmod publish "$base" --from runs/demo/kk-bottleneck
ask classify '{"language": "kk", "task": "article", "texts": ["Әр адамның білім алуға құқығы бар."]}'
