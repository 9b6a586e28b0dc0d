"""INT8 of rtai beside INT8 of its peers, judged alike: what each changes in the answers of the f32 model.

usage: int8_peers.py RTAI FOLDER MODEL... [--json FILE]
FOLDER has model.onnx (f32), test.jsonl and the tokenizer; MODEL is .onnx (ONNX Runtime), .xml (OpenVINO) or .rtai, or an .onnx
with "rtai:" in front, which rtai imports. Needs onnxruntime, transformers and, for .xml, openvino. Each text at its true length,
batches of one. agreement: words (token classification) or texts with the label that the f32 model gives in ONNX Runtime;
nmse: squared error of all logits over their variance. Prints a Markdown table.
"""
import argparse
import json
import pathlib
import subprocess

import numpy as np


class Data:
    def __init__(self, folder):
        from transformers import AutoTokenizer
        tokenizer = AutoTokenizer.from_pretrained(folder)
        lines = [json.loads(line) for line in open(folder / "test.jsonl", encoding="utf8")]
        self.by_word = "tags" in lines[0]
        names = json.load(open(folder / "config.json"))["id2label"]
        self.labels = [names[str(i)] for i in range(len(names))]
        self.lines, self.ids, self.firsts = lines, [], []
        for line in lines:
            text = line["tokens"] if self.by_word else line["text"]
            found = tokenizer(text, is_split_into_words=self.by_word, truncation=True, max_length=512)
            words = found.word_ids()
            self.ids.append(found["input_ids"])
            self.firsts.append([i for i, w in enumerate(words) if w is not None and (i == 0 or words[i - 1] != w)])

    def choices(self, logits):
        """The index of the label of each word, or of the text."""
        if not self.by_word:
            return [[int(np.argmax(row))] for row in logits]
        return [list(np.argmax(rows[first], -1)) for rows, first in zip(logits, self.firsts)]

    def value(self, choices):
        if not self.by_word:
            return "accuracy", np.mean([self.labels[c[0]] == line["label"] for c, line in zip(choices, self.lines)])
        right = wrong = 0
        for chosen, line in zip(choices, self.lines):
            expected, found = spans(line["tags"]), spans([self.labels[i] for i in chosen])
            right += len(expected & found)
            wrong += len(expected ^ found)
        return "span_f1", 2 * right / (2 * right + wrong)


def spans(tags):
    """Exact spans of IOB2 tags, as seqeval counts them."""
    found, start, kind = set(), None, None
    for i, tag in enumerate(list(tags) + ["O"]):
        prefix, _, name = tag.partition("-")
        if start is not None and (prefix != "I" or name != kind):
            found.add((start, i, kind))
            start = None
        if prefix == "B" or (prefix == "I" and start is None):
            start, kind = i, name
    return found


def feeds(ids):
    one = np.array([ids], np.int64)
    return {"input_ids": one, "attention_mask": np.ones_like(one), "token_type_ids": np.zeros_like(one)}


def peer_logits(model, data):
    if model.endswith(".xml"):
        import openvino
        compiled = openvino.Core().compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": 2})
        return [list(compiled(feeds(ids)).values())[0][0] for ids in data.ids]
    import onnxruntime
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 2
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    wanted = {given.name for given in session.get_inputs()}
    return [session.run(None, {k: v for k, v in feeds(ids).items() if k in wanted})[0][0] for ids in data.ids]


def rtai_logits(rtai, model, data):
    """From the ids, so that only the model is judged."""
    lines = "".join(json.dumps({"input_ids": ids}) + "\n" for ids in data.ids)
    batch = pathlib.Path("/tmp") / f"int8-peers-{id(data)}.jsonl"
    batch.write_text(lines)
    try:
        out = subprocess.run([rtai, "run", model, "--data", batch, "--logits", "--json"], capture_output=True, text=True, check=True)
    except subprocess.CalledProcessError as error:
        raise SystemExit(error.stderr)
    finally:
        batch.unlink()
    return [np.array(json.loads(line)["logits"], np.float32) for line in out.stdout.splitlines()]


def nmse(expected, found):
    error = sum(float(((a - b) ** 2).sum()) for a, b in zip(expected, found))
    everything = np.concatenate([a.ravel() for a in expected]).astype(np.float64)
    return error / float(((everything - everything.mean()) ** 2).sum())


def main():
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("rtai")
    arguments.add_argument("folder", type=pathlib.Path)
    arguments.add_argument("models", nargs="*")
    arguments.add_argument("--json", type=pathlib.Path)
    arguments.add_argument("--between", action="store_true", help="compare all with the first model instead of the f32 model")
    arguments = arguments.parse_args()
    data = Data(arguments.folder)

    def logits(model):
        if model.startswith("rtai:") or model.endswith(".rtai"):
            return rtai_logits(arguments.rtai, model.removeprefix("rtai:"), data)
        return peer_logits(model, data)

    dense = logits(arguments.models[0] if arguments.between else str(arguments.folder / "model.onnx"))
    expected = data.choices(dense)
    rows = {}
    print("| model | metric | value | agreement | nmse of logits |\n| --- | --- | --- | --- | --- |")
    for model in ["f32", *arguments.models]:
        found = dense if model == "f32" else logits(model)
        choices = data.choices(found)
        same = [a == b for x, y in zip(expected, choices) for a, b in zip(x, y)]
        metric, value = data.value(choices)
        rows[model] = {"metric": metric, "value": value, "agreement": float(np.mean(same)), "nmse": nmse(dense, found)}
        print(f"| {model} | {metric} | {value:.4f} | {100 * np.mean(same):.3f} % | {rows[model]['nmse']:.2e} |", flush=True)
    if arguments.json:
        arguments.json.write_text(json.dumps({"folder": arguments.folder.name, "models": rows}, indent=1) + "\n")


main()
