"""Checks every #include "..." against the table of layers: which folder may include which.

usage: layering.py REPOSITORY
The table is docs/house-style.md, section 2; a change here is a change there.
"""
import pathlib
import re
import sys

ALL_RUNTIME = ["runtime/base", "runtime/engine", "runtime/kernels", "runtime/cpu", "runtime/cuda", "runtime/text"]
MAY_INCLUDE = {
    "runtime/base": [],
    "runtime/engine": ["runtime/base"],
    "runtime/kernels": ["runtime/base"],
    "runtime/cpu": ["runtime/base", "runtime/kernels"],
    "runtime/cuda": ["runtime/base", "runtime/kernels"],
    "runtime/text": ["runtime/base"],
    "runtime/exec": ALL_RUNTIME,
    "runtime/api": ALL_RUNTIME + ["runtime/exec"],
    "libopt/ir": ["runtime/base"],
    "libopt/reference": ["libopt/ir", "runtime/base"],
    "libopt/onnx": ["libopt/ir", "runtime/base"],
    "libopt/raise": ["libopt/ir", "libopt/reference", "runtime/base"],
    "libopt/pass": ["libopt/ir", "runtime/base"],
    "libopt/grad": ["libopt/ir", "runtime/base", "runtime/kernels"],
    "libopt/prune": ["libopt/grad", "libopt/ir", "libopt/pass", "runtime/base"],
    "libopt/lower": ["libopt/ir", "runtime/base", "runtime/engine", "runtime/kernels"],
    "libopt/quant": ["libopt/ir", "libopt/reference", "runtime/base"],
    "passes": ["libopt/ir", "libopt/pass", "libopt/prune", "libopt/quant", "libopt/raise", "libopt/reference", "runtime/base"],
    "models": ["libopt/ir", "runtime/base"],
    "tools": ["tools", "passes", "models", "libopt", "runtime"],
}
# Third-party libraries have one door each.
DOORS = {
    "onnx/": ["libopt/onnx"],
    "google/protobuf": ["libopt/onnx"],
    "Eigen/": ["libopt/grad", "libopt/prune", "libopt/quant"],
    "nlohmann/": ["tools"],
    "CLI/": ["tools"],
    "boost/": ["tools/serve"],
    "cuda": ["runtime/cuda"],
    "immintrin.h": ["runtime/cpu", "runtime/base", "runtime/exec"],
    "fmt/": ["libopt", "passes", "models", "tools"],
}
INCLUDE = re.compile(r'^\s*#\s*include\s+([<"])([^>"]+)[>"]', re.MULTILINE)


def layer_of(path):
    """The longest layer that the path lies in."""
    matches = [layer for layer in MAY_INCLUDE if path == layer or path.startswith(layer + "/")]
    return max(matches, key=len) if matches else None


def inside(path, folders):
    return any(path.startswith(folder + "/") for folder in folders)


def check(repository):
    problems = []
    files = [p for folder in ("runtime", "libopt", "passes", "models", "tools") for p in (repository / folder).rglob("*")]
    for file in sorted(f for f in files if f.suffix in (".h", ".cpp", ".cu", ".cuh", ".inc")):
        name = file.relative_to(repository).as_posix()
        layer = layer_of(name)
        if layer is None:
            problems.append(f"{name}: lies in no layer")
            continue
        for kind, target in INCLUDE.findall(file.read_text()):
            if kind == '"':
                if not inside(target, [layer] + MAY_INCLUDE[layer]):
                    problems.append(f"{name}: {layer} may not include {target}")
                if "/internal/" in target and not target.startswith(str(pathlib.PurePath(name).parent.as_posix()).removesuffix("/internal") + "/"):
                    problems.append(f"{name}: {target} is internal to another folder")
            else:
                for library, doors in DOORS.items():
                    if target.startswith(library) and not inside(name, doors):
                        problems.append(f"{name}: <{target}> belongs to {', '.join(doors)}")
                if name.startswith("runtime/") and name.endswith((".h", ".cpp")) and target.startswith(("fmt/", "nlohmann/", "Eigen/")):
                    problems.append(f"{name}: runtime depends on the C++ library alone")
    return problems


problems = check(pathlib.Path(sys.argv[1]))
print("\n".join(problems) or "layers are as they should be")
sys.exit(1 if problems else 0)
