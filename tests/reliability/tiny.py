"""A tiny model in a folder of its own, for the tests beside this file."""
import os
import pathlib
import shutil
import subprocess
import sys

NOT_RUN = 77  # ctest shows such a test as skipped


def need(*programs):
    """Ends the test as not run, visibly, if one of these programs is missing."""
    for program in programs:
        if shutil.which(program) is None:
            print(f"not run: {program} is not installed")
            sys.exit(NOT_RUN)


def environment(prefix, more):
    """LeakSanitizer, where rtai was built with it, does not work under strace."""
    return {**os.environ, **({"ASAN_OPTIONS": "detect_leaks=0"} if prefix else {}), **(more or {})}


class Tiny:
    """rtai and a model that every command takes and none takes long for."""

    def __init__(self, rtai, maker, folder):
        self.rtai = str(pathlib.Path(rtai).resolve())
        self.folder = pathlib.Path(folder)
        subprocess.run([maker, str(self.folder)], check=True)
        self.model = self.folder / "model"
        self.engine = self.folder / "model.rtai"
        self.texts = self.folder / "texts.txt"
        self.labelled = self.folder / "labelled.jsonl"

    def run(self, *args, prefix=(), stdin=None, cwd=None, env=None, timeout=300):
        return subprocess.run([*map(str, prefix), self.rtai, *map(str, args)], input=stdin, capture_output=True, text=True,
                              cwd=cwd, env=environment(prefix, env), timeout=timeout)
