// Batches of random tokens.
#pragma once

#include "libopt/ir/tensor.h"
#include "runtime/exec/session.h"

#include <cstdint>
#include <random>
#include <vector>

namespace rtai::testing {

struct TokenSequences {
  std::vector<std::int32_t> ids;
  std::vector<std::int32_t> segments;
  std::vector<std::int32_t> offsets = {0};

  Batch batch() const { return {.ids = ids, .segments = segments, .offsets = offsets}; }
  std::vector<Index> wide_offsets() const { return {offsets.begin(), offsets.end()}; }
  std::vector<ir::Tensor> tensors() const {
    const Index tokens = std::ssize(ids);
    return {ir::Tensor::from<std::int32_t>({tokens}, ids),
            ir::Tensor::from<std::int32_t>({tokens}, segments)};
  }
};

inline TokenSequences random_sequences(const std::vector<int>& lengths,
                                       std::int32_t vocabulary,
                                       std::uint32_t seed = 1) {
  std::mt19937 random(seed);
  TokenSequences sequences;
  for (const int length : lengths) {
    for (int t = 0; t < length; ++t) {
      sequences.ids.push_back(
          static_cast<std::int32_t>(random() % static_cast<std::uint32_t>(vocabulary)));
      sequences.segments.push_back(t > length / 2 ? 1 : 0);
    }
    sequences.offsets.push_back(static_cast<std::int32_t>(sequences.ids.size()));
  }
  return sequences;
}

}  // namespace rtai::testing
