"""Imports every exported model and compares its outputs with ONNX Runtime's: a matrix of counts, and each reason.

usage: check_exports.py RTAI FOLDER [--only PATTERN]... [--json FILE] [--minimum N]
FOLDER as export_models.py writes it. Each model answers a ragged batch: real ids and lengths 1 to 17, padded for ONNX
Runtime with what the tokenizer of the architecture pads with. Exits with 1 if a model disagrees or fewer than
N models agree, with 77 (skipped) where onnxruntime is not installed.
"""
import argparse
import collections
import fnmatch
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

LIMIT = 1e-4  # f32 logits differ by rounding alone, relative to the largest (at least 1)
HALF_LIMIT = 3e-2  # 16-bit floats: ONNX Runtime rounds on the way, rtai computes in f32
LENGTHS = [4, 17, 1, 9, 12]
PAD_ONE = ("roberta", "xlm-roberta", "camembert", "mpnet")


def make_rows():
    random = np.random.default_rng(1)
    rows = []
    for n in LENGTHS:
        segments = (np.arange(n) > n // 2).astype(int)
        rows.append({"input_ids": random.integers(5, 99, n).tolist(), "attention_mask": [1] * n,
                     "token_type_ids": segments.tolist()})
    return rows


def onnxruntime_outputs(path, rows, pad):
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    # Products with weights of 4 bits in float32; by default their sources are rounded to 8 bits.
    options.add_session_config_entry("session.qdq_matmulnbits_accuracy_level", "1")
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    longest = max(LENGTHS)
    feed = {}
    for given in session.get_inputs():
        fill = pad if given.name == "input_ids" else 0
        values = np.array([row[given.name] + [fill] * (longest - len(row["input_ids"])) for row in rows])
        # multiple choice: the rows are the choices of one question
        whole = np.int32 if given.type == "tensor(int32)" else np.int64
        feed[given.name] = (values[None] if "-mc-" in path.name else values).astype(whole)
    names = [output.name for output in session.get_outputs()]
    found = {}
    for name, value in zip(names, session.run(None, feed)):
        if "-mc-" in path.name:
            value = value.reshape(len(rows), 1)
        per_token = value.ndim > 1 and value.shape[1] == longest
        if per_token and value.ndim == 2:
            value = value[..., None]
        found[name] = [v[:n] if per_token else v for v, n in zip(value, LENGTHS)]
    return found


def rtai_outputs(rtai, path, data, names):
    """The outputs by name, or the message why there are none."""
    done = subprocess.run([rtai, "run", path, "--data", data, "--json", "--logits", "--batch", str(len(LENGTHS)),
                           "--threads", "1"], capture_output=True, text=True)
    if done.returncode not in (0, 1, 3, 4):
        return f"CRASH, exit code {done.returncode}: {done.stderr.strip()[-300:]}"
    if done.returncode != 0:
        return done.stderr.strip().splitlines()[-1].replace(str(path) + ": ", "")
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    return {name: [np.array(line["outputs"][name] if "outputs" in line else line["logits"]) for line in lines]
            for name in names}


def check(rtai, path, data, rows):
    pad = 1 if path.name.startswith(PAD_ONE) else 0
    theirs = onnxruntime_outputs(path, rows, pad)
    mine = rtai_outputs(rtai, path, data, theirs)
    if isinstance(mine, str):
        return "crash" if mine.startswith("CRASH") else "refused", mine
    worst = 0.0
    for name, expected in theirs.items():
        largest = max([1.0] + [float(np.abs(e).max()) for e in expected])
        for e, m in zip(expected, mine[name]):
            difference = float(np.abs(e.reshape(-1) - m.reshape(-1)).max()) if e.size == m.size else np.inf
            worst = max(worst, difference / largest)
    limit = HALF_LIMIT if path.stem.endswith("16") else LIMIT
    return ("agree" if worst <= limit else "differ"), f"{worst:.1e}"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("rtai")
    parser.add_argument("folder", type=pathlib.Path)
    parser.add_argument("--only", action="append")
    parser.add_argument("--json", type=pathlib.Path)
    parser.add_argument("--minimum", type=int, default=0)
    flags = parser.parse_args()
    rows = make_rows()
    found, table = {}, collections.defaultdict(collections.Counter)
    reasons = collections.defaultdict(list)
    with tempfile.TemporaryDirectory(prefix="rtai-exports-") as work:
        data = pathlib.Path(work) / "ids.jsonl"
        data.write_text("".join(json.dumps(row) + "\n" for row in rows))
        for path in sorted(flags.folder.rglob("*.onnx")):
            name = str(path.relative_to(flags.folder))
            if flags.only and not any(fnmatch.fnmatch(name, pattern) for pattern in flags.only):
                continue
            try:
                outcome, detail = check(flags.rtai, path, data, rows)
            except Exception as error:  # noqa: BLE001  ONNX Runtime cannot run some exports
                outcome, detail = "peer", str(error).splitlines()[0][:150]
            found[name] = {"outcome": outcome, "detail": detail}
            architecture = next(a for a in sorted(("bert", "minilm", "roberta", "xlm-roberta", "camembert", "distilbert",
                                                   "electra", "albert", "mpnet", "deberta-v2"), key=len, reverse=True)
                                if path.name.startswith(a + "-"))
            table[architecture][outcome] += 1
            if outcome != "agree":
                reasons[f"{outcome}: {detail}"].append(name)
    columns = ["agree", "differ", "refused", "crash", "peer"]
    print(f"{'':12}" + "".join(f"{c:>9}" for c in columns))
    for architecture, counts in sorted(table.items()):
        print(f"{architecture:12}" + "".join(f"{counts[c]:9}" for c in columns))
    total = sum(table.values(), collections.Counter())
    print(f"{'total':12}" + "".join(f"{total[c]:9}" for c in columns))
    for reason, names in sorted(reasons.items(), key=lambda item: -len(item[1])):
        print(f"{len(names):4}  {names[0]}: {reason}")
    if flags.json:
        flags.json.write_text(json.dumps(found, indent=1) + "\n")
    return 1 if total["differ"] + total["crash"] or total["agree"] < flags.minimum else 0


sys.exit(main())
