"""Exports some of the models of export_models.py and compares rtai's answers with ONNX Runtime's.

usage: exports_test.py RTAI [PATTERN]...
Exits with 77 (skipped) where PyTorch, Transformers, ONNX or ONNX Runtime is not installed.
"""
import importlib.util
import pathlib
import subprocess
import sys
import tempfile

PEERS = ("torch", "transformers", "onnx", "onnxruntime")
# One of each architecture and head with the exporter that is quick; export_models.py makes all of them.
PATTERNS = ["*-seq-*-ts17", "bert-tok-*-ts11", "roberta-tok-*-ts14", "*-qa-eager-ts17", "bert-mc-*-ts17",
            "xlm-roberta-mlm-*-ts17", "albert-base-*-ts17"]


def main():
    missing = [name for name in PEERS if importlib.util.find_spec(name) is None]
    if missing:
        print(f"skipped: {', '.join(missing)} not installed")
        return 77
    here = pathlib.Path(__file__).parent
    only = [word for pattern in sys.argv[2:] or PATTERNS for word in ("--only", pattern)]
    with tempfile.TemporaryDirectory(prefix="rtai-exports-") as work:
        subprocess.run([sys.executable, here / "export_models.py", work, *only], check=True, stdout=subprocess.DEVNULL,
                       stderr=subprocess.DEVNULL)
        made = len(list(pathlib.Path(work).rglob("*.onnx")))
        return subprocess.run([sys.executable, here / "check_exports.py", sys.argv[1], work, "--minimum",
                               str(made)]).returncode


sys.exit(main())
