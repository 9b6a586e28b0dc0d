// The steps of a pre-tokenizer.
#pragma once

#include "runtime/base/result.h"
#include "runtime/text/tokenizer.h"
#include "runtime/text/tokenizer_settings.h"

#include <array>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace rtai::text {

/// A part of a text in bytes.
struct ByteRange {
  std::uint32_t begin;
  std::uint32_t end;
};

/// Normalized text and its words.
struct SplitText {
  std::string text;
  std::vector<Offset>
      sources;  // [bytes of text]: the code points that the byte's character is from
  std::vector<ByteRange> words;

  void clear() {
    text.clear();
    sources.clear();
    words.clear();
  }
  void append(std::string_view characters, Offset source) {
    text += characters;
    sources.resize(text.size(), source);
  }
};

/// Source: the pre-tokenizers of Hugging Face tokenizers 0.23.
class Splitter {
 public:
  Splitter() = default;

  /// Errors: invalid_input if a literal is empty or a text is not UTF-8.
  static Result<Splitter> create(std::span<const SplitterStep> steps);

  /// Splits the words of `split`. `scratch` is of no meaning before and after, but keeps its
  /// memory.
  void run(SplitText& split, SplitText& scratch) const;

  /// Where there is a border whatever else stands around: between a letter or digit and a space;
  /// on both sides of punctuation; where normalization puts spaces.
  bool splits_before_space() const { return splits_before_space_; }
  bool splits_at_punctuation() const { return splits_at_punctuation_; }
  bool drops_spaces() const { return drops_spaces_; }

 private:
  std::vector<SplitterStep> steps_;
  bool splits_before_space_ = false;
  bool splits_at_punctuation_ = false;
  bool drops_spaces_ = false;
};

}  // namespace rtai::text
