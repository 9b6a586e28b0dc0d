#!/bin/sh
# Builds rtai and runs its main job on the model that ships here: an ONNX model becomes a pruned one,
# an INT8 engine, answers, and a table of what was won and what it cost.
set -eu
cd "$(dirname "$0")/.."
sh tools/install_packages.sh
cmake --preset release >/dev/null
cmake --build --preset release --target rtai

out=build/demo
mkdir -p "$out"
model=models/demo-snips
say() { printf '\n\033[1m$ %s\033[0m\n' "$*"; "$@"; }

say build/rtai inspect "$model"
# 7: a busy machine kept the target from being met; the model is there all the same.
say build/rtai prune "$model" -o "$out/pruned" --speedup 1.5 --calib "$model/calibration.txt" --eval "$model/test.jsonl" ||
  [ $? -eq 7 ]
say build/rtai quantize "$out/pruned" -o "$out/demo.rtai" --calib "$model/calibration.txt" --eval "$model/test.jsonl"
say build/rtai verify "$out/demo.rtai"
say build/rtai run "$out/demo.rtai" "play the new album by westbam on google music" \
  "book a table for two at a sushi place in berlin tomorrow"
say build/rtai bench "$model" "$out/pruned" "$out/demo.rtai" --batch 1 --seq 64 --eval "$model/test.jsonl"
