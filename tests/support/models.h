// Small transformer graphs with random weights, for tests of everything behind import.
#pragma once

#include "libopt/ir/graph.h"

#include <cstdint>
#include <string>

namespace rtai::testing {

struct TinyModel {
  Index layers = 2;
  Index hidden = 64;
  Index heads = 4;
  Index head_dim = 16;  // heads * head_dim need not be hidden
  Index ffn = 128;
  Index vocabulary = 101;
  Index positions = 40;
  Index labels = 5;
  bool segments = true;
  bool relative = false;  // attention with tables by distance, shared by the layers
  bool pooled = false;    // classify the first token through a tanh layer, not every token
  std::string activation = "gelu";
  std::uint64_t seed = 1;
};

/// A post-LayerNorm encoder with a classifier; weights of the size that trained models have, so
/// that its activations stay in a sane range.
ir::Graph make_model(const TinyModel& shape = {});

/// The same with its linear layers and tables stored as int8.
ir::Graph make_int8_model(const TinyModel& shape = {});

/// The same, but FFN layers and large tables in 4 bits, in groups of 32.
ir::Graph make_int4_model(const TinyModel& shape = {});

}  // namespace rtai::testing
