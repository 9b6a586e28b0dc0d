// The steps of a normalizer, on characters that remember where they come from.
#pragma once

#include "runtime/base/result.h"
#include "runtime/text/internal/charsmap.h"
#include "runtime/text/tokenizer_settings.h"
#include "runtime/text/utf8.h"

#include <array>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace rtai::text {

/// A character and the code points of the text that it comes from.
struct Character {
  char32_t value;
  std::uint32_t begin;
  std::uint32_t end;
};
using Characters = std::vector<Character>;

/// A stretch of a text. A long text is normalized in several: some steps only act at its ends.
struct Stretch {
  bool first = true;
  bool last = true;
};

/// Source: the normalizers of Hugging Face tokenizers 0.23, their alignment of offsets included.
class Normalizer {
 public:
  Normalizer() = default;

  /// Errors: invalid_input if a charsmap is malformed or a text is not UTF-8.
  static Result<Normalizer> create(std::span<const NormalizerStep> steps);

  bool is_identity() const { return steps_.empty(); }
  /// Whether it replaces patterns, which may be of any characters.
  bool has_patterns() const { return has_patterns_; }

  /// `scratch` is of no meaning before and after, but keeps its memory. `origin` is the code point
  /// that the stretch begins with.
  void run(Characters& characters,
           Characters& scratch,
           std::uint32_t origin,
           Stretch stretch) const;

  std::string run(std::string_view text) const;

  /// The bytes of the character at `position` of `text` if it becomes one of itself, whatever
  /// stands around; 0 if that is not known.
  std::uint32_t simple_bytes(std::string_view text, std::size_t position) const {
    if (static_cast<unsigned char>(text[position]) < 0x80) return 1;
    const DecodedCharacter c = decode_utf8(text, position);
    return is_unchanged(c.value) ? c.bytes : 0;
  }

  /// What a stretch of characters becomes that simple_bytes() knows: appends it to `text`, and for
  /// each byte the place of its character to `places`. False, and nothing appended, if the long way
  /// must be gone.
  bool run_simple(std::string_view simple,
                  Stretch stretch,
                  std::string& text,
                  std::vector<std::uint32_t>& places) const;

  /// Whether a text that begins with `first` may be normalized in stretches, cut where is_cut says.
  bool may_cut(char32_t first) const;

 private:
  static constexpr std::uint8_t kDropped = 0x80;
  static constexpr std::uint8_t kOther = 0x81;

  void run_step(std::size_t index,
                Characters& characters,
                Characters& scratch,
                std::uint32_t origin,
                Stretch stretch) const;
  void prepare_ascii();
  /// Of a character beyond ASCII.
  bool is_unchanged(char32_t c) const;

  std::vector<NormalizerStep> steps_;
  std::vector<Charsmap> charsmaps_;            // of the steps of that kind, in their order
  std::array<std::uint8_t, 128> ascii_{};      // what a character becomes, kDropped or kOther
  std::vector<std::string> ascii_exceptions_;  // results that hold one of these are wrong
  bool has_ascii_way_ = false;
  std::uint16_t changing_flags_ = 0;  // of characters that a step could change
  bool strips_ = false;
  bool has_patterns_ = false;
  bool may_cut_ = true;
};

}  // namespace rtai::text
