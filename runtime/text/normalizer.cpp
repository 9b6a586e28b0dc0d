#include "runtime/text/internal/normalizer.h"

#include "runtime/text/unicode_tables.h"
#include "runtime/text/utf8.h"

#include <algorithm>
#include <utility>

namespace rtai::text {
namespace {

using unicode::CharacterFlag;
using unicode::GraphemeClass;
using Kind = NormalizerStep::Kind;

/// A character of a rewritten text, and how many of the old one it stands for less one: 0 replaces
/// one, 1 stands for none, -n replaces one and n more.
struct Change {
  char32_t value;
  int more;
};

// Hands the places of the old characters to the new ones, in order. A character that stands for
// none gets the place of the last one replaced.
void apply(const std::vector<Change>& changes,
           const Characters& before,
           std::uint32_t origin,
           Characters& after) {
  after.clear();
  std::size_t next = 0;
  for (const Change& change : changes) {
    Character c{change.value, origin, origin};
    const bool replaces = change.more <= 0;
    const std::size_t source = replaces ? next : next - 1;
    if (source < before.size()) {
      c.begin = before[source].begin;
      c.end = before[source].end;
    }
    after.push_back(c);
    if (replaces) next += 1 + static_cast<std::size_t>(-change.more);
  }
}

template <class Keep>
void keep_if(Characters& characters, Keep keep) {
  std::erase_if(characters, [&](const Character& c) { return !keep(c.value); });
}

template <class Map>
void map(Characters& characters, Map mapped) {
  for (Character& c : characters)
    c.value = mapped(c.value);
}

std::u32string decoded(std::string_view text) {
  std::u32string result;
  for (std::size_t i = 0; i < text.size();) {
    const DecodedCharacter c = decode_utf8(text, i);
    result += c.value;
    i += c.bytes;
  }
  return result;
}

void separate_chinese(const Characters& before, Characters& after) {
  after.clear();
  for (const Character& c : before) {
    const bool surrounded = has(c.value, CharacterFlag::chinese);
    const Character space{U' ', c.begin, c.end};
    if (surrounded) after.push_back(space);
    after.push_back(c);
    if (surrounded) after.push_back(space);
  }
}

void lower(const Characters& before, Characters& after) {
  after.clear();
  for (const Character& c : before) {
    if (!has(c.value, CharacterFlag::lowers)) {
      after.push_back(c);
      continue;
    }
    for (const char32_t part : unicode::lowercase(c.value))
      after.push_back({part, c.begin, c.end});
  }
}

// Sorts each run of marks by their classes, as the normal forms ask.
std::vector<Change> decomposed(const Characters& characters, bool compatibly) {
  std::vector<Change> result;
  std::size_t marks = 0;  // where the last run of marks begins
  const auto class_of = [](char32_t c) { return unicode::properties(c).combining_class; };
  const auto sort_marks = [&] {
    std::stable_sort(
        result.begin() + static_cast<std::ptrdiff_t>(marks), result.end(),
        [&](const Change& a, const Change& b) { return class_of(a.value) < class_of(b.value); });
  };
  const auto put = [&](char32_t c, int more) {
    const bool starter = class_of(c) == 0;
    if (starter && result.size() - marks > 1) sort_marks();
    result.push_back({c, more});
    if (starter) marks = result.size();
  };
  for (const Character& c : characters) {
    const unicode::CharacterProperties properties = unicode::properties(c.value);
    const bool compatible = compatibly && properties.has(CharacterFlag::decomposes_compatibly);
    if (!compatible && !properties.has(CharacterFlag::decomposes)) {
      put(c.value, 0);
      continue;
    }
    int more = 0;
    for (const char32_t part : compatible ? unicode::compatible_decomposition(c.value)
                                          : unicode::decomposition(c.value)) {
      put(part, more);
      more = 1;
    }
  }
  sort_marks();
  return result;
}

// Source: The Unicode Standard, section 3.11, D117; how the changes add up: the iterator
// Recompositions of unicode-normalization-alignments 0.1.12.
std::vector<Change> composed(const std::vector<Change>& parts) {
  std::vector<Change> result;
  std::vector<Change> after_starter;  // marks that do not compose with it
  std::optional<Change> starter;
  int last_class = -1;
  for (const Change& part : parts) {
    const int combining_class = unicode::properties(part.value).combining_class;
    if (!starter) {
      if (combining_class != 0) {
        result.push_back(part);
      } else {
        starter = part;
      }
      continue;
    }
    if (last_class < combining_class) {  // nothing blocks it
      if (const char32_t c = unicode::composition(starter->value, part.value); c != 0) {
        starter = Change{c, starter->more + part.more - 1};
        continue;
      }
    }
    if (combining_class != 0) {
      after_starter.push_back(part);
      last_class = combining_class;
      continue;
    }
    result.push_back(*starter);
    result.insert(result.end(), after_starter.begin(), after_starter.end());
    after_starter.clear();
    starter = part;
    last_class = -1;
  }
  if (starter) result.push_back(*starter);
  result.insert(result.end(), after_starter.begin(), after_starter.end());
  return result;
}

// Source: the normalizer Nmt of tokenizers 0.23.
void nmt(Characters& characters) {
  keep_if(characters, [](char32_t c) {
    return !((c >= 0x01 && c <= 0x08) || c == 0x0b || (c >= 0x0e && c <= 0x1f) || c == 0x7f ||
             c == 0x8f || c == 0x9f);
  });
  map(characters, [](char32_t c) {
    const bool space = c == 0x09 || c == 0x0a || c == 0x0c || c == 0x0d || c == 0x1680 ||
                       (c >= 0x200b && c <= 0x200f) || c == 0x2028 || c == 0x2029 || c == 0x2581 ||
                       c == 0xfeff || c == 0xfffd;
    return space ? U' ' : c;
  });
}

// What replaces a match takes the place of the match's last character.
void put_replacement(const std::u32string& text, const Character& last, Characters& after) {
  for (const char32_t c : text)
    after.push_back({c, last.begin, last.end});
}

void replace_pattern(std::u32string_view pattern,
                     const std::u32string& text,
                     const Characters& before,
                     Characters& after) {
  after.clear();
  for (std::size_t i = 0; i < before.size();) {
    const bool matches =
        before.size() - i >= pattern.size() &&
        std::equal(pattern.begin(), pattern.end(), before.begin() + static_cast<std::ptrdiff_t>(i),
                   [](char32_t p, const Character& c) { return p == c.value; });
    if (matches) {
      i += pattern.size();
      put_replacement(text, before[i - 1], after);
    } else {
      after.push_back(before[i++]);
    }
  }
}

void join(const NormalizerStep& step, const Characters& before, Characters& after) {
  const std::u32string text = decoded(step.text);
  const bool any = step.kind == Kind::join_whitespace;
  const auto is_space = [any](char32_t c) {
    return any ? has(c, CharacterFlag::whitespace) : c == U' ';
  };
  const auto is_alone = [any](char32_t c) {
    return any && (c == U'\n' || c == U'\r' || c == U'\t');
  };
  after.clear();
  for (std::size_t i = 0; i < before.size();) {
    std::size_t end = i;
    while (end < before.size() && is_space(before[end].value))
      ++end;
    if (end - i >= 2 || (end > i && is_alone(before[i].value))) {
      put_replacement(text, before[end - 1], after);
      i = end;
    } else {
      after.push_back(before[i++]);
    }
  }
}

// Where a Hangul syllable can go on. Source: Unicode Standard Annex 29, rules GB6 to GB8.
bool hangul_joins(char32_t first, char32_t second) {
  const auto is = [](char32_t c, char32_t low, char32_t high) { return c >= low && c <= high; };
  const auto leading = [&](char32_t c) { return is(c, 0x1100, 0x115f) || is(c, 0xa960, 0xa97c); };
  const auto vowel = [&](char32_t c) { return is(c, 0x1160, 0x11a7) || is(c, 0xd7b0, 0xd7c6); };
  const auto trailing = [&](char32_t c) { return is(c, 0x11a8, 0x11ff) || is(c, 0xd7cb, 0xd7fb); };
  const auto syllable = [&](char32_t c) { return is(c, 0xac00, 0xd7a3); };
  const bool open = syllable(first) && (first - 0xac00) % unicode::kTrailingCount == 0;
  if (leading(first)) return leading(second) || vowel(second) || syllable(second);
  if (vowel(first) || open) return vowel(second) || trailing(second);
  return (trailing(first) || syllable(first)) && trailing(second);
}

// Where the grapheme cluster ends that begins at `begin`. The rules for Indic conjuncts and flags
// are left out: all those clusters have six bytes or more with and without them.
std::size_t end_of_grapheme(const Characters& characters, std::size_t begin) {
  enum class Emoji : std::uint8_t { none, base, joined };
  constexpr char32_t kZeroWidthJoiner = 0x200d;
  Emoji emoji = Emoji::none;
  std::size_t i = begin;
  for (;; ++i) {
    const char32_t c = characters[i].value;
    const GraphemeClass kind = unicode::properties(c).grapheme;
    if (kind == GraphemeClass::pictographic) {
      emoji = Emoji::base;
    } else if (emoji != Emoji::none && kind == GraphemeClass::extend) {
      emoji = c == kZeroWidthJoiner ? Emoji::joined : Emoji::base;
    } else {
      emoji = Emoji::none;
    }
    if (i + 1 == characters.size()) break;
    const char32_t following = characters[i + 1].value;
    if (c == U'\r' && following == U'\n') continue;
    const GraphemeClass next = unicode::properties(following).grapheme;
    if (kind == GraphemeClass::control || next == GraphemeClass::control) break;
    const bool joins = next == GraphemeClass::extend || next == GraphemeClass::spacing ||
                       kind == GraphemeClass::prepend || hangul_joins(c, following) ||
                       (emoji == Emoji::joined && next == GraphemeClass::pictographic);
    if (!joins) break;
  }
  return i + 1;
}

// Source: the normalizer Precompiled of tokenizers 0.23. That what a beginning of a grapheme
// cluster maps to replaces all of it, and that a first character that maps to nothing leaves its
// place to those after it, are its ways.
std::vector<Change> mapped(const Charsmap& charsmap, const Characters& characters) {
  constexpr std::size_t kLongBytes = 6;
  std::vector<Change> result;
  std::string text;
  const auto put = [&](std::string_view replacement, std::size_t old_count) {
    const std::size_t first = result.size();
    for (const char32_t c : decoded(replacement))
      result.push_back({c, 0});
    const std::size_t count = result.size() - first;
    for (std::size_t i = old_count; i < count; ++i)
      result[first + i].more = 1;
    if (count < old_count && !result.empty()) {
      result.back().more -= static_cast<int>(old_count - count);
    }
  };
  const auto encode = [&](std::size_t begin, std::size_t end) {
    text.clear();
    for (std::size_t i = begin; i < end; ++i)
      append_utf8(text, characters[i].value);
  };
  for (std::size_t begin = 0; begin < characters.size();) {
    const std::size_t end = end_of_grapheme(characters, begin);
    encode(begin, end);
    if (const auto found = text.size() < kLongBytes ? charsmap.find(text) : std::nullopt) {
      put(*found, end - begin);
    } else {
      for (std::size_t i = begin; i < end; ++i) {
        encode(i, i + 1);
        if (const auto one = charsmap.find(text)) {
          put(*one, 1);
        } else {
          result.push_back({characters[i].value, 0});
        }
      }
    }
    begin = end;
  }
  return result;
}

Characters characters_of(std::string_view text) {
  Characters characters;
  for (const char32_t c : decoded(text)) {
    const auto place = static_cast<std::uint32_t>(characters.size());
    characters.push_back({c, place, place + 1});
  }
  return characters;
}

// Flags of the letters and digits that a step changes, or joins to what stands before them.
std::uint16_t changing_flags(const NormalizerStep& step) {
  const auto all = [](std::initializer_list<CharacterFlag> flags) {
    unsigned bits = 0;
    for (const CharacterFlag flag : flags)
      bits |= static_cast<unsigned>(flag);
    return static_cast<std::uint16_t>(bits);
  };
  switch (step.kind) {
    case Kind::clean_text:
      return all({CharacterFlag::removed, CharacterFlag::whitespace});
    case Kind::separate_chinese:
      return all({CharacterFlag::chinese});
    case Kind::nfd:
    case Kind::nfc:
      return all({CharacterFlag::decomposes, CharacterFlag::composes});
    case Kind::nfkd:
    case Kind::nfkc:
      return all({CharacterFlag::decomposes, CharacterFlag::composes,
                  CharacterFlag::decomposes_compatibly});
    case Kind::strip_marks:
      return all({CharacterFlag::mark});
    case Kind::strip_accents:
      return all({CharacterFlag::combining});
    case Kind::lowercase:
      return all({CharacterFlag::lowers});
    case Kind::replace:
    case Kind::prepend:
    case Kind::nmt:
    case Kind::strip_left:
    case Kind::strip_right:
    case Kind::join_spaces:
    case Kind::charsmap:
    case Kind::join_whitespace:
      break;
  }
  return 0;
}

}  // namespace

std::vector<NormalizerStep> bert_normalizer(bool clean_text,
                                            bool handle_chinese_chars,
                                            bool strip_accents,
                                            bool lowercase) {
  std::vector<NormalizerStep> steps;
  if (clean_text) steps.push_back({Kind::clean_text});
  if (handle_chinese_chars) steps.push_back({Kind::separate_chinese});
  if (strip_accents) steps.push_back({Kind::nfd});
  if (strip_accents) steps.push_back({Kind::strip_marks});
  if (lowercase) steps.push_back({Kind::lowercase});
  return steps;
}

Result<Normalizer> Normalizer::create(std::span<const NormalizerStep> steps) {
  Normalizer normalizer;
  for (const NormalizerStep& step : steps) {
    const bool is_map = step.kind == Kind::charsmap;
    if (is_map) {
      RTAI_TRY(Charsmap charsmap, Charsmap::create(step.text));
      normalizer.charsmaps_.push_back(std::move(charsmap));
    }
    if (!is_valid_utf8(step.pattern) || (!is_map && !is_valid_utf8(step.text))) {
      return Error{ErrorCode::invalid_input, "a text of the normalizer is not UTF-8"};
    }
    if (step.kind == Kind::replace && step.pattern.empty()) {
      return Error{ErrorCode::invalid_input, "the normalizer replaces an empty pattern"};
    }
    normalizer.steps_.push_back({step.kind, step.pattern, is_map ? "" : step.text});
    normalizer.changing_flags_ |= changing_flags(step);
    normalizer.strips_ |= step.kind == Kind::strip_left || step.kind == Kind::strip_right;
    normalizer.has_patterns_ |= step.kind == Kind::replace;
    const bool crosses =
        step.kind == Kind::replace && step.pattern.find(' ', 1) != std::string::npos;
    normalizer.may_cut_ &= !crosses;
  }
  normalizer.prepare_ascii();
  return normalizer;
}

void Normalizer::run(Characters& characters,
                     Characters& scratch,
                     std::uint32_t origin,
                     Stretch stretch) const {
  for (std::size_t i = 0; i < steps_.size(); ++i)
    run_step(i, characters, scratch, origin, stretch);
}

std::string Normalizer::run(std::string_view text) const {
  Characters characters = characters_of(text);
  Characters scratch;
  run(characters, scratch, 0, {});
  std::string result;
  for (const Character& c : characters)
    append_utf8(result, c.value);
  return result;
}

void Normalizer::run_step(std::size_t index,
                          Characters& characters,
                          Characters& scratch,
                          std::uint32_t origin,
                          Stretch stretch) const {
  const NormalizerStep& step = steps_[index];
  const auto is_space = [](const Character& c) { return has(c.value, CharacterFlag::whitespace); };
  switch (step.kind) {
    case Kind::clean_text:
      keep_if(characters, [](char32_t c) { return !has(c, CharacterFlag::removed); });
      return map(characters,
                 [](char32_t c) { return has(c, CharacterFlag::whitespace) ? U' ' : c; });
    case Kind::strip_marks:
      return keep_if(characters, [](char32_t c) { return !has(c, CharacterFlag::mark); });
    case Kind::strip_accents:
      return keep_if(characters, [](char32_t c) { return !has(c, CharacterFlag::combining); });
    case Kind::nmt:
      return nmt(characters);
    case Kind::strip_left:
      if (!stretch.first) return;
      characters.erase(characters.begin(),
                       std::find_if_not(characters.begin(), characters.end(), is_space));
      return;
    case Kind::strip_right:
      if (!stretch.last) return;
      characters.erase(std::find_if_not(characters.rbegin(), characters.rend(), is_space).base(),
                       characters.end());
      return;
    case Kind::prepend:
      if (!stretch.first || characters.empty()) return;
      scratch.clear();
      put_replacement(decoded(step.text), characters.front(), scratch);
      characters.insert(characters.begin(), scratch.begin(), scratch.end());
      return;
    case Kind::separate_chinese:
      separate_chinese(characters, scratch);
      break;
    case Kind::lowercase:
      lower(characters, scratch);
      break;
    case Kind::nfd:
    case Kind::nfkd:
      apply(decomposed(characters, step.kind == Kind::nfkd), characters, origin, scratch);
      break;
    case Kind::nfc:
    case Kind::nfkc:
      apply(composed(decomposed(characters, step.kind == Kind::nfkc)), characters, origin, scratch);
      break;
    case Kind::replace:
      replace_pattern(decoded(step.pattern), decoded(step.text), characters, scratch);
      break;
    case Kind::join_spaces:
    case Kind::join_whitespace:
      join(step, characters, scratch);
      break;
    case Kind::charsmap: {
      const auto before =
          std::count_if(steps_.begin(), steps_.begin() + static_cast<std::ptrdiff_t>(index),
                        [](const NormalizerStep& other) { return other.kind == Kind::charsmap; });
      const Charsmap& charsmap = charsmaps_[static_cast<std::size_t>(before)];
      apply(mapped(charsmap, characters), characters, origin, scratch);
      break;
    }
  }
  std::swap(characters, scratch);
}

// Characters of ASCII are nearly always normalized one by one, so what each becomes can be known
// before. A step that looks at several leaves a pattern that must not appear.
void Normalizer::prepare_ascii() {
  Characters scratch;
  const auto run_one = [&](std::string_view text, std::size_t from) {
    Characters characters = characters_of(text);
    for (std::size_t i = from; i < steps_.size(); ++i)
      run_step(i, characters, scratch, 0, {.first = false, .last = false});
    return characters;
  };
  for (std::size_t code = 0; code < ascii_.size(); ++code) {
    const auto c = static_cast<char>(code);
    const Characters result = run_one(std::string_view(&c, 1), 0);
    const bool known = result.size() <= 1 && (result.empty() || result[0].value < 0x80);
    ascii_[code] = !known           ? kOther
                   : result.empty() ? kDropped
                                    : static_cast<std::uint8_t>(result[0].value);
  }
  if (!charsmaps_.empty())
    ascii_[static_cast<std::size_t>('\r')] = kOther;  // CR LF is one grapheme
  has_ascii_way_ = true;
  for (std::size_t i = 0; i < steps_.size(); ++i) {
    if (steps_[i].kind == Kind::prepend) has_ascii_way_ = false;
    const bool joins_any = steps_[i].kind == Kind::join_whitespace;
    const bool joins = joins_any || steps_[i].kind == Kind::join_spaces;
    // Whitespace other than a space is seldom, and seldom alone.
    for (std::size_t code = 0; joins_any && code < ascii_.size(); ++code) {
      const auto c = static_cast<char32_t>(code);
      if (c != U' ' && has(c, CharacterFlag::whitespace)) ascii_[code] = kOther;
    }
    if (!joins && (steps_[i].kind != Kind::replace || steps_[i].pattern.size() < 2)) continue;
    const std::string pattern = joins ? "  " : steps_[i].pattern;
    // What the later steps change could not be recognized in the result.
    std::string after;
    for (const Character& c : run_one(pattern, i + 1))
      append_utf8(after, c.value);
    has_ascii_way_ &= after == pattern;
    ascii_exceptions_.push_back(pattern);
  }
}

bool Normalizer::may_cut(char32_t first) const {
  if (!may_cut_) return false;
  if (charsmaps_.empty()) return true;
  // A first character that becomes nothing moves the places of all others.
  std::string text;
  append_utf8(text, first);
  const unicode::CharacterProperties properties = unicode::properties(first);
  const bool plain = properties.has(CharacterFlag::letter) ||
                     properties.has(CharacterFlag::number) ||
                     properties.has(CharacterFlag::punctuation);
  return plain && std::none_of(charsmaps_.begin(), charsmaps_.end(), [&](const Charsmap& map) {
           return map.find(text) == std::string_view();
         });
}

bool Normalizer::is_unchanged(char32_t c) const {
  // Hangul's letters join to syllables.
  const auto is_jamo = [](char32_t code) {
    return (code >= 0x1100 && code < 0x1200) || (code >= 0xa960 && code < 0xa980) ||
           (code >= 0xd7b0 && code < 0xd800);
  };
  const unicode::CharacterProperties properties = unicode::properties(c);
  return (properties.flags & changing_flags_) == 0 &&
         (properties.has(CharacterFlag::letter) || properties.has(CharacterFlag::number)) &&
         properties.combining_class == 0 && properties.grapheme == GraphemeClass::other &&
         !is_jamo(c) && std::all_of(charsmaps_.begin(), charsmaps_.end(), [c](const Charsmap& map) {
           return map.leaves(c);
         });
}

bool Normalizer::run_simple(std::string_view simple,
                            Stretch stretch,
                            std::string& text,
                            std::vector<std::uint32_t>& places) const {
  if (!has_ascii_way_ || simple.empty()) return false;
  // Letters and digits beyond ASCII are as good as graphic characters within.
  const auto is_graphic = [this](char c) {
    const auto byte = static_cast<unsigned char>(c);
    if (byte >= 0x80) return true;
    const std::uint8_t result = ascii_[byte];
    return c > ' ' && c < 0x7f && result > ' ' && result < 0x7f;
  };
  const bool has_ends = strips_ || !charsmaps_.empty();
  if (has_ends && stretch.first && !is_graphic(simple.front())) return false;
  if (strips_ && stretch.last && !is_graphic(simple.back())) return false;
  const std::size_t begin = text.size();
  const std::size_t first_place = places.size();
  const auto undo = [&] {
    text.resize(begin);
    places.resize(first_place);
    return false;
  };
  std::uint32_t characters = 0;
  for (const char c : simple) {
    const auto byte = static_cast<unsigned char>(c);
    characters += is_continuation(c) ? 0 : 1;
    const std::uint8_t result = byte < 0x80 ? ascii_[byte] : byte;
    if (byte < 0x80 && result == kOther) return undo();
    if (byte < 0x80 && result == kDropped) continue;
    text += static_cast<char>(result);
    places.push_back(characters - 1);
  }
  for (const std::string& exception : ascii_exceptions_) {
    if (text.find(exception, begin) != std::string::npos) return undo();
  }
  return true;
}

}  // namespace rtai::text
