// The steps of an engine as people read them: a table, JSON, and what a picture shows.
#pragma once

#include "runtime/engine/engine.h"
#include "tools/json.h"
#include "tools/report/card.h"
#include "tools/report/graph_svg.h"

#include <optional>
#include <span>
#include <string>
#include <vector>

namespace rtai::tools {

/// "128 -> 384" of a linear step, "4 heads of 32" of attention, else the columns of its result.
std::string step_shape(const engine::Program& program, const engine::Step& step);

/// Weights that are zero: of linear layers and tables, biases and scales left out.
struct ZeroWeights {
  Index zeros = 0;
  Index weights = 0;

  /// Nothing without weights.
  std::optional<double> share() const;
};

/// Of each step. Every weight is looked at.
std::vector<ZeroWeights> zero_weights(const engine::Engine& engine);

/// "linear" 26, ...
Tally steps_tally(const engine::Program& program);

/// Name, op, shape, precision, bytes and the share of zero weights of each step; `zeros` has one
/// for each.
Json steps_json(const engine::Program& program, std::span<const ZeroWeights> zeros);

/// The same as a table; zeros only where they are more than what rounding leaves.
std::string steps_text(const engine::Program& program, std::span<const ZeroWeights> zeros);

std::vector<DrawnStep> drawn_steps(const engine::Program& program);

}  // namespace rtai::tools
