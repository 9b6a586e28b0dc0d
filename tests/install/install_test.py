"""Installs rtai, builds programs of somebody else's against it, in C++ and in C, and runs them on an engine.

usage: install_test.py BUILD_FOLDER REPOSITORY
"""
import pathlib
import subprocess
import sys
import tempfile

build, repository = map(pathlib.Path, sys.argv[1:])


def run(*command):
    result = subprocess.run([str(c) for c in command], capture_output=True, text=True)
    if result.returncode != 0:
        sys.exit(f"{command[0]} failed:\n{result.stdout}{result.stderr}")
    return result.stdout


with tempfile.TemporaryDirectory(prefix="rtai-install-") as name:
    folder = pathlib.Path(name)
    run("cmake", "--install", build, "--prefix", folder / "usr")
    run("cmake", "-S", repository / "tests" / "install", "-B", folder / "build", f"-DCMAKE_PREFIX_PATH={folder / 'usr'}")
    run("cmake", "--build", folder / "build")
    rtai = folder / "usr" / "bin" / "rtai"
    run(rtai, "compile", repository / "models" / "demo-snips", "-o", folder / "demo.rtai")
    text = "play westbam on google music"
    answer = run(folder / "build" / "embed", folder / "demo.rtai", text)
    in_c = run(folder / "build" / "embed_c", folder / "demo.rtai", text, text)
labels = [line.split()[1] for line in answer.splitlines()]
print(answer)
if "B-artist" not in labels or labels[0] != "O" or labels[-1] != "O":
    sys.exit("these are not the labels that the model gives")
if in_c != answer + answer:
    sys.exit(f"C and C++ do not answer alike:\n{in_c}")
