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

    def test_the_fastest_that_a_drop_allows(self):
        report = self.optimize(0, "fastest.rtai", "--fastest", "--max-drop", 10, "--calib-texts", 40)
        tried = {one["pruning"]: one["points_lost"] for one in report["tried"]}
        self.assertIn(len(tried), range(1, 5))
        kept = [ratio for ratio, lost in tried.items() if lost <= 10]
        self.assertTrue(kept, tried)
        # What was written is the fastest of what may be kept.
        self.assertAlmostEqual(100 * (1 - report["quality"]["after"]["agreement"]), tried[max(kept)], places=6)
        self.assertEqual([one["name"] for one in report["passes"]], ["prune-obs", "quantize-int8"])
        self.assertLess(sum(layer["ffn"] for layer in report["layers"]), 4 * 512)

    def test_a_drop_that_nothing_keeps_leaves_int8_alone(self):
        report = self.optimize(7, "nothing-kept.rtai", "--fastest", "--max-drop", -1, "--calib-texts", 40)
        self.assertEqual([one["name"] for one in report["passes"]], ["quantize-int8"])
        self.assertEqual([layer["ffn"] for layer in report["layers"]], [512] * 4)

    def test_optimize_does_not_prune_where_int8_is_enough(self):
        report = self.optimize(0, "enough.rtai", "--latency", 1000, "--mode", "auto")
        self.assertEqual([p["name"] for p in report["passes"]], ["quantize-int8"])
        self.assertEqual(report["verdict"], "met")

    def test_optimize_can_keep_weights_in_4_bits(self):
        report = self.optimize(0, "four.rtai", "--latency", 1000, "--weights", "int4", "--group", 32, "--max-drop", 5)
        self.assertEqual((report["request"]["weights"], report["request"]["group"]), ("int4", 32))
        self.assertEqual(report["passes"][-1]["counters"]["linear layers in 4 bits"], 8)

    def test_optimize_writes_the_least_model_where_the_goal_is_out_of_reach(self):
        # The largest ratio: what int8 leaves to be won may be more, where int8 is slower.
        report = self.optimize(7, "all.rtai", "--speedup", 1000)
        self.assertEqual([p["name"] for p in report["passes"]], ["prune-obs", "quantize-int8"])
        self.assertIn("speedup 1000", report["missed"][0])
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
        self.assertEqual(rtai("verify", self.folder / "least.rtai").returncode, 0)

    def test_a_target_of_nearly_all_flops_leaves_nothing_that_costs(self):
        # By FLOPs: a measured table may find that some heads take no time at all.
        report, _ = self.prune(0, "nothing.rtai", "--flops", 900)
        self.assertTrue(all(layer["heads"] == 0 and layer["ffn"] == 0 for layer in report["layers"]))

    def test_more_points_lost_than_allowed_exits_with_7(self):
        report, _ = self.prune(7, "bad.rtai", "--method", "magnitude", "--flops", 8, "--eval", self.labelled, "--max-drop", 1)
        self.assertIn("max-drop", report["missed"][0])

    def test_too_few_texts_are_said_to_be_few_and_the_ridge_is_reported(self):
        report, errors = self.prune(0, "few.rtai", "--calib", self.few, "--flops", 2, calib=False)
        counters = report["passes"][-1]["counters"]
        self.assertEqual(counters["calibration tokens needed"], 1024)
        self.assertGreater(counters["ridge"], 0.01)
        self.assertIn("1024 are needed", errors)

    def test_refinement_takes_its_time_and_is_reported(self):
        report, _ = self.prune(0, "refined.rtai", "--flops", 3, "--refine", 2)
        counters = report["passes"][-1]["counters"]
        self.assertEqual(report["request"]["refine_s"], 2)
        self.assertGreater(counters["refinement steps"], 0)
        self.assertLessEqual(counters["divergence on fresh texts"], counters["divergence before refinement"])
        _, errors = self.prune(2, "none.rtai", "--flops", 2, "--method", "wanda", "--refine", 2)
        self.assertIn("--refine", errors)

    def test_texts_are_asked_for_where_they_are_needed(self):
        for method in ("obs", "wanda", "flap", "kwon"):
            _, errors = self.prune(2, "none.rtai", "--method", method, "--flops", 2, calib=False)
            self.assertIn("--calib", errors)
        self.prune(0, "magnitude.rtai", "--method", "magnitude", "--flops", 2, calib=False)
        self.prune(0, "dropped.rtai", "--drop-layers", "1,3", calib=False)
        self.assertFalse((self.folder / "none.rtai").exists())

    def test_optimize_asks_for_texts_before_it_does_anything(self):
        result = rtai("optimize", DEMO, "-o", self.folder / "none.rtai", "--speedup", 2, *WORKLOAD)
        self.assertEqual(result.returncode, 2)
        self.assertIn("--calib", result.stderr)

    def test_whole_layers_go_until_the_target_is_met(self):
        report, _ = self.prune(0, "layers.rtai", "--drop-layers", "auto", "--flops", 2)
        kept = [(layer["heads"], layer["ffn"]) for layer in report["layers"]]
        self.assertEqual(kept.count((0, 0)), 2)
        whole = [(layer["heads_before"], layer["ffn_before"]) for layer in report["layers"]]
        self.assertTrue(all(k in ((0, 0), w) for k, w in zip(kept, whole)))
        for flags in (["auto"], ["auto", "--flops", 2, "--method", "wanda"], ["1", "--flops", 2]):
            _, errors = self.prune(2, "none.rtai", "--drop-layers", *flags)
            self.assertIn("--drop-layers", errors)

    def test_controls_stand_beside_the_front(self):
        report, _ = self.prune(0, "beside.rtai", "--flops", 2, "--controls", "--eval", self.labelled)
        chosen = [c for c in report["candidates"] if c.get("chosen")]
        controls = {c["method"]: c for c in report["candidates"] if c.get("control")}
        self.assertEqual(len(chosen), 1)
        self.assertEqual({"magnitude", "wanda", "flap", "kwon"}, set(controls))
        for control in controls.values():
            self.assertGreater(control["divergence"], chosen[0]["divergence"])
            self.assertAlmostEqual(control["cost"] / chosen[0]["cost"], 1, delta=0.1)
            self.assertIsInstance(control["quality"]["value"], float)

    def test_where_the_time_is_over_the_best_model_so_far_is_written(self):
        report, errors = self.prune(0, "hasty.rtai", "--flops", 2, "--time-budget", "0.01")
        self.assertIn("the time is over", errors)
        self.assertEqual(report["verdict"], "met")
        self.assertEqual(rtai("verify", self.folder / "hasty.rtai").returncode, 0)

    def prune_vocab(self, code, output, *args):
        report = self.folder / "vocab.json"
        result = rtai("prune-vocab", DEMO, "-o", self.folder / output, "--report", report, *WORKLOAD, *args)
        self.assertEqual(result.returncode, code, result.stderr or result.stdout)
        return json.loads(report.read_text()) if code == 0 else result.stderr

    def test_tokens_that_no_text_needs_are_dropped_and_texts_read_as_before(self):
        report = self.prune_vocab(0, "vocab", "--calib", self.texts)
        self.assertEqual(report["quality"]["after"]["agreement"], 1)
        counters = report["passes"][-1]["counters"]
        vocabulary = (self.folder / "vocab" / "vocab.txt").read_text().splitlines()
        self.assertEqual(counters["tokens kept"], len(vocabulary))
        self.assertLess(counters["tokens kept"], 0.5 * counters["tokens before"])
        self.assertLess(report["bytes"]["after"], report["bytes"]["before"])
        # The engine reads a known text as the folder does.
        self.prune_vocab(0, "vocab.rtai", "--calib", self.texts)
        known = self.texts.read_text().splitlines()[0]
        self.assertEqual(self.read(self.folder / "vocab.rtai", known)["logits"],
                         self.read(self.folder / "vocab", known)["logits"])
        # What the texts never had is read in smaller pieces, and is unknown only if it always was.
        text = "quixotic zebras\u2603 w\u00e4hlen \u4e2d"
        before, after = (self.pieces(model, text) for model in (DEMO, self.folder / "vocab"))
        self.assertGreater(len(after), len(before))
        self.assertEqual(after.count("[UNK]"), before.count("[UNK]"))

    def read(self, model, text):
        """What the model says, with ids and logits."""
        return json.loads(rtai("run", model, text, "--json", "--logits").stdout)

    def pieces(self, folder, text):
        vocabulary = (folder / "vocab.txt").read_text().splitlines()
        return [vocabulary[i] for i in self.read(folder, text)["input_ids"]]

    def test_tokens_can_be_listed(self):
        words = [w for w in (DEMO / "vocab.txt").read_text().splitlines() if w.isalpha() and len(w) > 3][:50]
        listed = self.folder / "listed.txt"
        listed.write_text("\n".join(words) + "\n")
        self.prune_vocab(0, "listed", "--calib", self.texts, "--keep", listed)
        kept = (self.folder / "listed" / "vocab.txt").read_text().splitlines()
        self.assertLessEqual(set(words), set(kept))
        listed.write_text("nosuchtokenanywhere\n")
        self.assertIn("no token of this model", self.prune_vocab(3, "none", "--calib", self.texts, "--keep", listed))
        self.assertIn("--calib", self.prune_vocab(2, "none"))

    def test_a_model_without_a_tokenizer_has_no_vocabulary_to_prune(self):
        bare = self.folder / "bare"
        bare.mkdir()
        (bare / "model.onnx").write_bytes((DEMO / "model.onnx").read_bytes())
        ids = self.folder / "ids.jsonl"
        ids.write_text('{"input_ids": [2, 5, 3]}\n')
        result = rtai("prune-vocab", bare, "-o", self.folder / "none", "--calib", ids, *WORKLOAD)
        self.assertEqual(result.returncode, 4, result.stderr)
        self.assertIn("tokenizer", result.stderr)

    def test_a_budget_of_parameters(self):
        self.prune(0, "small.onnx", "--params", "1.7M")
        inspected = rtai("inspect", self.folder / "small.onnx", "--json", "-")
        parameters = json.loads(inspected.stdout)["parameters"]
        self.assertLessEqual(parameters, 1_700_000)
        self.assertGreater(parameters, 1_600_000)
        self.prune(7, "none.onnx", "--params", "10K")
        self.prune(2, "none.onnx", "--params", "0")

    def test_targets_that_contradict_each_other_are_wrong_flags(self):
        self.prune(2, "none.rtai", "--flops", 2, "--speedup", 2)
        self.prune(2, "none.rtai")
        self.prune(2, "none.rtai", "--flops", "0.5")

    def test_times_may_have_units_and_are_above_zero(self):
        plan = rtai("prune", DEMO, "-o", self.folder / "plan.onnx", "--latency", "5ms", "--time-budget", "2min",
                    "--calib", self.texts, "--dry-run")
        self.assertEqual(plan.returncode, 0, plan.stderr)
        self.assertIn("latency-ms=5", plan.stdout)
        for value in ("0", "-5ms", "5 parsecs", "nan"):
            wrong = rtai("prune", DEMO, "-o", self.folder / "plan.onnx", "--latency", value)
            self.assertEqual(wrong.returncode, 2)
            self.assertRegex(wrong.stderr, r"^rtai: --latency: .{10,90}\n$")

    def test_texts_that_cannot_be_used(self):
        empty = self.folder / "empty.txt"
        empty.write_text("\n\n")
        for path in (empty, self.folder / "missing.txt"):
            _, errors = self.prune(3, "none.rtai", "--calib", path, "--flops", 2, calib=False)
            self.assertIn(path.name, errors)


if __name__ == "__main__":
    unittest.main(argv=[sys.argv[0], *sys.argv[3:]])
