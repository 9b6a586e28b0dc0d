"""rtai compare on models with one output and with two, and what rtai run makes of classes and pairs.

usage: compare_test.py RTAI TINY_FOLDER_MAKER [unittest arguments]
"""
import json
import pathlib
import subprocess
import sys
import tempfile
import unittest

RTAI, MAKER = (str(pathlib.Path(path).resolve()) for path in sys.argv[1:3])
SMALL = ["--threads", "1", "--seq", "8"]
FIGURES = {"max_error", "mean_error", "max_relative_error", "nmse", "cosine", "kl", "max_kl"}
QUESTIONS = [{"question": f"word{i} word3", "context": " ".join(f"word{(i * j) % 40}" for j in range(1, 9))} for i in range(8)]


def rtai(*args, stdin=None):
    return subprocess.run([RTAI, *map(str, args)], input=stdin, capture_output=True, text=True, timeout=300)


class Tiny(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        temporary = tempfile.TemporaryDirectory(prefix="rtai-compare-")
        cls.addClassCleanup(temporary.cleanup)
        cls.folder = pathlib.Path(temporary.name)
        subprocess.run([MAKER, cls.folder], check=True)
        cls.model, cls.labelled = cls.folder / "model", cls.folder / "labelled.jsonl"
        cls.texts = (cls.folder / "texts.txt").read_text().splitlines()
        cls.questions, cls.asked = cls.folder / "questions", cls.folder / "asked.jsonl"
        cls.asked.write_text("".join(json.dumps(line) + "\n" for line in QUESTIONS))
        cls.small = {}  # int8 engines
        for model in (cls.model, cls.questions):
            cls.small[model] = cls.folder / f"{model.name}-int8.rtai"
            done = rtai("quantize", model, "-o", cls.small[model], "--mode", "dynamic", *SMALL)
            assert done.returncode == 0, done.stderr

    def ok(self, *args, code=0, **options):
        done = rtai(*args, **options)
        self.assertEqual(done.returncode, code, done.stderr)
        return done.stdout

    def refused(self, code, part, *args, **options):
        done = rtai(*args, **options)
        self.assertEqual((done.returncode, done.stdout), (code, ""), done.stderr)
        self.assertEqual(len(done.stderr.splitlines()), 1, done.stderr)
        self.assertIn(part, done.stderr)

    def compare(self, *args):
        return json.loads(self.ok("compare", *args, "--json", "-", *SMALL))


class CompareTest(Tiny):
    def test_a_classifier(self):
        found = self.compare(self.model, self.small[self.model], "--data", self.labelled)
        self.assertEqual([output["name"] for output in found["outputs"]], ["logits"])
        self.assertEqual(set(found["outputs"][0]), FIGURES | {"name"})
        for figure in FIGURES:
            self.assertEqual(found[figure], found["outputs"][0][figure])
        self.assertLess(0, found["mean_error"])
        self.assertLess(found["mean_error"], found["max_error"])
        self.assertLess(0, found["kl"])
        self.assertLess(found["kl"], found["max_kl"])
        self.assertLess(0, found["max_relative_error"])
        self.assertEqual({worst["output"] for worst in found["worst"]}, {"logits"})

    def test_onnx_and_engines_of_the_same_weights(self):
        engine = self.folder / "again.rtai"
        self.ok("compile", self.model, "-o", engine)
        for first, second in ((self.model, engine), (engine, self.folder / "model.rtai")):
            found = self.compare(first, second, "--data", self.labelled)
            self.assertEqual([found[figure] for figure in sorted(FIGURES - {"cosine", "max_relative_error"})], [0] * 5)
            self.assertEqual((found["agreement"], found["max_relative_error"]), (1, 0))
            self.assertAlmostEqual(found["cosine"], 1)

    def test_every_output_has_figures_and_gates(self):
        pair = (self.questions, self.small[self.questions])
        found = self.compare(*pair, "--data", self.asked)
        start, end = found["outputs"]
        self.assertEqual((start["name"], end["name"]), ("start_logits", "end_logits"))
        self.assertNotEqual(start["max_error"], end["max_error"])
        self.assertEqual(found["max_error"], start["max_error"])
        for output in (start, end):
            self.assertLess(0, output["kl"])
        limits = sorted((start["max_error"], end["max_error"]))
        between = sum(limits) / 2
        larger = "start_logits" if start["max_error"] > end["max_error"] else "end_logits"
        for name in ("start_logits", "end_logits"):
            gate = ["--fail-if", f"{name}.max_error>{between}", "--quiet"]
            self.ok("compare", *pair, "--data", self.asked, *gate, *SMALL, code=7 if name == larger else 0)

    def test_the_table_has_a_line_for_every_output(self):
        text = self.ok("compare", self.questions, self.small[self.questions], "--data", self.asked, *SMALL)
        for part in ("start_logits", "end_logits", "mean error", "max relative", "mean KL", "max KL"):
            self.assertIn(part, text)

    def test_figures_that_there_are_not(self):
        data = ["--data", self.asked, *SMALL]
        pair = (self.questions, self.small[self.questions])
        self.refused(3, "known: cosine, end_logits.cosine,", "compare", *pair, *data, "--fail-if", "pooler_output.max_error>1")
        self.refused(3, "unknown figure 'agreement'", "compare", *pair, *data, "--fail-if", "agreement<1")

    def test_the_worst_samples_are_data_again(self):
        worst = self.folder / "worst.jsonl"
        for model, data, texts in ((self.model, self.labelled, self.texts), (self.questions, self.asked, [q["context"] for q in QUESTIONS])):
            found = self.compare(model, self.small[model], "--data", data, "--worst", 3, "--save-worst", worst)
            lines = data.read_text().splitlines()
            expected = [json.loads(lines[one["sample"] - 1]) for one in found["worst"]]
            self.assertEqual([json.loads(line) for line in worst.read_text().splitlines()], expected)
            self.assertEqual([texts[one["sample"] - 1] for one in found["worst"]], [one["text"] for one in found["worst"]])
            again = self.compare(model, self.small[model], "--data", worst)
            self.assertEqual(again["max_error"], found["max_error"])
        self.refused(2, ".jsonl", "compare", self.model, self.model, "--data", self.labelled, "--save-worst", self.folder / "worst.txt")


class RunTest(Tiny):
    def test_the_best_labels(self):
        whole = json.loads(self.ok("run", self.model, self.texts[0], "--json"))
        order = sorted(whole["scores"], key=lambda label: -whole["scores"][label])
        for count in (1, 2, 3, 9):
            best = json.loads(self.ok("run", self.model, self.texts[0], "--json", "--top-k", count))
            self.assertEqual(list(best["scores"]), order[:count])
            self.assertEqual(best, {**whole, "scores": {label: whole["scores"][label] for label in order[:count]}})
        shares = ", ".join(f"{label} ({100 * whole['scores'][label]:.1f} %)" for label in order[:2])
        self.assertEqual(self.ok("run", self.model, self.texts[0], "--top-k", 2), shares + "\n")

    def test_labels_that_there_are_not(self):
        self.refused(3, "--top-k is for sequence-classification, this model is for question-answering", "run", self.questions,
                     "--question", "word1", "word2", "--top-k", 2)
        self.refused(2, "--top-k", "run", self.model, "word1", "--top-k", 0)
        ids = self.folder / "ids.jsonl"
        ids.write_text('{"input_ids": [2, 5, 3]}\n')
        self.refused(3, "ids.jsonl: sample 1: --top-k", "run", self.model, "--data", ids, "--json", "--top-k", 2)

    def test_pairs_are_the_same_wherever_they_come_from(self):
        pairs = [(self.texts[i], self.texts[i + 1]) for i in (0, 2)]
        data = "".join(json.dumps({"text_a": a, "text_b": b}) + "\n" for a, b in pairs)
        file = self.folder / "pairs.jsonl"
        file.write_text(data)
        expected = self.ok("run", self.model, "--data", file, "--json", "--logits")
        first = json.loads(expected.splitlines()[0])
        self.assertEqual(first["input_ids"].count(3), 2)  # [SEP]
        self.assertEqual((first["text"], first["text_b"]), pairs[0])
        run = ("run", self.model, "--json", "--logits")
        self.assertEqual(self.ok(*run, "--pairs", *pairs[0], *pairs[1]), expected)
        self.assertEqual(self.ok(*run, "--pairs", stdin="".join(f"{a}\t{b}\n" for a, b in pairs)), expected)
        self.assertEqual(self.ok(*run, "--data", "-", stdin=data), expected)
        self.refused(3, "line 1: --pairs: expected two texts", *run, "--pairs", stdin="word1\n")
        self.refused(2, "even number", *run, "--pairs", *self.texts[:3])
        self.refused(2, "--pairs", *run, "--pairs", "--data", file)

    def test_lines_of_standard_input(self):
        self.assertEqual(self.ok("run", self.questions, "--data", "-", "--json", stdin=self.asked.read_text()),
                         self.ok("run", self.questions, "--data", self.asked, "--json"))
        self.refused(3, "standard input: line 2", "run", self.model, "--data", "-", stdin="\n{'text'}\n")
        self.refused(2, "--shard and --batch need a file", "run", self.model, "--data", "-", "--batch", 2)


if __name__ == "__main__":
    unittest.main(argv=[sys.argv[0], *sys.argv[3:]])
