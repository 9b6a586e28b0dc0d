"""Checks that file bytes become numbers in one place: ByteReader (runtime/base/byte_stream.h).

usage: file_bytes.py REPOSITORY
Wherever the readers' folders look at memory as another type (memcpy, reinterpret_cast, bit_cast), it is one of the uses
below, each with its reason; a new one belongs into ByteReader.
"""
import pathlib
import re
import sys

FOLDERS = ["runtime/base", "runtime/engine", "runtime/text", "libopt/onnx", "libopt/ir", "tools"]
LOOKS = re.compile(r"\b(?:memcpy|memmove|reinterpret_cast|bit_cast)\b")
# How often, and why it is no number of a file.
ALLOWED = {
    "runtime/base/byte_stream.h": (2, "ByteReader itself: a number, a text"),
    "runtime/base/mapped_file.h": (1, "a file's bytes as text"),
    "runtime/base/atomic_write.cpp": (1, "entries of a folder as the system gives them"),
    "runtime/base/aligned_buffer.cpp": (1, "an address, for its alignment"),
    "runtime/base/digest.cpp": (7, "sums over bytes whose number is known"),
    "runtime/base/dtype.cpp": (7, "floats and their bits"),
    "runtime/engine/engine.h": (1, "elements of a tensor that verify() has found to lie in the weights"),
    "runtime/engine/packed_weights.cpp": (3, "elements of a tensor that was found to lie in the weights, and of 4 bits"),
    "runtime/text/tokenizer_format.cpp": (1, "a file's bytes as text"),
    "libopt/ir/tensor.h": (2, "elements of a tensor of known type and size"),
    "libopt/ir/tensor.cpp": (4, "likewise"),
    "libopt/onnx/import.cpp": (1, "bytes as protobuf takes them"),
    "libopt/onnx/wire_scan.cpp": (1, "bytes as protobuf's stream takes them"),
    "libopt/onnx/tensors.cpp": (1, "an address, for its alignment"),
    "libopt/onnx/model_writer.cpp": (1, "writes"),
    "libopt/onnx/export.cpp": (1, "writes"),
    "tools/machine.cpp": (3, "numbers that it made itself, to be measured with"),
    "tools/sentencepiece_file.cpp": (2, "a file's bytes as text; a float from bits that were read byte by byte"),
    "tools/python/module.cpp": (1, "an address, for its alignment"),
    "tools/serve/cache.h": (1, "a digest as a key"),
}


def check(repository):
    problems = []
    found = set()
    for folder in FOLDERS:
        for file in sorted((repository / folder).rglob("*")):
            if file.suffix not in (".h", ".cpp"):
                continue
            name = file.relative_to(repository).as_posix()
            count = sum(len(LOOKS.findall(line.split("//")[0])) for line in file.read_text().splitlines())
            allowed = ALLOWED.get(name, (0, ""))[0]
            if count > 0:
                found.add(name)
            if count != allowed:
                problems.append(f"{name}: looks at memory as another type {count} times, {allowed} are known")
    problems += [f"{name}: is listed but has no such use" for name in sorted(ALLOWED.keys() - found)]
    return problems


problems = check(pathlib.Path(sys.argv[1]))
print("\n".join(problems) or f"file bytes become numbers in ByteReader alone; {len(ALLOWED)} files have other uses")
sys.exit(1 if problems else 0)
