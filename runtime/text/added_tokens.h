// Tokens that are cut out of the text before it is split into words: [MASK], [SEP], a user's own.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace rtai::text {

/// The fields are those of `added_tokens` in a tokenizer.json, and mean the same.
struct AddedToken {
  std::string content;
  std::int32_t id = 0;
  bool special = false;      // says nothing to the model as text; has no influence on matching
  bool single_word = false;  // only where no word character stands on either side
  bool lstrip = false;       // takes the whitespace before it along
  bool rstrip = false;       // takes the whitespace after it along
  bool normalized = false;   // sought, normalized itself, in the normalized text

  friend bool operator==(const AddedToken&, const AddedToken&) = default;
};

/// Finds the longest of several patterns at a place in a text.
class PatternFinder {
 public:
  struct Pattern {
    std::string text;
    std::size_t index;  // what the caller knows it by
  };

  PatternFinder() = default;
  /// Empty patterns are left out; of equal ones the first counts.
  explicit PatternFinder(std::vector<Pattern> patterns);

  bool empty() const { return patterns_.empty(); }
  bool may_start_with(char byte) const { return starts_[static_cast<unsigned char>(byte)]; }

  /// The longest pattern that stands in `text` at `position`, or null.
  const Pattern* longest_at(std::string_view text, std::size_t position) const;

 private:
  std::vector<Pattern> patterns_;   // sorted by text
  std::array<bool, 256> starts_{};  // first bytes of patterns
};

/// A place in a text, counted both ways.
struct Place {
  std::size_t byte = 0;
  std::uint32_t character = 0;
};

/// Looks for added tokens in one text, from left to right.
///
/// Source: AddedVocabulary of Hugging Face tokenizers 0.23.
class AddedTokenScan {
 public:
  struct Match {
    const AddedToken* token;
    Place begin;  // before the whitespace that lstrip takes
    Place end;    // where the search goes on
    Place taken;  // after the whitespace that rstrip takes
  };

  /// The indices of the finder's patterns are those of `tokens`. All three outlive the scan.
  AddedTokenScan(const PatternFinder& finder,
                 std::span<const AddedToken> tokens,
                 std::string_view text)
      : finder_(finder), tokens_(tokens), text_(text) {}

  /// The token that stands at `place`, which must not be before an earlier one asked for.
  std::optional<Match> at(Place place) {
    if (place.byte < search_from_ || !finder_.may_start_with(text_[place.byte]))
      return std::nullopt;
    return match(place);
  }

  /// Whether the character at `place` is whitespace that belongs to the last match.
  bool has_taken(Place place) const { return place.byte < taken_.byte; }

 private:
  std::optional<Match> match(Place place);
  bool touches_word(std::size_t begin, std::size_t end) const;
  Place before_whitespace(Place place) const;
  Place after_whitespace(Place place) const;

  const PatternFinder& finder_;
  std::span<const AddedToken> tokens_;
  std::string_view text_;
  std::size_t search_from_ = 0;  // matches do not overlap, not even with one that was discarded
  Place taken_;                  // end of the last match and its whitespace
};

}  // namespace rtai::text
