"""The command line as its users meet it: answers, JSON keys, exit codes, and what bad input gets.

usage: cli_test.py RTAI REPOSITORY [unittest arguments]
Runs the built program on the demo model, in a folder of its own.
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

RTAI = str(pathlib.Path(sys.argv[1]).resolve())
DEMO = pathlib.Path(sys.argv[2]).resolve() / "models" / "demo-snips"
TEXT = "play the new album by westbam on google music"
WORKLOAD = ["--threads", "1", "--seq", "16"]


def rtai(*args, stdin=None, cwd=None, env=None):
    return subprocess.run([RTAI, *map(str, args)], input=stdin, capture_output=True, text=True, cwd=cwd,
                          env={**os.environ, **(env or {})}, timeout=600)


class CliTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.temporary = tempfile.TemporaryDirectory(prefix="rtai-cli-")
        cls.folder = pathlib.Path(cls.temporary.name)
        cls.engine = cls.folder / "demo.rtai"
        cls.quantized = rtai("quantize", DEMO, "-o", cls.engine, "--calib", DEMO / "calibration.txt", "--calib-texts", 64,
                             "--report", cls.folder / "report.json", *WORKLOAD)
        # A short labelled file keeps the tests quick.
        lines = (DEMO / "test.jsonl").read_text().splitlines()[:60]
        cls.labelled = cls.folder / "labelled.jsonl"
        cls.labelled.write_text("\n".join(lines) + "\n")

    @classmethod
    def tearDownClass(cls):
        cls.temporary.cleanup()

    def ok(self, result, code=0):
        self.assertEqual(result.returncode, code, result.stderr or result.stdout)
        return result.stdout

    def refused(self, code, part, *args, **options):
        """Exit `code`, one line that holds `part`, nothing on standard output."""
        result = rtai(*args, **options)
        self.assertEqual(result.returncode, code, result.stderr or result.stdout)
        lines = [line for line in result.stderr.splitlines() if not line.startswith("warning:")]
        self.assertEqual(len(lines), 1, result.stderr)
        self.assertIn(part, lines[0])
        self.assertEqual(result.stdout, "")

    # --- the commands

    def test_quantize_writes_engine_and_report(self):
        self.ok(self.quantized)
        report = json.loads((self.folder / "report.json").read_text())
        for key in ("verdict", "request", "seed", "layers", "latency_ms", "bytes", "quality", "seconds", "candidates"):
            self.assertIn(key, report)
        self.assertEqual(report["verdict"], "met")
        for key in ("heads", "ffn", "precision", "sensitivity", "cost_us"):
            self.assertIn(key, report["layers"][0])
        self.assertGreater(report["bytes"]["before"], 3 * report["bytes"]["after"])
        self.assertGreaterEqual(report["quality"]["after"]["agreement"], 0.99)

    def test_the_same_input_gives_the_same_file(self):
        again = self.folder / "elsewhere" / "again.rtai"
        self.ok(rtai("quantize", DEMO, "-o", again, "--seq", 8, "--threads", 2))
        first = self.folder / "first.rtai"
        self.ok(rtai("quantize", DEMO, "-o", first, "--seq", 8, "--threads", 1))
        self.assertEqual(again.read_bytes(), first.read_bytes())

    def test_the_method_of_calibration_is_chosen_by_name(self):
        static = ["quantize", DEMO, "--mode", "static", "--calib", DEMO / "calibration.txt", "--calib-texts", 60, "--seq", 8]
        files = {}
        for method in ("minmax", "percentile", "mse", "entropy"):
            for threads in (1, 2):
                out = self.folder / f"{method}{threads}.rtai"
                self.ok(rtai(*static, "-o", out, "--calibration", method, "--max-drop", 100, "--threads", threads))
                files[method, threads] = out.read_bytes()
            self.assertEqual(files[method, 1], files[method, 2], method)
        self.ok(rtai(*static, "-o", self.folder / "default.rtai", "--max-drop", 100))
        self.assertEqual((self.folder / "default.rtai").read_bytes(), files["mse", 1])
        facts = json.loads(self.ok(rtai("inspect", self.folder / "minmax1.rtai", "--json", "-")))["metadata"]
        self.assertIn("calibration=minmax", facts["pipeline"])
        out = self.folder / "x.rtai"
        self.refused(3, "expected --mode static or auto", "quantize", DEMO, "-o", out, "--calibration", "minmax")
        self.refused(3, "expected --calibration percentile", *static, "-o", out, "--percentile", 99)
        self.refused(2, "--calibration", *static, "-o", out, "--calibration", "max")

    def test_texts_in_a_table(self):
        table, lines = self.folder / "texts.csv", self.folder / "lines.txt"
        table.write_text(f'label,text\r\nx,{TEXT}\r\ny,"play it, now"\r\n')
        lines.write_text(f"{TEXT}\nplay it, now\n")
        answers = self.ok(rtai("run", self.engine, "--data", lines, "--json"))
        self.assertEqual(self.ok(rtai("run", self.engine, "--data", table, "--json")), answers)
        self.ok(rtai("quantize", DEMO, "-o", self.folder / "table.rtai", "--calib", table, "--max-drop", 100, *WORKLOAD))
        table.write_text(f'text\n{TEXT}\n"play it\n')
        self.refused(3, "texts.csv: line 3: a quote is opened", "quantize", DEMO, "-o", self.folder / "x.rtai", "--calib", table)

    def test_bench_times_tokenization_apart(self):
        texts = self.folder / "lengths.jsonl"
        texts.write_text(json.dumps({"text": TEXT}) + "\n" + json.dumps({"text": "stop"}) + "\n")
        few = ["--iterations", 5, "--warmup", 1, "--threads", 1]
        result = json.loads(self.ok(rtai("bench", self.engine, "--lengths", texts, *few, "--json", "-")))["results"][0]
        self.assertIsNone(result["seq"])
        self.assertEqual(result["phases"]["compute_ms"], result["latency_ms"])
        self.assertGreater(result["phases"]["tokenize_ms"]["p50"], 0)
        self.assertIsNone(result["phases"]["h2d_ms"])
        text = self.ok(rtai("bench", self.engine, "--lengths", texts, *few))
        self.assertRegex(text, r"tokenization [0-9.]+ [um]s at p50")
        self.assertIn("tokenization (shown apart)", text)
        texts = self.folder / "numbers.txt"
        texts.write_text("12\n3\n")
        for workload in (["--seq", 8], ["--lengths", texts]):
            result = json.loads(self.ok(rtai("bench", self.engine, *workload, *few, "--json", "-")))["results"][0]
            self.assertIsNone(result["phases"]["tokenize_ms"])

    def test_bench_with_streams(self):
        few = ["--seq", 16, "--iterations", 5, "--warmup", 1]
        document = json.loads(self.ok(rtai("bench", DEMO, self.engine, "--streams", 2, "--threads", 3, *few, "--json", "-")))
        for result in document["results"]:
            self.assertEqual((result["streams"], result["threads"], result["iterations"]), (2, 2, 10))
            self.assertGreater(result["throughput_per_s"], 1e3 / result["latency_ms"]["max"])
        self.assertIn("2 threads, 2 streams", self.ok(rtai("bench", self.engine, "--streams", 2, "--threads", 2, *few)))
        swept = self.ok(rtai("bench", self.engine, "--sweep", "streams=1,2", "--threads", 2, *few, "--format", "csv"))
        self.assertEqual([line.split(",")[-1] for line in swept.splitlines()], ["streams", "1", "2"])
        self.refused(3, "at most one a thread, found 1 threads", "bench", self.engine, "--streams", 2, "--threads", 1, *few)
        self.refused(3, "expected 1 with --profile", "bench", self.engine, "--streams", 2, "--threads", 2, "--profile", *few)

    def test_bench_json(self):
        out = self.ok(rtai("bench", DEMO, self.engine, "--batch", 2, "--iterations", 5, "--warmup", 1, "--profile", "--json", "-", *WORKLOAD))
        document = json.loads(out)
        self.assertEqual(set(document["machine"]), {"cpu", "target", "threads", "gpu"})
        self.assertEqual(len(document["results"]), 2)
        for result in document["results"]:
            for key in ("model", "engine_bytes", "dtype", "device", "batch", "seq", "threads", "load_ms", "first_run_ms",
                        "iterations", "throughput_per_s", "tokens_per_s", "peak_rss_bytes"):
                self.assertIn(key, result)
            self.assertEqual(set(result["latency_ms"]), {"min", "mean", "p50", "p90", "p95", "p99", "max", "mad"})
            self.assertEqual(result["batch"], 2)
            self.assertGreaterEqual(result["latency_ms"]["p99"], result["latency_ms"]["p50"])
            for key in ("name", "kind", "dtype", "p50_us", "share", "bytes", "gop", "percent_of_peak"):
                self.assertIn(key, result["ops"][0])
        self.assertEqual(document["results"][1]["dtype"], "i8")

    def test_bench_gate(self):
        self.assertEqual(rtai("bench", self.engine, "--iterations", 3, "--fail-if", "p99_ms>0", *WORKLOAD).returncode, 7)
        self.ok(rtai("bench", self.engine, "--iterations", 3, "--fail-if", "p99_ms>100000", *WORKLOAD))
        self.refused(3, "unknown figure 'speed'", "bench", self.engine, "--iterations", 3, "--fail-if", "speed>1", "--quiet", *WORKLOAD)

    def test_run_answers_words_and_spans(self):
        line = json.loads(self.ok(rtai("run", self.engine, TEXT, "--json")))
        self.assertEqual(line["text"], TEXT)
        self.assertEqual([w["word"] for w in line["words"]], TEXT.split())
        for word in line["words"]:
            self.assertEqual(TEXT[word["start"]:word["end"]], word["word"])
        for span in line["spans"]:
            self.assertEqual(TEXT[span["start"]:span["end"]], span["text"])
        self.assertIn("google music", [span["text"] for span in line["spans"]])

    def test_run_reads_standard_input_a_line_at_a_time(self):
        out = self.ok(rtai("run", self.engine, "--json", stdin=f"{TEXT}\n\n{TEXT}\r\n"))
        lines = [json.loads(line) for line in out.splitlines()]
        self.assertEqual(len(lines), 2)
        self.assertEqual(lines[0], lines[1])
        self.assertIn("standard input: no text", rtai("run", self.engine, stdin="").stderr)

    def test_run_counts_code_points(self):
        text = "spiele mot\u00f6rhead \u5317\u4eac \U0001f600 bitte"
        line = json.loads(self.ok(rtai("run", self.engine, text, "--json")))
        for word in line["words"]:
            self.assertEqual(text[word["start"]:word["end"]], word["word"])

    def test_run_on_ids_gives_logits(self):
        ids = self.folder / "ids.jsonl"
        ids.write_text('{"input_ids": [2, 5, 6, 3, 0], "attention_mask": [1, 1, 1, 1, 0], "token_type_ids": [0, 0, 0, 0, 0]}\n')
        line = json.loads(self.ok(rtai("run", DEMO / "model.onnx", "--data", ids, "--json", "--logits")))
        self.assertEqual(line["input_ids"], [2, 5, 6, 3])
        self.assertEqual((len(line["logits"]), len(line["logits"][0])), (4, 72))

    def test_eval_json(self):
        out = self.ok(rtai("eval", self.engine, "--data", self.labelled, "--reference", DEMO, "--json", "-"))
        result = json.loads(out)
        self.assertEqual(set(result), {"model", "samples", "metric", "value", "agreement", "reference_value", "drop_points"})
        self.assertEqual((result["metric"], result["samples"]), ("span_f1", 60))
        self.assertGreater(result["value"], 0.8)
        self.assertGreater(result["agreement"], 0.98)
        self.assertEqual(rtai("eval", self.engine, "--data", self.labelled, "--fail-if", "span_f1<1.1").returncode, 7)

    def test_a_metric_without_labels_is_null(self):
        texts = self.folder / "texts.txt"
        texts.write_text("play something\nwhat is the weather\n")
        result = json.loads(self.ok(rtai("eval", self.engine, "--data", texts, "--json", "-")))
        self.assertIsNone(result["value"])
        self.assertIsNone(result["agreement"])

    def test_inspect_devices_passes_verify(self):
        inspected = json.loads(self.ok(rtai("inspect", self.engine, "--json", "-")))
        self.assertEqual(inspected["task"], "token-classification")
        self.assertEqual(len(inspected["labels"]), 72)
        self.assertIsNone(inspected["file"])
        self.assertEqual(inspected["operators"]["linear"], 17)
        devices = json.loads(self.ok(rtai("devices", "--json", "-")))
        self.assertTrue(any(t["available"] for t in devices["targets"]))
        self.assertIn("quantize-int8", self.ok(rtai("passes")))
        self.assertIn("every digest matches", self.ok(rtai("verify", self.engine)))
        verified = json.loads(self.ok(rtai("verify", self.engine, "--json", "-")))
        self.assertEqual((verified["bytes"], verified["verified"]), (self.engine.stat().st_size, True))
        compiled = json.loads(self.ok(rtai("compile", DEMO, "-o", self.folder / "plain.rtai", "--json", "-")))
        self.assertEqual((compiled["bytes"], compiled["dtype"]), ((self.folder / "plain.rtai").stat().st_size, "f32"))

    def test_inspect_says_what_a_model_is_made_of(self):
        inspected = json.loads(self.ok(rtai("inspect", DEMO, "--json", "-")))
        architecture = inspected["architecture"]
        self.assertEqual((architecture["layers"], architecture["hidden"], architecture["head_dim"]), (4, 128, 32))
        self.assertEqual((architecture["heads"], architecture["ffn"]), ([4] * 4, [512] * 4))
        self.assertEqual((architecture["activation"], architecture["vocabulary"]), ("gelu", 9419))
        self.assertEqual(architecture["head"], ["128 -> 72"])
        engine = json.loads(self.ok(rtai("inspect", self.engine, "--json", "-")))
        self.assertEqual(engine["architecture"], architecture)
        self.assertTrue(all(0 <= step["zeros"] < 0.2 for step in engine["steps"] if step["op"] in ("linear", "embedding")))
        self.assertIn("4 layers, hidden 128, 4 heads of 32, FFN 512 gelu, vocabulary 9419", self.ok(rtai("inspect", self.engine)))

        file = inspected["file"]
        self.assertIn({"name": "input_ids", "type": "i64", "shape": ["batch", "seq"]}, file["inputs"])
        self.assertEqual([output["shape"][-1] for output in file["outputs"]], [72])
        self.assertGreater(file["ir_version"], 3)
        self.assertGreater(file["opsets"]["ai.onnx"], 10)
        self.assertEqual(sum(file["operators"].values()), file["nodes"])
        counts = list(file["operators"].values())
        self.assertEqual(counts, sorted(counts, reverse=True))
        self.assertIn("input_ids       i64 [batch, seq]", self.ok(rtai("inspect", DEMO)))

    def test_compare_finds_no_difference_of_a_model_to_itself(self):
        out = self.ok(rtai("compare", DEMO, DEMO, "--data", self.labelled, "--json", "-", *WORKLOAD))
        result = json.loads(out)
        self.assertEqual((result["agreement"], result["max_error"]), (1.0, 0.0))

    def test_every_form_of_output_runs(self):
        folder = self.folder / "as-folder"
        self.ok(rtai("compile", DEMO, "-o", folder))
        self.assertEqual(sorted(p.name for p in folder.iterdir()),
                         ["config.json", "model.onnx", "tokenizer.json", "tokenizer_config.json", "vocab.txt"])
        onnx = self.folder / "plain.onnx"
        self.ok(rtai("compile", DEMO, "-o", onnx))
        engine = self.folder / "f32.rtai"
        self.ok(rtai("compile", folder, "-o", engine))
        expected = self.ok(rtai("run", DEMO, TEXT))
        self.assertEqual(self.ok(rtai("run", folder, TEXT)), expected)
        self.assertEqual(self.ok(rtai("run", engine, TEXT)), expected)

    def test_int8_onnx_is_read_again(self):
        for mode in ("dynamic", "static"):
            model = self.folder / f"again-{mode}.onnx"
            calibration = ["--calib", DEMO / "calibration.txt", "--calib-texts", 64]
            self.ok(rtai("quantize", DEMO, "-o", model, "--mode", mode, *calibration, *WORKLOAD))
            shown = self.ok(rtai("inspect", model))
            self.assertIn("17 linear layers int8 with the file's weights", shown)
            self.ok(rtai("compile", model, "-o", self.folder / "again.rtai"))
            again = self.ok(rtai("inspect", self.folder / "again.rtai"))
            self.assertIn("i8 " + mode, again)
            self.assertIn("; attention int8", again)

    def test_auto_reports_what_is_sensitive(self):
        out = self.ok(rtai("quantize", DEMO, "-o", self.folder / "auto.rtai", "--calib", DEMO / "calibration.txt", "--json", "-",
                           "--calib-texts", 64, *WORKLOAD))
        report = json.loads(out)
        self.assertEqual(report["request"]["mode"], "auto")
        self.assertEqual(len(report["sites"]), 1 + 17 + 4)
        ranked = [site["sensitivity"] for site in report["sites"]]
        self.assertEqual(ranked, sorted(ranked, reverse=True))
        self.assertGreater(report["layers"][0]["sensitivity"]["ffn_out"], 0)
        self.assertGreater(report["layers"][0]["cost_us"]["qkv"], 0)
        self.assertLess(report["quality"]["after"]["nmse"], 0.01)
        self.assertLess(report["quality"]["after"]["kl"], 0.01)

    def test_weights_of_4_bits(self):
        engine = self.folder / "int4.rtai"
        calibration = ["--calib", DEMO / "calibration.txt", "--calib-texts", 64]
        out = rtai("quantize", DEMO, "-o", engine, "--weights", "int4", "--mode", "dynamic", "--max-drop", 5, "--json", "-",
                   *calibration, *WORKLOAD)
        report = json.loads(self.ok(out))
        self.assertEqual((report["request"]["weights"], report["request"]["group"]), ("int4", 64))
        precision = report["layers"][0]["precision"]
        self.assertEqual((precision["ffn_in"], precision["ffn_out"], precision["qkv"]), ("i4 dynamic", "i4 dynamic", "i8 dynamic"))
        sites = {site["name"]: site["precision"] for site in report["sites"]}
        self.assertEqual(sites["embedding"], "i4")
        self.assertEqual(sites["layer.1.ffn_out"], "i4 dynamic")
        self.assertEqual(sites["layer.1.attention_out"], "i8 dynamic")
        counters = report["passes"][-1]["counters"]
        self.assertEqual(counters["linear layers in 4 bits"], 8)
        self.assertGreaterEqual(report["quality"]["after"]["agreement"], 0.95)
        self.assertIn("nmse", report["quality"]["after"])

        eight = self.folder / "int8.rtai"
        self.ok(rtai("quantize", DEMO, "-o", eight, "--mode", "dynamic", *calibration, *WORKLOAD))
        self.assertEqual(report["bytes"]["after"], engine.stat().st_size)
        self.assertLess(engine.stat().st_size, 0.75 * eight.stat().st_size)
        self.assertIn("every digest matches", self.ok(rtai("verify", engine)))
        shown = self.ok(rtai("inspect", engine))
        self.assertIn("i4 dynamic", shown)
        self.assertIn("i8 dynamic", shown)
        self.ok(rtai("run", engine, TEXT))
        self.ok(rtai("run", DEMO, TEXT))

        # The integers themselves travel through ONNX, in 8 bits each.
        onnx = self.folder / "int4.onnx"
        self.ok(rtai("quantize", DEMO, "-o", onnx, "--weights", "int4", "--mode", "dynamic", "--max-drop", 5, *calibration, *WORKLOAD))
        self.assertIn("17 linear layers int8 with the file's weights", self.ok(rtai("inspect", onnx)))
        self.assertEqual(rtai("quantize", DEMO, "-o", eight, "--weights", "int3").returncode, 2)
        self.assertEqual(rtai("quantize", DEMO, "-o", eight, "--weights", "int4", "--group", 48).returncode, 2)

    def test_compare_goes_layer_by_layer(self):
        document = json.loads(self.ok(rtai("compare", DEMO, self.engine, "--data", self.labelled, "--json", "-", *WORKLOAD)))
        layers = document["layers"]
        self.assertEqual(layers[0]["name"], "embedding_norm")
        self.assertEqual(len(layers), 9)
        for layer in layers:
            self.assertGreater(layer["cosine"], 0.9)
            self.assertGreater(layer["nmse"], 0)

    def test_texts_the_vocabulary_does_not_have_are_told(self):
        texts = self.folder / "other.txt"
        texts.write_text("\u3053\u308c \u5225 \u8a00\u8a9e\n" * 4, encoding="utf8")
        result = rtai("quantize", DEMO, "-o", self.folder / "other.rtai", "--calib", texts, "--mode", "static", *WORKLOAD)
        self.assertIn("of the tokens are not in the model's vocabulary", result.stderr)

    def test_labels_the_model_does_not_have(self):
        data = self.folder / "strange.jsonl"
        data.write_text('{"tokens": ["play", "it"], "tags": ["X", "Y"]}\n')
        self.refused(3, "sample 1: label 'X', expected one of the model's", "eval", self.engine, "--data", data)
        self.refused(3, "label 'X', expected one of the model's", "quantize", DEMO, "-o", self.folder / "x.rtai", "--eval", data)
        data.write_text('{"tokens": ["play", "it"], "tags": ["X", "O"]}\n')
        self.assertIn("50.0 % of the labels are none of the model's", rtai("eval", self.engine, "--data", data).stderr)

    def test_an_empty_calibration_file(self):
        empty = self.folder / "empty.txt"
        empty.write_text("")
        self.refused(3, "empty.txt", "quantize", DEMO, "-o", self.folder / "x.rtai", "--calib", empty)

    def test_a_missed_agreement_exits_with_7_and_writes_all(self):
        out, report = self.folder / "missed.rtai", self.folder / "missed.json"
        result = rtai("quantize", DEMO, "-o", out, "--calib", DEMO / "calibration.txt", "--calib-texts", 60, "--max-drop", "-50",
                      "--report", report, *WORKLOAD)
        self.assertEqual(result.returncode, 7, result.stderr)
        self.ok(rtai("verify", out))
        self.assertEqual(json.loads(report.read_text())["verdict"], "missed")

    def test_a_gate_that_cannot_be_judged_is_refused(self):
        out = self.folder / "ungated.rtai"
        self.refused(3, "--max-drop 1: expected --eval with labels, or --calib", "quantize", DEMO, "-o", out, "--max-drop", 1, *WORKLOAD)
        texts = self.folder / "unlabelled.txt"
        texts.write_text(TEXT + "\n")
        unlabelled = rtai("quantize", DEMO, "-o", out, "--eval", texts, "--max-drop", 1, "--dry-run")
        self.assertIn("no labels; answers are held against those of the model before", unlabelled.stderr)
        self.assertIn("1 points of agreement are lost", self.ok(unlabelled))
        self.assertFalse(out.exists())
        data = self.folder / "half-labelled.jsonl"
        data.write_text('{"tokens": ["play", "it"], "tags": ["O", "O"]}\n{"text": "play it"}\n')
        half = rtai("quantize", DEMO, "-o", out, "--eval", data, "--max-drop", 1, "--dry-run")
        self.assertIn("some texts have no labels", half.stderr)
        self.assertIn("1 points of agreement are lost", self.ok(half))

    def test_models_are_measured_on_all_lengths(self):
        lengths = self.folder / "lengths.txt"
        lengths.write_text("4\n" + 8 * "256\n")
        report = json.loads(self.ok(rtai("quantize", DEMO, "-o", self.folder / "lengths.rtai", "--lengths", lengths, "--threads", 1,
                                         "--json", "-")))
        for latency in (report["latency_ms"]["before"], report["latency_ms"]["after"]):
            self.assertGreater(latency["p50"], 4 * latency["min"])

    def test_a_pruned_folder_tells_its_engine_how_it_was_made(self):
        pruned = self.folder / "pruned"
        self.ok(rtai("prune", DEMO, "-o", pruned, "--flops", 1.5, "--method", "magnitude", "--calib", DEMO / "calibration.txt",
                     "--calib-texts", 32, *WORKLOAD))
        self.ok(rtai("quantize", pruned, "-o", self.folder / "both.rtai", *WORKLOAD))
        facts = json.loads(self.ok(rtai("inspect", self.folder / "both.rtai", "--json", "-")))["metadata"]
        self.assertRegex(facts["pipeline"], "prune-magnitude.*,quantize-int8")
        original = json.loads(self.ok(rtai("inspect", DEMO, "--json", "-")))["metadata"]
        self.assertEqual(facts["source_sha256"], original["source_sha256"])

    def test_bf16_engines_store_two_bytes_a_weight_and_agree(self):
        wide, narrow = self.folder / "f32.rtai", self.folder / "bf16.rtai"
        self.ok(rtai("compile", DEMO, "-o", wide))
        self.ok(rtai("compile", DEMO, "-o", narrow, "--dtype", "bf16"))
        # Four layers of 128 with FFNs of 512, and 72 labels; tables stay f32.
        linear_weights = 4 * (3 * 128 * 128 + 128 * 128 + 2 * 128 * 512) + 128 * 72
        self.assertGreaterEqual(wide.stat().st_size - narrow.stat().st_size, 2 * linear_weights)
        document = json.loads(self.ok(rtai("eval", narrow, "--data", self.labelled, "--reference", wide, "--json", "-")))
        self.assertGreaterEqual(document["agreement"], 0.99)
        self.refused(4, "fp16", "compile", DEMO, "-o", self.folder / "x.rtai", "--dtype", "fp16")

    def test_misspelt_words_get_a_suggestion(self):
        self.refused(2, "unknown command 'quantise'; did you mean 'quantize'?", "quantise", DEMO)
        self.refused(2, "unknown flag '--itertions'; did you mean '--iterations'?", "bench", DEMO, "--itertions", 3)
        self.refused(2, "no command was given")

    def test_config_gives_flags_and_the_command_line_wins(self):
        config = self.folder / "flags.json"
        config.write_text(json.dumps({"model": str(self.engine), "seq": 16, "iterations": 3, "json": "-", "profile": False}))
        result = json.loads(self.ok(rtai("bench", "--config", config, "--seq", 8)))["results"][0]
        self.assertEqual((result["seq"], "ops" in result), (8, False))
        config.write_text('{"seq": {"deep": 1}}')
        self.refused(3, '"seq": expected', "bench", DEMO, f"--config={config}")
        self.refused(3, "no such file", "bench", DEMO, "--config", self.folder / "none.json")
        config.write_text(json.dumps({"model": "none", "output": str(self.folder / "x.rtai")}))
        self.refused(3, "none: no such file or folder (names in ", "compile", f"--config={config}")
        self.refused(3, "other: no such file or folder", "compile", "--seed", 7, "other", "-v", f"--config={config}")

    def test_a_goal_on_the_command_line_replaces_that_of_the_config(self):
        config = self.folder / "goal.json"
        config.write_text(json.dumps({"model": str(DEMO), "output": str(self.folder / "x.rtai"), "calib": str(self.texts()), "speedup": 3}))
        plan = self.ok(rtai("optimize", "--config", config, "--latency", "2ms", "--dry-run"))
        self.assertIn("if int8 alone is above 2 ms", plan)
        self.assertIn("less than 3x faster", self.ok(rtai("optimize", "--config", config, "--dry-run")))
        # Flags that may stand together do.
        config.write_text(json.dumps({"model": str(DEMO), "output": str(self.folder / "x"), "calib": str(self.texts()), "keep-heads": 0.5}))
        plan = self.ok(rtai("prune", "--config", config, "--keep-ffn", 0.25, "--dry-run"))
        self.assertRegex(plan, "keep-heads=0.5,keep-ffn=0.25")
        self.assertNotIn("keep-heads", self.ok(rtai("prune", "--config", config, "--flops", 2, "--dry-run")))

    def test_what_is_wrong_with_a_config_is_told_with_the_file(self):
        config = self.folder / "wrong.json"
        config.write_text('{"model": "m", "speeedup": 6}')
        self.refused(3, f"{config}: unknown key 'speeedup'; did you mean 'speedup'?", "optimize", "--config", config)
        config.write_text('{\n  // a comment\n  "seq": 8\n  "batch": 1\n}')
        self.refused(3, f"{config}: expected JSON; line 4, column 9 is wrong", "bench", self.engine, "--config", config)
        config.write_text('{"seq": "x"}')
        self.refused(2, f"(from {config})", "bench", self.engine, "--config", config)
        result = rtai("bench", self.engine, env={**os.environ, "RTAI_SEQ": "x"})
        self.assertEqual(result.returncode, 2)
        self.assertIn("--seq: ", result.stderr)
        self.assertIn("(from RTAI_SEQ)", result.stderr)
        self.assertNotIn("(from", rtai("bench", self.engine, "--seq", "x").stderr)

    def test_nothing_that_is_read_is_written_over(self):
        own = self.folder / "own"
        shutil.copytree(DEMO, own)
        before = {path.name: path.read_bytes() for path in own.iterdir()}
        texts, out = self.texts(), self.folder / "over.rtai"
        for args in (["quantize", own, "-o", own], ["quantize", own / "model.onnx", "-o", f"{own}/"], ["quantize", own, "-o", own / "model.onnx"],
                     ["quantize", own, "-o", out, "--calib", own / "calibration.txt", "--report", own / ".." / "own" / "calibration.txt"],
                     ["bench", own / "model.onnx", "--json", own / "model.onnx"],
                     ["eval", own, "--data", own / "test.jsonl", "--json", own / "test.jsonl"]):
            self.refused(2, "would replace what is read as", *args)
        self.refused(2, f"--output {out}: --html writes this, too", "quantize", own, "-o", out, "--html", out)
        self.assertEqual({path.name: path.read_bytes() for path in own.iterdir()}, before)
        self.assertFalse(out.exists())
        # An engine in its model's folder, devices, and a baseline that moves on are all right.
        few = ["--iterations", 5, "--seq", 8, "--threads", 1]
        self.ok(rtai("quantize", own, "-o", own / "int8.rtai", "--seq", 8, "--threads", 1))
        self.ok(rtai("bench", self.engine, *few, "--json", os.devnull, "--save", os.devnull))
        baseline = self.folder / "moving.json"
        self.ok(rtai("bench", self.engine, *few, "--save", baseline))
        self.ok(rtai("bench", self.engine, *few, "--against", baseline, "--save", baseline))

    def test_a_sample_without_label_is_named(self):
        data = self.folder / "partly.jsonl"
        data.write_text('{"tokens": ["play"], "tags": ["O"]}\n{"text": "play"}\n')
        self.assertIn("not measured: sample 2 has no label", self.ok(rtai("eval", self.engine, "--data", data)))
        data.write_text('{"text": "play"}\n')
        self.assertIn("not measured: the data has no labels", self.ok(rtai("eval", self.engine, "--data", data)))

    def test_a_reader_that_has_enough_ends_it_quietly(self):
        texts = self.texts()
        texts.write_text("play some music\n" * 20000)
        for command in (f"'{RTAI}' run '{self.engine}' --data '{texts}' --json", f"yes 'play some music' | '{RTAI}' run '{self.engine}'"):
            done = subprocess.run(["bash", "-c", f"set -o pipefail; {command} | head -1; echo ${{PIPESTATUS[-2]}}"], capture_output=True, text=True,
                                  timeout=60)
            self.assertEqual(done.stderr, "")
            self.assertEqual(done.stdout.splitlines()[-1], "0")

    def test_a_full_disk_behind_standard_output_is_told(self):
        with open("/dev/full", "w") as full:
            for args in (["--help"], ["--version"], ["run", self.engine, "play"]):
                done = subprocess.run([RTAI, *map(str, args)], stdout=full, stderr=subprocess.PIPE, text=True)
                self.assertEqual((done.returncode, done.stderr), (3, "rtai: standard output cannot be written\n"))

    def texts(self):
        path = self.folder / "some-texts.txt"
        path.write_text("play some music\nrate this book five stars\n")
        return path

    def test_environment_gives_flags_between_command_line_and_config(self):
        config = self.folder / "flags.json"
        config.write_text(json.dumps({"seq": 32, "iterations": 2, "json": "-"}))

        def result(*args, **environment):
            output = self.ok(rtai("bench", self.engine, "--config", config, *args, env=environment))
            return json.loads(output)["results"][0]
        self.assertEqual(result()["seq"], 32)
        self.assertEqual(result(RTAI_SEQ="16")["seq"], 16)
        self.assertEqual(result("--seq", 8, RTAI_SEQ="16")["seq"], 8)
        self.assertEqual(result(RTAI_SEQ="", RTAI_NO_SUCH_FLAG="1", RTAI_PORT="none")["seq"], 32)
        self.assertEqual(rtai("bench", self.engine, env={"RTAI_SEQ": "many"}).returncode, 2)
        words = self.ok(rtai("run", self.engine, "--", "--quiet", env={"RTAI_JSON": "1"}))
        self.assertEqual(json.loads(words)["text"], "--quiet")

    def test_dumped_flags_are_a_config_file(self):
        given = ("compare", self.engine, DEMO, "--data", DEMO / "calibration.txt", "--worst", 2, "--fail-if", "agreement<0.5", "nmse>9", "-q")
        dumped = self.ok(rtai(*given, "--dump-config"))
        self.assertEqual(json.loads(dumped), {"a": str(self.engine), "b": str(DEMO), "data": str(DEMO / "calibration.txt"), "worst": 2,
                                              "fail-if": ["agreement<0.5", "nmse>9"], "quiet": True})
        config = self.folder / "dumped.json"
        config.write_text(dumped)
        self.assertEqual(self.ok(rtai("compare", "--config", config, "--dump-config")), dumped)
        self.assertEqual(len(json.loads(self.ok(rtai("compare", "--config", config, "--json", "-")))["worst"]), 2)

    def test_a_reader_that_has_enough_is_no_error(self):
        process = subprocess.Popen([RTAI, "passes"], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        process.stdout.close()
        self.assertEqual(process.stderr.read(), b"")
        process.stderr.close()
        self.assertEqual(process.wait(), 0)

    def test_run_in_batches_gives_the_same_answers(self):
        texts = self.folder / "texts.txt"
        texts.write_text("".join(f"{TEXT} {'again ' * (i % 5)}\n" for i in range(11)))
        single = self.ok(rtai("run", self.engine, "--data", texts, "--json", "--logits"))
        self.assertEqual(self.ok(rtai("run", self.engine, "--data", texts, "--json", "--logits", "--batch", 4)), single)

    def test_shards_one_after_the_other_are_the_whole(self):
        texts = self.folder / "shards.txt"
        texts.write_text("".join(f"{TEXT} {'again ' * (i % 5)}\n\n" for i in range(7)))
        whole = self.ok(rtai("run", self.engine, "--data", texts, "--json"))
        for count in (1, 2, 3, 7, 9):
            parts = [self.ok(rtai("run", self.engine, "--data", texts, "--json", "--batch", 2, "--shard", f"{i}/{count}"))
                     for i in range(1, count + 1)]
            self.assertEqual("".join(parts), whole)
            sizes = [part.count("\n") for part in parts]
            self.assertLessEqual(max(sizes) - min(sizes), 1, sizes)

    def test_a_shard_counts_samples_as_the_file_does(self):
        ids = self.folder / "shard.jsonl"
        ids.write_text('{"input_ids": [1, 2]}\n' * 5 + '{"input_ids": [1, 99999]}\n')
        for shard, code in (("1/2", 0), ("2/2", 3)):
            result = rtai("run", self.engine, "--data", ids, "--json", "--shard", shard)
            self.ok(result, code)
        self.assertIn("shard.jsonl: sample 6", result.stderr)
        self.assertEqual(result.stdout.count("\n"), 2)

    def test_shards_that_there_are_not(self):
        for shard in ("0/2", "3/2", "1/0", "-1/2", "1", "1/", "/2", "1/2/3", "1/2 ", "a/b", "1/1000001", ""):
            result = rtai("run", self.engine, "--data", self.labelled, "--shard", shard)
            self.assertEqual((result.returncode, result.stdout), (2, ""), shard)
            self.assertIn("expected I/N", result.stderr, shard)
        result = rtai("run", self.engine, "--shard", "1/2", stdin=TEXT)
        self.assertEqual((result.returncode, result.stdout), (2, ""))
        self.assertIn("--shard requires --data", result.stderr)

    def test_quantized_onnx_is_written(self):
        onnx = self.folder / "quantized"
        self.ok(rtai("quantize", DEMO, "-o", onnx, *WORKLOAD))
        self.assertLess((onnx / "model.onnx").stat().st_size, (DEMO / "model.onnx").stat().st_size / 3)

    def test_forced_targets_agree(self):
        targets = [t["name"] for t in json.loads(self.ok(rtai("devices", "--json", "-")))["targets"] if t["available"]]
        answers = {self.ok(rtai("run", self.engine, TEXT, "--target", target)) for target in targets}
        self.assertEqual(len(answers), 1)
        self.refused(4, "unknown target 'sse9'", "run", self.engine, TEXT, "--target", "sse9")
        self.refused(4, "unknown target 'mmx'", "run", self.engine, TEXT, env={"RTAI_TARGET": "mmx"})

    def test_another_working_directory_and_a_second_run(self):
        for _ in range(2):
            self.ok(rtai("quantize", DEMO, "-o", "here.rtai", *WORKLOAD, cwd=self.folder))
        self.assertTrue((self.folder / "here.rtai").exists())

    # --- wrong flags and bad input

    def test_wrong_flags_exit_with_2(self):
        for args in ([], ["dance"], ["bench"], ["bench", self.engine, "--batch", "0"], ["bench", self.engine, "--no-such-flag"],
                     ["quantize", DEMO], ["quantize", DEMO, "-o", "x.rtai", "--mode", "magic"]):
            self.assertEqual(rtai(*args).returncode, 2, args)

    def test_help_has_defaults_and_an_example(self):
        text = self.ok(rtai("bench", "--help"))
        for part in ("Examples: rtai bench", "--config FILE", "--seed N", "(default: 128)"):
            self.assertIn(part, text)

    def test_version_says_what_a_report_needs(self):
        self.assertRegex(self.ok(rtai("--version")), r"^rtai \d+\.\d+\.\d+( \([0-9a-f]{7,}\))?\ncpu  .+:( [a-z0-9_]+)* ref\ngpu  .+\n$")

    def test_missing_files(self):
        self.refused(3, "no such file", "inspect", self.folder / "none.onnx")
        self.refused(3, "no model.onnx", "inspect", self.folder)
        self.refused(4, "vocab.txt: expected an ONNX file", "inspect", DEMO / "vocab.txt")
        folder = self.folder / "a-folder.bin"  # its name says nothing
        folder.symlink_to(DEMO)
        self.ok(rtai("inspect", folder))
        self.refused(3, "no such file", "verify", self.folder / "none.rtai")
        self.refused(3, "no such file", "eval", self.engine, "--data", self.folder / "none.jsonl")
        self.refused(6, "device 'cuda:7'", "bench", self.engine, "--device", "cuda:7")
        self.refused(6, "unknown device", "bench", self.engine, "--device", "cuda:x")

    def test_files_that_are_not_what_they_should_be(self):
        text = self.folder / "text.onnx"
        text.write_text("this is not a model at all\n" * 50)
        self.refused(3, "text.onnx", "inspect", text)
        cut = self.folder / "cut.onnx"
        cut.write_bytes((DEMO / "model.onnx").read_bytes()[:100_000])
        self.refused(3, "cut.onnx", "inspect", cut)
        empty = self.folder / "empty.onnx"
        empty.write_bytes(b"")
        self.refused(3, "empty.onnx", "inspect", empty)
        not_engine = self.folder / "not.rtai"
        not_engine.write_bytes(b"0" * 1000)
        self.refused(3, "not an rtai engine", "verify", not_engine)
        fifo = self.folder / "fifo.onnx"
        os.mkfifo(fifo)
        self.refused(3, "regular file", "inspect", fifo)

    def test_a_model_that_cannot_be_run_is_shown_all_the_same(self):
        def field(number, value):  # of a protobuf message
            if isinstance(value, int):
                return bytes([number << 3, value])
            value = value.encode() if isinstance(value, str) else value
            return bytes([number << 3 | 2, len(value)]) + value

        def value_info(name):
            shape = field(1, field(2, "batch")) + field(1, field(1, 4))
            return field(1, name) + field(2, field(1, field(1, 1) + field(2, shape)))

        node = field(1, "x") + field(2, "y") + field(3, "sort") + field(4, "TopK")
        graph = field(1, node) + field(2, "g") + field(11, value_info("x")) + field(12, value_info("y"))
        model = self.folder / "topk.onnx"
        model.write_bytes(field(1, 8) + field(2, "somebody") + field(7, graph) + field(8, field(1, "") + field(2, 17)))
        shown = rtai("inspect", model)
        self.assertEqual(shown.returncode, 4, shown.stderr)
        self.assertEqual(len(shown.stderr.splitlines()), 1, shown.stderr)
        self.assertIn("TopK", shown.stderr)
        for part in ("not understood", "somebody, IR version 8, opset 17", "x  f32 [batch, 4]", "TopK 1",
                     "  TopK: operator not supported\n               'sort'\n"):
            self.assertIn(part, shown.stdout)
        outline = json.loads(rtai("inspect", model, "--json", "-").stdout)
        self.assertEqual(outline["operators"], {"TopK": 1})
        self.assertEqual(outline["inputs"], ["x f32[batch, 4]"])
        self.assertIn("TopK", outline["reason"])
        self.assertEqual(outline["obstacles"], [{"node": "sort", "operator": "TopK", "reason": "operator not supported"}])
        self.assertEqual(outline["obstacle_count"], 1)
        self.assertEqual(outline["file"]["outputs"], [{"name": "y", "type": "f32", "shape": ["batch", 4]}])
        # Sizes that only a file can claim: 2 ** 62 numbers, three times.
        claimed = bytes([1 << 3]) + b"\x80" * 8 + b"\x40"
        graph += b"".join(field(5, claimed + field(2, 1) + field(8, name)) for name in "abc")
        model.write_bytes(field(1, 8) + field(7, graph) + field(8, field(1, "") + field(2, 17)))
        outline = json.loads(rtai("inspect", model, "--json", "-").stdout)
        self.assertEqual(outline["parameters"], 2 ** 63 - 1)

    def test_a_changed_engine_is_noticed(self):
        data = bytearray(self.engine.read_bytes())
        for at in (70, 1000, len(data) // 2, len(data) - 1000):
            changed = self.folder / "changed.rtai"
            changed.write_bytes(data[:at] + bytes([data[at] ^ 1]) + data[at + 1:])
            self.refused(5, "changed.rtai", "run", changed, TEXT)
            self.refused(5, "changed.rtai", "verify", changed)
        changed.write_bytes(data[:len(data) // 2])
        self.refused(5, "changed.rtai", "verify", changed)

    def test_texts_and_ids_that_cannot_be_used(self):
        empty = self.folder / "nothing.txt"
        empty.write_text("\n  \n")
        self.refused(3, "no text in this file", "quantize", DEMO, "-o", self.folder / "x.rtai", "--calib", empty)
        self.assertFalse((self.folder / "x.rtai").exists())
        bad = self.folder / "bad.jsonl"
        bad.write_text('{"text": "fine"}\n{"text": 5}\n')
        self.refused(3, 'line 2: "text": expected a string', "eval", self.engine, "--data", bad)
        ids = self.folder / "range.jsonl"
        ids.write_text('{"input_ids": [1, 99999]}\n')
        self.refused(3, "99999 is outside", "run", self.engine, "--data", ids, "--json", "--logits")
        long_ids = self.folder / "long.jsonl"
        long_ids.write_text(json.dumps({"input_ids": [5] * 300}) + "\n")
        self.refused(3, "256 positions", "run", self.engine, "--data", long_ids, "--json", "--logits")

    def test_a_text_longer_than_the_model_is_cut_and_said_so(self):
        result = rtai("run", self.engine, "play " * 5000)
        self.ok(result)
        self.assertIn("was cut", result.stderr)

    def test_an_engine_is_not_optimized_again(self):
        self.refused(4, "an engine is finished", "quantize", self.engine, "-o", self.folder / "y.rtai")

    def test_an_output_that_cannot_be_written_leaves_nothing(self):
        before = sorted(self.folder.iterdir())
        self.refused(3, "is a folder", "compile", DEMO, "-o", self.make_folder("taken.rtai"))
        old = self.folder / "old.txt"
        old.write_text("precious")
        self.refused(3, "expected a name that ends in", "compile", DEMO, "-o", old)
        self.assertEqual(old.read_text(), "precious")
        self.refused(3, "expected a name that ends in", "compile", DEMO, "-o", self.folder / "packed.rtai.gz")
        self.assertFalse((self.folder / "packed.rtai.gz").exists())
        left = [p.name for p in self.folder.iterdir() if p.name.startswith(".")]
        self.assertEqual(left, [], before)

    def make_folder(self, name):
        path = self.folder / name
        path.mkdir()
        return path

    def test_interrupt_leaves_the_old_file(self):
        target = self.folder / "interrupted.rtai"
        shutil.copy(self.engine, target)
        for delay in (0.05, 0.3, 0.6):
            process = subprocess.Popen([RTAI, "quantize", str(DEMO), "-o", str(target), "--eval", str(DEMO / "test.jsonl")],
                                       stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            time.sleep(delay)
            process.send_signal(signal.SIGINT)
            self.assertIn(process.wait(), (130, 0))
            self.ok(rtai("verify", target))
        self.assertEqual([p.name for p in self.folder.iterdir() if p.name.startswith(".")], [])

    def test_quiet_and_streams(self):
        result = rtai("bench", self.engine, "--iterations", 3, "--quiet", *WORKLOAD)
        self.assertEqual((self.ok(result), result.stderr), ("", ""))
        # Standard output holds the document and nothing else.
        json.loads(self.ok(rtai("quantize", DEMO, "-o", self.folder / "q.rtai", "--json", "-", *WORKLOAD)))


if __name__ == "__main__":
    unittest.main(argv=[sys.argv[0], *sys.argv[3:]])
