#!/usr/bin/env python3
"""Writes tokenizer_cases.jsonl: texts of ours and what Hugging Face `tokenizers` makes of them.

The first line is the vocabulary and the added tokens; each other line a text with the encodings of
all 16 combinations of the normalizer's steps, equal ones written once. `steps` are bit sets: 1
clean_text, 2 handle_chinese_chars, 4 strip_accents, 8 lowercase. Needs: pip install tokenizers
"""

import json
import pathlib
import random
import unicodedata

from tokenizers import AddedToken, Tokenizer, models, normalizers, pre_tokenizers, processors

OUTPUT = pathlib.Path(__file__).with_name("tokenizer_cases.jsonl")

TEXTS = [
    "The quick brown fox doesn't jump over 13 lazy dogs.",
    "Zo\u00eb's caf\u00e9 \u2014 na\u00efve fa\u00e7ades, \u00fcber-gro\u00dfe M\u00e4use\u2026",
    "cafe\u0301 Zoe\u0308 \u0130stanbul \u0131\u015f\u0131k D\u017eungla \ufb01ne \u00bd",
    "\u039f\u0394\u03a5\u03a3\u03a3\u0395\u03a5\u03a3 \u1f08\u03b3\u03b1\u03b8\u1f79\u03c2 \u03ac\u03bd\u03b8\u03c1\u03c9\u03c0\u03bf\u03c2",
    "\u0411\u044b\u0441\u0442\u0440\u0430\u044f \u0401\u043b\u043a\u0430 \u0438 \u0451\u0436\u0438\u043a, \u0439\u043e\u0433\u0430",
    "\u6211\u5728\u5317\u4eac\u5403\u9762\u3002today\u662f\u597d\u5929 \uf900\U0002b820\U0002b920",
    "\u30ac\u30ae\u30b0 \u304b\u3099\u304d\u3099 \u6771\u4eac\u30bf\u30ef\u30fc",
    "\ud55c\uad6d\uc5b4\ub294 \uc7ac\ubbf8\uc788\uc5b4\uc694 \u1112\u1161\u11ab",
    "\u0645\u0631\u062d\u0628\u0627\u064b \u0628\u0627\u0644\u0639\u0627\u0644\u064e\u0645 \u05e9\u05c1\u05b8\u05dc\u05d5\u05b9\u05dd",
    "\u0939\u093f\u0928\u094d\u0926\u0940 \u0915\u094d\u0937 \u09cb \u0dd9\u0dcf \u0e2a\u0e27\u0e31\u0e2a\u0e14\u0e35",
    "tabs\tand\nlines\r\nand\u00a0spaces\u2003\u3000\u2028end\u200b\u200d\ufeffzero\u0000\u0007\ufffd",
    "[MASK] [mask] x[SEP]y [CLS]  [PAD]! New York new york NEW YORKER",
    "a\u0301\u0323b a\u0323\u0301b \u1e69 s\u0323\u0307 s\u0307\u0323 \u0344 \u0f73\u0334 \u00e9\u302e\u0323",
    "\u08d4\u1dfb\u0301e\u1dfb\u08d4 \U0001e94a\U00010d24\U0001133bz \U0001d165\U0001d16d",
    "http://a.b/c?d=e&f=%20 ~`^$+<=>| \u00ab\u00bb\u201c\u201d\u00bf\u00a1\u00a7\u00b6 \u20ac\u00a3",
    "\U0001f600\U0001f469\u200d\U0001f52c \u2764\ufe0f \U0001d400\U0001d41a \u2126\u212a\u212b \u1e9e",
    "\u037e\u1fef\u1ffd\u0340\u2000\u2001x\u0085y\u001cz\u000bw",
    "incomprehensibilities unaffordability aaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
    "",
    "  ",
]

RANGES = [
    (0x20, 0x7F), (0xA0, 0x250), (0x300, 0x370), (0x370, 0x530), (0x590, 0x700), (0x900, 0xA00),
    (0xE00, 0x1000), (0x1E00, 0x2070), (0x3000, 0x3100), (0x4E00, 0x4F00), (0xAC00, 0xAD00),
]  # fmt: skip


def random_text(rng):
    chars = [chr(rng.randrange(*rng.choice(RANGES))) for _ in range(rng.randrange(8, 20))]
    return "".join(chars)


def vocabulary(texts):
    pieces = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "new", "the", "fox", "##ability"]
    chars = set("".join(texts))
    for form in ("NFD", "NFC"):
        chars |= set(unicodedata.normalize(form, "".join(chars)))
    chars |= set("".join(chars).lower())
    for char in sorted(chars):
        pieces += [char, "##" + char]
    return pieces


def tokenizer(pieces, steps):
    made = Tokenizer(models.WordPiece({p: i for i, p in enumerate(pieces)}, unk_token="[UNK]"))
    made.normalizer = normalizers.BertNormalizer(
        clean_text=bool(steps & 1),
        handle_chinese_chars=bool(steps & 2),
        strip_accents=bool(steps & 4),
        lowercase=bool(steps & 8),
    )
    made.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    made.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    made.add_special_tokens(["[PAD]", "[UNK]", "[CLS]", "[SEP]"])
    made.add_special_tokens([AddedToken("[MASK]", lstrip=True, normalized=False)])
    made.add_tokens([AddedToken("New York", single_word=True, normalized=True)])
    return made


def main():
    rng = random.Random(1)
    texts = TEXTS + [random_text(rng) for _ in range(12)]
    pieces = vocabulary(texts)
    made = [tokenizer(pieces, steps) for steps in range(16)]
    added = json.loads(made[0].to_str())["added_tokens"]
    lines = [{"vocabulary": pieces, "added_tokens": added}]
    for text in texts:
        results = {}
        for steps in range(16):
            encoding = made[steps].encode(text)
            words = [-1 if word is None else word for word in encoding.word_ids]
            result = (encoding.ids, [list(offset) for offset in encoding.offsets], words)
            results.setdefault(json.dumps(result), (result, []))[1].append(steps)
        lines.append(
            {
                "text": text,
                "results": [
                    {"steps": steps, "ids": ids, "offsets": offsets, "words": words}
                    for (ids, offsets, words), steps in results.values()
                ],
            }
        )
    OUTPUT.write_text("".join(json.dumps(line, separators=(",", ":")) + "\n" for line in lines))


if __name__ == "__main__":
    main()
