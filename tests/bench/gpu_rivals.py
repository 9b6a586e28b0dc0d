"""Measures models in PyTorch on the GPU: f16, SDPA, torch.compile with CUDA graphs.

usage: gpu_rivals.py RESULT.json MODEL_FOLDER...
A model is built from its config.json with random weights: time does not depend on them.
"""
import json
import pathlib
import sys

SHAPES = [(1, 128), (8, 128), (32, 128), (128, 128), (1, 384)]


def measure(torch, transformers, folder, batch, seq):
    config = transformers.AutoConfig.from_pretrained(folder, attn_implementation="sdpa")
    model = transformers.AutoModel.from_config(config).half().cuda().eval()
    compiled = torch.compile(model, mode="max-autotune")
    ids = torch.randint(0, config.vocab_size, (batch, seq), device="cuda")
    times = []
    with torch.inference_mode():
        for i in range(600):
            begin, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
            begin.record()
            compiled(input_ids=ids)
            end.record()
            end.synchronize()
            if i >= 100:
                times.append(begin.elapsed_time(end))
    times.sort()
    return {"p50": times[len(times) // 2], "p99": times[len(times) * 99 // 100]}


def main():
    result, *folders = sys.argv[1:]
    try:
        import torch
        import transformers
    except ImportError as missing:
        print(f"skipped PyTorch: {missing}", file=sys.stderr)
        pathlib.Path(result).write_text("[]")
        return
    rows = []
    for folder in folders:
        for batch, seq in SHAPES:
            latency = measure(torch, transformers, folder, batch, seq)
            rows.append({"model": folder, "batch": batch, "seq": seq, "device_latency_ms": latency,
                         "torch": torch.__version__, "dtype": "f16", "gpu": torch.cuda.get_device_name()})
    pathlib.Path(result).write_text(json.dumps(rows))


main()
