"""Measures a Ray job on two simulated nodes, one of its workers killed in the middle, against the engine alone.

usage: ray_rate.py RTAI PACKAGE_FOLDER ENGINE TEXTS [--lines N] [--parts N] [--blocks N] [--batch-size N]
PACKAGE_FOLDER holds rtai/; ENGINE classifies texts. The texts, repeated up to --lines, become one file, which one job reads, answers
with an actor on each node of one CPU, and hands to this program. When half of the answers are here a busy actor is killed. Every
line must come once, with label and scores of `rtai run`, bit for bit: else this ends with 1.

The engine alone is `rtai.Engine(path)(texts)` in this process, with as many threads as there are nodes, in calls of as many texts.
As clocks wander it is measured before Ray starts, after it ended, and between: in the middle of each of --parts the actors
are stopped (SIGSTOP) for as long as the engine answers half as many lines as a part has, and the job's time stands still meanwhile.
What Ray's other processes take while the actors are stopped is taken from the engine, not from Ray: `share_of_alone`, against
before and after, has none of that, `share` is against between.

`job_per_s` is of the whole time from the call to the last answer, start of actors included; `started_per_s` of that from the
second block of answers on. `workers_seen` counts the killed one and its successor. Prints a line of JSON.
Ends with 77 without Ray: tests/tools/ray_nodes.py.
"""
import argparse
import contextlib
import json
import os
import pathlib
import signal
import statistics
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "tools"))
import ray_nodes  # noqa: E402

ray_nodes.require_modules()

parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
parser.add_argument("rtai")
parser.add_argument("package")
parser.add_argument("engine")
parser.add_argument("texts", help=".txt, a text a line")
parser.add_argument("--lines", type=int, default=100000)
parser.add_argument("--parts", type=int, default=10)
parser.add_argument("--blocks", type=int, default=200, help="of the file that the job reads; 0: as Ray likes")
parser.add_argument("--batch-size", type=int, default=256, help="texts a call")
FLAGS = parser.parse_args()
ray_nodes.use_package(FLAGS.package)

import numpy as np  # noqa: E402
import ray  # noqa: E402
import ray.data  # noqa: E402

import rtai  # noqa: E402
import rtai.ray  # noqa: E402

NODES = 2
FEW_BLOCKS = 10 * NODES  # with fewer what comes after the first ones says nothing about a rate


class Answers:
    """What each text's answer is, and what came for each line."""

    def __init__(self, texts):
        lines = subprocess.run([FLAGS.rtai, "run", FLAGS.engine, "--data", FLAGS.texts, "--json"], check=True, capture_output=True,
                               text=True).stdout.splitlines()
        answers = [json.loads(line) for line in lines]
        self.texts = np.array(texts, object)
        self.labels = np.array([answer["label"] for answer in answers], object)
        self.scores = np.array([list(answer["scores"].values()) for answer in answers], np.float32)  # [texts, classes]
        self.score = np.array([answer["score"] for answer in answers], np.float32)
        if list(self.texts) != [answer["text"] for answer in answers]:
            sys.exit(f"{FLAGS.texts}: empty lines?")
        self.times = np.zeros(FLAGS.lines, int)
        self.different = 0

    def take(self, table):
        """A block of answers of the job."""
        lines = table["line"].to_numpy()
        np.add.at(self.times, lines, 1)
        text = lines % len(self.texts)
        scores = table["scores"].combine_chunks().flatten().to_numpy().reshape(len(lines), -1)
        same = (scores == self.scores[text]).all(1) & (table["score"].to_numpy() == self.score[text])
        for column, expected in (("text", self.texts), ("label", self.labels)):
            same &= np.array(table[column].to_pylist(), object) == expected[text]
        self.different += int((~same).sum())


class Alone:
    """The engine without Ray."""

    def __init__(self, texts, lines):
        self.engine = rtai.Engine(FLAGS.engine, threads=NODES)
        self.texts = [texts[number % len(texts)] for number in range(lines)]

    def lines_per_s(self):
        start = time.perf_counter()
        for begin in range(0, len(self.texts), FLAGS.batch_size):
            self.engine(self.texts[begin:begin + FLAGS.batch_size])
        return len(self.texts) / (time.perf_counter() - start)


def job(nodes, path, answers, alone):
    """The figures of the job, and the engine's lines a second between."""
    halted, between, killed, seen, blocks, first = 0.0, [], [], set(), 0, None
    start = time.perf_counter()
    data = ray.data.read_json(path, override_num_blocks=FLAGS.blocks or None, num_cpus=0)  # the actors have all CPUs
    answered = rtai.ray.predict(data, FLAGS.engine, batch_size=FLAGS.batch_size, concurrency=NODES)
    count = 0
    for table in answered.iter_batches(batch_size=None, batch_format="pyarrow"):
        answers.take(table)
        count += table.num_rows
        blocks += 1
        if blocks == NODES:
            first = count, time.perf_counter() - start - halted
        if not killed and 2 * count >= FLAGS.lines:
            seen.update(nodes.actors())
            killed.append(nodes.busy_actor())
            os.kill(killed[0], signal.SIGKILL)
        while len(between) < FLAGS.parts and count >= (len(between) + 0.5) * FLAGS.lines / FLAGS.parts and count < FLAGS.lines:
            begin = time.perf_counter()
            actors = nodes.actors()
            seen.update(actors)
            for actor in actors:
                os.kill(actor, signal.SIGSTOP)
            try:
                between.append(alone.lines_per_s())
            finally:
                for actor in actors:
                    os.kill(actor, signal.SIGCONT)
            halted += time.perf_counter() - begin
    seconds = time.perf_counter() - start - halted
    return {"blocks": blocks, "killed": len(killed), "workers_seen": len(seen), "job_s": seconds, "start_s": first[1],
            "job_per_s": FLAGS.lines / seconds,
            "started_per_s": (FLAGS.lines - first[0]) / (seconds - first[1]) if blocks >= FEW_BLOCKS else None}, between


def main():
    texts = pathlib.Path(FLAGS.texts).read_text().splitlines()
    answers = Answers(texts)
    alone = Alone(texts, max(1, FLAGS.lines // FLAGS.parts // 2))
    alone.lines_per_s()
    with tempfile.TemporaryDirectory(prefix="rtai-ray-") as folder:
        path = f"{folder}/lines.jsonl"
        with open(path, "w") as file:
            for number in range(FLAGS.lines):
                file.write(json.dumps({"line": number, "text": texts[number % len(texts)]}) + "\n")
        before = [alone.lines_per_s() for _ in range(2)]
        with contextlib.redirect_stdout(sys.stderr):  # where Ray says that a worker died
            nodes = ray_nodes.Nodes(first_cpus=1)
            try:
                figures, between = job(nodes, path, answers, alone)
            finally:
                nodes.close()
        after = [alone.lines_per_s() for _ in range(2)]
    missing, repeated = int((answers.times == 0).sum()), int((answers.times > 1).sum())
    engine, outside = statistics.harmonic_mean(between), statistics.harmonic_mean(before + after)
    print(json.dumps({"row": "ray", "nodes": NODES, "lines": FLAGS.lines, "batch_size": FLAGS.batch_size, "missing": missing,
                      "repeated": repeated, "different": answers.different, **figures,
                      "engine_before_per_s": before, "engine_between_per_s": between, "engine_after_per_s": after,
                      "share": figures["job_per_s"] / engine,
                      "share_started": figures["started_per_s"] and figures["started_per_s"] / engine,
                      "share_of_alone": figures["job_per_s"] / outside}))
    sys.exit(1 if missing or repeated or answers.different or not figures["killed"] else 0)


main()
