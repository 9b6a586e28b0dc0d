"""Checks that what can lose a file or call somebody is in one place each, where it is tested.

usage: doors.py REPOSITORY
"""
import pathlib
import re
import sys

LAYERS = ("libopt", "models", "passes", "runtime", "tools")
DOORS = {
    "writes to the disk": (re.compile(r"\b(w?ofstream|fopen|freopen|fdopen|tmpfile|mkstemp|mkdtemp|mkostemp|creat)\b|"
                                      r"\bO_(CREAT|WRONLY|RDWR|TMPFILE)\b|(\bfs::|[^\w]::|^::)(rename|copy_file|resize_file|unlink|remove_all|remove)\("),
                           {"runtime/base/atomic_write.cpp"}),
    "uses the network": (re.compile(r"boost/asio|boost/beast|sys/socket\.h|netinet/|netdb\.h"),
                         {"tools/serve/http_connection.cpp", "tools/serve/http_connection.h", "tools/serve/http_server.cpp",
                          "tools/serve/http_client.cpp"}),
}
# Of a socket that a server has made itself.
ALLOWED = {("tools/serve/http_server.cpp", " ::unlink(")}

repository = pathlib.Path(sys.argv[1])
problems, seen = [], set()
for layer in LAYERS:
    for path in sorted((repository / layer).rglob("*")):
        if path.suffix not in (".h", ".cpp", ".cu", ".cuh"):
            continue
        name = path.relative_to(repository).as_posix()
        for number, line in enumerate(path.read_text().splitlines(), 1):
            for what, (pattern, doors) in DOORS.items():
                found = pattern.search(line.partition("//")[0])
                if not found:
                    continue
                seen.add(what)
                if name not in doors and (name, found[0]) not in ALLOWED:
                    problems.append(f"{name}:{number}: {what} ({found[0]}); only {', '.join(sorted(doors))} may")
problems += [f"nothing {what}: the check has gone blind" for what in DOORS.keys() - seen]
print("\n".join(problems) or "everybody goes through the doors")
sys.exit(1 if problems else 0)
