#!/bin/sh
# Builds the fuzz targets (clang 14, address and undefined-behaviour sanitizers) and runs each of them for SECONDS from
# the corpus, two side by side. What they learn stays in build-fuzz/learnt, what breaks in build-fuzz/findings.
#
# usage: [RTAI_FUZZ_SEED=N] tests/fuzz/run.sh [SECONDS=60] [TARGET=all]...
# With a seed, two runs try the same. Needs the Debian packages clang-14 and libclang-rt-14-dev. Exit code 1: something broke.
set -eu
cd "$(dirname "$0")/../.."
seconds=${1:-60}
[ $# -gt 0 ] && shift
targets=${*:-onnx engine tokenizer documents texts}

cmake --preset fuzz >/dev/null
cmake --build --preset fuzz --target $(for target in $targets; do echo "fuzz_$target"; done)

run() {
  mkdir -p "build-fuzz/learnt/$1" build-fuzz/findings
  # Without the callers of allocations and with a short memory of those freed, without the frequencies of features and
  # with small files first, a run takes a third of the time; a finding is run again with all that by hand.
  TMPDIR=/dev/shm ASAN_OPTIONS=malloc_context_size=2:quarantine_size_mb=8:max_malloc_fill_size=0 UBSAN_OPTIONS=print_stacktrace=1 \
    "build-fuzz/fuzz_$1" -max_total_time="$seconds" -max_len="$2" -entropic=0 -prefer_small=1 -reduce_inputs=0 -timeout=20 \
    -rss_limit_mb=768 -malloc_limit_mb=256 -seed="${RTAI_FUZZ_SEED:-0}" \
    -print_final_stats=1 -artifact_prefix="build-fuzz/findings/$1-" \
    "build-fuzz/learnt/$1" "tests/fuzz/corpus/$1" >"build-fuzz/$1.log" 2>&1 || {
    echo "$1: broke, see build-fuzz/$1.log"
    grep -aE '^(==[0-9]+==ERROR|SUMMARY|Base64)' "build-fuzz/$1.log" | cut -c1-5000
  }
  grep -E 'number_of_executed_units|average_exec_per_sec' "build-fuzz/$1.log" | sed "s/^/$1: /"
}
longest() {
  case $1 in
    onnx) echo 1200 ;;
    engine) echo 3000 ;;
    *) echo 2000 ;;
  esac
}

result=build-fuzz/result
: >"$result"
running=0
for target in $targets; do
  run "$target" "$(longest "$target")" >>"$result" &
  running=$((running + 1))
  if [ $((running % 2)) -eq 0 ]; then wait; fi
done
wait
cat "$result"
! grep -q broke "$result"
