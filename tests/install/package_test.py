"""Builds the Debian packages and looks at what is in them and what they need.

usage: package_test.py BUILD_FOLDER REPOSITORY
Skipped (77) where dpkg's tools are missing.
"""
import pathlib
import shutil
import subprocess
import sys
import tempfile

build, repository = map(pathlib.Path, sys.argv[1:])
if any(shutil.which(tool) is None for tool in ("dpkg-deb", "dpkg-shlibdeps", "cpack")):
    print("skipped: dpkg-dev is not installed")
    sys.exit(77)


def run(*command, **options):
    result = subprocess.run([str(c) for c in command], capture_output=True, text=True, **options)
    if result.returncode != 0:
        sys.exit(f"{command[0]} failed:\n{result.stdout}{result.stderr}")
    return result.stdout


# What each package must hold; and what only one of them may.
EXPECTED = {
    "rtai": ["/usr/bin/rtai", "/usr/share/man/man1/rtai.1", "/usr/share/man/man1/rtai-bench.1",
             "/usr/share/bash-completion/completions/rtai"],
    "librtai1": ["/librtai.so.1"],
    "librtai-dev": ["/usr/include/rtai.h", "/librtai.so", "/cmake/rtai/rtai-config.cmake", "/runtime/exec/session.h"],
}
if (build / "backends" / "rtai" / "libtriton_rtai.so").exists():
    EXPECTED["rtai"] += ["/rtai/backends/rtai/libtriton_rtai.so", "/rtai/backends/rtai/batchstrategy.so"]
problems = []
with tempfile.TemporaryDirectory(prefix="rtai-packages-") as name:
    folder = pathlib.Path(name)
    run("cpack", "--config", build / "CPackConfig.cmake", "-B", folder)
    packages = {run("dpkg-deb", "-f", file, "Package").strip(): file for file in folder.glob("*.deb")}
    if set(packages) != set(EXPECTED):
        sys.exit(f"packages: expected {sorted(EXPECTED)}, found {sorted(packages)}")
    for package, file in packages.items():
        listing = run("dpkg-deb", "-c", file).splitlines()
        paths = [line.split()[5].lstrip(".") for line in listing]
        problems += [f"{package}: no {path}" for path in EXPECTED[package] if not any(p.endswith(path) for p in paths)]
        problems += [f"{package}: {line}" for line in listing if not line.split()[1].startswith("root/root")]
        problems += [f"{package}: outside /usr: {path}" for path in paths if path != "/" and not path.startswith("/usr")]
        for field in ("Version", "Architecture", "Maintainer", "Description", "Section"):
            if not run("dpkg-deb", "-f", file, field).strip():
                problems.append(f"{package}: no {field}")
        run("dpkg-deb", "-x", file, folder / "root")
    depends = run("dpkg-deb", "-f", packages["librtai1"], "Depends")
    if "libprotobuf" in depends or "libonnx" in depends or "libc6" not in depends:
        problems.append(f"librtai1 depends on {depends}")
    if "librtai1 (=" not in run("dpkg-deb", "-f", packages["librtai-dev"], "Depends"):
        problems.append("librtai-dev does not depend on its library")
    # What was unpacked works without anything else of ours.
    run(folder / "root" / "usr" / "bin" / "rtai", "--version")
    library = next((folder / "root").rglob("librtai.so.1"))
    run(sys.executable, "-c", f"import ctypes; l = ctypes.CDLL('{library}'); assert l.rtai_api_version() == 1")
print("\n".join(problems) or "three packages, as they should be")
sys.exit(1 if problems else 0)
