#include "runtime/text/vocabulary.h"

#include "runtime/text/utf8.h"

#include <algorithm>
#include <bit>
#include <utility>

namespace rtai::text {
namespace {

// Half-full tables of real vocabularies need about 30 steps at worst. Pieces made to collide would
// cost quadratic time instead; they are refused.
constexpr std::size_t kMaxSlotSteps = 256;

Vocabulary::Hash hash_of(Vocabulary::Hash seed, std::string_view bytes) {
  for (const char byte : bytes)
    seed = Vocabulary::extend(seed, byte);
  return seed;
}

}  // namespace

Result<Vocabulary> Vocabulary::create(std::string text,
                                      std::vector<std::uint32_t> ends,
                                      std::string_view continuation,
                                      Content content) {
  if (ends.size() > kMaxPieces) {
    return Error{ErrorCode::invalid_input, "expected at most " + std::to_string(kMaxPieces) +
                                               " pieces, found " + std::to_string(ends.size())};
  }
  if (!std::is_sorted(ends.begin(), ends.end()) ||
      (ends.empty() ? 0 : ends.back()) != text.size()) {
    return Error{ErrorCode::invalid_input, "the pieces do not add up to the text of all pieces"};
  }
  Vocabulary vocabulary;
  vocabulary.text_ = std::move(text);
  vocabulary.ends_ = std::move(ends);
  vocabulary.continuation_ = continuation;
  vocabulary.continuation_seed_ = hash_of(kWordSeed, continuation);
  const int bits = static_cast<int>(std::bit_width(vocabulary.size() | 1));
  vocabulary.slots_.resize(std::size_t{2} << bits);
  vocabulary.shift_ = 63 - bits;
  for (std::size_t id = 0; id < vocabulary.size(); ++id) {
    RTAI_TRY_VOID(vocabulary.insert(id, content));
  }
  return vocabulary;
}

Result<void> Vocabulary::insert(std::size_t id, Content content) {
  const std::string_view inserted = piece(id);
  if (inserted.empty()) return {};
  if (content == Content::utf8 && !is_valid_utf8(inserted)) {
    return Error{ErrorCode::invalid_input, "piece " + std::to_string(id) + " is not UTF-8"};
  }
  if (inserted.size() > kMaxPieceBytes) {
    return Error{ErrorCode::invalid_input,
                 "piece " + std::to_string(id) + " has " + std::to_string(inserted.size()) +
                     " bytes, more than " + std::to_string(kMaxPieceBytes)};
  }
  longest_word_ = std::max(longest_word_, inserted.size());
  if (inserted.starts_with(continuation_)) {
    longest_continuation_ = std::max(longest_continuation_, inserted.size() - continuation_.size());
  }
  const Hash hash = hash_of(kWordSeed, inserted);
  std::size_t at = home(hash);
  for (std::size_t step = 0; step < kMaxSlotSteps; ++step, at = (at + 1) & (slots_.size() - 1)) {
    Slot& slot = slots_[at];
    const bool same =
        slot.number != 0 && slot.tag == tag_of(hash) && piece(slot.number - 1) == inserted;
    if (slot.number != 0 && !same) continue;
    slot = {tag_of(hash), static_cast<std::uint32_t>(id + 1)};
    return {};
  }
  return Error{ErrorCode::invalid_input,
               "piece " + std::to_string(id) + " collides with too many others"};
}

std::int32_t Vocabulary::lookup(Hash hash, std::string_view head, std::string_view tail) const {
  std::size_t at = home(hash);
  for (std::size_t step = 0; step < kMaxSlotSteps; ++step, at = (at + 1) & (slots_.size() - 1)) {
    const Slot slot = slots_[at];
    if (slot.number == 0) return kNone;
    if (slot.tag != tag_of(hash)) continue;
    const std::string_view found = piece(slot.number - 1);
    if (found.size() == head.size() + tail.size() && found.ends_with(tail) &&
        found.starts_with(head)) {
      return static_cast<std::int32_t>(slot.number - 1);
    }
  }
  return kNone;
}

std::optional<std::int32_t> Vocabulary::find(std::string_view piece) const {
  if (piece.empty()) return std::nullopt;
  const std::int32_t id = lookup(hash_of(kWordSeed, piece), {}, piece);
  if (id == kNone) return std::nullopt;
  return id;
}

}  // namespace rtai::text
