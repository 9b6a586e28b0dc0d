"""Checks what every text file of the project has in common.

usage: sources.py REPOSITORY
Sources are ASCII, have no tabs and no space at the end of a line, and headers say #pragma once.
"""
import pathlib
import subprocess
import sys

SOURCE = {".h", ".cpp", ".cu", ".cuh", ".inc", ".py", ".sh", ".cmake"}


def check(repository):
    problems = []
    listed = subprocess.run(["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
                            cwd=repository, capture_output=True, check=True).stdout
    for name in sorted(n.decode() for n in listed.split(b"\0") if n):
        path = repository / name
        if path.suffix not in SOURCE and path.name != "CMakeLists.txt" or not path.is_file():
            continue
        text = path.read_bytes()
        if not text.endswith(b"\n"):
            problems.append(f"{name}: no newline at the end")
        for number, line in enumerate(text.split(b"\n"), 1):
            if any(byte > 126 or byte == 9 for byte in line):
                problems.append(f"{name}:{number}: a character that is not printable ASCII")
            if line.endswith(b" "):
                problems.append(f"{name}:{number}: space at the end of the line")
        if path.suffix == ".h" and b"#pragma once" not in text:
            problems.append(f"{name}: no #pragma once")
    return problems


problems = check(pathlib.Path(sys.argv[1]))
print("\n".join(problems[:50]) or "sources are as they should be")
sys.exit(1 if problems else 0)
