"""Every header compiles alone. A source that is compiled by itself proves the header it includes first, and a header that
compiles alone proves its own first one. Only what nothing else proves is compiled here.

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


def without_first_of_others(root: pathlib.Path, headers: list[str]) -> list[str]:
    """Those that no other of them includes first."""
    firsts = {first_include(root / header) for header in headers}
    return [header for header in headers if header not in firsts]


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


def compile_alone(call: list[str], header: str) -> str:
    source = f'#include "{header}"\n'
    done = subprocess.run([*call, "-x", "c++", "-fsyntax-only", "-"], input=source, text=True, capture_output=True)
    return done.stderr if done.returncode != 0 else ""


def main() -> int:
    root, build = (pathlib.Path(argument).resolve() for argument in sys.argv[1:3])
    commands = json.loads((build / "compile_commands.json").read_text())
    proved = proved_by_build(root, commands)
    headers = [str(path.relative_to(root)) for layer in LAYERS for path in sorted((root / layer).rglob("*.h"))]
    rest = [header for header in headers if header not in proved and not SPECIAL.search(header)]
    rest = without_first_of_others(root, rest)
    call = compiler_and_flags(commands)
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        errors = list(pool.map(lambda header: compile_alone(call, header), rest))
    for error in filter(None, errors):
        print(error)
    problems = sum(bool(error) for error in errors)
    print(f"{len(headers)} headers, {len(rest)} compiled here, {problems} problems")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
