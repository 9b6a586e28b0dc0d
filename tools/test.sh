#!/bin/sh
# Builds rtai with warnings as errors and runs all tests but those that need a GPU or measure speed.
set -eu
cd "$(dirname "$0")/.."
sh tools/install_packages.sh libonnx-testdata haproxy python3-jsonschema python3-yaml strace
cmake --preset ci -DRTAI_HARDENING=ON >/dev/null
cmake --build --preset ci
ctest --preset ci -j "$(nproc)"
