"""Out of memory, or of threads, is a message: exit 6, no signal; a service answers and lives.

usage: memory_test.py RTAI TINY_FOLDER FAILING_CALLS.so [--all]
Fails the N-th call that asks for memory or a thread and the one after it, and the N-th with all that follow: every N of
loading and running an engine, some N of the rest (--all: every one, which takes long).
"""
import concurrent.futures
import contextlib
import http.client
import os
import pathlib
import resource
import shutil
import struct
import sys
import tempfile
import threading
import time
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "tools" / "serve"))
from server import Server
from tiny import Tiny

RTAI, MAKER, SHIM = sys.argv[1:4]
ALL = "--all" in sys.argv
TEXT = "word1 word2 word3"
OUT_OF_MEMORY = 6
# rtai holds a reserve back: where the first call fails, operator new gives that up and tries again.
ANOTHER_TRY = 1
FOR_GOOD = 1 << 40


class Control:
    """The file through which tests/support/failing_calls.c is told what to fail."""

    def __init__(self, folder):
        handle, self.path = tempfile.mkstemp(dir=folder)
        os.close(handle)
        self.fail(0)

    def fail(self, number, more=0):
        with open(self.path, "r+b") as file:
            file.write(struct.pack("=4q", number, more, 0, 0))

    def counts(self):
        """Calls until now, and how many of them failed."""
        return struct.unpack("=4q", pathlib.Path(self.path).read_bytes())[2:]

    def environment(self):
        return {"LD_PRELOAD": str(pathlib.Path(SHIM).resolve()), "RTAI_FAILING_CALLS": self.path}


class MemoryTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.temporary = tempfile.TemporaryDirectory(prefix="rtai-memory-")
        cls.tiny = Tiny(RTAI, MAKER, cls.temporary.name)
        cls.out = cls.tiny.folder / "out"
        cls.controls = threading.local()

    @classmethod
    def tearDownClass(cls):
        cls.temporary.cleanup()

    def control(self):
        if not hasattr(self.controls, "own"):
            self.controls.own = Control(self.temporary.name)
        return self.controls.own

    def calls_of(self, *command):
        control = self.control()
        control.fail(0)
        result = self.tiny.run(*command, env=control.environment())
        self.assertEqual(result.returncode, 0, result.stderr)
        return control.counts()[0], result.stdout

    def check(self, command, number, more, expected):
        """`expected`: of standard output; None of commands that print nothing and measure, so that how many calls they make
        depends on the machine: those that end before the call fail an earlier one."""
        control = self.control()
        control.fail(number, more)
        result = self.tiny.run(*command, env=control.environment())
        place = f"{command[0]}: call {number} and {more} more: {result.returncode} {result.stderr}"
        if result.returncode == 0:  # it could be done without
            is_met = control.counts()[1] > 0
            if expected is None and not is_met and number > 1:
                return self.check(command, number * 3 // 4, more, expected)
            return "" if result.stdout == (expected or "") and is_met else f"{place}, another answer"
        message = result.stderr.removeprefix("rtai: ")
        is_line = message.endswith("\n") and message.count("\n") == 1
        return "" if result.returncode == OUT_OF_MEMORY and is_line else place

    def every(self, command, numbers, expected):
        jobs = [(command, number, more, expected) for number in numbers for more in (ANOTHER_TRY, FOR_GOOD)]
        with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
            problems = [problem for problem in pool.map(lambda job: self.check(*job), jobs) if problem]
        print(f"{command[0]}: {len(jobs)} runs")
        self.assertEqual(problems[:10], [], f"{len(problems)} problems")

    def test_loading_and_running_an_engine(self):
        command = ["run", self.tiny.engine, TEXT, "--json", "--threads", "2"]
        calls, expected = self.calls_of(*command)
        version, _ = self.calls_of("--version")
        self.assertGreater(calls, version)
        step = 1 if ALL else 97
        self.every(command, [*range(1, version, step), *range(version, calls + 1)], expected)

    def test_loading_weights_of_4_bits(self):
        engine = pathlib.Path(__file__).resolve().parent.parent / "data" / "engines" / "v2-int4.rtai"
        command = ["run", engine, TEXT, "--json", "--threads", "2"]
        calls, expected = self.calls_of(*command)
        version, _ = self.calls_of("--version")
        self.every(command, range(version, calls + 1, 1 if ALL else 3), expected)

    def test_reading_the_files_beside_a_model(self):
        model = self.tiny.folder / "with a wrong file"
        shutil.copytree(self.tiny.model, model)
        (model / "tokenizer_config.json").write_text("[]")  # the last that is read
        command = ["compile", model, "-o", self.out / "w.rtai"]
        control = self.control()
        control.fail(0)
        whole = self.tiny.run(*command, env=control.environment())
        calls = control.counts()[0]
        self.assertEqual(whole.returncode, 3)
        version, _ = self.calls_of("--version")

        def check(number, more):
            control = self.control()
            control.fail(number, more)
            result = self.tiny.run(*command, env=control.environment())
            is_right = result.returncode == OUT_OF_MEMORY or (result.returncode, result.stderr) == (3, whole.stderr)
            return "" if is_right else f"call {number} and {more} more: {result.returncode} {result.stderr}"

        jobs = [(number, more) for number in range(version, calls + 1) for more in (ANOTHER_TRY, FOR_GOOD)]
        with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
            problems = [problem for problem in pool.map(lambda job: check(*job), jobs) if problem]
        print(f"files beside a model: {len(jobs)} runs")
        self.assertEqual(problems, [])

    def import_and_write(self, *command, last=0):
        """`last`: how many calls before the end, which are those of writing, are all tried."""
        calls, _ = self.calls_of(*command)
        step = 1 if ALL else calls // 25
        # What is printed of times differs from run to run.
        self.every([*command, "--quiet"], [*range(1 + step // 2, calls + 1 - last, step), *range(calls + 1 - last, calls + 1)], None)
        self.assertEqual([name for name in os.listdir(self.out) if name.startswith(".")], [])

    def test_importing_and_compiling(self):
        self.import_and_write("compile", self.tiny.model, "-o", self.out / "a.rtai", last=60)

    def test_quantizing(self):
        self.import_and_write("quantize", self.tiny.model, "-o", self.out / "q", "--calib", self.tiny.texts, "--seq", "8",
                              "--report", self.out / "q.json")

    def test_pruning(self):
        self.import_and_write("prune", self.tiny.model, "-o", self.out / "p.rtai", "--flops", "2", "--calib", self.tiny.texts, "--seq", "8",
                              "--threads", "2")

    @contextlib.contextmanager
    def serving(self, **variables):
        control = Control(self.temporary.name)
        with Server(self.tiny.rtai, self.tiny.engine, "--threads", "2", env={**control.environment(), **variables}) as server:
            yield server, control

    def status(self, server, body):
        """Of one request on a connection of its own; None if the server closed it without an answer."""
        try:
            return server.ask("POST", "/v1/predict", body)[0]
        except (ConnectionError, http.client.HTTPException):
            return None

    def test_a_service_answers_and_lives(self):
        body = {"texts": [TEXT, "word4", "word5 word6"]}
        with self.serving() as (server, control):
            self.assertEqual(self.status(server, body), 200)
            control.fail(0)
            self.assertEqual(self.status(server, body), 200)
            calls = control.counts()[0]
            seen = {}
            for number in range(1, calls + 20):
                control.fail(number)
                status = self.status(server, body)
                control.fail(0)
                seen[status] = seen.get(status, 0) + 1
                self.assertIn(status, (200, 500, 503, None), f"call {number}")
                self.assertIsNone(server.process.poll(), f"call {number}: {''.join(server.lines)}")
                self.assertEqual(self.status(server, body), 200, f"after call {number}")
            print(f"serve: {calls} calls of a request, answers {seen}")
            self.assertGreater(seen.get(200, 0), calls // 2)  # what needs little gets it from the reserve

    def test_a_service_that_may_not_grow_refuses_and_lives(self):
        small, large = {"texts": [TEXT]}, [{"texts": ["word1 " * count]} for count in (20_000, 50_000, 100_000, 200_000, 300_000)]
        with self.serving(MALLOC_ARENA_MAX="1") as (server, _):  # arenas of threads have room of their own
            self.assertEqual(self.status(server, small), 200)
            pid, infinite = server.process.pid, (resource.RLIM_INFINITY, resource.RLIM_INFINITY)
            pages = int(pathlib.Path(f"/proc/{pid}/statm").read_text().split()[0])
            resource.prlimit(pid, resource.RLIMIT_AS, (pages * resource.getpagesize(), resource.RLIM_INFINITY))
            seen = [self.status(server, body) for body in 4 * large]
            self.assertIsNone(server.process.poll(), "".join(server.lines))
            print(f"serve without memory: answers {({status: seen.count(status) for status in seen})}")
            self.assertTrue({200} < {200, *seen} <= {200, 500, 503, None}, seen)
            resource.prlimit(pid, resource.RLIMIT_AS, infinite)
            self.assertEqual(self.status(server, large[-1]), 200)
            self.assertEqual(self.status(server, small), 200)

    def test_a_reload_without_memory_leaves_what_serves(self):
        body = {"texts": [TEXT]}
        with self.serving() as (server, control):
            for number in (1, 20, 200, 500):
                control.fail(number)
                server.signal(1)  # SIGHUP
                time.sleep(0.3)
                control.fail(0)
                self.assertIsNone(server.process.poll(), "".join(server.lines))
                self.assertEqual(self.status(server, body), 200)


if __name__ == "__main__":
    unittest.main(argv=[sys.argv[0], *[word for word in sys.argv[4:] if word != "--all"]], verbosity=2)
