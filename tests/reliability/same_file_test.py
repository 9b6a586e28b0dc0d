"""The same input makes the same file: whatever folder, number of threads, time of day.

usage: same_file_test.py RTAI TINY_FOLDER [--all]
Where times are measured to decide, two runs may decide differently; those commands are given a target that is counted
(--flops, --keep-..., --mode), and the passes behind them are tried with a table of times in tests/passes.
"""
import hashlib
import pathlib
import shutil
import sys
import tempfile
import unittest

from tiny import Tiny

RTAI, MAKER = sys.argv[1:3]
THREADS = (1, 2, 7) if "--all" in sys.argv else (1, 3)


def digests(path):
    """SHA-256 of every file at or below `path`."""
    files = [path] if path.is_file() else sorted(file for file in path.rglob("*") if file.is_file())
    return {str(file.relative_to(path)): hashlib.sha256(file.read_bytes()).hexdigest() for file in files}


class SameFileTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.temporary = tempfile.TemporaryDirectory(prefix="rtai-same-")
        cls.tiny = Tiny(RTAI, MAKER, cls.temporary.name)

    @classmethod
    def tearDownClass(cls):
        cls.temporary.cleanup()

    def check(self, output, *words):
        """`words` with MODEL and TEXTS, run in several folders and with several numbers of threads."""
        seen = []
        for number, threads in enumerate([*THREADS, THREADS[0]]):
            folder = self.tiny.folder / f"{'deeper/' * number}place {number}"
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir(parents=True)
            shutil.copytree(self.tiny.model, folder / "model")
            texts = shutil.copy(self.tiny.texts, folder / "texts.txt")
            # Names of files, not their folders, may be told in what is written.
            names = {"MODEL": "model" if number % 2 else str(folder / "model"), "TEXTS": str(texts)}
            result = self.tiny.run(*[names.get(word, word) for word in words], "-o", output, *(["--threads", threads] if "--seq" in words else []),
                                   cwd=folder)
            self.assertEqual(result.returncode, 0, result.stderr)
            seen.append(digests(folder / output))
        self.assertGreater(len(seen[0]), 0)
        for other in seen[1:]:
            self.assertEqual(other, seen[0])

    def test_compile(self):
        for output in ("a.rtai", "a.onnx", "a"):
            self.check(output, "compile", "MODEL")

    def test_quantize(self):
        for output in ("q.rtai", "q.onnx", "q"):
            self.check(output, "quantize", "MODEL", "--seq", "8")
        self.check("s.rtai", "quantize", "MODEL", "--mode", "static", "--calib", "TEXTS", "--seq", "8")

    def test_prune(self):
        self.check("p.rtai", "prune", "MODEL", "--flops", "2", "--calib", "TEXTS", "--seq", "8")
        self.check("p", "prune", "MODEL", "--keep-heads", "0.5", "--keep-ffn", "0.5", "--calib", "TEXTS", "--seq", "8")
        self.check("d.rtai", "prune", "MODEL", "--drop-layers", "1", "--seq", "8")

    def test_prune_vocab(self):
        for output in ("v", "v.rtai"):
            self.check(output, "prune-vocab", "MODEL", "--calib", "TEXTS", "--seq", "8")


if __name__ == "__main__":
    unittest.main(argv=[sys.argv[0], *[word for word in sys.argv[3:] if word != "--all"]], verbosity=2)
