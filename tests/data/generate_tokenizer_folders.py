#!/usr/bin/env python3
"""Writes tokenizer_folders.jsonl: small folders without a tokenizer.json and what Transformers' tokenizers make of texts.

Each line has the files of a folder and texts with their ids and offsets, cut at 40 tokens; the folders are those that
tests/peers/tokenizer_folders_test.py compares on many more texts. Needs: pip install transformers sentencepiece
"""

import json
import pathlib
import random
import sys
import tempfile

import generate_tokenizer_cases as cases

HERE = pathlib.Path(__file__).parent
sys.path.insert(0, str(HERE.parent / "peers"))
import tokenizer_folders_test as folders_peer  # noqa: E402
import tokenizers_test as peer  # noqa: E402

OUTPUT = HERE / "tokenizer_folders.jsonl"
MAX_LENGTH = 40
SIZE = 280


def main():
    rng = random.Random(5)
    training = [text for text in cases.TEXTS if text.strip() and "\0" not in text] * 3
    texts = [text for text in peer.EDGES + cases.TEXTS if len(text) < 300]
    texts += ["a <mask> b <new>c", "x [MASK] (y) \"z\"-1.", "<hello>  <s>\n\n\u3000\u00c4\ufb01 e\u0301 "]
    lines = []
    with tempfile.TemporaryDirectory() as temporary:
        scratch = pathlib.Path(temporary)
        for name, files in folders_peer.folders(scratch, training, SIZE, peer.own_charsmap()).items():
            folders_peer.write(scratch / name, files)
            tokenizer = folders_peer.backend(scratch / name)
            tokenizer.no_padding()
            tokenizer.enable_truncation(MAX_LENGTH)
            results = []
            for text in rng.sample(texts[:-3], 12) + texts[-3:]:
                encoding = tokenizer.encode(text)
                results.append({"text": text, "ids": encoding.ids, "offsets": encoding.offsets})
            pair = tokenizer.encode(texts[-1], texts[-2])
            lines.append({
                "folder": name,
                "files": folders_peer.recorded(files),
                "texts": results,
                "pair": {"texts": [texts[-1], texts[-2]], "ids": pair.ids, "offsets": pair.offsets,
                         "segments": pair.type_ids},
            })
    OUTPUT.write_text("".join(json.dumps(line, separators=(",", ":")) + "\n" for line in lines))


if __name__ == "__main__":
    main()
