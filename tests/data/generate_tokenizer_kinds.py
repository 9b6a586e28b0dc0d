#!/usr/bin/env python3
"""Writes tokenizer_kinds.jsonl: small tokenizers of every kind and what Hugging Face `tokenizers` makes of texts.

Each line is a tokenizer.json and texts with their ids, offsets and segments, cut at 40 tokens; the kinds are those
that tests/peers/tokenizers_test.py compares on many more texts. Needs: pip install tokenizers
"""

import json
import pathlib
import random
import sys
import tempfile

import generate_tokenizer_cases as cases

HERE = pathlib.Path(__file__).parent
sys.path.insert(0, str(HERE.parent / "peers"))
import tokenizers_test as peer  # noqa: E402

OUTPUT = HERE / "tokenizer_kinds.jsonl"
MAX_LENGTH = 40
SIZE = 300


def main():
    rng = random.Random(3)
    training = [text for text in cases.TEXTS if text.strip()] * 3
    texts = [text for text in peer.EDGES + cases.TEXTS if len(text) < 400]
    texts += [peer.random_text(rng, sorted(set("".join(training)))) for _ in range(20)]
    lines = []
    peer.charsmap = lambda folder, lines, rule: peer.own_charsmap()
    with tempfile.TemporaryDirectory() as folder:
        for kind, make in peer.kinds(pathlib.Path(folder), training, SIZE).items():
            if kind.startswith("bert"):  # tokenizer_cases.jsonl has them
                continue
            tokenizer = make()
            made = json.loads(tokenizer.to_str())
            tokenizer.enable_truncation(MAX_LENGTH)
            results = []
            for text in rng.sample(texts, 24):
                encoding = tokenizer.encode(text)
                results.append({"text": text, "ids": encoding.ids, "offsets": encoding.offsets})
            pair = tokenizer.encode(texts[-1], texts[-2])
            lines.append({
                "kind": kind,
                "tokenizer": made,
                "texts": results,
                "pair": {"texts": [texts[-1], texts[-2]], "ids": pair.ids, "offsets": pair.offsets,
                         "segments": pair.type_ids},
            })
    OUTPUT.write_text("".join(json.dumps(line, separators=(",", ":")) + "\n" for line in lines))


if __name__ == "__main__":
    main()
