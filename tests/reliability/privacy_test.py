"""rtai calls nobody, and writes no text that it was not asked to write.

usage: privacy_test.py RTAI TINY_FOLDER [--all]
Every command is traced while it works on texts that hold a canary: no connection leaves; the canary is in no message,
report, engine, temporary file or metric. What a command was asked to print or to write of texts is its result and not
looked at: the answers of `run`, the worst samples of `compare`.
"""
import os
import pathlib
import re
import signal
import sys
import tempfile
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "tools" / "serve"))
from server import Server, until
from tiny import Tiny, environment, need

need("strace")
RTAI, MAKER = sys.argv[1:3]
ROUNDS = 100 if "--all" in sys.argv else 3
CANARY = "canary7319"
# What reaches others, or names to be looked up. Sockets that were accepted answer with sendmsg and no address.
CALLING = re.compile(r"\b(connect|sendto|sendmmsg)\(|\bsendmsg\([^)]*msg_name=\{|AF_NETLINK")
WRITING = re.compile(r"O_WRONLY|O_RDWR|O_CREAT")


class PrivacyTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.temporary = tempfile.TemporaryDirectory(prefix="rtai-privacy-")
        cls.tiny = Tiny(RTAI, MAKER, cls.temporary.name)
        folder = cls.tiny.folder
        cls.texts = folder / "canaries.txt"
        cls.texts.write_text("".join(f"word{n} {CANARY} word{n + 1}\n" for n in range(12)))
        cls.labelled = folder / "canaries.jsonl"
        cls.labelled.write_text("".join(f'{{"text": "word{n} {CANARY}", "label": "yes"}}\n' for n in range(12)))
        cls.malformed = folder / "malformed.jsonl"
        cls.malformed.write_text(f'{{"text": "{CANARY}", "label": {CANARY}}}\n')
        cls.wrong = folder / "wrong.jsonl"
        cls.wrong.write_text(f'{{"tokens": "{CANARY}", "{CANARY}": 1}}\n')

    @classmethod
    def tearDownClass(cls):
        cls.temporary.cleanup()

    def traced(self, *words, code=0, asked=()):
        """Runs a command under strace; looks at whom it calls and at all it says and leaves, but for files `asked`."""
        out, temporary = self.tiny.folder / "out", self.tiny.folder / "temporary"
        for folder in (out, temporary):
            folder.mkdir(exist_ok=True)
        log = self.tiny.folder / "trace.log"
        cache = self.tiny.folder / "cache"  # of sessions on a GPU alone
        result = self.tiny.run(*words, "--verbose", cwd=out, env={"TMPDIR": str(temporary), "RTAI_CACHE_DIR": str(cache)},
                               prefix=["strace", "-f", "-qq", "-e", "trace=network", "-o", log])
        self.assertIn(result.returncode, (code, 7), f"{words}: {result.stderr}")  # 7: a busy machine is not fast enough
        calls = [line for line in log.read_text().splitlines() if "socket" in line or CALLING.search(line)]
        self.assertEqual(calls, [], words)
        self.assertNotIn(CANARY, result.stderr, words)
        self.assertEqual(list(temporary.iterdir()), [], words)
        self.assertFalse(cache.exists(), words)
        for name in asked:
            (out / name).unlink()
        for file in out.rglob("*"):
            if file.is_file():
                self.assertNotIn(CANARY.encode(), file.read_bytes(), f"{words}: {file.name}")
        return result

    def test_every_command(self):
        model, engine, texts, labelled = self.tiny.model, self.tiny.engine, self.texts, self.labelled
        work = ["--seq", "8", "--threads", "2"]
        reports = ["--report", "r.json", "--html", "r.html", "--markdown", "r.md", "--junit", "r.xml"]
        self.traced("compile", model, "-o", "a.rtai")
        self.traced("quantize", model, "-o", "q.rtai", "--calib", texts, "--eval", labelled, *reports, *work)
        self.traced("prune", model, "-o", "p", "--flops", "2", "--calib", texts, "--eval", labelled, *reports, *work)
        self.traced("optimize", model, "-o", "o.rtai", "--speedup", "1.1", "--calib", texts, "--eval", labelled, *reports, *work)
        self.traced("prune-vocab", model, "-o", "v", "--calib", texts, "--seq", "8")
        self.traced("bench", engine, model, "--iterations", "2", "--json", "b.json", "--eval", labelled, *work)
        self.traced("eval", engine, "--data", labelled, "--reference", model, "--json", "e.json")
        self.traced("compare", engine, model, "--data", texts, "--json", "worst.json", *work, asked=["worst.json"])
        self.traced("run", engine, f"word1 {CANARY}")
        self.traced("run", engine, "--data", labelled, "--json")
        self.traced("inspect", engine, "--json", "i.json", "--svg", "i.svg")
        self.traced("verify", engine)
        for words in (["devices"], ["passes"], ["init", "rtai.json"], ["man"], ["completion", "bash"]):
            self.traced(*words)

    def test_errors_name_the_line_and_not_its_text(self):
        for data in (self.malformed, self.wrong):
            for words in (["run", self.tiny.engine, "--data", data], ["eval", self.tiny.engine, "--data", data],
                          ["compare", self.tiny.engine, self.tiny.model, "--data", data],
                          ["quantize", self.tiny.model, "-o", "e.rtai", "--calib", data]):
                self.assertIn("line 1", self.traced(*words, code=3).stderr)

    def test_serve(self):
        log = self.tiny.folder / "serve.log"
        answers = 0
        tracer = ["strace", "-f", "-qq", "-e", "trace=network,openat,open,creat", "-o", log]
        with Server(self.tiny.rtai, self.tiny.engine, prefix=tracer, env=environment(tracer, None)) as server:
            pid = int(log.read_text().split()[0])
            bodies = [f'{{"text": "{CANARY}"}}', f'{{"texts": ["word1 {CANARY}", "word2"]}}', f'{{"text": "{CANARY}"', f'{{"{CANARY}": 1}}',
                      f'{{"text": "{CANARY} \\ud800"}}', f'{{"text": "a", "engine": "{CANARY}"}}', f'{{"text": "{CANARY}", "timeout_ms": 0.0001}}',
                      f'{{"text": "{" ".join([CANARY] * 400)}"}}', f'{{"input_ids": [5, 900000], "text": "{CANARY}"}}']
            for _ in range(ROUNDS):
                for body in bodies:
                    server.ask("POST", "/v1/predict", body)
                    answers += 1
            server.raw(f"GET /{CANARY} HTTP/1.1\r\nHost: a\r\nBad Header {CANARY}: 1\r\n\r\n".encode())
            server.ask("GET", f"/{CANARY}")
            self.assertNotIn(CANARY, server.get("/metrics")[2].decode())
            status = pathlib.Path(f"/proc/{pid}/limits").read_text()
            self.assertRegex(status, r"Max core file size +0 +0 ")
            os.kill(pid, signal.SIGABRT)
            until(lambda: server.process.poll() is not None)
            self.assertNotIn(CANARY, "".join(server.lines))
        trace = log.read_text()
        self.assertEqual([line for line in trace.splitlines() if CALLING.search(line)], [])
        self.assertEqual([line for line in trace.splitlines() if WRITING.search(line)], [])
        self.assertIn('sin_addr=inet_addr("127.0.0.1")', trace)
        self.assertNotIn("core dumped", trace)
        print(f"serve: {answers} requests")


if __name__ == "__main__":
    unittest.main(argv=[sys.argv[0], *[word for word in sys.argv[3:] if word != "--all"]], verbosity=2)
