"""Measurements and reports as pipelines meet them: schemas, formats, pages, gates against a baseline.

usage: report_test.py RTAI REPOSITORY [unittest arguments]
"""
import csv
import html.parser
import io
import json
import pathlib
import re
import subprocess
import sys
import tempfile
import unittest
import xml.etree.ElementTree as xml

try:
    import jsonschema
except ImportError:
    print("skipped: python3-jsonschema is not installed")
    sys.exit(77)

RTAI = str(pathlib.Path(sys.argv[1]).resolve())
REPOSITORY = pathlib.Path(sys.argv[2]).resolve()
DEMO = REPOSITORY / "models" / "demo-snips"
SMALL = ["--threads", "1", "--seq", "8", "--iterations", "6", "--warmup", "1"]


def rtai(*args, cwd=None):
    return subprocess.run([RTAI, *map(str, args)], capture_output=True, text=True, cwd=cwd, timeout=600)


def schema(name):
    return json.loads((REPOSITORY / "docs" / "schemas" / name).read_text())


class PageReader(html.parser.HTMLParser):
    """Tags that must be closed are, and nothing is fetched."""

    VOID = {"meta"}

    def __init__(self):
        super().__init__()
        self.open, self.problems, self.words = [], [], ""

    def handle_starttag(self, tag, attributes):
        self.problems += [f"{tag} {name}={value}" for name, value in attributes if name in ("src", "href") or "http" in (value or "")]
        if tag in ("script", "link", "img", "iframe"):
            self.problems.append(tag)
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.handle_starttag(tag, attributes)
        if tag not in self.VOID:
            self.open.pop()

    def handle_endtag(self, tag):
        if not self.open or self.open.pop() != tag:
            self.problems.append(f"</{tag}>")

    def handle_data(self, data):
        self.words += data


class ReportTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.temporary = tempfile.TemporaryDirectory(prefix="rtai-report-")
        cls.folder = pathlib.Path(cls.temporary.name)
        cls.engine = cls.folder / "a & <b>.rtai"  # names that markup must survive
        cls.pruned = cls.folder / "pruned"
        rtai("compile", DEMO, "-o", cls.engine)
        cls.optimized = rtai("prune", DEMO, "-o", cls.pruned, "--flops", 1.5, "--calib", DEMO / "calibration.txt", "--calib-texts", 64,
                             "--report", cls.folder / "prune.json", "--html", cls.folder / "prune.html",
                             "--markdown", cls.folder / "summary.md", "--junit", cls.folder / "prune.xml", "--threads", 1, "--seq", 8)

    @classmethod
    def tearDownClass(cls):
        cls.temporary.cleanup()

    def ok(self, result, code=0):
        self.assertEqual(result.returncode, code, result.stderr or result.stdout)
        return result.stdout

    def page(self, path):
        reader = PageReader()
        text = path.read_text()
        reader.feed(text)
        self.assertEqual(reader.problems, [])
        self.assertEqual(reader.open, [])
        self.assertIn("prefers-color-scheme:dark", text)
        self.assertIn("@media print", text)
        return reader.words

    def test_bench_json_follows_its_schema(self):
        out = self.ok(rtai("bench", self.engine, self.pruned, "--profile", "--fail-if", "p50_ms>1000", "--json", "-", *SMALL))
        document = json.loads(out)
        jsonschema.validate(document, schema("bench-1.json"))
        first, second = document["results"]
        self.assertNotIn("relative", first)
        low, ratio, high = (second["relative"][key] for key in ("low", "ratio", "high"))
        self.assertLessEqual(low, high)
        self.assertGreater(ratio, 0)
        self.assertIsNone(first["stable"])  # six runs tell nothing
        self.assertIn("too few", first["unstable_because"])
        self.assertTrue(all(gate["passed"] for gate in first["gates"]))

    def test_phases_follow_the_schema(self):
        texts = self.folder / "texts.txt"
        texts.write_text("play it\nstop\n")
        out = self.ok(rtai("bench", self.engine, "--lengths", texts, "--streams", 2, "--threads", 2, "--iterations", 6, "--warmup", 1,
                           "--html", self.folder / "phases.html", "--json", "-"))
        jsonschema.validate(json.loads(out), schema("bench-1.json"))
        self.assertIn("tokenization", self.page(self.folder / "phases.html"))

    def test_enough_runs_tell_whether_they_are_stable(self):
        out = self.ok(rtai("bench", self.engine, "--threads", 1, "--seq", 8, "--iterations", 60, "--json", "-"))
        result = json.loads(out)["results"][0]
        windows = result["window_p50_ms"]
        self.assertEqual(len(windows), 3)
        self.assertEqual(result["stable"], max(windows) <= 1.1 * min(windows))
        self.assertEqual(result["stable"], result["unstable_because"] is None)
        self.assertGreaterEqual(result["iterations"], 60)

    def test_optimization_report_follows_its_schema(self):
        self.ok(self.optimized)
        report = json.loads((self.folder / "prune.json").read_text())
        jsonschema.validate(report, schema("optimization-1.json"))

    def test_a_broken_document_does_not_follow_the_schema(self):
        report = json.loads((self.folder / "prune.json").read_text())
        report["bytes"]["before"] = "8 MB"
        with self.assertRaises(jsonschema.ValidationError):
            jsonschema.validate(report, schema("optimization-1.json"))

    def test_pages_are_whole_and_need_no_network(self):
        words = self.page(self.folder / "prune.html")
        for part in ("met", "Before and after", "Layer by layer", "Quality against speed", "chosen", "prune-obs"):
            self.assertIn(part, words)
        bench = self.folder / "bench.html"
        self.ok(rtai("bench", self.engine, self.pruned, "--profile", "--html", bench, *SMALL))
        words = self.page(bench)
        for part in ("a & <b>.rtai", "p99", "linear_f32", "layer 0", "of the machine's limit", "not in the latency"):
            self.assertIn(part, words)

    def test_markdown_is_added_to_the_summary(self):
        summary = self.folder / "summary.md"
        self.assertIn("| size |", summary.read_text())
        before = summary.read_text()
        self.ok(rtai("bench", self.engine, "--markdown", summary, *SMALL))
        self.assertTrue(summary.read_text().startswith(before))
        self.assertIn("### rtai bench", summary.read_text()[len(before):])

    def test_junit_has_a_case_for_each_gate(self):
        self.assertEqual(xml.parse(self.folder / "prune.xml").getroot().get("failures"), "0")
        path = self.folder / "bench.xml"
        gates = ["--fail-if", "p50_ms>1000", "--fail-if", "p50_ms>0"]
        self.ok(rtai("bench", self.engine, "--junit", path, *gates, *SMALL), 7)
        suite = xml.parse(path).getroot()
        self.assertEqual((suite.get("tests"), suite.get("failures")), ("2", "1"))
        self.assertEqual([case.find("failure") is not None for case in suite], [False, True])

    def test_a_missed_goal_is_a_failed_case(self):
        path = self.folder / "missed.xml"
        self.ok(rtai("prune", DEMO, "-o", self.folder / "missed", "--keep-heads", 0.5, "--method", "magnitude", "--eval", DEMO / "test.jsonl",
                     "--max-drop", 0, "--junit", path, "--threads", 1, "--seq", 8), 7)
        suite = xml.parse(path).getroot()
        self.assertEqual((suite.get("tests"), suite.get("failures")), ("1", "1"))

    def test_every_goal_and_gate_gets_a_verdict(self):
        out, page, summary, cases = (self.folder / name for name in ("judged.rtai", "judged.html", "judged.md", "judged.xml"))
        texts = self.folder / "judged.txt"
        texts.write_text("play some music\nrate this book five stars\n")
        text = self.ok(rtai("optimize", DEMO, "-o", out, "--calib", texts, "--eval", DEMO / "test.jsonl", "--latency", 1000, "--max-drop", -50,
                            "--lengths", texts, "--threads", 1, "--html", page, "--markdown", summary, "--junit", cases), 7)
        self.assertRegex(text, r"latency of batch 1, 6\.0 tokens on average, 1 thread, both models in turn\n"
                               r"met: latency 1000 ms: \d\.\d+ ms measured\nmissed: max-drop -50: -?\d\.\d\d points of span_f1 lost\nhint: ")
        self.assertIn(f"wrote {out}, {page}, {summary}, {cases} in ", text)
        for file in (page, summary):
            self.assertRegex(file.read_text(), "Met: latency 1000 ms: [^<]*")
            self.assertRegex(file.read_text(), "Missed: max-drop -50: [^<]*")
            self.assertIn("Latencies are of batch 1, 6.0 tokens on average, 1 thread", file.read_text())
        suite = xml.parse(cases).getroot()
        self.assertEqual([case.get("name").split(": ")[-1] for case in suite], ["latency 1000 ms", "max-drop -50"])
        self.assertEqual([case.find("failure") is not None for case in suite], [False, True])

    def test_quality_that_nothing_judged_is_said(self):
        text = self.ok(rtai("quantize", DEMO, "-o", self.folder / "unjudged.rtai", "--threads", 1, "--seq", 8))
        self.assertIn("quality was not judged", text)

    def test_dry_run_writes_nothing(self):
        before = set(self.folder.iterdir())
        out = self.ok(rtai("quantize", DEMO, "-o", self.folder / "dry.rtai", "--dry-run"))
        self.assertIn("nothing was written", out)
        self.assertIn("quantize-int8", out)
        self.assertEqual(set(self.folder.iterdir()), before)

    def test_formats(self):
        both = [self.engine, self.pruned]
        lines = self.ok(rtai("bench", *both, "--format", "jsonl", *SMALL)).splitlines()
        self.assertEqual([json.loads(line)["model"] for line in lines], [str(path) for path in both])
        rows = list(csv.DictReader(io.StringIO(self.ok(rtai("bench", *both, "--format", "csv", *SMALL)))))
        self.assertEqual(rows[0]["model"], str(self.engine))
        self.assertGreater(float(rows[1]["p99_ms"]), 0)
        entries = json.loads(self.ok(rtai("bench", self.engine, "--format", "gha", *SMALL)))
        self.assertEqual({tuple(sorted(entry)) for entry in entries}, {("extra", "name", "range", "unit", "value")})
        self.assertEqual(xml.fromstring(self.ok(rtai("bench", self.engine, "--format", "junit", *SMALL))).tag, "testsuite")
        self.assertIn("| --- |", self.ok(rtai("bench", self.engine, "--format", "md", *SMALL)))
        jsonschema.validate(json.loads(self.ok(rtai("bench", self.engine, "--format", "json", *SMALL))), schema("bench-1.json"))

    def test_sweep_measures_every_combination(self):
        out = self.ok(rtai("bench", self.engine, "--sweep", "batch=1,3 seq=8..32*2", "--format", "csv", "--threads", 1, "--iterations", 3))
        rows = [(row["batch"], row["seq"]) for row in csv.DictReader(io.StringIO(out))]
        self.assertEqual(rows, [(b, s) for b in ("1", "3") for s in ("8", "16", "32")])
        for wrong in ("batch", "batch=", "depth=3", "seq=8..4*2", "seq=8..64*1", "seq=8..64", "batch=0", ""):
            with self.subTest(wrong):
                result = rtai("bench", self.engine, "--sweep", wrong, *SMALL)
                self.assertEqual(result.returncode, 3)
                self.assertIn("--sweep", result.stderr)

    def test_lengths_come_from_texts(self):
        texts = self.folder / "texts.txt"
        texts.write_text("play\nplay the new album by westbam on google music\n")
        result = json.loads(self.ok(rtai("bench", self.engine, "--lengths", texts, "--json", "-", *SMALL[:2], "--iterations", 6)))["results"][0]
        self.assertIsNone(result["seq"])
        self.assertGreater(result["tokens"], 4)  # the mean of 3 and more than 9
        numbers = self.folder / "lengths.txt"
        numbers.write_text("4\n8\n")
        result = json.loads(self.ok(rtai("bench", self.engine, "--lengths", numbers, "--json", "-", *SMALL[:2], "--iterations", 6)))["results"][0]
        self.assertEqual(result["tokens"], 6)

    def test_gates_against_a_baseline(self):
        saved = self.folder / "baseline.json"
        self.ok(rtai("bench", self.engine, "--save", saved, *SMALL))
        # What was ten thousand times slower is beaten by today's run, what was as much faster is not.
        document = json.loads(saved.read_text())
        figures = document["results"][0]["latency_ms"]
        for factor, code in ((1e4, 0), (1e-4, 7)):
            document["results"][0]["latency_ms"] = {key: value * factor for key, value in figures.items()}
            changed = self.folder / "changed.json"
            changed.write_text(json.dumps(document))
            result = rtai("bench", self.engine, "--against", changed, "--fail-if", "p50_ms>1.05*baseline", *SMALL)
            self.ok(result, code)
            self.assertIn("to baseline", result.stdout)
        self.assertIn("p50_ms>1.05*baseline", result.stderr)
        other = rtai("bench", self.engine, "--against", saved, "--seq", 16, "--threads", 1, "--iterations", 3)
        self.assertEqual(other.returncode, 3)
        self.assertIn("no result for", other.stderr)
        none = rtai("bench", self.engine, "--fail-if", "p50_ms>1.05*baseline", *SMALL)
        self.assertEqual(none.returncode, 3)
        self.assertIn("no baseline", none.stderr)
        broken = self.folder / "broken.json"
        broken.write_text('{"results": [3]}')
        self.assertEqual(rtai("bench", self.engine, "--against", broken, *SMALL).returncode, 3)

    def test_the_first_model_is_a_baseline_too(self):
        self.ok(rtai("bench", self.engine, self.engine, "--fail-if", "p50_ms>1000*baseline", *SMALL))
        self.ok(rtai("bench", self.engine, self.engine, "--fail-if", "p50_ms>0.001*baseline", *SMALL), 7)

    def test_relative_says_how_sure_it_is(self):
        out = self.ok(rtai("bench", self.engine, self.engine, "--relative", "--threads", 1, "--seq", 8, "--iterations", 60))
        self.assertRegex(out, r"against .*: (no difference shown|\d\.\d\dx \+- \d\.\d\d (faster|slower))")

    def test_the_table_and_the_verdict_say_the_same_speed_up(self):
        int8 = self.folder / "int8.rtai"
        self.ok(rtai("quantize", DEMO, "-o", int8, "--threads", 1))
        out = self.ok(rtai("bench", DEMO, int8, "--relative", "--threads", 1, "--seq", 64, "--iterations", 30))
        in_table = re.search(rf"^{int8} .* (\d+\.\d\dx)", out, re.MULTILINE).group(1)
        self.assertIn(f"{int8} against {DEMO}: {in_table} +- ", out)

    def test_inspect_shows_what_pruning_left(self):
        inspected = json.loads(self.ok(rtai("inspect", self.pruned, "--json", "-")))
        architecture, layers = inspected["architecture"], inspected["layers"]
        self.assertEqual(architecture["heads"], [layer["heads"] for layer in layers])
        self.assertEqual(architecture["ffn"], [layer["ffn"] for layer in layers])
        self.assertLess(sum(architecture["heads"]) + sum(architecture["ffn"]), 4 * (4 + 512))
        self.assertIn(f"FFN          {' '.join(map(str, architecture['ffn']))}", self.ok(rtai("inspect", self.pruned)))

    def test_inspect_draws_the_graph(self):
        path = self.folder / "graph.svg"
        self.ok(rtai("inspect", self.engine, "--svg", path))
        drawing = xml.parse(path).getroot()
        words = [node.text for node in drawing.iter() if node.tag.endswith("text")]
        self.assertIn("layer.0.qkv", words)
        self.assertIn("128 -> 384", words)
        self.assertIn("4 heads of 32", words)


if __name__ == "__main__":
    unittest.main(argv=[sys.argv[0], *sys.argv[3:]])
