// The precompiled rules of a sentencepiece normalizer.
#pragma once

#include "runtime/base/result.h"

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace rtai::text {

/// Which text stands for which. The format: u32 bytes of the trie; the trie, a Darts double array
/// of u32, whose values are places in the texts that follow, each ended by a zero byte. Source:
/// sentencepiece, builder.cc and normalizer.cc; spm_precompiled 0.1.4 for the reading.
class Charsmap {
 public:
  /// Errors: invalid_input if the bytes are not of that form.
  static Result<Charsmap> create(std::string_view bytes);

  /// What the shortest beginning of `text` that has a rule becomes; nothing if none has.
  std::optional<std::string_view> find(std::string_view text) const;

  /// Whether no rule begins with `c` alone.
  bool leaves(char32_t c) const { return c < kKnown && !has_rule_[c]; }

 private:
  static constexpr char32_t kKnown = 0x10000;

  std::vector<std::uint32_t> units_;
  std::string texts_;
  std::vector<bool> has_rule_;  // [kKnown]; half of the answer for all but a few texts
};

}  // namespace rtai::text
