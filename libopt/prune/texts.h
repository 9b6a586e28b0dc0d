// The calibration texts: split, copied with words swapped, kept within bounds.
#pragma once

#include "libopt/pass/evaluator.h"

#include <cstdint>
#include <set>
#include <vector>

namespace rtai::prune {

/// Numbers that are the same on every machine (splitmix64).
class Random {
 public:
  explicit Random(std::uint64_t seed) : state_(seed) {}

  std::uint64_t next();
  /// In [0, n); n > 0.
  Index below(Index n);
  /// In [0, 1).
  double unit();

 private:
  std::uint64_t state_;
};

/// Ids that mark the beginning and end of texts: they start or end at least half of the sequences.
std::set<std::int32_t> special_ids(const TokenBatch& texts);

/// `copies` of every text with a share of its sub-words replaced by sub-words drawn from all texts;
/// special ids stay, and are never drawn. Unlabelled data for free: a model's own answers to such
/// texts are as good a guide as its answers to real ones.
TokenBatch swap_words(const TokenBatch& texts, int copies, double share, std::uint64_t seed);

/// All texts of `a`, then those of `b`.
TokenBatch concat(const TokenBatch& a, const TokenBatch& b);

/// The texts in an order of chance.
TokenBatch shuffled(const TokenBatch& texts, std::uint64_t seed);

/// As many of the first texts as have at most `most` tokens, but at least one.
TokenBatch first_tokens(const TokenBatch& texts, Index most);

/// The texts in pieces of at most `most` tokens, or of one text that has more.
std::vector<TokenBatch> cut(const TokenBatch& texts, Index most);

}  // namespace rtai::prune
