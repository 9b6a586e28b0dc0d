"""Quantization and pruning survive odd weights: each has a defined outcome (docs/reliability.md, odd weights).

usage: odd_weights_test.py RTAI TINY_FOLDER [--all]
Weights of a tiny model are changed in its ONNX file. Finite ones give a model whose answers are finite numbers; NaN and
infinities are refused by name. Without --all each oddity of each tensor meets `quantize` and one other command in turn.
"""
import concurrent.futures
import itertools
import json
import math
import os
import pathlib
import shutil
import struct
import sys
import tempfile
import unittest

from tiny import Tiny

RTAI, MAKER = sys.argv[1:3]
ALL = "--all" in sys.argv
SUBNORMAL = 1e-40
MISSED = 7  # with static scales for odd weights the answers may differ too much, which is said; all is written


def fields(data, begin, end):
    """(number, begin, end) of each length-delimited field of a protobuf message, or (number, value, None)."""
    def varint(at):
        value = shift = 0
        while True:
            value |= (data[at] & 127) << shift
            shift += 7
            at += 1
            if data[at - 1] < 128:
                return value, at
    at = begin
    while at < end:
        key, at = varint(at)
        if key & 7 == 0:
            value, at = varint(at)
            yield key >> 3, value, None
        elif key & 7 == 2:
            size, at = varint(at)
            yield key >> 3, at, at + size
            at += size
        else:
            at += {1: 8, 5: 4}[key & 7]


def tensors(data):
    """{name: (dims, where its floats begin)} of the initializers that are stored as raw floats."""
    found = {}
    for number, begin, end in fields(data, 0, len(data)):
        for inner, b, e in fields(data, begin, end) if number == 7 else ():
            if inner != 5:
                continue
            dims, dtype, name, raw = [], None, None, None
            for field, x, y in fields(data, b, e):
                if field == 1:
                    dims += [x] if y is None else [d for d in data[x:y]]
                elif field == 2:
                    dtype = x
                elif field == 8:
                    name = bytes(data[x:y]).decode()
                elif field == 9:
                    raw = x
            if dtype == 1 and raw is not None:
                found[name] = (dims, raw)
    return found


# Each changes a list of rows in place.
def fill_row(value):
    def change(rows):
        rows[len(rows) // 2][:] = [value] * len(rows[0])
    return change


def fill_column(value):
    def change(rows):
        for row in rows:
            row[len(row) // 3] = value
    return change


def fill_all(value):
    def change(rows):
        for row in rows:
            row[:] = [value] * len(row)
    return change


def one(value):
    def change(rows):
        rows[len(rows) // 2][len(rows[0]) // 3] = value
    return change


FINITE = {"a row of zeros": fill_row(0.0), "a column of zeros": fill_column(0.0), "zeros": fill_all(0.0),
          "a row of negative zeros": fill_row(-0.0), "one 1e30": one(1e30), "one 1e10": one(1e10),
          "a subnormal row": fill_row(SUBNORMAL), "a subnormal column": fill_column(SUBNORMAL), "subnormals": fill_all(SUBNORMAL),
          "a constant row": fill_row(0.25), "a constant column": fill_column(0.25), "one constant": fill_all(0.25)}
ENDLESS = {"one infinity": one(math.inf), "one negative infinity": one(-math.inf), "one NaN": one(math.nan)}


class OddWeightsTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.temporary = tempfile.TemporaryDirectory(prefix="rtai-odd-")
        cls.tiny = Tiny(RTAI, MAKER, cls.temporary.name)
        cls.onnx = (cls.tiny.model / "model.onnx").read_bytes()
        cls.tensors = {name: found for name, found in tensors(cls.onnx).items() if found[0]}  # scalars are no weights
        if not ALL:  # one of each shape
            cls.tensors = dict({str(found[0]): (name, found) for name, found in cls.tensors.items()}.values())

    @classmethod
    def tearDownClass(cls):
        cls.temporary.cleanup()

    def commands(self):
        texts = ["--calib", self.tiny.texts]
        work = ["--seq", "8", "--threads", "1"]
        return {"quantize": ["quantize", *work],
                "quantize, static": ["quantize", "--mode", "static", *texts, *work],
                "quantize, auto": ["quantize", *texts, *work],
                "prune": ["prune", "--flops", "2", *texts, *work],
                "prune by magnitude": ["prune", "--flops", "2", "--method", "magnitude", *texts, *work],
                "compile": ["compile"]}

    def changed(self, name, change):
        """A folder with the model whose tensor `name` is changed."""
        folder = pathlib.Path(tempfile.mkdtemp(prefix="model-", dir=self.temporary.name))
        shutil.copytree(self.tiny.model, folder / "model")
        dims, at = self.tensors[name]
        columns = dims[-1]
        count = math.prod(dims)
        values = struct.unpack_from(f"<{count}f", self.onnx, at)
        rows = [list(values[i:i + columns]) for i in range(0, count, columns)]
        change(rows)
        data = bytearray(self.onnx)
        struct.pack_into(f"<{count}f", data, at, *itertools.chain.from_iterable(rows))
        (folder / "model" / "model.onnx").write_bytes(data)
        return folder

    def logits(self, model):
        result = self.tiny.run("run", model, "--data", self.tiny.texts, "--json", "--logits")
        if result.returncode != 0:
            return result
        return [value for line in result.stdout.splitlines() for value in json.loads(line)["logits"]]

    def outcome(self, name, what, change, command):
        """'refused', or whether the answers are 'finite' or 'not finite'; else what is wrong."""
        folder = self.changed(name, change)
        out = folder / "out.rtai"
        words = self.commands()[command]
        result = self.tiny.run(words[0], folder / "model", *words[1:], "-o", out)
        place = f"{command}: {name}: {what}: "
        lines = [line for line in result.stderr.splitlines() if not line.startswith("warning:")]
        if result.returncode == 3 and len(lines) == 1:
            return place, "refused", lines[0]
        if result.returncode == 4 and len(lines) == 1:
            return place, "not understood", lines[0]
        if result.returncode not in (0, MISSED):
            return place, f"exit {result.returncode}", result.stderr
        found = self.logits(out)
        if not isinstance(found, list):
            return place, f"run: exit {found.returncode}", found.stderr
        is_finite = all(isinstance(value, (int, float)) and math.isfinite(value) for value in found)
        shutil.rmtree(folder)
        return place, "finite" if is_finite else "not finite", ""

    def check(self, oddities, allowed):
        commands = list(self.commands())
        turn = itertools.cycle(commands[1:])
        jobs = []
        for name in sorted(self.tensors):
            for what, change in oddities.items():
                for command in commands if ALL else [commands[0], next(turn)]:
                    jobs.append((name, what, change, command))
        with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
            outcomes = list(pool.map(lambda job: self.outcome(*job), jobs))
        counts = {}
        for place, kind, _ in outcomes:
            key = (place.split(":")[0], kind)
            counts[key] = counts.get(key, 0) + 1
        print(f"{len(jobs)} runs: {counts}")
        wrong = [f"{place}{kind} {why}" for place, kind, why in outcomes if kind not in allowed]
        self.assertFalse(wrong, "\n".join([f"{len(wrong)} of {len(jobs)}", *wrong[:20]]))
        return outcomes

    def test_finite_weights(self):
        outcomes = self.check(FINITE, ("finite", "refused"))
        # Only what overflows on the way may be refused: a value of 1e30 squared is beyond a float.
        refused = [f"{place}{why}" for place, kind, why in outcomes if kind == "refused" and "1e30" not in place]
        self.assertEqual(refused, [])

    def test_weights_that_are_no_numbers(self):
        # NaN in a bias of attention differs from itself, and so is taken for a bias that differs from token to token.
        for place, kind, why in self.check(ENDLESS, ("refused", "not understood")):
            if kind == "refused":
                self.assertRegex(why, r"nan|inf", place)
            else:
                self.assertIn("bias", place)


if __name__ == "__main__":
    unittest.main(argv=[sys.argv[0], *[word for word in sys.argv[3:] if word != "--all"]], verbosity=2)
