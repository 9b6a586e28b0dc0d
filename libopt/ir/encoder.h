// The parts of a raised graph that pruning, quantization and reports speak of.
#pragma once

#include "libopt/ir/graph.h"

#include <optional>
#include <string>
#include <vector>

namespace rtai::ir {

/// qkv linear -> attention -> out linear, each the only user of the one before.
struct AttentionModule {
  NodeId qkv;
  NodeId attention;
  NodeId out;
};

/// in linear -> activation -> out linear, each the only user of the one before.
struct FfnModule {
  NodeId in;
  NodeId activation;
  NodeId out;
};

/// A layer of the encoder; a module that was pruned away is absent.
struct EncoderLayer {
  std::optional<AttentionModule> attention;
  std::optional<FfnModule> ffn;
};

/// The layers in order of execution: each attention module begins one, each FFN module belongs to
/// the layer before it unless that has one already. Linear-activation-linear chains of heads (on
/// the rows of sequences, or behind the last residual addition) are not layers.
std::vector<EncoderLayer> find_layers(const Graph& graph);

/// Renames the constants and nodes of the layers by their place, "layer.3.ffn_in.weight", and the
/// remaining ones by what they do, "embedding.word", "head.0.weight": the same architecture gives
/// the same names, whatever exporter wrote it. True if a name changed.
bool name_by_place(Graph& graph);

}  // namespace rtai::ir
