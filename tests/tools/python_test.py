"""The Python package answers as the program does, says what is wrong, and does not hold Python's lock.

usage: python_test.py RTAI TINY_FOLDER_MAKER PACKAGE_FOLDER TOKEN_MODEL
PACKAGE_FOLDER holds rtai/; TOKEN_MODEL answers with a row for each token. Skipped (77) where NumPy is missing.
"""
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import threading
import unittest

try:
    import numpy as np
except ModuleNotFoundError:  # Debian's python3-numpy belongs to Debian's Python
    debian = "/usr/bin/python3"
    if pathlib.Path(sys.executable) == pathlib.Path(debian) or not os.path.exists(debian):
        print("not run: NumPy is not installed")
        sys.exit(77)
    os.execv(debian, [debian, *sys.argv])

RTAI, MAKER, PACKAGE, TOKEN_MODEL = sys.argv[1:5]
sys.path.insert(0, PACKAGE)
import rtai  # noqa: E402

TEXTS = ["word1 word2 word3", "word4", "word5 " * 9]


class PythonTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.temporary = tempfile.TemporaryDirectory(prefix="rtai-python-")
        subprocess.run([MAKER, cls.temporary.name], check=True)
        cls.path = pathlib.Path(cls.temporary.name) / "model.rtai"
        cls.engine = rtai.Engine(cls.path)

    @classmethod
    def tearDownClass(cls):
        cls.temporary.cleanup()

    def program(self, engine, texts):
        """What `rtai run` says."""
        data = pathlib.Path(self.temporary.name) / "data.txt"
        data.write_text("\n".join(texts))
        lines = subprocess.run([RTAI, "run", engine, "--data", data, "--json", "--logits"], text=True, check=True,
                               capture_output=True).stdout
        return [json.loads(line)["logits"] for line in lines.splitlines()]

    def test_a_row_for_each_text(self):
        logits = self.engine(TEXTS)
        self.assertEqual((logits.dtype, logits.shape), (np.float32, (3, len(self.engine.labels))))
        np.testing.assert_array_equal(logits, np.float32(self.program(self.path, TEXTS)))

    def test_a_row_for_each_token(self):
        path = pathlib.Path(self.temporary.name) / "tokens.rtai"
        subprocess.run([RTAI, "compile", TOKEN_MODEL, "-o", path, "--quiet"], check=True)
        engine = rtai.Engine(path)
        texts = ["play the new album", "what is the weather in boston", "hi"]
        answers = engine(texts)
        self.assertEqual([len(rows) for rows in answers], [len(ids) for ids in engine.tokenize(texts)])
        for text, rows in zip(texts, answers):
            np.testing.assert_array_equal(rows, engine(text))

    def test_answers_do_not_depend_on_the_batch(self):
        together = self.engine(TEXTS * 20)
        np.testing.assert_array_equal(together, self.engine(TEXTS * 20, batch_size=7))
        np.testing.assert_array_equal(together[:3], np.stack([self.engine(text) for text in TEXTS]))
        ids = self.engine.tokenize(TEXTS)
        for segments in (None, [[0] * len(sequence) for sequence in ids]):
            np.testing.assert_array_equal(together[:3], self.engine.run_ids(ids, segments)["logits"])

    def test_pairs_and_classes_are_those_of_the_program(self):
        data = pathlib.Path(self.temporary.name) / "pairs.jsonl"
        data.write_text("".join(json.dumps({"text_a": a, "text_b": b}) + "\n" for a, b in zip(TEXTS, TEXTS[::-1])))
        lines = [json.loads(line) for line in subprocess.run(
            [RTAI, "run", self.path, "--data", data, "--json", "--logits"], text=True, check=True, capture_output=True
        ).stdout.splitlines()]
        logits = self.engine.run(TEXTS, TEXTS[::-1])["logits"]
        self.assertEqual(logits.tolist(), [line["logits"] for line in lines])
        classes, scores = self.engine.classify(logits)
        self.assertEqual([self.engine.label(i) for i in classes], [line["label"] for line in lines])
        self.assertEqual(scores.tolist(), [list(line["scores"].values()) for line in lines])
        self.assertEqual(self.engine.classify(np.eye(3, dtype=np.float32))[0].tolist(), [0, 1, 2])
        self.assertEqual(self.engine.label(3), "LABEL_3")

    def test_an_engine_in_memory(self):
        expected = self.engine(TEXTS)
        file = self.path.read_bytes()
        room = np.zeros(len(file) + 64, np.uint8)
        aligned = room[-room.ctypes.data % 64:][:len(file)]
        aligned[:] = np.frombuffer(file, np.uint8)
        shifted = np.frombuffer(b"x" + file, np.uint8)[1:]
        engines = [rtai.Engine(aligned)]  # may change: is copied
        aligned[:] = 0
        aligned[:] = np.frombuffer(file, np.uint8)
        aligned.setflags(write=False)
        engines += [rtai.Engine(data) for data in (file, memoryview(file), shifted, aligned)]
        del room, aligned, shifted
        for engine in engines:
            np.testing.assert_array_equal(engine(TEXTS), expected)

    def test_no_texts_have_no_rows(self):
        self.assertEqual(self.engine([]).shape, (0, len(self.engine.labels)))

    def test_answers_outlive_the_engine_and_the_next_run(self):
        engine = rtai.Engine(self.path, threads=1)
        first = engine(TEXTS)
        kept = first.copy()
        engine(["word9 word8"] * 3)
        del engine
        np.testing.assert_array_equal(first, kept)

    def test_what_is_wrong_is_said(self):
        damaged = pathlib.Path(self.temporary.name) / "damaged.rtai"
        data = bytearray(self.path.read_bytes())
        data[-1] ^= 1
        damaged.write_bytes(data)
        for error, message, call in (
                (FileNotFoundError, "no such file", lambda: rtai.Engine("/absent.rtai")),
                (ValueError, "not an rtai engine", lambda: rtai.Engine(__file__)),
                (rtai.Error, "damaged", lambda: rtai.Engine(damaged)),
                (rtai.Error, "unknown target", lambda: rtai.Engine(self.path, target="z80")),
                (ValueError, "999999 is outside", lambda: self.engine.run_ids([[999999]])),
                (ValueError, "sequence 0 is empty", lambda: self.engine.run_ids([[]])),
                (ValueError, "one for each id of sequence 0", lambda: self.engine.run_ids([[1, 2]], [[0]])),
                (ValueError, "as many sequences", lambda: self.engine.run_ids([[1, 2]], [])),
                (ValueError, "at least 1", lambda: self.engine(TEXTS, batch_size=0)),
                (ValueError, "not an rtai engine", lambda: rtai.Engine(b"")),
                (rtai.Error, "does not match its digest", lambda: rtai.Engine(bytes(data))),
                (ValueError, "bytes, one after the other", lambda: rtai.Engine(np.frombuffer(data, np.uint8)[::2])),
                (ValueError, "as many as texts", lambda: self.engine.run(TEXTS, TEXTS[:2])),
                (ValueError, "expected .sequences, classes.", lambda: self.engine.classify(np.zeros(3, np.float32))),
                (ValueError, "NaN|number", lambda: self.engine.classify(np.full((1, 3), np.nan, np.float32))),
                (TypeError, "found one text", lambda: self.engine.run("word1")),
                (TypeError, "text 1: expected str, found int", lambda: self.engine(["secret", 7])),
                (ValueError, "text 1: not Unicode at character 6", lambda: self.engine(["secret", "secret\ud800"]))):
            with self.subTest(message), self.assertRaisesRegex(error, message) as raised:
                call()
            self.assertNotIn("secret", str(raised.exception))

    def test_threads_wait_for_each_other_without_pythons_lock(self):
        expected = self.engine(TEXTS)
        results = [None] * 4

        def work(i):
            results[i] = [self.engine(TEXTS * 50) for _ in range(20)]

        threads = [threading.Thread(target=work, args=(i,)) for i in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        for answers in results:
            for answer in answers:
                np.testing.assert_array_equal(answer, np.tile(expected, (50, 1)))

    def test_facts(self):
        self.assertEqual(self.engine.labels, ["no", "yes", "perhaps"])
        self.assertEqual(self.engine.facts["task"], "sequence-classification")
        self.assertEqual(rtai.Engine(self.path, threads=1, target="ref").target, "ref")
        self.assertIn("ref", repr(rtai.Engine(self.path, threads=1, target="ref")))


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1], verbosity=2)
