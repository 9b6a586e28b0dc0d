// What an encoder is made of, in numbers: found in the steps of its engine, by their order alone.
#pragma once

#include "runtime/engine/program.h"
#include "tools/json.h"
#include "tools/report/card.h"

#include <string>
#include <vector>

namespace rtai::tools {

/// A layer of the encoder; what was pruned away is 0.
struct LayerShape {
  Index heads = 0;
  Index ffn = 0;
};

struct Architecture {
  std::vector<LayerShape> layers;
  Index head_dim = 0;
  Index hidden = 0;      // columns of what goes from layer to layer
  std::string function;  // of the FFNs: "gelu"; empty without one
  Index embedding = 0;   // columns of the tables, 0 without
  Index vocab = 0;       // rows of the tables, 0 without
  Index positions = 0;
  Index segments = 0;
  bool causal = false;
  bool relative = false;          // attention knows how far tokens are apart
  std::vector<std::string> head;  // steps behind the last layer: "128 -> 72", "tanh"
};

Architecture architecture_of(const engine::Program& program);

/// {"layers", "hidden", "heads", "head_dim", "ffn", "activation", ...}; heads and ffn by layer.
Json architecture_json(const Architecture& architecture);

/// Two lines, or three where layers differ.
void add_architecture(Card& card, const Architecture& architecture);

}  // namespace rtai::tools
