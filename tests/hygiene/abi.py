"""librtai.so exports what the interface promises and nothing else, and C can read its header.

usage: abi.py LIBRTAI.so REPOSITORY C_COMPILER
"""
import pathlib
import re
import subprocess
import sys

library, repository, compiler = sys.argv[1], pathlib.Path(sys.argv[2]), sys.argv[3]
header = repository / "runtime" / "api" / "rtai.h"
promised = set(re.findall(r"^ +(rtai_\w+);$", (repository / "runtime" / "api" / "rtai.map").read_text(), re.MULTILINE))
declared = set(re.findall(r"^RTAI_API [^(]*?(rtai_\w+)\(", header.read_text(), re.MULTILINE))
symbols = subprocess.run(["nm", "-D", "--defined-only", library], capture_output=True, text=True, check=True).stdout
exported = {line.split()[2].split("@")[0] for line in symbols.splitlines() if line.split()[1] != "A"}
needed = subprocess.run(["objdump", "-p", library], capture_output=True, text=True, check=True).stdout
foreign = set(re.findall(r"NEEDED +(\S+)", needed)) - {
    "libstdc++.so.6", "libm.so.6", "libgcc_s.so.1", "libc.so.6", "libpthread.so.0", "ld-linux-x86-64.so.2"}

problems = [f"{name}: exported but not promised" for name in sorted(exported - promised)]
problems += [f"{name}: promised but not exported" for name in sorted(promised - exported)]
problems += [f"{name}: declared but not promised" for name in sorted(declared ^ promised)]
problems += [f"{name}: the library needs it" for name in sorted(foreign)]
plain = subprocess.run([compiler, "-std=c99", "-Wall", "-Wextra", "-Wpedantic", "-Werror", "-fsyntax-only", "-xc", "-"],
                       input=f'#include "{header}"\n', capture_output=True, text=True)
problems += [plain.stderr] if plain.returncode != 0 else []
print("\n".join(problems) or f"{len(exported)} symbols, all promised")
sys.exit(1 if problems else 0)
