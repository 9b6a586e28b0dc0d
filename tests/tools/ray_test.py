"""A Ray job on two nodes gives every row its answer exactly once, though workers and a node are killed meanwhile.

usage: ray_test.py RTAI TINY_FOLDER_MAKER PACKAGE_FOLDER TOKEN_MODEL [--lines N] [--measure] [unittest arguments]
PACKAGE_FOLDER holds rtai/; TOKEN_MODEL answers with a row for each token. --lines: of the tests that kill (20,000); --measure
prints, instead of testing, lines a second of the job, and of the engine alone on as many threads.
Python is RTAI_RAY_PYTHON, or the one that runs this. Skipped (77) where that has no Ray.
"""
import argparse
import json
import os
import pathlib
import signal
import subprocess
import sys
import tempfile
import time
import unittest

import ray_nodes

ray_nodes.require_modules()

parser = argparse.ArgumentParser()
for place in ("rtai", "maker", "package", "token_model"):
    parser.add_argument(place)
parser.add_argument("--lines", type=int, default=20000)
parser.add_argument("--measure", action="store_true")
FLAGS, REST = parser.parse_known_args()
ray_nodes.use_package(FLAGS.package)

import numpy as np  # noqa: E402
import pyarrow as pa  # noqa: E402
import ray  # noqa: E402
import ray.data  # noqa: E402

import rtai  # noqa: E402
import rtai.ray  # noqa: E402


def text_of(number):
    return " ".join(f"word{(7 * number + 3 * i * i) % 40}" for i in range(1 + number % 9))


def texts(lines):
    """{"id", "text"} in 24 blocks, which the first node holds."""
    tables = [pa.table({"id": part, "text": [text_of(int(number)) for number in part]})
              for part in np.array_split(np.arange(lines), 24)]
    return ray.data.from_arrow(tables)


class RayTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.temporary = tempfile.TemporaryDirectory(prefix="rtai-ray-")
        cls.folder = pathlib.Path(cls.temporary.name)
        subprocess.run([FLAGS.maker, cls.folder], check=True)
        cls.engine = cls.folder / "model.rtai"
        cls.nodes = ray_nodes.Nodes(first_cpus=2)  # with room for an engine more than the second

    @classmethod
    def tearDownClass(cls):
        cls.nodes.close()
        cls.temporary.cleanup()

    def program(self, engine, lines):
        """What `rtai run` says."""
        data = self.folder / "data.jsonl"
        data.write_text("".join(json.dumps(line) + "\n" for line in lines))
        out = subprocess.run([FLAGS.rtai, "run", engine, "--data", data, "--json", "--logits", "--batch", "64"], check=True,
                             capture_output=True, text=True).stdout
        return [json.loads(line) for line in out.splitlines()]

    def check(self, rows, lines):
        """Every line once, as `rtai run` answers it, bit for bit."""
        rows.sort(key=lambda row: row["id"])
        self.assertEqual([row["id"] for row in rows], list(range(lines)))
        expected = self.program(self.engine, [{"text": text_of(number)} for number in range(lines)])
        for row, line in zip(rows, expected):
            self.assertEqual((row["text"], row["label"], row["score"], list(row["scores"]), list(row["logits"])),
                             (line["text"], line["label"], line["score"], list(line["scores"].values()), line["logits"]))

    def rows_of_a_job(self):
        return rtai.ray.predict(texts(FLAGS.lines), self.engine, logits=True, batch_size=64, concurrency=2).iter_rows()

    def test_workers_are_killed_while_they_compute(self):
        rows, killed = [], []
        for row in self.rows_of_a_job():
            rows.append(row)
            if len(killed) < 2 and len(rows) > len(killed) * FLAGS.lines // 4:
                killed.append(self.nodes.busy_actor())
                os.kill(killed[-1], signal.SIGKILL)
        self.assertEqual(len(set(killed)), 2)
        self.check(rows, FLAGS.lines)

    def test_a_node_is_killed_while_its_engine_computes(self):
        rows = []
        for row in self.rows_of_a_job():
            rows.append(row)
            if len(rows) == 1:
                self.nodes.busy_actor(self.nodes.second)
                self.nodes.kill_second()
                self.addCleanup(self.nodes.add_second)
        self.check(rows, FLAGS.lines)

    def test_other_columns_stay_and_names_do_not_clash(self):
        rows = [{"text": text_of(i), "label": f"gold {i}", "more": {"of": [i, None]}} for i in range(70)]
        answered = rtai.ray.predict(ray.data.from_items(rows), self.engine, prefix="rtai_").take_all()
        expected = {line["text"]: line["label"] for line in self.program(self.engine, rows)}
        self.assertCountEqual([{key: row[key] for key in ("text", "label", "more")} for row in answered], rows)
        for row in answered:
            self.assertEqual(set(row), {"text", "label", "more", "rtai_label", "rtai_score", "rtai_scores"})
            self.assertEqual(row["rtai_label"], expected[row["text"]])
        with self.assertRaisesRegex(Exception, "there is a column 'label' already"):
            rtai.ray.predict(ray.data.from_items(rows), self.engine).take_all()

    def test_pairs(self):
        pairs = [{"text_a": text_of(i), "text_b": text_of(i + 5)} for i in range(70)]
        answered = rtai.ray.predict(ray.data.from_items(pairs), self.engine, text="text_a", text_pair="text_b", logits=True)
        found = sorted((row["text_a"], row["text_b"], list(row["logits"])) for row in answered.take_all())
        self.assertEqual(found, sorted((line["text"], line["text_b"], line["logits"]) for line in self.program(self.engine, pairs)))

    def test_a_row_for_each_token(self):
        engine = self.folder / "tokens.rtai"
        subprocess.run([FLAGS.rtai, "compile", FLAGS.token_model, "-o", engine, "--quiet"], check=True)
        lines = [{"text": text} for text in ("play the new album", "what is the weather in boston", "hi")]
        answered = rtai.ray.predict(ray.data.from_items(lines), engine).take_all()
        found = {row["text"]: [list(token) for token in row["logits"]] for row in answered}
        self.assertEqual(found, {line["text"]: line["logits"] for line in self.program(engine, lines)})

    def test_what_is_wrong_is_said(self):
        data = ray.data.from_items([{"text": "word1"}, {"text": None}])
        for error, message, call in (
                (FileNotFoundError, "absent", lambda: rtai.ray.predict(data, "/absent.rtai")),
                (ValueError, "not an rtai engine", lambda: rtai.ray.predict(data, __file__)),
                (ValueError, "at least 1", lambda: rtai.ray.predict(data, self.engine, batch_size=0)),
                (Exception, "no column 'words', expected one of: text",
                 lambda: rtai.ray.predict(data, self.engine, text="words").take_all()),
                (Exception, "expected str, found NoneType", lambda: rtai.ray.predict(data, self.engine).take_all())):
            with self.subTest(message), self.assertRaisesRegex(error, message):
                call()

    def test_without_ray_the_way_to_get_it_is_named(self):
        script = "import sys; sys.modules['ray'] = None; import rtai.ray; rtai.ray.predict(None, 'x')"
        done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
        self.assertIn("ImportError: rtai.ray needs Ray: pip install 'rtai[ray]'", done.stderr)


def measure():
    """Lines a second of the job from its first answer on, in turn with the engine's own on as many threads."""
    nodes = ray_nodes.Nodes(first_cpus=2)
    with tempfile.TemporaryDirectory(prefix="rtai-ray-") as folder:
        subprocess.run([FLAGS.rtai, "compile", FLAGS.token_model, "-o", f"{folder}/model.rtai", "--quiet"], check=True)
        lines = [text_of(number) for number in range(FLAGS.lines)]
        engine = rtai.Engine(f"{folder}/model.rtai", threads=2)
        for _ in range(3):
            job = rtai.ray.predict(texts(FLAGS.lines), f"{folder}/model.rtai", concurrency=2)
            count, begin = 0, None
            for batch in job.iter_batches(batch_size=None, batch_format="pyarrow"):
                count += batch.num_rows if begin else 0
                begin = begin or time.perf_counter()
            job_per_s = count / (time.perf_counter() - begin)
            start = time.perf_counter()
            engine.run(lines)
            print(json.dumps({"job_per_s": job_per_s, "engine_per_s": len(lines) / (time.perf_counter() - start)}), flush=True)
    nodes.close()


if __name__ == "__main__":
    if FLAGS.measure:
        measure()
    else:
        unittest.main(argv=[sys.argv[0], *REST], verbosity=2)
