"""libtriton_rtai.so defines what Triton's server looks up and nothing else, and needs what the server defines and nothing else.

usage: triton_symbols.py LIBTRITON_RTAI.so TRITON_API.h
"""
import re
import subprocess
import sys

library, header = sys.argv[1], open(sys.argv[2]).read()
SYSTEM = {"libstdc++.so.6", "libm.so.6", "libgcc_s.so.1", "libc.so.6", "libpthread.so.0", "ld-linux-x86-64.so.2"}


def output(*command):
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def functions(text):
    return set(re.findall(r"^(?:TRITONSERVER_Error\*|void|const char\*) (TRITON(?:SERVER|BACKEND)_\w+)\(", text, re.MULTILINE))


servers, backends = map(functions, header.split("// What the backend defines.\n"))
symbols = [line.split() for line in output("nm", "-D", library).splitlines()]
defined = {words[2] for words in symbols if len(words) == 3 and words[1] != "A"}
# What the libraries of the system define has their version behind it; weak symbols may stay undefined.
wanted = {words[1] for words in symbols if words[0] == "U" and "@" not in words[1]}
foreign = set(re.findall(r"NEEDED +(\S+)", output("objdump", "-p", library))) - SYSTEM

problems = [f"{name}: defined, but not what the server looks up" for name in sorted(defined - backends)]
problems += [f"{name}: the server looks it up in vain" for name in sorted(backends - defined)]
problems += [f"{name}: the server does not define it" for name in sorted(wanted - servers)]
problems += [f"{name}: declared and not used" for name in sorted(servers - wanted)]
problems += [f"{name}: the library needs it" for name in sorted(foreign)]
print("\n".join(problems) or f"{len(defined)} functions defined, {len(wanted)} of the server's used")
sys.exit(1 if problems or not defined else 0)
