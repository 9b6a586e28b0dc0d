#!/usr/bin/env python3
"""Writes unicode_tables.cpp: what the `tokenizers` package does with every Unicode code point.

BERT's tokenizer in `tokenizers` works with character tables of several ages (its own list of
control characters, marks and punctuation, the NFD data of another library, the Rust standard
library's lower case), so no one version of Unicode reproduces it. Every property is therefore
asked of the package itself, code point by code point.

usage: generate_unicode_tables.py [--check]
--check writes nothing and fails if the committed tables differ. Needs: pip install tokenizers
"""

import itertools
import pathlib
import sys
import unicodedata

import tokenizers
from tokenizers import AddedToken, Tokenizer, models, normalizers, pre_tokenizers

OUTPUT = pathlib.Path(__file__).with_name("unicode_tables.cpp")
BLOCK_BITS = 7  # as kBlockBits in unicode_tables.h; smallest total of 5 to 8
CODE_POINTS = 0x110000
SURROGATES = range(0xD800, 0xE000)
HANGUL = range(0xAC00, 0xD7A4)

# As CharacterFlag in unicode_tables.h.
REMOVED, WHITESPACE, CHINESE, PUNCTUATION, WORD, MARK, DECOMPOSES, LOWERS = (
    1 << bit for bit in range(8)
)


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


def probe():
    """Per code point: (flags, combining class), NFD and lower case."""
    clean, chinese = bert(clean=True), bert(chinese=True)
    strip, lower = bert(strip=True), bert(lower=True)
    split = pre_tokenizers.BertPreTokenizer().pre_tokenize_str
    nfd = normalizers.NFD().normalize_str
    combining_class = CombiningClasses(nfd)
    is_word, is_space = word_and_space_probes()

    properties, decomposition, lowercase = {}, {}, {}
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
        if lower(char) != char:
            flags |= LOWERS
            lowercase[code_point] = lower(char)
        # What decomposes does not appear in NFD, so its own class does not matter.
        combining = 0 if flags & DECOMPOSES else combining_class(char)
        properties[code_point] = (flags, combining)
    verify(properties, decomposition, lowercase, strip)
    return properties, decomposition, lowercase


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
        flags, combining = properties[code_point]
        expect(not flags & (CHINESE | MARK | DECOMPOSES), code_point, "special although ASCII")
        expect(combining == 0, code_point, "combining although ASCII")
        expect(len(lowercase.get(code_point, "x")) == 1, code_point, "lowers to several characters")


class Pool:
    """Character sequences laid end to end. Place 0 is taken, so that 0 can mean `no sequence`."""

    def __init__(self):
        self.places = {}
        self.chars = [0]

    def place(self, chars):
        """Where the sequence begins, times 4, plus its length less one."""
        if chars not in self.places:
            expect(len(chars) <= 4, ord(chars[0]), "more than four characters")
            self.places[chars] = len(self.chars) << 2 | len(chars) - 1
            self.chars += map(ord, chars)
        return self.places[chars]


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
    properties, decomposition, lowercase = probe()
    records = sorted(set(properties.values()))
    record_index = {record: index for index, record in enumerate(records)}
    pool = Pool()
    # Hangul syllables are decomposed by arithmetic: 11,172 entries would be most of the table.
    decomposed = {c: pool.place(s) for c, s in decomposition.items() if c not in HANGUL}
    lowered = {c: pool.place(s) for c, s in lowercase.items()}
    tries = {
        "kRecord": (trie({c: record_index[r] for c, r in properties.items()}), "std::uint8_t", 256),
        "kDecomposition": (trie(decomposed), "std::uint16_t", 65536),
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
        *(f"  {{{flags}, {combining}}}," for flags, combining in records),
        "};",
        "",
    ]
    for name, ((stage1, stage2), kind, limit) in tries.items():
        lines += array(name + "Blocks", stage1, "std::uint8_t", 256)
        lines += array(name + "Values", stage2, kind, limit)
    lines += array("kSequenceCharacters", pool.chars, "char32_t", CODE_POINTS)
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
