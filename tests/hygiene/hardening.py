"""Checks that what is shipped was built to fail early: by what the linker and the compiler have left in it.

usage: hardening.py READELF linked|compiled BINARY...
linked: positions are random (PIE, or a shared library), addresses of functions are bound before main() and read-only
(full RELRO), and nothing that can be written executes. compiled: also, stacks are guarded, calls of the C library know
the sizes of buffers, and functions are marked as places to jump to.
"""
import pathlib
import re
import subprocess
import sys

JUMP_TARGET = bytes.fromhex("f30f1efa")  # endbr64


def problems_of(readelf, binary, is_compiled):
    def read(*options):
        return subprocess.run([readelf, "--wide", *options, binary], capture_output=True, text=True, check=True).stdout

    header, segments, dynamic, symbols = read("--file-header"), read("--program-headers"), read("--dynamic"), read("--dyn-syms")
    stack = re.search(r"GNU_STACK .* (R\S*) +(?:0x)?\w+\n", segments)
    found = {"positions are fixed": "DYN" not in header,
             "relocations can be written": "GNU_RELRO" not in segments,
             "functions are bound late": not re.search(r"BIND_NOW|FLAGS.*NOW", dynamic),
             "the stack executes": stack is None or "E" in stack[1],
             "a segment is written and executes": re.search(r"LOAD .* RWE ", segments) is not None}
    if is_compiled:
        checked = set(re.findall(r" UND (__\w+_chk)\b", symbols)) - {"__stack_chk_fail"}
        found |= {"stacks are not guarded": "__stack_chk_fail" not in symbols,
                  "sizes of buffers are not checked": not checked,
                  "functions are not marked as places to jump to": pathlib.Path(binary).read_bytes().count(JUMP_TARGET) < 100}
    return [f"{binary}: {problem}" for problem, is_there in found.items() if is_there]


readelf, how = sys.argv[1:3]
problems = [problem for binary in sys.argv[3:] for problem in problems_of(readelf, binary, how == "compiled")]
print("\n".join(problems) or f"{len(sys.argv) - 3} binaries are hardened as they were {how}")
sys.exit(1 if problems else 0)
