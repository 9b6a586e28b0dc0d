"""Every header compiles alone. A source that is compiled by itself proves the header it includes first. The others are
compiled here, several in turn where that proves as much: what stands before a header must be among what it includes itself.

Usage: headers.py SOURCE_FOLDER BUILD_FOLDER (with compile_commands.json)
"""

import concurrent.futures
import json
import os
import pathlib
import re
import shlex
import subprocess
import sys

LAYERS = ("runtime", "libopt", "passes", "models", "tools")
# Compiled only with the flags of their target.
SPECIAL = re.compile(r"_avx(2|512|vnni)|avx512|amx|/cuda/")
INCLUDE = re.compile(r'^#include [<"](.*)[>"]', re.MULTILINE)


def first_include(path: pathlib.Path) -> str | None:
    found = INCLUDE.search(path.read_text())
    return found.group(1) if found else None


def proved_by_build(root: pathlib.Path, commands: list[dict]) -> set[str]:
    proved = set()
    for command in commands:
        source = pathlib.Path(command["file"])
        if source.suffix != ".cpp" or not any(source.is_relative_to(root / layer) for layer in LAYERS):
            continue
        header = first_include(source)
        while header and header not in proved and (root / header).is_file():
            proved.add(header)
            header = first_include(root / header)
    return proved


def included_by(root: pathlib.Path, header: str, known: dict[str, set[str]]) -> set[str]:
    """Our own headers that `header` includes, directly or not."""
    if header not in known:
        known[header] = set()
        direct = [name for name in INCLUDE.findall((root / header).read_text()) if (root / name).is_file()]
        known[header] = set(direct).union(*(included_by(root, name, known) for name in direct))
    return known[header]


def chains(root: pathlib.Path, headers: list[str]) -> list[list[str]]:
    """Each header once, behind such as it includes: whatever those bring along, it has by itself."""
    known: dict[str, set[str]] = {}
    found: list[list[str]] = []
    for header in sorted(headers, key=lambda name: len(included_by(root, name, known))):
        behind = [chain for chain in found if chain[-1] in known[header]]
        if behind:
            max(behind, key=lambda chain: len(known[chain[-1]])).append(header)
        else:
            found.append([header])
    return found


def compiler_and_flags(commands: list[dict]) -> list[str]:
    """The compiler with all folders that any source includes from, and what any defines."""
    compiler = next(c for c in commands if c["file"].endswith(".cpp"))["command"]
    words = [word for word in shlex.split(compiler) if not word.endswith("ccache")]
    call = [words[0], "-std=c++20"]
    for command in commands:
        words = shlex.split(command["command"])
        for i, word in enumerate(words):
            flag = words[i : i + 2] if word == "-isystem" else [word] if word.startswith(("-I", "-D")) else []
            if flag and " ".join(flag) not in " ".join(call):
                call += flag
    return call


def compile_chain(call: list[str], chain: list[str]) -> str:
    source = "".join(f'#include "{header}"\n' for header in chain)
    done = subprocess.run([*call, "-x", "c++", "-fsyntax-only", "-"], input=source, text=True, capture_output=True)
    return done.stderr if done.returncode != 0 else ""


def main() -> int:
    root, build = (pathlib.Path(argument).resolve() for argument in sys.argv[1:3])
    commands = json.loads((build / "compile_commands.json").read_text())
    proved = proved_by_build(root, commands)
    headers = [str(path.relative_to(root)) for layer in LAYERS for path in sorted((root / layer).rglob("*.h"))]
    rest = [header for header in headers if header not in proved and not SPECIAL.search(header)]
    call = compiler_and_flags(commands)
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        errors = list(pool.map(lambda chain: compile_chain(call, chain), chains(root, rest)))
    for error in filter(None, errors):
        print(error)
    problems = sum(bool(error) for error in errors)
    print(f"{len(headers)} headers, {len(rest)} compiled here, {problems} problems")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
