#!/bin/sh
# Builds rtai with warnings as errors, runs all tests but those that need a GPU or measure speed, and each fuzz target
# for a minute.
set -eu
cd "$(dirname "$0")/.."
sh tools/install_packages.sh libonnx-testdata haproxy python3-jsonschema python3-yaml strace pybind11-dev python3-dev \
  python3-numpy clang-14 libclang-rt-14-dev
cmake --preset ci >/dev/null
cmake --build --preset ci
ctest --preset ci -j "$(nproc)"
RTAI_FUZZ_SEED=1 sh tests/fuzz/run.sh 60
