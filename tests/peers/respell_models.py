"""Writes exported models in the further spellings that users have them in.

usage: respell_models.py EXPORTS OUT [--only PATTERN]...    (ONNX and ONNX Runtime installed)
For each exported model of EXPORTS: `fused` (ONNX Runtime's transformer optimizer: com.microsoft operators), `fused16` (the
same in float16), `fp16` (weights and arithmetic in float16 behind float32 inputs and outputs), `int32` (int32 ids and masks),
`external` (weights in a file beside), `shapeless` (no value_info, no dimensions of inputs), `unsorted` (nodes in another
order), `mixed` (matrices stored in bfloat16 and float16 in turn, behind casts to float32), `small` (matrices stored in INT4
by blocks, UINT4 by columns, FLOAT8E4M3FN and FLOAT8E5M2 in turn, behind DequantizeLinear of opset 21).
"""
import argparse
import copy
import fnmatch
import pathlib
import random
import sys
import warnings

try:
    import numpy as np
    import onnx
    import onnx.version_converter
    from onnxruntime.transformers import float16, optimizer
except ImportError as error:
    print(f"skipped: {error}")
    sys.exit(77)

FUSION = {"bert": "bert", "minilm": "bert", "roberta": "bert", "xlm-roberta": "bert", "camembert": "bert",
          "distilbert": "bert", "electra": "bert"}
HEADS = {"minilm": (3, 24)}


def fused(path, half=False):
    architecture = path.name.split("-seq")[0].split("-tok")[0].split("-qa")[0]
    if architecture not in FUSION:
        return None
    heads, hidden = HEADS.get(architecture, (4, 32))
    optimized = optimizer.optimize_model(str(path), FUSION[architecture], num_heads=heads, hidden_size=hidden, opt_level=0)
    if half:
        optimized.convert_float_to_float16(keep_io_types=True)
    return optimized.model


def int32(model):
    """Inputs become int32; where they were read, a cast makes them int64 again but where nothing cares."""
    for given in model.graph.input:
        given.type.tensor_type.elem_type = onnx.TensorProto.INT32
        name = given.name + "_as_int64"
        for node in model.graph.node:
            # Gather and Cast take either.
            if node.op_type not in ("Gather", "Cast"):
                for i, used in enumerate(node.input):
                    if used == given.name:
                        node.input[i] = name
        model.graph.node.insert(0, onnx.helper.make_node("Cast", [given.name], [name], to=onnx.TensorProto.INT64))
    return model


def shapeless(model):
    del model.graph.value_info[:]
    for value in [*model.graph.input, *model.graph.output]:
        value.type.tensor_type.ClearField("shape")
    return model


def mixed(model):
    """ONNX Runtime computes in float32, too, so that answers agree as closely as those of float32 weights."""
    graph = model.graph
    matrices = [t for t in graph.initializer if t.data_type == onnx.TensorProto.FLOAT and len(t.dims) == 2]
    for i, tensor in enumerate(matrices):
        values = onnx.numpy_helper.to_array(tensor)
        kind = onnx.TensorProto.BFLOAT16 if i % 2 == 0 else onnx.TensorProto.FLOAT16
        stored = onnx.helper.make_tensor(tensor.name + "_16", kind, values.shape, values.flatten())
        graph.node.insert(0, onnx.helper.make_node("Cast", [stored.name], [tensor.name], to=onnx.TensorProto.FLOAT))
        graph.initializer.remove(tensor)
        graph.initializer.append(stored)
    return model


def quantized(values, kind, block):
    """Numbers of `kind` for [rows, columns], with the scales and the zero point of DequantizeLinear along axis 0 or 1."""
    if block:
        edges = range(0, values.shape[0], block)
        scales = np.stack([np.abs(values[i:i + block]).max(axis=0) / 7 for i in edges]).astype(np.float32)
        scales[scales == 0] = 1
        return np.rint(values / np.repeat(scales, block, axis=0)[:values.shape[0]]), scales, None
    if kind == onnx.TensorProto.UINT4:
        scales = (np.abs(values).max(axis=0) / 7).astype(np.float32)
        scales[scales == 0] = 1
        return np.rint(values / scales) + 8, scales, np.full(scales.shape, 8.0)
    scale = np.float32(max(np.abs(values).max(), 1e-9) / 200)
    return values / scale, scale, None


def small(model):
    """ONNX Runtime dequantizes the same numbers, so that answers agree as closely as those of float32 weights."""
    if next(s.version for s in model.opset_import if not s.domain) < 21:  # the first with these types
        model = onnx.version_converter.convert_version(model, 21)
    model.ir_version = max(model.ir_version, 10)
    kinds = ((onnx.TensorProto.INT4, 16), (onnx.TensorProto.UINT4, 0), (onnx.TensorProto.FLOAT8E4M3FN, 0),
             (onnx.TensorProto.FLOAT8E5M2, 0))
    graph = model.graph
    matrices = [t for t in graph.initializer if t.data_type == onnx.TensorProto.FLOAT and len(t.dims) == 2]
    for i, tensor in enumerate(matrices):
        kind, block = kinds[i % len(kinds)]
        numbers, scales, zero = quantized(onnx.numpy_helper.to_array(tensor), kind, block)
        parts = {"numbers": (kind, numbers), "scales": (onnx.TensorProto.FLOAT, scales)}
        if zero is not None:
            parts["zero"] = (kind, zero)
        names = []
        for part, (dtype, values) in parts.items():
            stored = values.astype(onnx.helper.tensor_dtype_to_np_dtype(dtype))
            graph.initializer.append(onnx.numpy_helper.from_array(stored, f"{tensor.name}_{part}"))
            names.append(f"{tensor.name}_{part}")
        axes = {"axis": 0, "block_size": block} if block else {"axis": 1}
        graph.node.insert(0, onnx.helper.make_node("DequantizeLinear", names, [tensor.name], **axes))
        graph.initializer.remove(tensor)
    return model


def unsorted(model):
    nodes = list(model.graph.node)
    random.Random(5).shuffle(nodes)
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    return model


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("exports", type=pathlib.Path)
    parser.add_argument("out", type=pathlib.Path)
    parser.add_argument("--only", action="append")
    flags = parser.parse_args()
    warnings.simplefilter("ignore")
    flags.out.mkdir(parents=True, exist_ok=True)
    for path in sorted(flags.exports.rglob("*.onnx")):
        if flags.out in path.parents or (flags.only and not any(fnmatch.fnmatch(path.name, p) for p in flags.only)):
            continue
        plain = onnx.load(path)
        made = {"int32": lambda: int32(copy.deepcopy(plain)), "shapeless": lambda: shapeless(copy.deepcopy(plain)),
                "unsorted": lambda: unsorted(copy.deepcopy(plain)), "mixed": lambda: mixed(copy.deepcopy(plain)),
                "small": lambda: small(copy.deepcopy(plain)),
                "fused": lambda: fused(path),
                "fused16": lambda: fused(path, half=True),
                "fp16": lambda: float16.convert_float_to_float16(copy.deepcopy(plain), keep_io_types=True)}
        for kind, make in made.items():
            try:
                model = make()
            except Exception as error:  # noqa: BLE001  what the peer cannot make is not our matter
                print(f"{path.stem}-{kind}: {type(error).__name__}: {str(error)[:100]}")
                continue
            if model is not None:
                onnx.save(model, flags.out / f"{path.stem}-{kind}.onnx")
        external = f"{path.stem}-external.onnx"
        onnx.save(copy.deepcopy(plain), flags.out / external, save_as_external_data=True, location=external + ".data",
                  size_threshold=0)


if __name__ == "__main__":
    main()
