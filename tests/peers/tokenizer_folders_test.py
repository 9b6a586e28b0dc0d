"""Ids, offsets and segments of rtai against Transformers' own tokenizers, for folders without a tokenizer.json.

usage: tokenizer_folders_test.py TOKENIZE [--lines N] [--only FOLDER]
Trains small models of sentencepiece and a vocab.json with merges.txt, puts them into folders as ALBERT, XLM-RoBERTa,
CamemBERT, DeBERTa-v3, RoBERTa and GPT-2 have them, with side files of several kinds, and compares N lines: alone, in
pairs and as words. Exits with 77 (skipped) where transformers or sentencepiece is not installed.
"""
import argparse
import base64
import json
import os
import pathlib
import random
import sys
import tempfile

os.environ["TOKENIZERS_PARALLELISM"] = "false"
try:
    import sentencepiece
    from sentencepiece import sentencepiece_model_pb2
    from transformers import AutoTokenizer
except ImportError as error:
    print(f"skipped: {error}")
    sys.exit(77)
import tokenizers_test as peer

MASK = {"content": "<mask>", "lstrip": True, "normalized": True, "rstrip": False, "single_word": False}
NEW = {"content": "<new>", "lstrip": False, "normalized": True, "rstrip": False, "single_word": False, "special": False}


def as_token(content, **flags):
    return {"__type": "AddedToken", "content": content, "lstrip": False, "normalized": False, "rstrip": False,
            "single_word": False, "special": True, **flags}


def decoded(token, **flags):
    return {key: value for key, value in as_token(token, **flags).items() if key != "__type"}


def train(folder, name, lines, size, charsmap=None, **options):
    """The bytes of a model; with other rules for characters if `charsmap` is given."""
    data = folder / "lines.txt"
    data.write_text("\n".join(lines))
    sentencepiece.SentencePieceTrainer.train(
        input=str(data), model_prefix=str(folder / name), vocab_size=size, hard_vocab_limit=False, minloglevel=2,
        character_coverage=0.998, **options)
    model = sentencepiece_model_pb2.ModelProto()
    model.ParseFromString((folder / f"{name}.model").read_bytes())
    if charsmap is not None and model.normalizer_spec.precompiled_charsmap:
        model.normalizer_spec.precompiled_charsmap = charsmap
    del model.trainer_spec.input[:]
    return model.SerializeToString()


def folders(scratch, lines, size, charsmap=None):
    """Files by name, of each folder."""
    albert = {"spiece.model": train(
        scratch, "albert", lines, size, charsmap, normalization_rule_name="nmt_nfkc_cf", pad_id=0, unk_id=1, bos_id=-1,
        eos_id=-1, control_symbols=["[CLS]", "[SEP]", "[MASK]"], user_defined_symbols=["(", ")", '"', "-", "."])}
    xlm = {"sentencepiece.bpe.model": train(scratch, "xlm", lines, size, charsmap, normalization_rule_name="nmt_nfkc",
                                            unk_id=0, bos_id=1, eos_id=2)}
    plain = {"sentencepiece.bpe.model": train(scratch, "plain", lines, size, normalization_rule_name="identity",
                                              unk_id=0, bos_id=1, eos_id=2)}
    deberta = {"spm.model": train(
        scratch, "deberta", lines, size, charsmap, normalization_rule_name="nmt_nfkc", pad_id=0, bos_id=1, eos_id=2,
        unk_id=3, pad_piece="[PAD]", bos_piece="[CLS]", eos_piece="[SEP]", unk_piece="[UNK]")}
    trained = json.loads(peer.byte_level(lines, size, False).to_str())["model"]
    merges = "".join(" ".join(merge) + "\n" for merge in trained["merges"])
    bpe = {"vocab.json": json.dumps(trained["vocab"]), "merges.txt": "#version: 0.2\n" + merges}

    def folder(files, model_type, config=None, **others):
        files = {**files, "config.json": {"model_type": model_type}}
        if config is not None:
            files["tokenizer_config.json"] = config
        return {**files, **{f"{name}.json": value for name, value in others.items()}}

    return {
        "albert": folder(albert, "albert", {"tokenizer_class": "AlbertTokenizer"}),
        "albert-cased": folder(albert, "albert", {"tokenizer_class": "AlbertTokenizerFast", "do_lower_case": False,
                                                  "keep_accents": True, "mask_token": as_token("[MASK]", lstrip=True)}),
        "albert-decoder": folder(albert, "albert", {
            "added_tokens_decoder": {"4": decoded("[MASK]", lstrip=True), str(10 * size): NEW}}),
        "xlm-roberta": folder(xlm, "xlm-roberta"),
        "xlm-roberta-map": folder(xlm, "xlm-roberta", {"tokenizer_class": "XLMRobertaTokenizer"},
                                  special_tokens_map={"mask_token": MASK, "bos_token": "<s>"},
                                  added_tokens={"<new>": 10 * size}),
        "xlm-roberta-plain": folder(plain, "xlm-roberta", {
            "tokenizer_class": "XLMRobertaTokenizer", "additional_special_tokens": ["<hello>", "<s>"]}),
        "camembert": folder(xlm, "camembert", {"tokenizer_class": "CamembertTokenizer"}),
        "deberta-v3": folder(deberta, "deberta-v2", {"do_lower_case": False, "vocab_type": "spm"}),
        "deberta-v3-punct": folder(deberta, "deberta-v2", {
            "tokenizer_class": "DebertaV2Tokenizer", "do_lower_case": True, "split_by_punct": True}),
        "roberta": folder(bpe, "roberta"),
        "roberta-prefix": folder(bpe, "roberta", {"tokenizer_class": "RobertaTokenizer", "add_prefix_space": True,
                                                  "mask_token": as_token("<mask>", lstrip=True)}),
        "roberta-decoder": folder(bpe, "roberta", {
            "added_tokens_decoder": {"4": decoded("<mask>", lstrip=True), str(10 * size): NEW}}),
        "longformer": folder(bpe, "longformer", {"tokenizer_class": "LongformerTokenizer"}),
        "gpt2": folder(bpe, "gpt2", {"pad_token": "<pad>"}),
    }


def write(folder, files):
    folder.mkdir()
    for name, content in files.items():
        if isinstance(content, dict):
            content = json.dumps(content)
        (folder / name).write_bytes(content if isinstance(content, bytes) else content.encode())


def backend(folder):
    """The tokenizer of the library that Transformers makes of a folder."""
    return AutoTokenizer.from_pretrained(folder).backend_tokenizer


def recorded(files):
    """Files as JSON holds them."""
    return {name: {"base64": base64.b64encode(content).decode()} if isinstance(content, bytes) else content
            for name, content in files.items()}


def compare(program, folder, lines):
    tokenizer = backend(folder)
    tokenizer.no_padding()
    tokenizer.enable_truncation(peer.MAX_LENGTH, strategy="longest_first")
    rng = random.Random(1)
    pairs = [[rng.choice(lines)[:20000], rng.choice(lines)[:20000]] for _ in range(len(lines) // 10)]
    words = [line.split() for line in rng.sample(lines, len(lines) // 20)]
    wrong = peer.differences(tokenizer, lines, peer.answers(program, folder, [], lines))
    wrong += peer.differences(tokenizer, pairs, peer.answers(program, folder, ["--pairs"], pairs))
    wrong += peer.differences(tokenizer, words, peer.answers(program, folder, ["--words"], words), pretokenized=True)
    return wrong, tokenizer.get_vocab_size()


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("tokenize")
    parser.add_argument("--lines", type=int, default=1000)
    parser.add_argument("--size", type=int, default=1000, help="pieces of each vocabulary")
    parser.add_argument("--only")
    options = parser.parse_args()
    texts = peer.texts_by_language(pathlib.Path(__file__).resolve().parents[2])
    lines = peer.make_lines(texts, options.lines)
    print(f"{len(lines)} lines, languages: {' '.join(sorted(texts))}")
    training = [line for some in texts.values() for line in some[:300]]
    wrong = 0
    with tempfile.TemporaryDirectory() as temporary:
        scratch = pathlib.Path(temporary)
        for name, files in folders(scratch, training, options.size).items():
            if options.only and name != options.only:
                continue
            write(scratch / name, files)
            count, ids = compare(options.tokenize, scratch / name, lines)
            print(f"{name:20} {ids:6} ids: {count or 'no'} differences", flush=True)
            wrong += count
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()
