// Graphs as text: what `rtai inspect --graph` prints, what tests are written in.
//
//   graph (%ids: i32[tokens]) {
//     @word: f32[101, 64] = random
//     @weight: f32[64] = [1, ...]          (short constants stand in full)
//     %h = embedding(%ids, none, @word) : f32[tokens, 64]
//     %n = layer_norm(%h, @weight, @bias) {epsilon = 1e-12} : f32[tokens, 64]
//     return %n
//   }
//
// % names what is computed, @ what is constant, `none` an optional input that is not given. Long
// constants print as a digest, which only `==` on the text can use; for input, `random` fills a
// constant with values that depend on its name alone, `zeros` and `ones` speak for themselves.
#pragma once

#include "libopt/ir/graph.h"

#include <string>
#include <string_view>

namespace rtai::ir {

/// Nodes in order of execution, constants before the nodes; the same graph gives the same text.
std::string print(const Graph& graph);

/// The type after a transformer-level node may be left out: it is inferred.
///
/// Errors: invalid_input with the line, what was expected and what was found.
Result<Graph> parse(std::string_view text);

}  // namespace rtai::ir
