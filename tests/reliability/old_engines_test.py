"""Engines that were made by earlier versions still open, verify and answer as they did.

usage: old_engines_test.py RTAI TINY_FOLDER [--all]
One of each way of computing: tests/data/engines/NAME.rtai with NAME.answers.jsonl, what `rtai run --json --logits` said
then to NAME's texts, which are the "text" of its lines. Written by hand once for each version of the format:
rtai quantize and compile on what TINY_FOLDER writes. (Answers of int8 engines once more when their gelu became another polynomial:
integers on the edge round to their neighbours, which changes logits by up to 0.02.)
"""
import json
import pathlib
import sys
import tempfile
import unittest

from tiny import Tiny

RTAI, MAKER = sys.argv[1:3]
ENGINES = pathlib.Path(__file__).resolve().parent.parent / "data" / "engines"
MOST = 1e-4  # floats: instruction sets round differently; integers are the same on all


class OldEnginesTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.temporary = tempfile.TemporaryDirectory(prefix="rtai-old-")
        cls.tiny = Tiny(RTAI, MAKER, cls.temporary.name)

    @classmethod
    def tearDownClass(cls):
        cls.temporary.cleanup()

    def test_each_answers_as_it_did(self):
        answers = sorted(ENGINES.glob("*.answers.jsonl"))
        self.assertGreaterEqual(len(answers), 3)
        for path in answers:
            engine = ENGINES / path.name.replace(".answers.jsonl", ".rtai")
            with self.subTest(engine.name):
                self.assertEqual(self.tiny.run("verify", engine).returncode, 0)
                most = MOST if "f32" in engine.name else 0.0
                before = [json.loads(line) for line in path.read_text().splitlines()]
                texts = "".join(line["text"] + "\n" for line in before)
                for target in ([], ["--target", "ref"]):
                    result = self.tiny.run("run", engine, "--json", "--logits", *target, stdin=texts)
                    self.assertEqual(result.returncode, 0, result.stderr)
                    now = [json.loads(line) for line in result.stdout.splitlines()]
                    self.assertEqual(len(now), len(before))
                    for old, new in zip(before, now):
                        self.assertEqual((new["label"], new["input_ids"]), (old["label"], old["input_ids"]))
                        for a, b in zip(old["logits"], new["logits"], strict=True):
                            self.assertLessEqual(abs(a - b), most)


if __name__ == "__main__":
    unittest.main(argv=[sys.argv[0], *[word for word in sys.argv[3:] if word != "--all"]], verbosity=2)
