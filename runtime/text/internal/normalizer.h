// BERT's normalization, a character at a time.
#pragma once

#include "runtime/text/unicode_tables.h"

#include <algorithm>
#include <cstdint>
#include <vector>

namespace rtai::text {

/// Which of the four steps are taken, in this order.
struct NormalizerSteps {
  bool clean_text;            // drops controls, makes all whitespace spaces
  bool handle_chinese_chars;  // puts spaces around each Chinese character
  bool strip_accents;         // NFD, then drops the marks
  bool lowercase;             // each character by itself: no final sigma
};

/// Passes normalized characters on to `sink(char32_t, CharacterProperties, std::uint32_t source)`,
/// where `source` is the code point of the text that the character comes from. Marks wait until
/// their order is known: flush() at the end of a text.
///
/// Source: BertNormalizer of Hugging Face tokenizers 0.23, its alignment of offsets included.
class Normalizer {
 public:
  explicit Normalizer(NormalizerSteps steps) : steps_(steps) {}

  template <class Sink>
  void put(char32_t c, std::uint32_t source, Sink&& sink) {
    unicode::CharacterProperties properties = unicode::properties(c);
    if (steps_.clean_text) {
      if (properties.has(unicode::CharacterFlag::removed)) return;
      if (properties.has(unicode::CharacterFlag::whitespace)) {
        c = U' ';
        properties = unicode::properties(c);
      }
    }
    const bool surrounded =
        steps_.handle_chinese_chars && properties.has(unicode::CharacterFlag::chinese);
    if (surrounded) decompose(U' ', unicode::properties(U' '), source, sink);
    decompose(c, properties, source, sink);
    if (surrounded) decompose(U' ', unicode::properties(U' '), source, sink);
  }

  bool has_waiting() const { return !waiting_.empty(); }

  template <class Sink>
  void flush(Sink&& sink) {
    if (any_kept_) emit_in_order(sink);
    waiting_.clear();
    any_kept_ = false;
  }

 private:
  // A character that is not a starter: NFD sorts each run of them by class.
  struct Mark {
    char32_t character;
    unicode::CharacterProperties properties;
    bool replaces;         // the first that its source became, so the one that consumes the source
    std::uint32_t source;  // the code point it really comes from
  };

  template <class Sink>
  void decompose(char32_t c,
                 unicode::CharacterProperties properties,
                 std::uint32_t source,
                 Sink& sink) {
    if (!steps_.strip_accents) return lower(c, properties, source, sink);
    if (!properties.has(unicode::CharacterFlag::decomposes)) {
      return order({c, properties, true, source}, sink);
    }
    bool replaces = true;
    for (const char32_t part : unicode::decomposition(c)) {
      order({part, unicode::properties(part), replaces, source}, sink);
      replaces = false;
    }
  }

  template <class Sink>
  void order(const Mark& mark, Sink& sink) {
    const bool kept = !mark.properties.has(unicode::CharacterFlag::mark);
    if (mark.properties.combining_class != 0) {
      waiting_.push_back(mark);
      any_kept_ |= kept;
      return;
    }
    flush(sink);
    starter_source_ = mark.source;
    if (kept) lower(mark.character, mark.properties, mark.source, sink);
  }

  // Marks that are kept are rare: those of recent scripts, which the old tables do not know.
  template <class Sink>
  void emit_in_order(Sink& sink) {
    // tokenizers hands the sources out again in the order of the sorted characters, to those that
    // replace one; the others share the source before.
    std::vector<std::uint32_t> sources;
    for (const Mark& mark : waiting_) {
      if (mark.replaces) sources.push_back(mark.source);
    }
    std::stable_sort(waiting_.begin(), waiting_.end(), [](const Mark& a, const Mark& b) {
      return a.properties.combining_class < b.properties.combining_class;
    });
    auto next = sources.begin();
    std::uint32_t source = starter_source_;
    for (const Mark& mark : waiting_) {
      if (mark.replaces) source = *next++;
      if (mark.properties.has(unicode::CharacterFlag::mark)) continue;
      lower(mark.character, mark.properties, source, sink);
    }
  }

  template <class Sink>
  void lower(char32_t c,
             unicode::CharacterProperties properties,
             std::uint32_t source,
             Sink& sink) {
    if (!steps_.lowercase || !properties.has(unicode::CharacterFlag::lowers)) {
      return sink(c, properties, source);
    }
    for (const char32_t part : unicode::lowercase(c)) {
      sink(part, unicode::properties(part), source);
    }
  }

  NormalizerSteps steps_;
  std::vector<Mark> waiting_;
  bool any_kept_ = false;
  std::uint32_t starter_source_ = 0;
};

}  // namespace rtai::text
