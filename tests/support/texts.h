// Random texts as token batches, for passes that need calibration.
#pragma once

#include "libopt/pass/evaluator.h"

#include <random>
#include <vector>

namespace rtai::testing {

/// Texts of 5 to 20 tokens between marks 1 and 2; ids from 3 on, small ones more often.
inline TokenBatch random_texts(int count, std::int32_t vocabulary, std::uint32_t seed = 1) {
  std::mt19937 random(seed);
  TokenBatch texts;
  for (int s = 0; s < count; ++s) {
    std::vector<std::int32_t> ids = {1};
    const auto words = 3 + random() % 16;
    for (std::uint32_t t = 0; t < words; ++t) {
      const auto range = static_cast<std::uint32_t>(vocabulary - 3);
      ids.push_back(3 + static_cast<std::int32_t>(random() % (1 + random() % range)));
    }
    ids.push_back(2);
    texts.append(ids, std::vector<std::int32_t>(ids.size(), 0));
  }
  return texts;
}

}  // namespace rtai::testing
