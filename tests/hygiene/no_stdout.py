"""Checks that the libraries neither print nor exit: by the symbols they ask for.

usage: no_stdout.py LIBRARY.a...
"""
import re
import subprocess
import sys

FORBIDDEN = re.compile(r"\bU (_ZSt4cout|_ZSt4cerr|_ZSt4clog|_?puts|_?printf|fprintf|stdout|stderr|exit|_exit|abort|quick_exit)$")
# A failed assertion says so and stops; nothing else may.
ALLOWED = {("assert.cpp.o", "abort")}


def check(library):
    problems = []
    member = ""
    for line in subprocess.run(["nm", library], capture_output=True, text=True, check=True).stdout.splitlines():
        if line.endswith(":"):
            member = line[:-1]
        found = FORBIDDEN.search(line)
        if found and (member, found.group(1)) not in ALLOWED:
            problems.append(f"{library}({member}): uses {found.group(1)}")
    return problems


problems = [problem for library in sys.argv[1:] for problem in check(library)]
print("\n".join(problems) or "no library prints or exits")
sys.exit(1 if problems else 0)
