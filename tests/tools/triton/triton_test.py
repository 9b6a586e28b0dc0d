"""Triton's server with the backend answers over HTTP and gRPC as `rtai run` does, bit for bit; says what is wrong with
requests and models; batches by tokens; caches, counts, unloads.

usage: triton_test.py RTAI TINY_FOLDER_MAKER BACKENDS TOKEN_MODEL
BACKENDS holds rtai/libtriton_rtai.so; TOKEN_MODEL answers with a row for each token. Skipped (77) without Triton's server
and clients: triton_server.py.
"""
import concurrent.futures
import json
import pathlib
import shutil
import subprocess
import sys
import tempfile
import time
import unittest

import triton_server
triton_server.require_modules()

import numpy as np  # noqa: E402
import tritonclient.grpc  # noqa: E402
import tritonclient.http  # noqa: E402
from tritonclient.utils import InferenceServerException  # noqa: E402

RTAI, MAKER, BACKENDS, TOKEN_MODEL = sys.argv[1:5]
TEXTS = ["word1 word2 word3", "word4", "word5 " * 9, "word7 word8"]
SENTENCES = ["play the new album by westbam on google music", "hi", "what is the weather in boston"]
PLAIN = 'backend: "rtai"\nparameters { key: "threads" value { string_value: "1" } }\n'
# Requests that come within this time are one batch, if they fit.
DELAYED = PLAIN + 'dynamic_batching { max_queue_delay_microseconds: 300000 }\n'


def tokens(number):
    return f'parameters {{ key: "batch_tokens" value {{ string_value: "{number}" }} }}\n'


class TritonTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.temporary = tempfile.TemporaryDirectory(prefix="rtai-triton-")
        cls.folder = pathlib.Path(cls.temporary.name)
        subprocess.run([MAKER, cls.folder], check=True)
        cls.engine = cls.folder / "model.rtai"
        cls.words = cls.folder / "words.rtai"
        subprocess.run([RTAI, "compile", TOKEN_MODEL, "-o", cls.words, "--quiet"], check=True)
        cls.repository = cls.folder / "repository"
        triton_server.model_folder(cls.repository, "plain", cls.engine, PLAIN)
        cls.server = triton_server.TritonServer(BACKENDS, cls.repository, cls.folder / "server.log", "--cache-config=local,size=1048576",
                                                "--log-verbose=1")
        cls.clients = [(tritonclient.http, tritonclient.http.InferenceServerClient(cls.server.http)),
                       (tritonclient.grpc, tritonclient.grpc.InferenceServerClient(cls.server.grpc))]
        cls.client = cls.clients[1][1]
        cls.client.load_model("plain")
        cls.lines = cls.program(cls.engine, TEXTS)

    @classmethod
    def tearDownClass(cls):
        for _, client in cls.clients:
            client.close()
        cls.server.stop()
        cls.temporary.cleanup()

    @classmethod
    def program(cls, engine, texts):
        """What `rtai run` says."""
        data = cls.folder / "data.txt"
        data.write_text("\n".join(texts))
        lines = subprocess.run([RTAI, "run", engine, "--data", data, "--json", "--logits"], text=True, check=True,
                               capture_output=True).stdout
        return [json.loads(line) for line in lines.splitlines()]

    def load(self, name, engine, config=None, file="model.rtai"):
        folder = triton_server.model_folder(self.repository, name, engine, config, file)
        self.addCleanup(shutil.rmtree, folder)
        self.client.load_model(name)
        self.addCleanup(self.client.unload_model, name)

    @staticmethod
    def tensor(module, name, values, kind):
        tensor = module.InferInput(name, list(values.shape), kind)
        tensor.set_data_from_numpy(values)
        return tensor

    def ask(self, model, texts=None, outputs=None, over=None, **arrays):
        module, client = over or self.clients[1]
        inputs = [] if texts is None else [self.tensor(module, "text", np.array([[t.encode()] for t in texts], dtype=object), "BYTES")]
        for name, values in arrays.items():
            kind = {"i": "INT32", "l": "INT64", "O": "BYTES", "f": "FP32"}[values.dtype.char]
            inputs.append(self.tensor(module, name, values, kind))
        wanted = outputs and [module.InferRequestedOutput(name) for name in outputs]
        return client.infer(model, inputs, outputs=wanted)

    def padded(self, lines):
        longest = max(len(line["input_ids"]) for line in lines)
        ids = np.array([line["input_ids"] + [0] * (longest - len(line["input_ids"])) for line in lines], dtype=np.int64)
        mask = np.array([[int(i < len(line["input_ids"])) for i in range(longest)] for line in lines], dtype=np.int64)
        return {"input_ids": ids, "attention_mask": mask}

    def check_answer(self, answer, lines):
        np.testing.assert_array_equal(answer.as_numpy("logits"), np.float32([line["logits"] for line in lines]))
        self.assertEqual(answer.as_numpy("label").tolist(), [[line["label"].encode()] for line in lines])
        np.testing.assert_array_equal(answer.as_numpy("score"), np.float32([[line["score"]] for line in lines]))

    def test_texts_are_answered_as_the_program_does(self):
        for over in self.clients:
            self.check_answer(self.ask("plain", TEXTS, over=over), self.lines)
            for text, line in zip(TEXTS, self.lines):
                self.check_answer(self.ask("plain", [text], over=over), [line])

    def test_ids_are_answered_as_texts(self):
        arrays = self.padded(self.lines)
        for over in self.clients:
            self.check_answer(self.ask("plain", over=over, **arrays), self.lines)
            types = np.zeros_like(arrays["input_ids"])
            self.check_answer(self.ask("plain", over=over, token_type_ids=types, **arrays), self.lines)
            one = np.array([self.lines[2]["input_ids"]])
            self.check_answer(self.ask("plain", over=over, input_ids=one), self.lines[2:3])

    def test_pairs_of_texts(self):
        data = self.folder / "pairs.jsonl"
        data.write_text(json.dumps({"text_a": TEXTS[0], "text_b": TEXTS[1]}) + "\n")
        line = json.loads(subprocess.run([RTAI, "run", self.engine, "--data", data, "--json", "--logits"], text=True, check=True,
                                         capture_output=True).stdout)
        second = np.array([[TEXTS[1].encode()]], dtype=object)
        for over in self.clients:
            self.check_answer(self.ask("plain", TEXTS[:1], over=over, text_b=second), [line])

    def test_a_row_for_each_token_and_labelled_words(self):
        self.load("words", self.words, PLAIN + 'default_model_filename: "own.rtai"\n', file="own.rtai")
        lines = self.program(self.words, SENTENCES)
        arrays = self.padded(lines)
        for over in self.clients:
            answer = self.ask("words", SENTENCES, over=over)
            from_ids = self.ask("words", over=over, **arrays)
            self.assertEqual(answer.as_numpy("logits").shape[:2], arrays["input_ids"].shape)
            for i, line in enumerate(lines):
                rows = np.zeros_like(answer.as_numpy("logits")[i])
                rows[:len(line["logits"])] = np.float32(line["logits"])
                np.testing.assert_array_equal(answer.as_numpy("logits")[i], rows)
                np.testing.assert_array_equal(from_ids.as_numpy("logits")[i], rows)
                said = json.loads(answer.as_numpy("answer")[i, 0])
                self.assertEqual((said["words"], said["spans"]), (line["words"], line["spans"]))
            self.assertIsNone(from_ids.as_numpy("answer"))
            with self.assertRaisesRegex(InferenceServerException, "expected the input 'text'"):
                self.ask("words", outputs=["answer"], over=over, **arrays)

    def test_the_configuration_completes_itself(self):
        self.load("named.rtai", self.engine)  # without config.pbtxt the name says which backend
        self.check_answer(self.ask("named.rtai", TEXTS), self.lines)
        config = self.client.get_model_config("named.rtai", as_json=True)["config"]
        self.assertEqual([(t["name"], t["data_type"], t["dims"], t["optional"]) for t in config["input"]],
                         [("text", "TYPE_STRING", ["1"], True), ("text_b", "TYPE_STRING", ["1"], True),
                          ("input_ids", "TYPE_INT64", ["-1"], True), ("attention_mask", "TYPE_INT64", ["-1"], True),
                          ("token_type_ids", "TYPE_INT64", ["-1"], True)])
        self.assertEqual([(t["name"], t["data_type"], t["dims"]) for t in config["output"]],
                         [("logits", "TYPE_FP32", ["3"]), ("label", "TYPE_STRING", ["1"]), ("score", "TYPE_FP32", ["1"])])
        self.assertEqual(config["max_batch_size"], 256)
        self.assertEqual(int(config["dynamic_batching"].get("max_queue_delay_microseconds", 0)), 0)
        self.assertEqual([group["kind"] for group in config["instance_group"]], ["KIND_CPU"])

    def test_the_users_own_configuration(self):
        self.load("own", self.engine, PLAIN + """
            max_batch_size: 2
            input [ { name: "input_ids" data_type: TYPE_INT32 dims: [ -1 ] } ]
            output [ { name: "answer" data_type: TYPE_STRING dims: [ 1 ] }, { name: "logits" data_type: TYPE_FP32 dims: [ -1 ] } ]
            """)
        one = np.array([self.lines[2]["input_ids"]], dtype=np.int32)
        answer = self.ask("own", input_ids=one)
        np.testing.assert_array_equal(answer.as_numpy("logits"), np.float32([self.lines[2]["logits"]]))
        with self.assertRaisesRegex(InferenceServerException, "must be <= 2"):
            self.ask("own", input_ids=np.repeat(one, 3, axis=0))
        with self.assertRaisesRegex(InferenceServerException, "data-type is 'INT64'"):
            self.ask("own", input_ids=one.astype(np.int64))

    def test_wrong_models_are_refused_in_one_line(self):
        damaged = self.folder / "damaged.rtai"
        data = bytearray(self.engine.read_bytes())
        data[-1] ^= 1
        damaged.write_bytes(data)
        text = 'input [ { name: "text" data_type: TYPE_STRING dims: [ 1 ] } ]\n'
        number = 'parameters { key: "%s" value { string_value: "%s" } }\n'
        for config, engine, message in (
                (PLAIN, damaged, "model.rtai: section . does not match its digest"),
                (PLAIN, __file__, "not an rtai engine"),
                (PLAIN + 'default_model_filename: "absent.rtai"', self.engine, "absent.rtai: No such file"),
                (PLAIN + 'input [ { name: "x" data_type: TYPE_FP32 dims: [ 1 ] } ]', self.engine,
                 "input 'x': the engine has none of that name, only text, text_b, input_ids, attention_mask, token_type_ids"),
                (PLAIN + 'input [ { name: "text" data_type: TYPE_FP32 dims: [ 1 ] } ]', self.engine,
                 "input 'text': expected TYPE_STRING, found TYPE_FP32"),
                (PLAIN + 'input [ { name: "text" data_type: TYPE_STRING dims: [ 2 ] } ]', self.engine,
                 r"input 'text': expected dims \[1\], found \[2\]"),
                (PLAIN + 'input [ { name: "attention_mask" data_type: TYPE_INT64 dims: [ -1 ] } ]', self.engine,
                 "expected an input 'text' or 'input_ids'"),
                (PLAIN + text + 'output [ { name: "logits" data_type: TYPE_FP32 dims: [ 7 ] } ]', self.engine,
                 r"output 'logits': expected dims \[3\], found \[7\]"),
                ('backend: "rtai"\n' + number % ("threads", "many"), self.engine, "'threads': expected a whole number from 0 up"),
                ('backend: "rtai"\n' + number % ("batch_tokens", "0"), self.engine, "'batch_tokens': expected a whole number from 1 up"),
                ('backend: "rtai"\n' + number % ("thraeds", "1"), self.engine, "'thraeds': unknown; expected one of"),
                ('backend: "rtai"\n' + number % ("target", "z80"), self.engine, "unknown target")):
            with self.subTest(message):
                shutil.rmtree(self.repository / "wrong", ignore_errors=True)
                triton_server.model_folder(self.repository, "wrong", engine, config)
                with self.assertRaisesRegex(InferenceServerException, message):
                    self.client.load_model("wrong")
        shutil.rmtree(self.repository / "wrong")
        self.check_answer(self.ask("plain", TEXTS), self.lines)  # and the server goes on

    def test_wrong_requests_get_an_error_of_their_own(self):
        ids = np.array([[2, 5, 6, 3]])
        failures = self.server.metric("nv_inference_request_failure", "plain")
        for message, arrays in (
                ("expected the input 'text' or 'input_ids'", {"attention_mask": np.ones_like(ids)}),
                ("inputs for texts and for ids", {"texts": TEXTS[:1], "attention_mask": np.ones_like(ids)}),
                ("text 0: expected token ids from 0 to 44", {"input_ids": np.array([[2, 999999, 3]])}),
                ("a number that is no token", {"input_ids": np.array([[1 << 40]])}),
                ("text 0: 99 tokens, the model takes 24", {"input_ids": np.full((1, 99), 5)}),
                ("text 0: expected token types", {"input_ids": ids, "token_type_ids": np.full_like(ids, 7)}),
                ("expected the shape of 'input_ids'", {"input_ids": ids, "attention_mask": np.ones((1, 3), dtype=np.int64)}),
                ("a text without a token", {"input_ids": ids, "attention_mask": np.zeros_like(ids)}),
                ("data-type is 'FP32'", {"input_ids": ids.astype(np.float32)}),
                ("unexpected shape", {"input_ids": np.array([2, 5, 3])}),
                ("unexpected inference input|was not found|unknown input", {"other": ids})):
            for over in self.clients:
                with self.subTest(message), self.assertRaisesRegex(InferenceServerException, message):
                    self.ask("plain", over=over, **arrays)
        self.assertGreater(self.server.metric("nv_inference_request_failure", "plain"), failures)

    def test_a_wrong_request_does_not_touch_the_batch_it_is_in(self):
        self.load("mixed", self.engine, DELAYED)
        bad = np.array([[2, 999999, 3]])
        with concurrent.futures.ThreadPoolExecutor(12) as pool:
            good = [pool.submit(self.ask, "mixed", input_ids=np.array([self.lines[i % 4]["input_ids"]])) for i in range(8)]
            wrong = [pool.submit(self.ask, "mixed", input_ids=bad) for _ in range(4)]
        for i, answer in enumerate(good):
            self.check_answer(answer.result(), [self.lines[i % 4]])
        for answer in wrong:
            with self.assertRaisesRegex(InferenceServerException, "expected token ids"):
                answer.result()
        self.assertGreater(max(self.batch_sizes("mixed")), 1)

    def batch_sizes(self, model):
        """How often a batch of each size was run."""
        stats = self.client.get_inference_statistics(model, as_json=True)["model_stats"][0]
        return {int(batch["batch_size"]): int(batch["compute_infer"]["count"]) for batch in stats["batch_stats"]}

    def together(self, model, count):
        """Asks one text each, all at once; the answers must be those of the text alone."""
        def one(i):
            if i // 4 % 2 == 0:
                return self.ask(model, [TEXTS[i % 4]])
            # Over HTTP each thread needs a client of its own.
            with tritonclient.http.InferenceServerClient(self.server.http) as client:
                return self.ask(model, [TEXTS[i % 4]], over=(tritonclient.http, client))

        with concurrent.futures.ThreadPoolExecutor(count) as pool:
            answers = [pool.submit(one, i) for i in range(count)]
        for i, answer in enumerate(answers):
            self.check_answer(answer.result(), [self.lines[i % 4]])

    def test_many_clients_share_batches_and_change_no_bit(self):
        self.load("batches", self.engine, DELAYED)
        self.together("batches", 24)
        sizes = self.batch_sizes("batches")
        self.assertEqual(sum(size * count for size, count in sizes.items()), 24)
        self.assertGreater(max(sizes), 4)
        self.assertEqual(self.server.metric("nv_inference_count", "batches"), 24)
        self.assertEqual(self.server.metric("nv_inference_exec_count", "batches"), sum(sizes.values()))

    def test_a_batch_has_no_more_tokens_than_it_may(self):
        # Each text counts as five to sixteen tokens: three of the shortest are one batch at most.
        self.load("bounded", self.engine, DELAYED + tokens(16))
        self.together("bounded", 24)
        self.assertIn(max(self.batch_sizes("bounded")), (2, 3))
        # One request may have more: it is run all the same.
        self.check_answer(self.ask("bounded", TEXTS * 8), self.lines * 8)

    def counted(self, name, model, expected):
        """A counter, when it has come to `expected`: what a request was is reported after its answer."""
        end = time.monotonic() + 5
        while self.server.metric(name, model) < expected and time.monotonic() < end:
            time.sleep(0.01)
        return self.server.metric(name, model)

    def test_without_delay_and_with_two_instances(self):
        self.load("two", self.engine, PLAIN + tokens(20) + "instance_group { count: 2 kind: KIND_CPU }\n")
        for _ in range(5):
            self.together("two", 24)

    def test_what_was_answered_before_comes_from_the_cache(self):
        self.load("cached", self.engine, PLAIN + "response_cache { enable: true }\n")
        for _ in range(3):
            self.check_answer(self.ask("cached", TEXTS), self.lines)
        self.assertEqual(self.counted("nv_cache_num_hits_per_model", "cached", 2), 2)
        self.assertEqual(self.counted("nv_cache_num_misses_per_model", "cached", 1), 1)

    def test_counters(self):
        self.load("counted", self.engine, PLAIN)
        for over in self.clients:
            self.ask("counted", TEXTS, over=over)
        for name, expected in (("nv_inference_request_success", 2), ("nv_inference_count", 8), ("nv_inference_exec_count", 2)):
            self.assertEqual(self.counted(name, "counted", expected), expected, name)
        for phase in ("input", "infer", "output"):
            self.assertGreater(self.server.metric(f"nv_inference_compute_{phase}_duration_us", "counted"), 0, phase)

    def test_unloading_frees_and_reloading_reads_anew(self):
        folder = triton_server.model_folder(self.repository, "again", self.words, 'backend: "rtai"\n')
        self.addCleanup(shutil.rmtree, folder)

        def cycle():
            self.client.load_model("again")
            self.ask("again", SENTENCES)
            self.client.unload_model("again")
            while self.client.is_model_ready("again"):
                pass

        for _ in range(3):
            cycle()
        before = self.server.status("VmRSS"), self.server.status("Threads")
        for _ in range(12):
            cycle()
        after = self.server.status("VmRSS"), self.server.status("Threads")
        engine_kib = self.words.stat().st_size / 1024
        self.assertLess(after[0] - before[0], 4 * engine_kib, (before, after))
        self.assertLessEqual(after[1], before[1] + 2, (before, after))
        (folder / "1" / "model.rtai").write_bytes(self.engine.read_bytes())
        self.client.load_model("again")
        self.check_answer(self.ask("again", TEXTS), self.lines)
        # Overwritten while it serves, it goes on with what it has read.
        (folder / "1" / "model.rtai").write_bytes(b"")
        self.check_answer(self.ask("again", TEXTS), self.lines)
        with self.assertRaises(InferenceServerException):
            self.client.load_model("again")
        self.client.unload_model("again")

    def test_no_text_is_logged(self):
        self.ask("plain", ["word1 confidential word2"])
        with self.assertRaises(InferenceServerException):
            self.ask("plain", ["word1 confidential word2"], attention_mask=np.ones((1, 2), dtype=np.int64))
        self.assertNotIn("confidential", self.server.log.read_text())


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1] + sys.argv[5:], verbosity=2)
