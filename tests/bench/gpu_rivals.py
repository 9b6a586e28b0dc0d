"""Measures a model in PyTorch on the GPU: f16, SDPA, torch.compile with CUDA graphs.

usage: gpu_rivals.py RESULT.json FOLDER
The model is built from FOLDER/config.json with random weights: time does not depend on them. Each row
says its mode: max-autotune, or reduce-overhead (CUDA graphs without tuning, which compiles much faster)
where there was no time for more.
"""
import json
import pathlib
import sys
import time

SECONDS = 150  # no compilation begins later: one takes some 90 s by max-autotune, 10 to 30 s by reduce-overhead
SHAPES = [(1, 128, "reduce-overhead"), (32, 128, "reduce-overhead"), (1, 128, "max-autotune"), (32, 128, "max-autotune"),
          (8, 128, "reduce-overhead"), (128, 128, "reduce-overhead"), (1, 384, "reduce-overhead")]


def measure(torch, model, vocabulary, batch, seq, mode):
    torch.compiler.reset()
    compiled = torch.compile(model, mode=mode, dynamic=False)
    ids = torch.randint(0, vocabulary, (batch, seq), device="cuda")
    times = []
    with torch.inference_mode():
        for i in range(350):
            begin, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
            begin.record()
            compiled(input_ids=ids)
            end.record()
            end.synchronize()
            if i >= 50:
                times.append(begin.elapsed_time(end))
    times.sort()
    return {"p50": times[len(times) // 2], "p99": times[len(times) * 99 // 100]}


def main():
    result, folder = sys.argv[1:]
    begin = time.monotonic()
    rows = []
    try:
        import torch
        import transformers
    except ImportError as missing:
        print(f"skipped PyTorch: {missing}", file=sys.stderr)
        return
    config = transformers.AutoConfig.from_pretrained(folder, attn_implementation="sdpa")
    model = transformers.AutoModelForTokenClassification.from_config(config).half().cuda().eval()
    for batch, seq, mode in SHAPES:
        if time.monotonic() - begin > SECONDS:
            print(f"skipped {batch} x {seq}: no time left", file=sys.stderr)
            continue
        try:
            latency = measure(torch, model, config.vocab_size, batch, seq, mode)
        except Exception as error:  # a rival that fails is a row that is missing
            print(f"failed {batch} x {seq} {mode}: {error}", file=sys.stderr)
            continue
        rows.append({"name": f"torch {mode}", "batch": batch, "seq": seq, "mode": mode, "dtype": "f16", "device_latency_ms": latency,
                     "torch": torch.__version__, "gpu": torch.cuda.get_device_name(), "compile_and_run_s": time.monotonic() - begin})
        pathlib.Path(result).write_text(json.dumps(rows))


main()
