#!/bin/sh
# Line coverage of the two loaders of files: ONNX (libopt/onnx) and engines (runtime/engine), by the tests that read
# such files: unit tests, hostile files, the replay of the fuzz corpora. Prints a table of each, which stays in
# build-coverage/lines.<loader>.txt.
#
# usage: tests/coverage.sh [LEAST_PERCENT=90]
# Needs the Debian package gcovr. Exit code 1: a loader has less.
set -eu
cd "$(dirname "$0")/.."
least=${1:-90}

cmake --preset coverage >/dev/null
cmake --build --preset coverage --target rtai tiny_folder test_onnx_io test_onnx_backend test_engine test_exec test_api test_hostile \
  test_raise replay_onnx replay_engine fuzz_seeds
find build-coverage -name '*.gcda' -delete
ctest --preset coverage -j "$(nproc)" -R '^((onnx_io|onnx_backend|engine|exec|api|hostile|raise):|fuzz.(onnx|engine))' \
  -E 'thread sanitizer' >build-coverage/tests.log ||
  { tail -30 build-coverage/tests.log; exit 1; }

result=0
for loader in libopt/onnx runtime/engine; do
  gcovr --root . --filter "$loader/" --gcov-ignore-parse-errors --exclude-throw-branches --print-summary \
    --fail-under-line "$least" build-coverage >"build-coverage/lines.$(basename $loader).txt" || result=1
  cat "build-coverage/lines.$(basename $loader).txt"
done
exit $result
