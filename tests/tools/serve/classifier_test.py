"""A model that classifies texts, as clients of the Open Inference Protocol and of TEI meet it.

usage: classifier_test.py RTAI TINY_FOLDER_MAKER [unittest arguments]
"""
import json
import pathlib
import signal
import struct
import subprocess
import sys
import tempfile
import time
import unittest

from server import Load, Server, bytes_tensor

RTAI, MAKER = (str(pathlib.Path(path).resolve()) for path in sys.argv[1:3])
LABELS = 3


def as_f32(value):
    return struct.unpack("<f", struct.pack("<f", value))[0]


class ClassifierTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.temporary = tempfile.TemporaryDirectory(prefix="rtai-classifier-")
        cls.addClassCleanup(cls.temporary.cleanup)
        folder = pathlib.Path(cls.temporary.name)
        subprocess.run([MAKER, folder], check=True)
        cls.engine = folder / "model.rtai"
        cls.texts = (folder / "texts.txt").read_text().splitlines()
        cls.server = Server(RTAI, cls.engine, "--threads", 1)
        cls.addClassCleanup(cls.server.stop)
        lines = subprocess.run([RTAI, "run", cls.engine, "--json", "--logits", *cls.texts], check=True, capture_output=True, text=True)
        cls.run_lines = [json.loads(line) for line in lines.stdout.splitlines()]

    def test_texts(self):
        expected = self.run_lines[:5]
        text = {"name": "text", "shape": [5], "datatype": "BYTES", "data": self.texts[:5]}
        status, body, _ = self.server.infer("model", [text], id="seven")
        self.assertEqual((status, body["model_name"], body["model_version"], body["id"]), (200, "model", "1", "seven"))
        outputs = {o["name"]: o for o in body["outputs"]}
        self.assertEqual(set(outputs), {"logits", "label", "score"})
        self.assertEqual((outputs["logits"]["shape"], outputs["logits"]["datatype"]), ([5, LABELS], "FP32"))
        self.assertEqual(outputs["logits"]["data"], [value for line in expected for value in line["logits"]])
        self.assertEqual(outputs["label"]["data"], [line["label"] for line in expected])
        self.assertEqual(outputs["score"]["data"], [line["score"] for line in expected])

    def test_answers_do_not_depend_on_who_reads_and_writes(self):
        texts = self.texts[:20]
        expected = [{"label": line["label"], "scores": line["scores"]} for line in self.run_lines[:20]]
        for threads in ((1, 0), (2, 0), (2, 1), (2, 3)):
            with self.subTest(computing_and_io=threads), \
                    Server(RTAI, self.engine, "--threads", threads[0], "--io-threads", threads[1], "--queue-time", "60s") as server:
                load = Load(server, {"texts": texts}, threads=6)
                time.sleep(0.3)
                load.stop()
                self.assertEqual((load.lost, {status for status, _, _ in load.answers}), ([], {200}))
                bodies = {body for _, _, body in load.answers}
                self.assertEqual(len(bodies), 1)
                answers = json.loads(bodies.pop())["answers"]
                self.assertEqual([{"label": a["label"], "scores": a["scores"]} for a in answers], expected)
                server.signal(signal.SIGTERM)
                self.assertEqual(server.process.wait(20), 0)

    def test_the_best_labels_are_chosen_where_they_are_asked_for(self):
        command = [RTAI, "run", self.server.url(), "--json", "--top-k", "2", self.texts[0]]
        best = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)["scores"]
        scores = self.run_lines[0]["scores"]
        self.assertEqual(list(best), sorted(scores, key=lambda label: -scores[label])[:2])

    def test_ids_of_64_and_32_bits_with_padding(self):
        expected = self.run_lines[:5]
        logits = [value for line in expected for value in line["logits"]]
        longest = max(len(line["input_ids"]) for line in expected)
        ids, mask = [], []
        for line in expected:
            missing = longest - len(line["input_ids"])
            ids += line["input_ids"] + [0] * missing
            mask += [1] * len(line["input_ids"]) + [0] * missing
        self.assertIn(0, mask)
        for kind, code in (("INT64", "q"), ("INT32", "i")):
            tensors = [{"name": name, "shape": [5, longest], "datatype": kind, "data": data}
                       for name, data in (("input_ids", ids), ("attention_mask", mask))]
            status, body, _ = self.server.infer("model", tensors, [{"name": "logits"}])
            self.assertEqual((status, body["outputs"][0]["data"]), (200, logits))
            # The binary extension, in and out.
            parts = [struct.pack(f"<{len(ids)}{code}", *values) for values in (ids, mask)]
            for tensor, part in zip(tensors, parts):
                del tensor["data"]
                tensor["parameters"] = {"binary_data_size": len(part)}
            outputs = [{"name": "logits", "parameters": {"binary_data": True}}, {"name": "label"}]
            status, body, binary = self.server.infer("model", tensors, outputs, binary=b"".join(parts))
            self.assertEqual((status, body["outputs"][0]["parameters"]["binary_data_size"]), (200, len(binary)))
            self.assertEqual(list(struct.unpack(f"<{5 * LABELS}f", binary)), [as_f32(value) for value in logits])
            self.assertEqual(body["outputs"][1]["data"], [line["label"] for line in expected])

    def test_texts_as_bytes(self):
        expected = self.run_lines[:5]
        packed = bytes_tensor(self.texts[:5])
        status, body, binary = self.server.infer(
            "model", [{"name": "text", "shape": [5, 1], "datatype": "BYTES", "parameters": {"binary_data_size": len(packed)}}],
            [{"name": "answer"}, {"name": "label"}], binary=packed, parameters={"binary_data_output": True})
        self.assertEqual(status, 200, body)
        first = body["outputs"][0]["parameters"]["binary_data_size"]
        self.assertEqual(binary[first:], bytes_tensor([line["label"] for line in expected]))
        answer = json.loads(binary[4:4 + struct.unpack("<I", binary[:4])[0]])
        self.assertEqual((answer["label"], answer["score"]), (expected[0]["label"], expected[0]["score"]))

    def test_as_tei(self):
        text = self.texts[7]
        expected = self.run_lines[7]
        _, _, body = self.server.post("/predict", {"inputs": text})
        self.assertEqual({one["label"] for one in body}, {"no", "yes", "perhaps"})
        self.assertEqual(sorted((one["score"] for one in body), reverse=True), [one["score"] for one in body])
        self.assertEqual((body[0]["label"], body[0]["score"]), (expected["label"], expected["score"]))
        self.assertAlmostEqual(sum(one["score"] for one in body), 1, places=5)
        _, _, raw = self.server.post("/predict", {"inputs": [[text], [self.texts[0]]], "raw_scores": True})
        self.assertEqual([one["label"] for one in raw[0]], [one["label"] for one in body])
        self.assertEqual(raw[1][0]["score"], max(self.run_lines[0]["logits"]))
        info = json.loads(self.server.get("/info")[2])
        self.assertEqual(info["model_id"], "model")
        self.assertEqual(len(info["model_type"]["classifier"]["id2label"]), LABELS)
        self.assertEqual(self.server.post("/embed", {"inputs": text})[0], 400)


if __name__ == "__main__":
    unittest.main(argv=[sys.argv[0], *sys.argv[3:]])
