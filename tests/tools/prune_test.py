"""Pruning from the command line: targets met and missed, texts too few or missing, what the report says.

usage: prune_test.py RTAI REPOSITORY [unittest arguments]
Runs the built program on the demo model, in a folder of its own.
"""
import json
import pathlib
import subprocess
import sys
import tempfile
import unittest

RTAI = str(pathlib.Path(sys.argv[1]).resolve())
DEMO = pathlib.Path(sys.argv[2]).resolve() / "models" / "demo-snips"
WORKLOAD = ["--threads", "1", "--seq", "16"]


def rtai(*args):
    return subprocess.run([RTAI, *map(str, args)], capture_output=True, text=True, timeout=600)


class PruneTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.temporary = tempfile.TemporaryDirectory(prefix="rtai-prune-")
        cls.folder = pathlib.Path(cls.temporary.name)
        lines = (DEMO / "calibration.txt").read_text().splitlines()
        cls.texts = cls.folder / "texts.txt"
        cls.texts.write_text("\n".join(lines[:100]) + "\n")
        cls.few = cls.folder / "few.txt"
        cls.few.write_text("\n".join(lines[:3]) + "\n")
        cls.labelled = cls.folder / "labelled.jsonl"
        cls.labelled.write_text("\n".join((DEMO / "test.jsonl").read_text().splitlines()[:60]) + "\n")

    @classmethod
    def tearDownClass(cls):
        cls.temporary.cleanup()

    def prune(self, code, output, *args, calib=True):
        """The report and standard error of a run that exits with `code`."""
        report = self.folder / "report.json"
        report.unlink(missing_ok=True)
        given = ["--calib", self.texts] if calib else []
        result = rtai("prune", DEMO, "-o", self.folder / output, *given, "--report", report, *WORKLOAD, *args)
        self.assertEqual(result.returncode, code, result.stderr or result.stdout)
        return (json.loads(report.read_text()) if report.exists() else None), result.stderr

    def test_fewer_flops_with_the_decisions_of_every_layer(self):
        report, _ = self.prune(0, "half.onnx", "--flops", 2, "--eval", self.labelled, "--seed", 3)
        self.assertEqual(report["verdict"], "met")
        self.assertEqual(report["seed"], 3)
        counters = report["passes"][-1]["counters"]
        self.assertLessEqual(counters["cost predicted"], counters["cost before"] / 2)
        self.assertEqual(len(report["layers"]), 4)
        for layer in report["layers"]:
            self.assertLessEqual(layer["heads"], layer["heads_before"])
            self.assertLessEqual(layer["ffn"], layer["ffn_before"])
            self.assertIsInstance(layer["sensitivity"], float)
        self.assertGreater(len(report["candidates"]), 3)
        self.assertGreater(report["quality"]["after"]["agreement"], 0.5)
        self.assertLess(report["bytes"]["after"], report["bytes"]["before"])
        # The result is an ordinary model: it can be pruned again, or quantized.
        small = self.folder / "small.rtai"
        again = rtai("quantize", self.folder / "half.onnx", "-o", small, *WORKLOAD)
        self.assertEqual(again.returncode, 0, again.stderr)
        self.assertEqual(rtai("verify", small).returncode, 0)

    def optimize(self, code, output, *args):
        report = self.folder / "optimize.json"
        result = rtai("optimize", DEMO, "-o", self.folder / output, "--calib", self.texts, "--report", report,
                      *WORKLOAD, *args)
        self.assertEqual(result.returncode, code, result.stderr or result.stdout)
        return json.loads(report.read_text())

    def test_optimize_does_not_prune_where_int8_is_enough(self):
        report = self.optimize(0, "enough.rtai", "--latency", 1000, "--mode", "auto")
        self.assertEqual([p["name"] for p in report["passes"]], ["quantize-int8"])
        self.assertEqual(report["verdict"], "met")

    def test_optimize_writes_the_least_model_where_the_goal_is_out_of_reach(self):
        report = self.optimize(7, "all.rtai", "--speedup", 900)
        self.assertEqual([p["name"] for p in report["passes"]], ["prune-obs", "quantize-int8"])
        self.assertIn("speedup 900", report["missed"][0])
        self.assertEqual(rtai("verify", self.folder / "all.rtai").returncode, 0)

    def test_the_same_seed_gives_the_same_file(self):
        for name in ("one.rtai", "two.rtai"):
            self.prune(0, name, "--flops", 2)
        self.assertEqual((self.folder / "one.rtai").read_bytes(), (self.folder / "two.rtai").read_bytes())

    def test_a_target_out_of_reach_exits_with_7_and_writes_everything(self):
        report, errors = self.prune(7, "least.rtai", "--speedup", 900)
        self.assertEqual(report["verdict"], "missed")
        self.assertIn("speedup 900", report["missed"][0])
        self.assertIn("gate missed", errors)
        self.assertGreater(len(report["candidates"]), 3)
        self.assertTrue(all(layer["heads"] == 0 and layer["ffn"] == 0 for layer in report["layers"]))
        self.assertEqual(rtai("verify", self.folder / "least.rtai").returncode, 0)

    def test_more_points_lost_than_allowed_exits_with_7(self):
        report, _ = self.prune(7, "bad.rtai", "--method", "magnitude", "--flops", 8, "--eval", self.labelled, "--max-drop", 1)
        self.assertIn("max-drop", report["missed"][0])

    def test_too_few_texts_are_said_to_be_few_and_the_ridge_is_reported(self):
        report, errors = self.prune(0, "few.rtai", "--calib", self.few, "--flops", 2, calib=False)
        counters = report["passes"][-1]["counters"]
        self.assertEqual(counters["calibration tokens needed"], 1024)
        self.assertGreater(counters["ridge"], 0.01)
        self.assertIn("1024 are needed", errors)

    def test_texts_are_asked_for_where_they_are_needed(self):
        for method in ("obs", "wanda", "flap", "kwon"):
            _, errors = self.prune(2, "none.rtai", "--method", method, "--flops", 2, calib=False)
            self.assertIn("--calib", errors)
        self.prune(0, "magnitude.rtai", "--method", "magnitude", "--flops", 2, calib=False)
        self.prune(0, "dropped.rtai", "--drop-layers", "1,3", calib=False)
        self.assertFalse((self.folder / "none.rtai").exists())

    def test_targets_that_contradict_each_other_are_wrong_flags(self):
        self.prune(2, "none.rtai", "--flops", 2, "--speedup", 2)
        self.prune(2, "none.rtai")
        self.prune(2, "none.rtai", "--flops", "0.5")

    def test_texts_that_cannot_be_used(self):
        empty = self.folder / "empty.txt"
        empty.write_text("\n\n")
        for path in (empty, self.folder / "missing.txt"):
            _, errors = self.prune(3, "none.rtai", "--calib", path, "--flops", 2, calib=False)
            self.assertIn(path.name, errors)


if __name__ == "__main__":
    unittest.main(argv=[sys.argv[0], *sys.argv[3:]])
