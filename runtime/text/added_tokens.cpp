#include "runtime/text/added_tokens.h"

#include "runtime/text/unicode_tables.h"
#include "runtime/text/utf8.h"

#include <algorithm>
#include <utility>

namespace rtai::text {
namespace {}  // namespace

PatternFinder::PatternFinder(std::vector<Pattern> patterns) : patterns_(std::move(patterns)) {
  std::erase_if(patterns_, [](const Pattern& pattern) { return pattern.text.empty(); });
  std::stable_sort(patterns_.begin(), patterns_.end(),
                   [](const Pattern& a, const Pattern& b) { return a.text < b.text; });
  const auto equal = [](const Pattern& a, const Pattern& b) { return a.text == b.text; };
  patterns_.erase(std::unique(patterns_.begin(), patterns_.end(), equal), patterns_.end());
  for (const Pattern& pattern : patterns_) {
    starts_[static_cast<unsigned char>(pattern.text.front())] = true;
  }
}

const PatternFinder::Pattern* PatternFinder::longest_at(std::string_view text,
                                                        std::size_t position) const {
  const Pattern* longest = nullptr;
  auto first = patterns_.begin();
  auto last = patterns_.end();
  // [first, last): the patterns that agree with the text in their first `length` bytes. The
  // shortest of them sorts first.
  for (std::size_t length = 0; first != last; ++length) {
    if (first->text.size() == length) longest = &*first++;
    if (position + length == text.size()) break;
    const auto byte_of = [length](const Pattern& pattern) {
      return static_cast<unsigned char>(pattern.text[length]);
    };
    const auto wanted = static_cast<unsigned char>(text[position + length]);
    first =
        std::partition_point(first, last, [&](const Pattern& p) { return byte_of(p) < wanted; });
    last =
        std::partition_point(first, last, [&](const Pattern& p) { return byte_of(p) <= wanted; });
  }
  return longest;
}

std::optional<AddedTokenScan::Match> AddedTokenScan::match(Place place) {
  const PatternFinder::Pattern* pattern = finder_.longest_at(text_, place.byte);
  if (pattern == nullptr) return std::nullopt;
  search_from_ = place.byte + pattern->text.size();
  const AddedToken& token = tokens_[pattern->index];
  if (token.single_word && touches_word(place.byte, search_from_)) return std::nullopt;
  const Place end{search_from_, place.character + count_characters(pattern->text)};
  const Match found{&token, token.lstrip ? before_whitespace(place) : place, end,
                    token.rstrip ? after_whitespace(end) : end};
  taken_ = found.taken;
  return found;
}

bool AddedTokenScan::touches_word(std::size_t begin, std::size_t end) const {
  using unicode::CharacterFlag;
  if (begin > 0 && has(decode_before(text_, begin).value, CharacterFlag::word)) return true;
  return end < text_.size() && has(decode_utf8(text_, end).value, CharacterFlag::word);
}

Place AddedTokenScan::before_whitespace(Place place) const {
  while (place.byte > taken_.byte) {
    const DecodedCharacter c = decode_before(text_, place.byte);
    if (!has(c.value, unicode::CharacterFlag::whitespace)) break;
    place.byte -= c.bytes;
    --place.character;
  }
  return place;
}

Place AddedTokenScan::after_whitespace(Place place) const {
  // A token that is whitespace itself: the run was measured before, and must not be each time.
  if (place.byte < taken_.byte) return taken_;
  while (place.byte < text_.size()) {
    const DecodedCharacter c = decode_utf8(text_, place.byte);
    if (!has(c.value, unicode::CharacterFlag::whitespace)) break;
    place.byte += c.bytes;
    ++place.character;
  }
  return place;
}

}  // namespace rtai::text
