#!/bin/sh
# Everything that needs a GPU, in one go: builds, checks, measures, writes one JSON.
#
# usage: gpu_all.sh RESULT.json NAME=MODEL...
# Models are engines (.rtai), or folders as Hugging Face tools write them, which become int8 engines.
# NAME says what is measured: base, base-f16, large, minilm, ... One engine may stand under several.
# environment:
#   RTAI     the program to measure, instead of building one; RTAI_TESTS: a folder with its tests
#   RIVALS   a folder with a config.json: PyTorch is measured on that model, too
#   RUNS     of each row; 500 unless said
set -eu
cd "$(dirname "$0")/../.."
result=${1:?usage: gpu_all.sh RESULT.json NAME=MODEL...}
shift
[ $# -gt 0 ] || set -- demo=models/demo-snips
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
# Figures do not depend on tiles that were kept before.
export RTAI_CACHE_DIR="$work/tiles"

if [ -z "${RTAI:-}" ]; then
  cmake -G Ninja -S . -B build-gpu -DCMAKE_BUILD_TYPE=Release -DRTAI_CUDA=ON -DCMAKE_CUDA_ARCHITECTURES=90a-real >/dev/null
  cmake --build build-gpu --target rtai test_exec test_passes
  RTAI=$PWD/build-gpu/rtai
  RTAI_TESTS=$PWD/build-gpu/tests
fi
runs=${RUNS:-500}
"$RTAI" devices
if command -v nvidia-smi >/dev/null; then
  nvidia-smi --query-gpu=name,driver_version,clocks.sm,clocks.max.sm,power.limit --format=csv,noheader | tee "$work/gpu"
fi

# Correct first: answers against the CPU's, of int8 engines bit by bit; no access out of bounds, no race.
if [ -n "${RTAI_TESTS:-}" ]; then
  "$RTAI_TESTS/test_exec" '*on the GPU as*,*on one GPU*'
  "$RTAI_TESTS/test_passes" '*on the GPU of this machine*'
fi
"$RTAI" quantize models/demo-snips -o "$work/demo.rtai" --mode dynamic --quiet
sanitize() {  # TOOL ENGINE BATCH SEQ
  tiles=
  if [ "$1" = racecheck ]; then  # too slow to try them: those that are found now are taken
    tiles=$RTAI_CACHE_DIR
    "$RTAI" bench "$2" --device cuda --batch "$3" --seq "$4" --warmup 0 --iterations 1 --quiet >"$work/out"
  fi
  RTAI_CACHE_DIR=$tiles timeout 90 compute-sanitizer --tool "$1" --error-exitcode 1 "$RTAI" bench "$2" --device cuda --batch "$3" --seq "$4" --warmup 0 --iterations 1 --quiet >"$work/out" 2>&1 ||
    echo "$1 $(basename "$2") $3 x $4: exit code $?" | tee -a "$work/sanitized"
  echo "$1 $(basename "$2") $3 x $4: $(tail -1 "$work/out")" | tee -a "$work/sanitized"
}
if command -v compute-sanitizer >/dev/null; then
  for tool in memcheck racecheck synccheck; do
    sanitize $tool "$work/demo.rtai" 1 33
  done
  # The first model takes kernels that the small one does not.
  case ${1#*=} in
    *.rtai) sanitize memcheck "${1#*=}" 16 128 && sanitize racecheck "${1#*=}" 16 128 ;;
  esac
else
  echo "skipped: compute-sanitizer is not here" >&2
fi

# batch x tokens of the table of docs/gpu.md, then mixed lengths against the same padded to 128.
awk 'BEGIN { for (i = 0; i < 32; i++) print 16 + int(i * 112 / 31) }' >"$work/mixed"
engines=
for model in "$@"; do
  name=${model%%=*}
  engine=${model#*=}
  case $engine in
    *.rtai) ;;
    *) "$RTAI" quantize "$engine" -o "$work/$name.rtai" --mode dynamic --quiet && engine=$work/$name.rtai ;;
  esac
  "$RTAI" bench "$engine" --device cuda --sweep 'batch=1,8,32,128 seq=128' --warmup 100 --iterations "$runs" --json "$work/$name.128.json" --quiet >/dev/null
  "$RTAI" bench "$engine" --device cuda --seq 384 --warmup 100 --iterations "$runs" --json "$work/$name.384.json" --quiet >/dev/null
  "$RTAI" bench "$engine" --device cuda --lengths "$work/mixed" --batch 32 --warmup 100 --iterations "$runs" --json "$work/$name.mixed.json" --quiet >/dev/null
  engines="$engines $engine"
  "$RTAI" bench "$engine" --device cuda --batch 1 --seq 128 --profile --warmup 10 --iterations 50 --json "$work/$name.profile.json" --quiet >/dev/null
done
# All in turn: what one had in the second-level cache is gone when it runs again.
if [ $# -gt 1 ]; then
  # shellcheck disable=SC2086 # names of files, made above
  "$RTAI" bench $engines --device cuda --batch 1 --seq 128 --warmup 20 --iterations "$runs" --json "$work/in-turn.json" --quiet >/dev/null
fi
write() {
  python3 - "$result" "$work" "$@" <<'PY'
import json, pathlib, sys
result, work, *models = sys.argv[1:]
work = pathlib.Path(work)
text = lambda name: (work / name).read_text().split("\n") if (work / name).exists() else []
measured = {file.stem: json.loads(file.read_text()) for file in sorted(work.glob("*.json")) if file.name != "rivals.json"}
rivals = json.loads((work / "rivals.json").read_text()) if (work / "rivals.json").exists() else []
document = {"gpu": text("gpu"), "sanitizers": text("sanitized"), "models": models,
            "rtai": measured, "rivals": rivals}
pathlib.Path(result).write_text(json.dumps(document, indent=1) + "\n")
for name, one in measured.items():
    for r in one["results"]:
        device = r.get("device_latency_ms") or {}
        if name == "in-turn":
            name_of_row = "in-turn " + pathlib.Path(r["model"]).stem
        else:
            name_of_row = name
        print(f"{name_of_row:20} {r['batch']:4} x {r['seq'] or 'mixed':<5} device p50 {device.get('p50', 0):.4f} p99 {device.get('p99', 0):.4f} ms,"
              f" whole p50 {r['latency_ms']['p50']:.4f} ms, load {r['load_ms']:.0f} ms")
for r in rivals:
    print(f"{r['name']:20} {r['batch']:4} x {r['seq']:<4} device p50 {r['device_latency_ms']['p50']:.4f} ms")
PY
}
write "$@"
# Compiling takes PyTorch minutes: what is ours is written first.
if [ -n "${RIVALS:-}" ]; then
  timeout 240 python3 tests/bench/gpu_rivals.py "$work/rivals.json" "$RIVALS" >"$work/rivals.txt" 2>&1 || tail -3 "$work/rivals.txt"
  write "$@"
fi
