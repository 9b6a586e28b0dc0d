"""Nothing is lost: whatever a system call that writes meets, the old file is intact or the new one is whole.

usage: write_test.py RTAI TINY_FOLDER [--all]
Every command that writes is run once for each of its system calls on its outputs, with that call failing (no space, I/O
error) or the process being killed or interrupted at it; strace injects. Without --all some calls of a command meet one
of the four, in turn; those of `compile` to an engine meet all of them.
"""
import concurrent.futures
import dataclasses
import itertools
import json
import os
import pathlib
import re
import shutil
import sys
import tempfile
import unittest
import xml.etree.ElementTree

from tiny import Tiny, need

need("strace")
RTAI, MAKER = sys.argv[1:3]
ALL = "--all" in sys.argv
CALLS = ("openat,open,creat,write,pwrite64,writev,pwritev,pwritev2,sendfile,copy_file_range,fsync,fdatasync,sync_file_range,close,"
         "ftruncate,truncate,fallocate,link,linkat,rename,renameat,renameat2,mkdir,mkdirat,unlink,unlinkat,rmdir,chmod,fchmod,symlinkat")
FAULTS = {"ENOSPC": "error=ENOSPC", "EIO": "error=EIO", "SIGKILL": "signal=KILL", "SIGINT": "signal=INT"}
KILLED = {"SIGKILL": (-9, 137), "SIGINT": (130,)}  # how a run ends that the fault reached
OPENED_TO_WRITE = re.compile(r"O_WRONLY|O_RDWR|O_CREAT|O_DIRECTORY")
MISSED = 7  # a goal that is measured may be missed on a busy machine; all is written all the same
DONE = (0, MISSED)
LEFTOVER = ".rtai-part."
MOST_CALLS = 40  # of a command, without --all


@dataclasses.dataclass
class Case:
    """One command; OUT in its words is the folder that it writes into."""
    name: str
    words: list
    targets: list  # in OUT: files, or folders with all their files
    over: bool = False  # whether a first run has already written them
    full: bool = False  # meets every fault at every call, in short runs too
    same: bool = True  # two runs write the same bytes


def cases(tiny):
    model, texts, labelled = str(tiny.model), str(tiny.texts), str(tiny.labelled)
    work = ["--seq", "8", "--threads", "1"]
    bench = ["bench", str(tiny.engine), "--iterations", "2", "--warmup", "1", *work]
    reports = ["--report", "OUT/r.json", "--html", "OUT/r.html", "--markdown", "OUT/r.md", "--junit", "OUT/r.xml"]
    report_files = ["r.json", "r.html", "r.md", "r.xml"]
    return [
        Case("compile", ["compile", model, "-o", "OUT/a.rtai"], ["a.rtai"], full=True),
        Case("compile again", ["compile", model, "-o", "OUT/a.rtai"], ["a.rtai"], over=True, full=True),
        Case("compile to ONNX", ["compile", model, "-o", "OUT/a.onnx"], ["a.onnx"], over=True),
        Case("quantize to a folder", ["quantize", model, "-o", "OUT/q", *work], ["q"]),
        Case("quantize to a folder again", ["quantize", model, "-o", "OUT/q", *work], ["q"], over=True),
        Case("quantize", ["quantize", model, "-o", "OUT/q.rtai", "--calib", texts, "--eval", labelled, *reports, *work],
             ["q.rtai", *report_files], over=True, same=False),
        Case("prune", ["prune", model, "-o", "OUT/p.onnx", "--keep-ffn", "0.5", "--calib", texts, *reports, *work],
             ["p.onnx", *report_files], same=False),
        Case("prune-vocab", ["prune-vocab", model, "-o", "OUT/v", "--calib", texts, "--seq", "8"], ["v"]),
        Case("optimize", ["optimize", model, "-o", "OUT/o.rtai", "--speedup", "1.1", "--calib", texts, *reports, *work],
             ["o.rtai", *report_files], same=False),
        Case("bench", [*bench, "--json", "OUT/r.json"], ["r.json"], over=True, same=False),
        Case("eval", ["eval", str(tiny.engine), "--data", labelled, "--json", "OUT/e.json"], ["e.json"]),
        Case("compare", ["compare", str(tiny.engine), str(tiny.engine), "--data", texts, "--json", "OUT/c.json", *work], ["c.json"],
             same=False),
        Case("inspect", ["inspect", str(tiny.engine), "--json", "OUT/i.json", "--svg", "OUT/i.svg"], ["i.json", "i.svg"]),
        Case("devices", ["devices", "--json", "OUT/d.json"], ["d.json"], over=True, same=False),
        Case("passes", ["passes", "--json", "OUT/p.json"], ["p.json"], over=True),
        Case("init", ["init", "OUT/rtai.json"], ["rtai.json"]),
        Case("man", ["man", "--write", "OUT"], ["rtai.1", "rtai-prune.1", "rtai-serve.1"]),
    ]


def contents(folder, targets):
    """The bytes of every file at or below the targets, by its name."""
    found = {}
    for target in targets:
        path = folder / target
        files = [path] if path.is_file() else sorted(file for file in path.rglob("*") if file.is_file())
        found.update({str(file.relative_to(folder)): file.read_bytes() for file in files})
    return found


def leftovers(folder):
    return [str(path.relative_to(folder)) for path in folder.rglob("*") if path.name.startswith(".")]


class WriteTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.temporary = tempfile.TemporaryDirectory(prefix="rtai-write-")
        cls.tiny = Tiny(RTAI, MAKER, cls.temporary.name)

    @classmethod
    def tearDownClass(cls):
        cls.temporary.cleanup()

    def fresh(self, case, before=None):
        folder = pathlib.Path(tempfile.mkdtemp(prefix="out-", dir=self.temporary.name))
        if before:
            shutil.copytree(before, folder, dirs_exist_ok=True)
        return folder, [word.replace("OUT", str(folder)) for word in case.words]

    def points(self, case, before):
        """(call, number) of each system call of the main thread on the outputs, and what the command writes."""
        folder, words = self.fresh(case, before)
        log = folder.with_suffix(".log")
        # Other threads are followed to see that none of them writes.
        result = self.tiny.run(*words, prefix=["strace", "-f", "-y", "-qq", "-e", f"trace={CALLS}", "-o", log])
        self.assertIn(result.returncode, DONE, result.stderr)
        counts, found, main = {}, [], None
        for line in log.read_text().splitlines():
            thread, _, rest = line.partition(" ")
            main = main or thread
            call = rest.strip().partition("(")[0]
            is_ours = str(folder) in rest and (not call.startswith("open") or OPENED_TO_WRITE.search(rest))
            if thread != main:
                self.assertFalse(is_ours, f"{case.name}: another thread writes: {rest}")
                continue
            counts[call] = counts.get(call, 0) + 1
            if is_ours:
                found.append((call, counts[call]))
        self.assertEqual(leftovers(folder), [])
        return found, folder

    def whole(self, folder, name, data, old, new, same):
        """Whether a file is the old one or a new one."""
        if same or data == old.get(name):
            return data in (old.get(name), new[name])
        try:  # what is written of times differs from run to run
            if name.endswith(".json"):
                json.loads(data)
            elif name.endswith((".xml", ".svg")):
                xml.etree.ElementTree.fromstring(data)
            elif name.endswith(".html"):
                return data.rstrip().endswith(b"</html>")
            elif name.endswith((".rtai", ".onnx")):
                return self.tiny.run("inspect", folder / name).returncode == 0
            return len(data) > 0
        except (ValueError, xml.etree.ElementTree.ParseError):
            return False

    def inject(self, case, before, call, number, fault):
        """Runs the command with one fault: its folder, what it wrote there before, its words, its result and whether it came to that call."""
        folder, words = self.fresh(case, before)
        old = contents(folder, case.targets)
        log = folder.with_suffix(".log")
        result = self.tiny.run(*words, prefix=["strace", "-y", "-qq", "-e", f"trace={call}", "-e", f"inject={call}:{FAULTS[fault]}:when={number}",
                                               "-o", log])
        is_met = result.returncode in KILLED[fault] if fault in KILLED else "INJECTED" in log.read_text()
        return folder, old, words, result, is_met

    def meet(self, case, before, new, call, number, fault):
        """Runs the command with one fault; the problems found, whether a leftover was there until the next run, and whether the
        run came to that call. A run that makes fewer calls than the one which counted them (less was measured again, or
        more) meets the fault at an earlier one."""
        for at in range(number, max(number - 3, 0), -1):
            folder, old, words, result, is_met = self.inject(case, before, call, at, fault)
            if is_met or result.returncode not in DONE:
                break
        place = f"{case.name}: {fault} at {call} {at}"
        problems, left = [], leftovers(folder)
        if fault not in KILLED:
            errors = [line for line in result.stderr.splitlines() if not line.startswith("warning: ")]
            if result.returncode == 3 and len(errors) != 1:
                problems.append(f"expected one line: {result.stderr}")
        allowed = (*DONE, 3) if fault not in KILLED else KILLED[fault] if is_met else DONE
        if result.returncode not in allowed:
            problems.append(f"exit {result.returncode}: {result.stderr}")
        if left and fault != "SIGKILL":
            problems.append(f"left behind: {left}")
        now = contents(folder, case.targets)
        now = {name: data for name, data in now.items() if LEFTOVER not in name}
        for name in old.keys() - now.keys():
            problems.append(f"lost: {name}")
        for name, data in now.items():
            if not self.whole(folder, name, data, old, new, case.same):
                problems.append(f"neither old nor new: {name}, {len(data)} bytes")
        if result.returncode in DONE and now.keys() != new.keys():
            problems.append(f"says it is done, and is not: {sorted(now)}")
        for engine in folder.glob("*.rtai"):
            if self.tiny.run("verify", engine).returncode != 0:
                problems.append(f"not an engine: {engine.name}")
        for target in case.targets:  # a folder is there whole or not at all
            if (folder / target).is_dir() and not case.over and not (folder / target / "model.onnx").exists():
                problems.append(f"half a folder: {target}")
        if left:  # the next run cleans up
            if case.name == "init" and (folder / "rtai.json").exists():
                (folder / "rtai.json").unlink()
            again = self.tiny.run(*words)
            if again.returncode not in DONE or leftovers(folder):
                problems.append(f"after the next run: {again.returncode}, {leftovers(folder)} {again.stderr}")
        shutil.rmtree(folder)
        return [f"{place}: {problem}" for problem in problems], bool(left), is_met

    def test_every_call_of_every_command(self):
        total = 0
        with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
            for case in cases(self.tiny):
                with self.subTest(case.name):
                    before = None
                    if case.over:
                        before, words = self.fresh(case)
                        self.assertIn(self.tiny.run(*words).returncode, DONE)
                    points, reference = self.points(case, before)
                    new = contents(reference, case.targets)
                    faults = list(FAULTS)
                    is_full = ALL or case.full
                    met = points if is_full else points[::1 + len(points) // MOST_CALLS]
                    jobs = [(call, number, fault) for i, (call, number) in enumerate(met)
                            for fault in (faults if is_full else [faults[i % len(faults)]])]
                    results = list(pool.map(lambda job: self.meet(case, before, new, *job), jobs))
                    problems = list(itertools.chain.from_iterable(found for found, _, _ in results))
                    left = sum(was_left for _, was_left, _ in results)
                    missed = sum(not is_met for _, _, is_met in results)
                    print(f"{case.name}: {len(points)} calls, {len(jobs)} runs, {missed} without that call, {left} killed with a temporary name, "
                          "gone after the next run")
                    self.assertGreaterEqual(len(points), 5)
                    self.assertLessEqual(missed, len(jobs) // 20)
                    self.assertEqual(problems[:10], [], f"{len(problems)} problems")
                    total += len(jobs)
        print(f"in all {total} runs")

    def test_a_file_is_on_the_disk_before_it_has_its_name(self):
        case = cases(self.tiny)[1]
        before, words = self.fresh(case)
        self.tiny.run(*words)
        points, _ = self.points(case, before)
        order = [call for call, _ in points if call in ("write", "fsync", "linkat", "rename")]
        self.assertEqual(order[order.index("fsync"):], ["fsync", "linkat", "linkat", "rename", "fsync"])

    def test_a_pipe_is_written_to_and_stays_one(self):
        pipe = self.tiny.folder / "pipe"
        os.mkfifo(pipe)
        with concurrent.futures.ThreadPoolExecutor(1) as pool:
            read = pool.submit(pipe.read_text)
            self.assertEqual(self.tiny.run("inspect", self.tiny.engine, "--json", pipe, "--quiet").returncode, 0)
            self.assertIn("task", json.loads(read.result(30)))
        self.assertTrue(pipe.is_fifo())

    def test_links_are_followed(self):
        link = self.tiny.folder / "link.json"
        target = self.tiny.folder / "target.json"
        target.write_text("{}")
        link.symlink_to(target.name)
        self.assertEqual(self.tiny.run("inspect", self.tiny.engine, "--json", link, "--quiet").returncode, 0)
        self.assertTrue(link.is_symlink())
        self.assertIn("task", json.loads(target.read_text()))


if __name__ == "__main__":
    unittest.main(argv=[sys.argv[0], *[word for word in sys.argv[3:] if word != "--all"]], verbosity=2)
