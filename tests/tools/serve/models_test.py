"""Several models behind one server: each under its name, none in the way of the others.

usage: models_test.py RTAI REPOSITORY TINY_FOLDER_MAKER [unittest arguments]
The first model labels words, "kinds" classifies texts, and "embed" is a folder with the first one's ONNX file.
"""
import json
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import unittest

from server import Load, Server, make_embedder, until

RTAI, REPOSITORY, MAKER = (str(pathlib.Path(path).resolve()) for path in sys.argv[1:4])
DEMO = pathlib.Path(REPOSITORY) / "models" / "demo-snips"
WORDS = [" ".join(json.loads(line)["tokens"]) for line in (DEMO / "test.jsonl").read_text().splitlines()[:24]]


def rtai(*args):
    return subprocess.run([RTAI, *map(str, args)], capture_output=True, text=True, timeout=300)


def lines_of(*args):
    result = rtai("run", *args)
    assert result.returncode == 0, result.stderr
    return [json.loads(line) for line in result.stdout.splitlines()]


class ModelsTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.temporary = tempfile.TemporaryDirectory(prefix="rtai-models-")
        cls.addClassCleanup(cls.temporary.cleanup)
        cls.folder = pathlib.Path(cls.temporary.name)
        subprocess.run([MAKER, cls.folder], check=True)
        cls.kinds, cls.embedder = cls.folder / "model.rtai", cls.folder / "embedder"
        make_embedder(cls.embedder, DEMO)
        cls.texts = (cls.folder / "texts.txt").read_text().splitlines()
        cls.run_lines = {"words": lines_of(DEMO, "--json", "--logits", *WORDS),
                         "kinds": lines_of(cls.kinds, "--json", "--logits", *cls.texts),
                         "embed": lines_of(cls.embedder, "--json", *WORDS)}
        cls.server = Server(RTAI, DEMO, "--name", "words", "--model", f"kinds={cls.kinds}", "--model", f"embed={cls.embedder}",
                            "--threads", 2, "--cache-mb", 1, "--queue-time", "60s")
        cls.addClassCleanup(cls.server.stop)

    def predict(self, texts, path="/v1/predict", server=None, **more):
        status, _, body = (server or self.server).post(path, {"texts": texts, "logits": True, **more})
        self.assertEqual(status, 200, body)
        return body["answers"]

    def check_same(self, found, expected):
        self.assertTrue(found == expected)  # the difference of long lists takes minutes to print

    def test_each_answers_under_its_name(self):
        words, kinds = self.run_lines["words"], self.run_lines["kinds"]
        for _ in range(2):  # anew, then from the cache: two of the three have one ONNX file, and texts in common
            self.check_same(self.predict(WORDS), words)
            self.check_same(self.predict(WORDS, model="words"), words)
            self.check_same(self.predict(self.texts, model="kinds"), kinds)
            self.check_same(self.predict(self.texts, "/models/kinds/v1/predict"), kinds)
            self.check_same(self.predict(WORDS, "/models/kinds/v1/predict", model="words"), words)
            for path, body in (("/v1/embeddings", {"model": "embed"}), ("/models/embed/v1/embeddings", {})):
                status, _, answer = self.server.post(path, {"input": WORDS, **body})
                self.assertEqual((status, answer["model"]), (200, "embed"))
                self.check_same([one["embedding"] for one in answer["data"]], [line["embedding"] for line in self.run_lines["embed"]])
            embeddings = self.server.post("/models/embed/embed", {"inputs": WORDS, "normalize": False})[2]
            self.check_same(embeddings, [line["embedding"] for line in self.run_lines["embed"]])
        for name, texts in (("words", WORDS), ("kinds", self.texts)):
            text = {"name": "text", "shape": [len(texts)], "datatype": "BYTES", "data": texts}
            status, body, _ = self.server.infer(name, [text], [{"name": "answer"}])
            self.assertEqual((status, body["model_name"]), (200, name))
            answers = [json.loads(answer) for answer in body["outputs"][0]["data"]]
            for answer, line in zip(answers, self.run_lines[name]):
                self.assertEqual(answer, {key: value for key, value in line.items() if key not in ("input_ids", "logits")})
        self.assertEqual(self.server.post("/models/kinds/predict", {"inputs": self.texts[0]})[2][0]["label"], kinds[0]["label"])

    def test_metadata(self):
        get = lambda path: json.loads(self.server.get(path)[2])
        models = get("/v1/models")
        self.assertEqual((models["object"], [model["id"] for model in models["data"]]), ("list", ["words", "kinds", "embed"]))
        for model in models["data"]:
            self.assertEqual((model["object"], model["owned_by"]), ("model", "rtai"))
            self.assertGreater(model["created"], 0)
        for name, output in (("words", "logits"), ("kinds", "logits"), ("embed", "embedding")):
            model = get(f"/v2/models/{name}")
            self.assertEqual((model["name"], model["versions"]), (name, ["1"]))
            self.assertEqual(get(f"/models/{name}/info")["model_id"], name)
            for path in (f"/v2/models/{name}/ready", f"/models/{name}/health"):
                self.assertEqual(self.server.get(path)[0], 200, path)
        self.assertEqual(get("/info")["model_id"], "words")

    def test_other_names(self):
        for path in ("/v2/models/other", "/v2/models/other/ready", "/models/other/info", "/models/other/health", "/models/kinds", "/models/",
                     "/models/kinds/", "/models/kinds/nothing"):
            status, _, body = self.server.ask("GET", path)
            self.assertEqual((status, "error" in json.loads(body)), (404, True), path)
        for path, body in (("/v1/predict", {"text": "a"}), ("/v1/embeddings", {"input": "a"}), ("/models/embed/v1/embeddings", {"input": "a"})):
            self.assertEqual(self.server.post(path, {**body, "model": "other"})[0], 404, path)
            self.assertEqual(self.server.post(path, {**body, "model": 7})[0], 400, path)
        self.assertEqual(self.server.post("/v2/models/other/infer", {"inputs": []})[0], 404)
        self.assertEqual(self.server.post("/v1/embeddings", {"input": "a"})[0], 400)  # the first gives none

    def test_series_name_the_model(self):
        self.predict(self.texts, model="kinds")
        metrics = self.server.metrics()
        for name, engine in (("words", "demo-snips"), ("kinds", "model")):
            self.assertEqual(metrics[f'rtai_engine_current{{model="{name}"}}'], 1)
        self.assertGreater(metrics['rtai_engine_texts_total{model="kinds",engine="model"}'], 0)
        with Server(RTAI, self.kinds, "--threads", 1) as server:  # one alone does not
            self.predict(self.texts, server=server)
            metrics = server.metrics()
            self.assertEqual(metrics['rtai_engine_texts_total{engine="model"}'], len(self.texts))
            self.assertEqual(metrics["rtai_engine_current"], 1)

    def test_reload_of_one_while_all_serve(self):
        served = self.folder / "served.rtai"
        versions = [served, self.folder / "other.rtai"]
        for path, dtype in zip(versions, ("f32", "bf16")):
            self.assertEqual(rtai("compile", DEMO, "--dtype", dtype, "-o", path).returncode, 0)
        bodies = [path.read_bytes() for path in versions]
        expected = [lines_of(path, "--json", "--logits", WORDS[0]) for path in versions]
        self.assertNotEqual(*expected)
        with Server(RTAI, self.kinds, "--model", f"words={served}", "--threads", 2, "--queue-time", "60s") as server:
            loads = [Load(server, {"texts": self.texts, "logits": True}, threads=3),
                     Load(server, {"texts": WORDS[:1], "logits": True, "model": "words"}, threads=3)]
            reloads = lambda result: server.metrics()[f'rtai_reloads_total{{result="{result}"}}']
            for i in range(4):
                fresh = self.folder / "fresh"
                fresh.write_bytes(bodies[(i + 1) % 2])
                os.replace(fresh, served)
                self.assertTrue(until(lambda: reloads("done") > i))
                time.sleep(0.5)
                self.assertEqual(reloads("done"), i + 1)  # of that one alone
            server.signal(signal.SIGHUP)
            self.assertTrue(until(lambda: reloads("done") == 4 + 2))
            # What cannot serve changes neither.
            fresh.write_bytes(bodies[0][:-1])
            os.replace(fresh, served)
            self.assertTrue(until(lambda: reloads("failed") == 1))
            for load in loads:
                load.stop()
                self.assertEqual(load.lost, [])
                self.assertEqual({status for status, _, _ in load.answers}, {200})
            kinds = {digest: json.loads(body)["answers"] for _, digest, body in loads[0].answers}
            self.assertEqual(list(kinds.values()), [self.run_lines["kinds"]])
            self.assertEqual(len({body for _, _, body in loads[0].answers}), 1)
            by_digest = {}
            for _, digest, body in loads[1].answers:
                by_digest.setdefault(digest, set()).add(body)
            self.assertEqual([len(found) for found in by_digest.values()], [1, 1])
            answers = [json.loads(*found)["answers"] for found in by_digest.values()]
            self.assertTrue(all(answer in expected for answer in answers))

    def test_the_client(self):
        url = self.server.url() + "/models/kinds"
        here = rtai("run", self.kinds, "--json", "--logits", *self.texts).stdout
        self.assertEqual(rtai("run", url, "--json", "--logits", *self.texts).stdout, here)
        unknown = rtai("run", self.server.url() + "/models/other", "a")
        self.assertEqual((unknown.returncode, len(unknown.stderr.splitlines())), (3, 1))
        report = json.loads(rtai("bench", url, "--duration", "300ms", "--json", "-").stdout)
        self.assertEqual(list(report["results"][0]["engines"]), ["model"])

    def test_flags(self):
        start = lambda *models: rtai("serve", self.kinds, *(part for model in models for part in ("--model", model)), "--port", 0)
        for model in ("a", "=a", f"a b={self.kinds}", "a=", "a=,b", f"a={self.kinds},"):
            result = start(model)
            self.assertEqual(result.returncode, 2, model)
            self.assertIn("NAME=ENGINE", result.stderr)
        for models, reason in (([f"model={self.kinds}"], "'model'"), ([f"a={self.kinds}", f"a={self.kinds}"], "'a'"),
                               ([f"a={self.folder}/none.rtai"], "none.rtai"), ([f"a={self.kinds},{self.embedder}"], "tasks differ")):
            result = start(*models)
            self.assertEqual((result.returncode, len(result.stderr.splitlines())), (3, 1), result.stderr)
            self.assertIn(reason, result.stderr)


if __name__ == "__main__":
    unittest.main(argv=[sys.argv[0], *sys.argv[4:]])
