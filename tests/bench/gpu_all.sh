#!/bin/sh
# Everything that needs a GPU, in one go: builds, checks, measures, writes one JSON.
#
# usage: gpu_all.sh RESULT.json MODEL...
# Models are folders as Hugging Face tools write them (BERT-base, MiniLM-L6, BERT-large); without one,
# the demo model. PyTorch is measured too where `python3` has it.
set -eu
cd "$(dirname "$0")/../.."
result=${1:?usage: gpu_all.sh RESULT.json MODEL...}
shift
[ $# -gt 0 ] || set -- models/demo-snips
build=build-gpu
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

cmake -G Ninja -S . -B $build -DCMAKE_BUILD_TYPE=Release -DRTAI_CUDA=ON -DCMAKE_CUDA_ARCHITECTURES=90-real -DRTAI_TESTS=OFF >/dev/null
cmake --build $build --target rtai
rtai=$build/rtai
$rtai devices

# Correct first: the GPU's logits against the CPU's, and no access out of bounds, no race.
index=0
for model in "$@"; do
  index=$((index + 1))
  $rtai quantize "$model" -o "$work/$index.int8.rtai" --mode dynamic --quiet
  $rtai compile "$model" -o "$work/$index.f32.rtai" --quiet
done
if command -v compute-sanitizer >/dev/null; then
  for tool in memcheck racecheck; do
    compute-sanitizer --tool $tool --error-exitcode 1 $rtai bench "$work/1.int8.rtai" --device cuda --seq 33 --warmup 0 --iterations 2
  done
else
  echo "skipped: compute-sanitizer is not here" >&2
fi

# batch x tokens of the table of docs/gpu.md; all models of a row take turns.
: >"$work/list"
for shape in 1x128 8x128 32x128 128x128 1x384; do
  for engine in "$work"/*.rtai; do
    name=$(basename "$engine" .rtai).$shape.json
    if $rtai bench "$engine" --device cuda --batch "${shape%x*}" --seq "${shape#*x}" --warmup 100 --iterations 500 --json "$work/$name" --quiet; then
      echo "$work/$name" >>"$work/list"
    fi
  done
done
python3 tests/bench/gpu_rivals.py "$work/rivals.json" "$@" || echo '[]' >"$work/rivals.json"
python3 - "$result" "$work" "$@" <<'PY'
import json, pathlib, sys
result, work, *models = sys.argv[1:]
files = (pathlib.Path(work) / "list").read_text().split()
document = {"models": models, "rtai": [json.loads(pathlib.Path(f).read_text()) for f in files],
            "rivals": json.loads((pathlib.Path(work) / "rivals.json").read_text())}
pathlib.Path(result).write_text(json.dumps(document, indent=1) + "\n")
PY
echo "$result"
