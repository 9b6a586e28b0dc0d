"""Reports as pipelines and people meet them: schema, pages, summaries, gates.

usage: report_test.py RTAI REPOSITORY [unittest arguments]
"""
import html.parser
import json
import pathlib
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

    def test_markdown_is_added_to_the_summary(self):
        summary = self.folder / "summary.md"
        before = summary.read_text()
        self.assertIn("| size |", before)
        self.ok(rtai("quantize", self.pruned, "-o", self.folder / "q.rtai", "--markdown", summary, "--threads", 1, "--seq", 8))
        self.assertTrue(summary.read_text().startswith(before))
        self.assertIn("### rtai quantize", summary.read_text()[len(before):])

    def test_junit_has_a_case_for_the_verdict(self):
        suite = xml.parse(self.folder / "prune.xml").getroot()
        self.assertEqual((suite.get("tests"), suite.get("failures")), ("1", "0"))
        path = self.folder / "missed.xml"
        self.ok(rtai("prune", DEMO, "-o", self.folder / "missed", "--keep-heads", 0.5, "--method", "magnitude", "--eval", DEMO / "test.jsonl",
                     "--max-drop", 0, "--junit", path, "--threads", 1, "--seq", 8), 7)
        suite = xml.parse(path).getroot()
        self.assertEqual((suite.get("tests"), suite.get("failures")), ("1", "1"))

    def test_dry_run_writes_nothing(self):
        before = set(self.folder.iterdir())
        out = self.ok(rtai("quantize", DEMO, "-o", self.folder / "dry.rtai", "--dry-run"))
        self.assertIn("nothing was written", out)
        self.assertIn("quantize-int8", out)
        self.assertEqual(set(self.folder.iterdir()), before)

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
