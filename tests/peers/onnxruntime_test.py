"""Answers of rtai against those of ONNX Runtime: the same model, and models that rtai exported.

usage: onnxruntime_test.py RTAI MODEL_FOLDER... [--json FILE]
f32: random ids, lengths 1 to the model's last position, alone and in mixed batches. int8: texts of the model's
calibration file. Prints the differences of logits and fails above the limits below. Exits with 77 (skipped) where
onnxruntime is not installed.
"""
import argparse
import json
import pathlib
import subprocess
import sys
import tempfile

try:
    import numpy as np
    import onnxruntime
except ImportError:
    print("skipped: onnxruntime is not installed")
    sys.exit(77)

# f32 logits differ by rounding alone, also those of a pruned export.
F32_LIMIT = 1e-4
# A value on the edge between two integers rounds either way when sums are added up in another order, and that
# spreads: ONNX Runtime with and without its own optimizations differs from itself as much. Two int8 runs may
# differ by no more than int8 differs from f32, in the root mean square.
INT8_LIMIT = 1.0
LENGTHS = [1, 2, 3, 7, 16, 31, 64, 100, 128, 200, 256, 384, 511, 512]


def samples(config, random):
    vocabulary, positions = config["vocab_size"], config["max_position_embeddings"]
    lengths = [n for n in LENGTHS if n <= positions]
    for n in lengths:
        ids = random.integers(0, vocabulary, n)
        segments = (np.arange(n) > n // 2).astype(int) if n % 2 else np.zeros(n, int)
        yield {"input_ids": ids.tolist(), "attention_mask": [1] * n, "token_type_ids": segments.tolist()}


def rtai_logits(rtai, model, data, batch):
    lines = subprocess.run([rtai, "run", model, "--data", data, "--json", "--logits", "--batch", str(batch)],
                           capture_output=True, text=True, check=True).stdout.splitlines()
    return [np.array(json.loads(line)["logits"]) for line in lines]


def options():
    """Without VNNI, ONNX Runtime's sums of u8 and s8 products saturate at 16 bits (four times as far from f32 as the file on an
    AVX2 machine): there it computes quantized operators as the file has them, in floats."""
    made = onnxruntime.SessionOptions()
    flags = pathlib.Path("/proc/cpuinfo").read_text()
    if "avx512_vnni" not in flags and "avx_vnni" not in flags:
        made.add_session_config_entry("session.disable_quant_qdq", "1")
    return made


def onnxruntime_logits(model, rows):
    """All rows in one padded batch."""
    session = onnxruntime.InferenceSession(str(model), options(), providers=["CPUExecutionProvider"])
    longest = max(len(row["input_ids"]) for row in rows)
    feed = {}
    for given in session.get_inputs():
        values = [row[given.name] + [0] * (longest - len(row["input_ids"])) for row in rows]
        feed[given.name] = np.array(values, np.int64)
    logits = session.run(None, feed)[0]
    return [row[:len(r["input_ids"])] if row.ndim == 2 else row for row, r in zip(logits, rows)]


def onnx_file(folder):
    return next(p for p in (folder / "model.onnx", folder / "onnx" / "model.onnx") if p.exists())


def difference(a, b):
    return max(float(np.abs(x - y).max()) for x, y in zip(a, b, strict=True))


def compare(rtai, rtai_model, onnx_model, rows, folder):
    """The largest difference over single texts and over mixed batches."""
    data = folder / "ids.jsonl"
    data.write_text("".join(json.dumps(row) + "\n" for row in rows))
    mine = rtai_logits(rtai, rtai_model, data, 1)
    theirs = [onnxruntime_logits(onnx_model, [row])[0] for row in rows]
    mixed = rtai_logits(rtai, rtai_model, data, len(rows))
    return {"alone": difference(mine, theirs),
            "mixed": difference(mixed, onnxruntime_logits(onnx_model, rows)),
            "batch_changes_bits": difference(mine, mixed) != 0}


def compare_int8(rtai, model, engine, onnx_model, folder):
    """How far two int8 runs are apart, as a share of how far int8 is from f32."""
    data = folder / "texts.txt"
    data.write_text("\n".join((model / "calibration.txt").read_text().splitlines()[:100]) + "\n")
    answers = subprocess.run([rtai, "run", engine, "--data", data, "--json", "--logits"], capture_output=True,
                             text=True, check=True).stdout.splitlines()
    ids = [json.loads(line)["input_ids"] for line in answers]
    rows = [{"input_ids": i, "attention_mask": [1] * len(i), "token_type_ids": [0] * len(i)} for i in ids]
    mine = np.concatenate([np.atleast_2d(json.loads(line)["logits"]) for line in answers])
    theirs = np.concatenate([np.atleast_2d(onnxruntime_logits(onnx_model, [row])[0]) for row in rows])
    exact = np.concatenate([np.atleast_2d(logits) for logits in rtai_logits(rtai, model, data, 1)])
    rms = lambda x: float(np.sqrt((x * x).mean()))
    return {"apart": rms(mine - theirs), "from_f32": rms(mine - exact),
            "agreement": float((mine.argmax(1) == theirs.argmax(1)).mean())}


def check(rtai, model, work):
    config = json.loads((model / "config.json").read_text())
    rows = list(samples(config, np.random.default_rng(0)))
    found = {"f32": compare(rtai, model, onnx_file(model), rows, work)}

    def make(name, *command):
        out = work / name
        subprocess.run([rtai, *command, "-o", out, "--quiet"], check=True, capture_output=True)
        return out

    calibration = ["--calib", model / "calibration.txt", "--calib-texts", "128"]
    pruned = make("pruned", "prune", model, "--flops", "1.5", *calibration)
    found["pruned"] = compare(rtai, pruned, onnx_file(pruned), rows, work)
    for mode in ["dynamic", "static"]:
        engine = make(f"{mode}.rtai", "quantize", model, "--mode", mode, *calibration)
        exported = make(mode, "quantize", model, "--mode", mode, *calibration)
        found[f"int8_{mode}"] = compare_int8(rtai, model, engine, onnx_file(exported), work)
    return found


def main():
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("rtai")
    arguments.add_argument("models", nargs="+", type=pathlib.Path)
    arguments.add_argument("--json", type=pathlib.Path)
    arguments = arguments.parse_args()
    results, failures = {}, 0
    for model in arguments.models:
        with tempfile.TemporaryDirectory(prefix="rtai-peers-") as work:
            results[model.name] = check(arguments.rtai, model, pathlib.Path(work))
        for kind, figures in results[model.name].items():
            if kind.startswith("int8"):
                failed = figures["apart"] > INT8_LIMIT * figures["from_f32"]
                text = (f"rms {figures['apart']:.1e} apart, {figures['from_f32']:.1e} from f32; "
                        f"{100 * figures['agreement']:.2f} % agree")
            else:
                failed = max(figures["alone"], figures["mixed"]) > F32_LIMIT or figures["batch_changes_bits"]
                text = f"max {figures['alone']:.1e} alone, {figures['mixed']:.1e} in a mixed batch"
            failures += failed
            print(f"{model.name:18} {kind:14} {text}{'  FAILED' if failed else ''}")
    if arguments.json:
        arguments.json.write_text(json.dumps({"onnxruntime": onnxruntime.__version__, "models": results}, indent=1) + "\n")
    return 1 if failures else 0


sys.exit(main())
