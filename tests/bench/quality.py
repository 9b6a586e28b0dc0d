"""What pruning and INT8 cost in quality, as docs/performance.md shows it.

usage: quality.py RTAI MODEL_FOLDER... --json FILE
Each folder has model.onnx, calibration.txt and test.jsonl. Prints a Markdown table.
"""
import argparse
import json
import pathlib
import subprocess
import sys
import tempfile


def evaluate(rtai, model, folder):
    result = subprocess.run([rtai, "eval", model, "--data", folder / "test.jsonl", "--reference", folder, "--json", "-"],
                            capture_output=True, text=True, check=True)
    return json.loads(result.stdout)


def make(rtai, command, source, out, folder, *flags):
    result = subprocess.run([rtai, command, source, "-o", out, "--calib", folder / "calibration.txt", "--json", "-", *flags],
                            capture_output=True, text=True)
    if result.returncode not in (0, 7):  # 7: a target was missed, the model is there
        sys.exit(result.stderr)
    return json.loads(result.stdout)


def measure(rtai, folder, work, speedup):
    rows = {"f32": {}}
    for mode in ("dynamic", "static"):
        make(rtai, "quantize", folder, work / f"{mode}.rtai", folder, "--mode", mode)
        rows[f"int8 {mode}"] = {"model": work / f"{mode}.rtai"}
    for method in ("obs", "magnitude"):
        report = make(rtai, "prune", folder, work / method, folder, "--speedup", str(speedup), "--method", method)
        make(rtai, "quantize", work / method, work / f"{method}.rtai", folder)
        latency = report["latency_ms"]
        speed = latency["before"]["min"] / latency["after"]["min"]
        rows[f"{speedup}x {method}"] = {"model": work / method, "speedup": speed}
        rows[f"{speedup}x {method} + int8"] = {"model": work / f"{method}.rtai", "speedup": speed}
    for row in rows.values():
        found = evaluate(rtai, row.pop("model", folder), folder)
        row |= {key: found[key] for key in ("metric", "value", "drop_points", "agreement")}
    return rows


def main():
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("rtai")
    arguments.add_argument("models", nargs="+", type=pathlib.Path)
    arguments.add_argument("--speedup", type=float, default=1.5)
    arguments.add_argument("--json", type=pathlib.Path, required=True)
    arguments = arguments.parse_args()
    results = {}
    print("| model | form | metric | value | points lost | agreement |\n| --- | --- | --- | --- | --- | --- |")
    for folder in arguments.models:
        with tempfile.TemporaryDirectory(prefix="rtai-quality-") as work:
            results[folder.name] = measure(arguments.rtai, folder, pathlib.Path(work), arguments.speedup)
        for form, row in results[folder.name].items():
            print(f"| {folder.name} | {form} | {row['metric']} | {row['value']:.4f} | {row['drop_points']:.2f} | "
                  f"{100 * row['agreement']:.2f} % |")
    arguments.json.write_text(json.dumps(results, indent=1) + "\n")


main()
