#!/usr/bin/env python3
"""Checks that object files compiled for special instructions keep to themselves (house style, rule 18).

The linker keeps one copy of an inline function or a template's instance. If it keeps one that was compiled with
AVX-512, the program crashes on machines without. So such an object defines one global symbol, its kernel, and nothing
weak.

usage: target_symbols.py NM OBJECT...
"""
import pathlib
import subprocess
import sys

WEAK = "WVuwv"  # weak functions, weak objects, unique objects


def defined_globals(nm, path):
    """(type, name) of the global symbols that an object defines."""
    listing = subprocess.run(
        [nm, "--defined-only", "--extern-only", "--format=posix", path], capture_output=True, text=True, check=True
    )
    symbols = []
    for line in listing.stdout.splitlines():
        name, kind = line.split()[:2]
        symbols.append((kind, name))
    return symbols


def problems(nm, path):
    kernel = pathlib.Path(path).name.removesuffix(".o").removesuffix(".cpp")
    expected = f"_ZN4rtai3cpu{len(kernel)}{kernel}E"
    found = defined_globals(nm, path)
    if ("D", expected) not in found:
        yield f"{path}: does not define its kernel {expected}"
    for kind, name in found:
        if kind in WEAK:
            yield f"{path}: defines {name}, which another file's copy could be replaced with"
        elif name != expected:
            yield f"{path}: defines {name} beside its kernel"


def main():
    if len(sys.argv) < 3:
        sys.exit("usage: target_symbols.py NM OBJECT...: no objects given")
    nm, objects = sys.argv[1], sys.argv[2:]
    found = [problem for path in objects for problem in problems(nm, path)]
    for problem in found:
        print(problem)
    print(f"{len(objects)} objects, {len(found)} problems")
    sys.exit(1 if found else 0)


main()
