"""Ids, offsets and segments of rtai against those of the `tokenizers` library, for every kind of tokenizer.

usage: tokenizers_test.py TOKENIZE [--lines N] [--time] [--keep FOLDER] [--only KIND]
Trains vocabularies of the shapes that Transformers ships, on texts of the Debian packages at hand (manual pages and
translations of messages), and compares them on N lines of 12 languages, characters at random and edge cases: alone, as
pairs, as words, cut at 512 tokens and after the way through an engine and a saved folder. --time prints how long both
take for the same lines, one thread, in turns. Exits with 77 (skipped) where tokenizers is not installed; with
sentencepiece the normalization rules are real ones, else a few of the test's own.
"""
import argparse
import glob
import gzip
import json
import os
import pathlib
import random
import re
import struct
import subprocess
import sys
import tempfile
import time

os.environ["TOKENIZERS_PARALLELISM"] = "false"
os.environ["RAYON_NUM_THREADS"] = "1"
try:
    from tokenizers import (AddedToken, Regex, Tokenizer, models, normalizers, pre_tokenizers, processors,
                            trainers)
except ImportError:
    print("skipped: tokenizers is not installed")
    sys.exit(77)

LANGUAGES = ["de", "es", "fr", "pl", "cs", "tr", "ru", "uk", "ja", "ko", "zh_CN", "vi", "hu", "sv", "id", "el", "ar"]
MAX_LENGTH = 512
SPACE = "\u2581"
EDGES = [
    "", " ", "  ", "\t\n", "a", " a", "a ", "  a  b  ", "\u00a0", "\u3000x\u3000", "\r\n", "a\r\nb", "\n\n x", "don't",
    "I'll we've they're it's I'm he'd 'tis '' ``quoted'' '", "''s'll'", "x" * 300, "ab " * 700, "a" * 5000,
    " " * 1000, "!" * 200, "1" * 99 + "a", "caf\u00e9 na\u00efve \u00bd \ufb01 \u0130stanbul \u00df \u1e9e",
    "e\u0301 \u0301e a\u0301\u0323 a\u0323\u0301 \u1e69 s\u0323\u0307 s\u0307\u0323", "\u1112\u1161\u11ab \ud55c\uae00",
    "\u5317\u4eac \u6771\u4eac\u306f", "\U0001f600\U0001f468\u200d\U0001f469\u200d\U0001f467 \U0001f1e9\U0001f1ea",
    "\u00a9\u200d\u00ae \u00ae\u0301", "\ufeffx", "\u200bx\u200b", "x\u0000y", "\u0001x", "x\u00ady", "\u2028\u2029",
    "<s>", "a <mask> b", "a<mask>b", "<mask>", "  <mask>  ", "[MASK] [CLS]x[SEP]", "<s><s> </s>", "<unk>", "<pad> x",
    "\u2581", "\u2581a\u2581\u2581b", "A\u030a \u212b \u2126 \u1fbf", "\ufdfa", "\u0e01\u0e33", "\u0915\u094d\u0937",
    "\u0600x \u06dd1 \u110bd\u0301", "\uff21\uff22\uff23 \uff11\uff12", "\u2460\u2075\u00b9 \u0967\u0968", "\ufffd",
    "a.b,c;d:e/f\\g", "http://x.org/?a=1&b=2#c", "x_y__z", "\U00020000\U0002f800", "\x7f\x80\x8f\x9f", "ABC Abc aBC",
]


# --- texts

def messages(language):
    """The translations in the .mo files of a language."""
    for path in sorted(glob.glob(f"/usr/share/locale/{language}/LC_MESSAGES/*.mo")):
        data = pathlib.Path(path).read_bytes()
        if data[:4] != b"\xde\x12\x04\x95":
            continue
        count, _, table = struct.unpack_from("<III", data, 8)
        for i in range(count):
            length, offset = struct.unpack_from("<II", data, table + 8 * i)
            yield from data[offset:offset + length].decode("utf-8", "replace").split("\n")


def manual(language):
    for path in sorted(glob.glob(f"/usr/share/man/{language}/man?/*.gz")):
        for line in gzip.open(path, "rt", encoding="utf-8", errors="replace"):
            yield re.sub(r"\\f.|\\[-&%|e]|^\.\S* ?", "", line.rstrip("\n"))


def english(repository):
    for path in sorted(repository.glob("docs/*.md")) + sorted(repository.glob("tests/peers/*.py")):
        yield from path.read_text().split("\n")
    for path in sorted(glob.glob("/usr/share/common-licenses/*")):
        yield from pathlib.Path(path).read_text("utf-8", "replace").split("\n")


def texts_by_language(repository):
    texts = {"en": english(repository)}
    for language in LANGUAGES:
        texts[language] = [*messages(language), *manual(language)]
    texts = {name: list(dict.fromkeys(line for line in lines if len(line) > 20)) for name, lines in texts.items()}
    return {name: lines for name, lines in texts.items() if len(lines) >= 300}


def random_text(rng, alphabet):
    def char():
        kind = rng.random()
        if kind < 0.45:
            return chr(rng.randrange(0x20, 0x7f))
        if kind < 0.55:
            return rng.choice(" \t\n\u00a0\u3000'")
        if kind < 0.8:
            return rng.choice(alphabet)
        while True:
            code_point = rng.choice([rng.randrange(0x250), rng.randrange(0x300, 0x3000), rng.randrange(0x10000),
                                     rng.randrange(0x10000, 0x30000), rng.randrange(0x110000)])
            if not 0xd800 <= code_point < 0xe000:
                return chr(code_point)
    return "".join(char() for _ in range(rng.randrange(1, 40)))


def make_lines(texts, count):
    rng = random.Random(7)
    lines = list(EDGES)
    alphabet = sorted({char for some in texts.values() for line in some[:500] for char in line})
    lines += [random_text(rng, alphabet) for _ in range(count // 5)]
    rest = max(0, count - len(lines) - 20)
    for name in sorted(texts):
        lines += rng.sample(texts[name], min(len(texts[name]), rest // len(texts)))
    joined = "".join(line + rng.choice(" \n") for some in texts.values() for line in some[:40])
    lines += [joined[begin:begin + size] for begin, size in ((0, 50000), (7, 9000), (1000, 5000), (30000, 12345))]
    lines += ["x " + " ".join(texts["en"])[:1_000_000]]
    return lines


# --- tokenizers

def own_charsmap():
    """The format of sentencepiece: a double-array trie, then the replacements."""
    rules = {"\u2460": "1", "\ufb01": "fi", "A": "a", "B": "b", "\u00c4": "\u00e4", "e\u0301": "\u00e9", "\t": " ",
             "\n": " ", "\r": " ", "\u3000": " ", "\u0001": "", "\u200b": " ", "\uff21": "A", "\u00ae": "(r)"}
    rules = {key.encode(): value.encode() for key, value in rules.items()}
    prefixes = sorted({key[:size] for key in rules for size in range(len(key) + 1)}, key=len)
    units, texts, places, bases = {0: 0}, b"", {b"": 0}, {0}
    for prefix in prefixes:
        labels = [other[-1] for other in prefixes if other[:-1] == prefix and other] + [0] * (prefix in rules)
        base = next(i for i in range(1, 4096) if i not in bases and not any(i ^ label in units for label in labels))
        bases.add(base)
        units[places[prefix]] |= (places[prefix] ^ base) << 10 | (prefix in rules) << 8
        for label in labels:
            units[base ^ label] = label
            places[prefix + bytes([label])] = base ^ label
        if prefix in rules:
            units[base] = len(texts) | 1 << 31
            texts += rules[prefix] + b"\0"
    array = [units.get(i, 0) for i in range(max(units) | 255)]
    return struct.pack(f"<{len(array) + 1}I", 4 * len(array), *array) + texts


def charsmap(folder, lines, rule):
    try:
        import sentencepiece
        from sentencepiece import sentencepiece_model_pb2
    except ImportError:
        return own_charsmap()
    data = folder / "spm.txt"
    data.write_text("\n".join(lines[:2000]))
    sentencepiece.SentencePieceTrainer.train(
        input=str(data), model_prefix=str(folder / rule), vocab_size=400, hard_vocab_limit=False,
        character_coverage=0.98, normalization_rule_name=rule, minloglevel=2)
    model = sentencepiece_model_pb2.ModelProto()
    model.ParseFromString((folder / f"{rule}.model").read_bytes())
    return model.normalizer_spec.precompiled_charsmap


ROBERTA = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]


def finish_roberta(tokenizer, normalized):
    """The added tokens of roberta-base, xlm-roberta-base and others: a mask that takes the space before it."""
    tokenizer.add_special_tokens([AddedToken(token, normalized=normalized) for token in ROBERTA[:-1]])
    tokenizer.add_special_tokens([AddedToken("<mask>", lstrip=True, normalized=normalized)])


def template(tokenizer, first, last, pair):
    ids = [(token, tokenizer.token_to_id(token)) for token in dict.fromkeys([first, last])]
    return processors.TemplateProcessing(single=f"{first}:0 $A:0 {last}:0", pair=pair, special_tokens=ids)


def word_piece(lines, size, lowercase):
    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=lowercase)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    tokenizer.train_from_iterator(lines, trainers.WordPieceTrainer(vocab_size=size, special_tokens=special,
                                                                     show_progress=False))
    tokenizer.post_processor = template(tokenizer, "[CLS]", "[SEP]", "[CLS]:0 $A:0 [SEP]:0 $B:1 [SEP]:1")
    return tokenizer


def byte_level(lines, size, prefix, normalizer=None):
    tokenizer = Tokenizer(models.BPE())
    if normalizer:
        tokenizer.normalizer = normalizer
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=prefix)
    tokenizer.train_from_iterator(lines, trainers.BpeTrainer(
        vocab_size=size, special_tokens=ROBERTA, show_progress=False,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet()))
    return tokenizer


def roberta(lines, size, prefix=False):
    tokenizer = byte_level(lines, size, prefix)
    tokenizer.post_processor = processors.RobertaProcessing(("</s>", 2), ("<s>", 0), add_prefix_space=prefix)
    finish_roberta(tokenizer, normalized=True)
    return tokenizer


def gpt2(lines, size):
    tokenizer = byte_level(lines, size, True)
    tokenizer.post_processor = processors.ByteLevel(trim_offsets=True, add_prefix_space=True)
    return tokenizer


def modern_bert(lines, size):
    tokenizer = byte_level(lines, size, False, normalizers.NFC())
    tokenizer.add_tokens([AddedToken("    ", normalized=True), AddedToken("  ", normalized=True),
                          AddedToken("|||IP|||", normalized=True)])
    tokenizer.post_processor = template(tokenizer, "<s>", "</s>", "<s>:0 $A:0 </s>:0 $B:0 </s>:0")
    finish_roberta(tokenizer, normalized=False)
    return tokenizer


def unigram(lines, size, normalizer, splitter, normalized=False):
    tokenizer = Tokenizer(models.Unigram())
    tokenizer.normalizer = normalizer
    tokenizer.pre_tokenizer = splitter
    some = lines[::max(1, len(lines) // 5000)]  # training Unigram takes the longest by far
    tokenizer.train_from_iterator(some, trainers.UnigramTrainer(
        vocab_size=size, special_tokens=ROBERTA, unk_token="<unk>", show_progress=False))
    tokenizer.post_processor = template(tokenizer, "<s>", "</s>", "<s>:0 $A:0 </s>:0 </s>:0 $B:0 </s>:0")
    finish_roberta(tokenizer, normalized)
    return tokenizer


def metaspace(scheme="always", split=True):
    return pre_tokenizers.Metaspace(replacement=SPACE, prepend_scheme=scheme, split=split)


def plain_bpe(lines, size, fuse):
    """Characters, unknown ones among them, between words, punctuation and digits."""
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>", fuse_unk=fuse))
    tokenizer.normalizer = normalizers.Sequence([normalizers.NFKC(), normalizers.Nmt(), normalizers.Strip()])
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([
        pre_tokenizers.Whitespace(), pre_tokenizers.Punctuation("merged_with_previous"),
        pre_tokenizers.Digits(individual_digits=fuse)])
    tokenizer.train_from_iterator(lines, trainers.BpeTrainer(vocab_size=size, special_tokens=ROBERTA,
                                                             limit_alphabet=150, show_progress=False))
    return tokenizer


def byte_fallback(lines, size):
    """As models whose sentencepiece is of the BPE kind."""
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend(SPACE), normalizers.Replace(" ", SPACE)])
    names = ROBERTA + [f"<0x{byte:02X}>" for byte in range(256)]
    tokenizer.train_from_iterator([line[:60] for line in lines],
                                  trainers.BpeTrainer(vocab_size=size, special_tokens=names, limit_alphabet=200,
                                                      show_progress=False))
    text = json.loads(tokenizer.to_str())  # the trainer makes the names added tokens, which those of files are not
    text["added_tokens"] = [token for token in text["added_tokens"] if not token["content"].startswith("<0x")]
    return Tokenizer.from_str(json.dumps(text))


def split_kinds(lines, size, behavior):
    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.Sequence([normalizers.NFD(), normalizers.StripAccents(),
                                                 normalizers.Replace("--", "\u2014")])
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([
        pre_tokenizers.Split("-", behavior), pre_tokenizers.Digits(), pre_tokenizers.WhitespaceSplit(),
        pre_tokenizers.Split("e", behavior, invert=True)])
    tokenizer.train_from_iterator(lines, trainers.WordPieceTrainer(
        vocab_size=size, special_tokens=["[UNK]", "<s>"], show_progress=False))
    tokenizer.add_tokens([AddedToken("with", single_word=True), AddedToken("Stra\u00dfe", rstrip=True)])
    return tokenizer


def kinds(folder, lines, size):
    nmt, folding = charsmap(folder, lines, "nmt_nfkc"), charsmap(folder, lines, "nmt_nfkc_cf")
    precompiled = normalizers.Precompiled(nmt)
    join = normalizers.Replace(Regex(" {2,}"), " ")
    albert = normalizers.Sequence([
        normalizers.Replace("``", '"'), normalizers.Replace("''", '"'), normalizers.NFKD(),
        normalizers.StripAccents(), normalizers.Lowercase(), normalizers.Precompiled(folding)])
    spaces = pre_tokenizers.Sequence([pre_tokenizers.WhitespaceSplit(), metaspace()])
    return {
        "bert-base-uncased": lambda: word_piece(lines, size, True),
        "bert-base-cased": lambda: word_piece(lines, size, False),
        "roberta-base": lambda: roberta(lines, size),
        "roberta-prefix": lambda: roberta(lines, size, True),
        "gpt2": lambda: gpt2(lines, size),
        "modernbert": lambda: modern_bert(lines, size),
        "xlm-roberta-base": lambda: unigram(lines, size, precompiled, spaces),
        "xlm-roberta-new": lambda: unigram(lines, size, normalizers.Sequence([precompiled, join]), metaspace()),
        "albert-base-v2": lambda: unigram(lines, size, albert, spaces),
        "camembert-base": lambda: unigram(lines, size, normalizers.Sequence([precompiled, join]), metaspace(), True),
        "mdeberta-v3": lambda: unigram(lines, size, normalizers.Sequence([normalizers.Strip(), precompiled, join]),
                                       metaspace()),
        "unigram-first": lambda: unigram(lines, size, normalizers.NFKC(), metaspace("first")),
        "unigram-whole": lambda: unigram([line[:80] for line in lines], size, precompiled, metaspace("never", False)),
        "bpe": lambda: plain_bpe(lines, size, False),
        "bpe-fuse": lambda: plain_bpe(lines, size, True),
        "byte-fallback": lambda: byte_fallback(lines, 1500),
        "split-removed": lambda: split_kinds(lines, size, "removed"),
        "split-isolated": lambda: split_kinds(lines, size, "isolated"),
        "split-previous": lambda: split_kinds(lines, size, "merged_with_previous"),
        "split-next": lambda: split_kinds(lines, size, "merged_with_next"),
        "split-contiguous": lambda: split_kinds(lines, size, "contiguous"),
    }


# --- comparing

def answers(program, folder, mode, inputs):
    data = "".join(json.dumps(one) + "\n" for one in inputs)
    done = subprocess.run([program, folder, *mode], input=data, capture_output=True, text=True)
    if done.returncode != 0:
        sys.exit(f"{folder}: {done.stderr}")
    return [json.loads(line) for line in done.stdout.splitlines()]


def differences(tokenizer, inputs, found, pretokenized=False):
    count = 0
    for one, got in zip(inputs, found, strict=True):
        expected = (tokenizer.encode(*one) if isinstance(one, list) and not pretokenized else
                    tokenizer.encode(one, is_pretokenized=pretokenized))
        same = (expected.ids == got["ids"] and expected.type_ids == got["segments"]
                and [list(pair) for pair in expected.offsets] == got["offsets"])
        if not same and (count := count + 1) <= 3:
            print(f"  differs: {json.dumps(one)[:300]}")
            at = next((i for i, (a, b) in enumerate(zip(expected.ids, got["ids"])) if a != b), None)
            place = 0 if at is None else max(0, at - 2)
            print(f"    tokenizers: {len(expected.ids)} {expected.ids[place:place + 12]} {expected.offsets[place:place + 12]}")
            print(f"    rtai:       {len(got['ids'])} {got['ids'][place:place + 12]} {got['offsets'][place:place + 12]}")
    return count


def compare(program, folder, tokenizer, lines):
    tokenizer.enable_truncation(MAX_LENGTH, strategy="longest_first")
    rng = random.Random(1)
    pairs = [[rng.choice(lines)[:20000], rng.choice(lines)[:20000]] for _ in range(len(lines) // 10)]
    words = [line.split() for line in rng.sample(lines, len(lines) // 20)]
    saved = folder / "saved"
    saved.mkdir()
    subprocess.run([program, folder, "--save", saved], check=True)
    wrong = differences(tokenizer, lines, answers(program, folder, [], lines))
    wrong += differences(tokenizer, pairs, answers(program, folder, ["--pairs"], pairs))
    wrong += differences(tokenizer, words, answers(program, folder, ["--words"], words), pretokenized=True)
    some = lines[:len(lines) // 5]
    wrong += differences(tokenizer, some, answers(program, saved, [], some))
    again = Tokenizer.from_file(str(saved / "tokenizer.json"))
    again.enable_truncation(MAX_LENGTH)
    wrong += sum(again.encode(line).ids != tokenizer.encode(line).ids for line in some)
    return wrong


def measure(program, folder, tokenizer, lines, rounds=7):
    """Seconds for all lines, the best of some rounds in turns: rtai's, and those of each way the library has."""
    tokenizer.enable_truncation(MAX_LENGTH)
    ways = {"encode": lambda: [tokenizer.encode(line) for line in lines],
            "encode_batch": lambda: tokenizer.encode_batch(lines),
            "encode_batch_fast": lambda: tokenizer.encode_batch_fast(lines)}
    process = subprocess.Popen([program, folder, "--time"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    process.stdin.write("".join(json.dumps(line) + "\n" for line in lines))
    ours, theirs, tokens = [], {way: [] for way in ways}, 0
    for _ in range(rounds):
        process.stdin.write("go\n")
        process.stdin.flush()
        answer = json.loads(process.stdout.readline())
        ours.append(answer["seconds"])
        tokens = answer["tokens"]
        for way, run in ways.items():
            begin = time.perf_counter()
            run()
            theirs[way].append(time.perf_counter() - begin)
    process.stdin.close()
    process.wait()
    return min(ours), {way: min(seconds) for way, seconds in theirs.items()}, tokens


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("tokenize")
    parser.add_argument("--lines", type=int, default=2000)
    parser.add_argument("--size", type=int, default=3000, help="pieces of each vocabulary")
    parser.add_argument("--time", action="store_true")
    parser.add_argument("--rounds", type=int, default=7, help="of --time")
    parser.add_argument("--keep", type=pathlib.Path, help="where vocabularies are kept and looked for")
    parser.add_argument("--only")
    options = parser.parse_args()
    repository = pathlib.Path(__file__).resolve().parents[2]
    texts = texts_by_language(repository)
    lines = make_lines(texts, options.lines)
    print(f"{len(lines)} lines, languages: {' '.join(sorted(texts))}")
    training = [line for some in texts.values() for line in some[:options.size // 2]]
    wrong = 0
    with tempfile.TemporaryDirectory() as temporary:
        root = options.keep or pathlib.Path(temporary)
        root.mkdir(exist_ok=True)
        for kind, make in kinds(pathlib.Path(temporary), training, options.size).items():
            if options.only and kind != options.only:
                continue
            file = root / kind / "tokenizer.json"
            if not file.exists():
                file.parent.mkdir(exist_ok=True)
                make().save(str(file))
            folder = pathlib.Path(temporary) / f"{kind}-run"
            folder.mkdir()
            (folder / "tokenizer.json").write_text(file.read_text())
            tokenizer = Tokenizer.from_file(str(file))
            if options.time:
                some = [line for line in lines if len(line) < 2000]
                ours, theirs, tokens = measure(options.tokenize, folder, tokenizer, some, options.rounds)
                best = min(theirs, key=theirs.get)
                print(f"{kind:20} {tokens / ours / 1e6:6.2f} Mtok/s; tokenizers {tokens / theirs[best] / 1e6:5.2f} by "
                      f"{best}: {theirs[best] / ours:5.1f}x; line by line {theirs['encode'] / ours:5.1f}x", flush=True)
                continue
            count = compare(options.tokenize, folder, tokenizer, lines)
            print(f"{kind:20} {tokenizer.get_vocab_size():6} ids: {count or 'no'} differences", flush=True)
            wrong += count
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()
