#!/usr/bin/env python3
"""Writes unicode_tables.cpp: what the `tokenizers` package does with every Unicode code point.

`tokenizers` works with character tables of several ages (its own list of control characters, marks
and punctuation, the normalization data of another library, the Rust standard library's lower case,
those of two regular expression libraries), so no one version of Unicode reproduces it. Every property is therefore
asked of the package itself, code point by code point.

usage: generate_unicode_tables.py [--check]
--check writes nothing and fails if the committed tables differ. Needs: pip install tokenizers
"""

import itertools
import pathlib
import struct
import sys
import unicodedata

import tokenizers
from tokenizers import AddedToken, Regex, Tokenizer, models, normalizers, pre_tokenizers

OUTPUT = pathlib.Path(__file__).with_name("unicode_tables.cpp")
LONGEST_SEQUENCE = 18  # as Sequence in unicode_tables.h
BLOCK_BITS = 7  # as kBlockBits in unicode_tables.h; smallest total of 5 to 8
CODE_POINTS = 0x110000
SURROGATES = range(0xD800, 0xE000)
HANGUL = range(0xAC00, 0xD7A4)

# As CharacterFlag in unicode_tables.h.
(REMOVED, WHITESPACE, CHINESE, PUNCTUATION, WORD, MARK, DECOMPOSES, LOWERS, LETTER, NUMBER, NUMERIC,
 COMBINING, DECOMPOSES_COMPATIBLY, COMPOSES) = (1 << bit for bit in range(14))

# As GraphemeClass in unicode_tables.h.
OTHER, CONTROL, EXTEND, SPACING, PREPEND, PICTOGRAPHIC = range(6)


def bert(clean=False, chinese=False, strip=False, lower=False):
    normalizer = normalizers.BertNormalizer(
        clean_text=clean, handle_chinese_chars=chinese, strip_accents=strip, lowercase=lower
    )
    return normalizer.normalize_str


def expect(condition, code_point, what):
    if not condition:
        sys.exit(f"U+{code_point:04X}: {what}; the tokenizer's code relies on the contrary")


class CombiningClasses:
    """Finds canonical combining classes by watching NFD sort marks."""

    def __init__(self, nfd):
        self.nfd = nfd
        # One mark of each class, from Python's tables; that NFD orders them so is checked.
        # Those that NFD does not move are newer than its tables.
        marks = {}
        for code_point in range(0x300, 0x1E000):
            combining, char = unicodedata.combining(chr(code_point)), chr(code_point)
            if combining and nfd(char) == char and self.moves(char):
                marks.setdefault(combining, char)
        self.ladder = sorted(marks.items())
        for (_, low), (_, high) in itertools.pairwise(self.ladder):
            expect(self.before(low, high), ord(low), "marks are not sorted by Python's classes")

    def before(self, first, second):
        return first != second and self.nfd(second + first) == first + second

    def moves(self, char):
        # Of the lowest class, 1, and of the highest, 240.
        return self.before(char, "\u0345") or self.before("\u0334", char)

    def __call__(self, char):
        if not self.moves(char):
            return 0
        for combining, mark in self.ladder:
            if not self.before(mark, char):
                expect(not self.before(char, mark), ord(char), "combining class unknown to Python")
                return combining
        sys.exit(f"U+{ord(char):04X}: combining class above all known ones")


def word_and_space_probes():
    """Whether a character is \\w and \\s for the flags of added tokens."""
    tokenizer = Tokenizer(models.WordPiece({"[UNK]": 0}, unk_token="[UNK]"))
    tokenizer.add_tokens([AddedToken("[W]", single_word=True, normalized=False)])
    tokenizer.add_tokens([AddedToken("[L]", lstrip=True, normalized=False)])
    word, left = tokenizer.token_to_id("[W]"), tokenizer.token_to_id("[L]")

    def is_word(char):
        return word not in tokenizer.encode(char + "[W]").ids

    def is_space(char):
        encoding = tokenizer.encode(char + "[L]")
        return encoding.offsets[encoding.ids.index(left)][0] == 0

    return is_word, is_space


def charsmap(rules):
    """A normalizer that replaces: sentencepiece's format, a double-array trie with 256 units a node."""
    units, texts, blocks = {}, b"", {b"": 1}
    for key, value in rules.items():
        key = key.encode()
        for length in range(1, len(key) + 1):
            blocks.setdefault(key[:length], len(blocks) + 1)
        units[blocks[key] << 8] = len(texts)
        texts += value.encode() + b"\0"
    for prefix, block in blocks.items():
        place = (blocks[prefix[:-1]] << 8 | prefix[-1]) if prefix else 0
        leaf = (block << 8) in units
        units[place] = (place ^ block << 8) << 10 | leaf << 8 | (prefix[-1] if prefix else 0)
    array = [units.get(i, 0) for i in range((len(blocks) + 1) << 8)]
    return normalizers.Precompiled(struct.pack(f"<{len(array) + 1}I", 4 * len(array), *array) + texts)


def grapheme_class_probe():
    """Grapheme clusters show where sentencepiece's normalizer replaces: one shorter than six bytes is
    replaced whole by what its beginning maps to; in a longer one, each character is."""
    normalize = charsmap({"a": "1", "\u0301": "2", "\u00a9": "3", "\u00ae": "4"}).normalize_str
    acute, joiner, copyright, registered = "\u0301", "\u200d", "\u00a9", "\u00ae"

    def grapheme_class(char):
        if char in "a" + acute + copyright + registered:
            return {"a": OTHER, acute: EXTEND}.get(char, PICTOGRAPHIC)
        if normalize("a" + char) == "1":  # joined and lost with it
            chained = normalize(copyright + char + joiner + registered + acute).endswith("42")
            return EXTEND if chained else SPACING
        if normalize(char + "a" + 2 * acute).endswith("122"):  # joined to what follows
            return PREPEND
        if normalize(char + 2 * acute) == char + "2":  # not joined by what follows
            return CONTROL
        if normalize(copyright + joiner + char) == "3" + joiner + char:
            return PICTOGRAPHIC
        return OTHER

    return grapheme_class


def compositions(decomposition, nfc):
    """{(first, second): composed}, but for Hangul, whose syllables are composed by arithmetic."""
    pairs = {}
    for code_point, chars in decomposition.items():
        if code_point in HANGUL or nfc(chars) != chr(code_point):
            continue
        first = nfc(chars[:-1])
        expect(len(first) == 1 and len(chars) > 1, code_point, "is not composed of two")
        expect(nfc(first + chars[-1]) == chr(code_point), code_point, "composes otherwise")
        pairs[first, chars[-1]] = code_point
    return pairs


def probe():
    """Per code point: (flags, combining class, grapheme class); NFD, NFKD, lower case; NFC of pairs."""
    clean, chinese = bert(clean=True), bert(chinese=True)
    strip, lower = bert(strip=True), bert(lower=True)
    split = pre_tokenizers.BertPreTokenizer().pre_tokenize_str
    nfd = normalizers.NFD().normalize_str
    nfkd = normalizers.NFKD().normalize_str
    nfc = normalizers.NFC().normalize_str
    strip_accents = normalizers.StripAccents().normalize_str
    digits = pre_tokenizers.Digits(individual_digits=True).pre_tokenize_str

    def remover(pattern):
        return pre_tokenizers.Split(Regex(pattern), "removed").pre_tokenize_str

    letters, numbers, spaces = remover(r"\p{L}"), remover(r"\p{N}"), remover(r"\s")
    combining_class = CombiningClasses(nfd)
    is_word, is_space = word_and_space_probes()
    grapheme_class = grapheme_class_probe()

    properties, decomposition, compatible, lowercase = {}, {}, {}, {}
    for code_point in range(CODE_POINTS):
        if code_point in SURROGATES:
            continue
        char = chr(code_point)
        flags = 0
        pieces = [piece for piece, _ in split("a" + char + "b")]
        if pieces == ["a", "b"]:
            flags |= WHITESPACE
        elif pieces == ["a", char, "b"]:
            flags |= PUNCTUATION
        else:
            expect(pieces == ["a" + char + "b"], code_point, "splits unexpectedly")
        cleaned = clean("a" + char + "b")
        if cleaned == "ab":
            flags |= REMOVED
        else:
            # So one flag tells both what clean_text replaces by a space and what splits words.
            space = " " if flags & WHITESPACE else char
            expect(cleaned == "a" + space + "b", code_point, "cleaned unexpectedly")
        expect(is_space(char) == bool(flags & WHITESPACE), code_point, "\\s is not whitespace")
        if is_word(char):
            flags |= WORD
        if chinese(char) == f" {char} ":
            flags |= CHINESE
        else:
            expect(chinese(char) == char, code_point, "surrounded unexpectedly")
        if nfd(char) != char:
            flags |= DECOMPOSES
            decomposition[code_point] = nfd(char)
        elif strip("a" + char) == "a":
            flags |= MARK
        if nfkd(char) != nfd(char):
            flags |= DECOMPOSES_COMPATIBLY
            compatible[code_point] = nfkd(char)
        if lower(char) != char:
            flags |= LOWERS
            lowercase[code_point] = lower(char)
        if not letters(char):
            flags |= LETTER
        if not numbers(char):
            flags |= NUMBER
        if not strip_accents("a" + char)[1:]:
            flags |= COMBINING
        if len(digits("a" + char)) == 2:
            flags |= NUMERIC
        expect((not spaces(char)) == bool(flags & WHITESPACE), code_point, "\\s is not whitespace")
        # What decomposes does not appear in NFD, so its own class does not matter.
        combining = 0 if flags & DECOMPOSES else combining_class(char)
        properties[code_point] = (flags, combining, grapheme_class(char))
    verify(properties, decomposition, lowercase, strip)
    pairs = compositions(decomposition, nfc)
    for _, second in pairs:
        flags, *rest = properties[ord(second)]
        properties[ord(second)] = (flags | COMPOSES, *rest)
    return properties, decomposition, compatible, lowercase, pairs


def verify(properties, decomposition, lowercase, strip):
    """Checks what the code takes for granted about characters made from others."""

    def has(char, flag):
        return bool(properties[ord(char)][0] & flag)

    for code_point, chars in decomposition.items():
        kept = "".join(char for char in chars if not has(char, MARK))
        expect(strip(chr(code_point)) == kept, code_point, "strip_accents is not NFD without marks")
        expect(not any(has(char, DECOMPOSES) for char in chars), code_point, "NFD decomposes again")
        if code_point in HANGUL:
            expect(chars == unicodedata.normalize("NFD", chr(code_point)), code_point, "odd Hangul")
    for code_point, chars in itertools.chain(decomposition.items(), lowercase.items()):
        space = has(chr(code_point), WHITESPACE)
        expect(all(has(char, WHITESPACE) == space for char in chars), code_point, "makes a space")
    for code_point in range(0x80):
        flags, combining, _ = properties[code_point]
        expect(not flags & (CHINESE | MARK | DECOMPOSES), code_point, "special although ASCII")
        expect(combining == 0, code_point, "combining although ASCII")
        expect(len(lowercase.get(code_point, "x")) == 1, code_point, "lowers to several characters")


class Pool:
    """Character sequences laid end to end. Number 0 is the empty one, for `no sequence`."""

    def __init__(self):
        self.numbers = {"": 0}
        self.ends = [0]
        self.chars = []

    def number(self, chars):
        if chars not in self.numbers:
            expect(len(chars) <= LONGEST_SEQUENCE, ord(chars[0]), "more characters than expected")
            self.numbers[chars] = len(self.ends)
            self.chars += map(ord, chars)
            self.ends.append(len(self.chars))
        return self.numbers[chars]


def trie(values):
    """Two stages: a block number for every 2^BLOCK_BITS code points, and the distinct blocks."""
    size = 1 << BLOCK_BITS
    blocks, stage1, stage2 = {}, [], []
    for start in range(0, max(values) + 1, size):
        block = tuple(values.get(code_point, 0) for code_point in range(start, start + size))
        if block not in blocks:
            blocks[block] = len(blocks)
            stage2 += block
        stage1.append(blocks[block])
    return stage1, stage2


def array(name, values, kind, limit):
    expect(max(values) < limit, max(values), f"too large for {name}")
    lines = [f"const {kind} {name}[{len(values)}] = {{"]
    row = ""
    for value in values:
        text = f"{value},"
        if len(row) + len(text) > 98:
            lines.append("  " + row)
            row = ""
        row += text
    return lines + ["  " + row, "};", ""]


def generate():
    properties, decomposition, compatible, lowercase, pairs = probe()
    records = sorted(set(properties.values()))
    record_index = {record: index for index, record in enumerate(records)}
    pool = Pool()
    # Hangul syllables are decomposed by arithmetic: 11,172 entries would be most of the table.
    decomposed = {c: pool.number(s) for c, s in decomposition.items() if c not in HANGUL}
    compatibly = {c: pool.number(s) for c, s in compatible.items()}
    lowered = {c: pool.number(s) for c, s in lowercase.items()}
    tries = {
        "kRecord": (trie({c: record_index[r] for c, r in properties.items()}), "std::uint8_t", 256),
        "kDecomposition": (trie(decomposed), "std::uint16_t", 65536),
        "kCompatible": (trie(compatibly), "std::uint16_t", 65536),
        "kLowercase": (trie(lowered), "std::uint16_t", 65536),
    }

    lines = [
        f"// Written by generate_unicode_tables.py from tokenizers {tokenizers.__version__}: edit that.",
        '#include "runtime/text/unicode_tables.h"',
        "",
        "// clang-format off",
        "namespace rtai::text::unicode {",
        "",
        f"static_assert(kBlockBits == {BLOCK_BITS});",
        "",
        f"const CharacterProperties kRecords[{len(records)}] = {{",
        *(f"  {{{flags}, {combining}, GraphemeClass{{{grapheme}}}}},"
          for flags, combining, grapheme in records),
        "};",
        "",
    ]
    for name, ((stage1, stage2), kind, limit) in tries.items():
        lines += array(name + "Blocks", stage1, "std::uint16_t", 65536)
        lines += array(name + "Values", stage2, kind, limit)
    lines += array("kSequenceEnds", pool.ends, "std::uint16_t", 65536)
    lines += array("kSequenceCharacters", pool.chars, "char32_t", CODE_POINTS)
    composed = sorted((ord(a), ord(b), c) for (a, b), c in pairs.items())
    lines += [f"const Composition kCompositions[{len(composed)}] = {{",
              *(f"  {{{a}, {b}, {c}}}," for a, b, c in composed), "};",
              f"const std::size_t kCompositionCount = {len(composed)};", ""]
    return "\n".join(lines + ["}  // namespace rtai::text::unicode"]) + "\n"


def main():
    text = generate()
    if sys.argv[1:] == ["--check"]:
        if OUTPUT.read_text() != text:
            sys.exit(f"{OUTPUT} differs from what tokenizers {tokenizers.__version__} does")
    elif sys.argv[1:]:
        sys.exit(__doc__)
    else:
        OUTPUT.write_text(text)


if __name__ == "__main__":
    main()
