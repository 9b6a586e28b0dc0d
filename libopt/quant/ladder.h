// Which parts of a model go back to finer arithmetic, and what that costs.
#pragma once

#include "libopt/ir/graph.h"
#include "runtime/base/log.h"
#include "runtime/base/result.h"

#include <functional>
#include <string>
#include <vector>

namespace rtai::quant {

/// A precision that a node can have: what it reads then, and its attributes.
struct Rung {
  std::string name;  // "int8 static", "f32"
  int bits = 0;      // of a weight, 4 to 32
  std::vector<ir::ValueId> inputs;
  ir::Attributes attributes;
};

/// The node as it stands.
Rung rung_of(const ir::Graph& graph, ir::NodeId node, std::string name, int bits);

/// A node and the precisions it can have, the cheapest first; the last is the one it came with.
struct Site {
  ir::NodeId node;
  std::vector<Rung> rungs;
  std::size_t at = 0;              // the rung that was chosen
  double sensitivity = 0;          // divergence of the outputs when it alone stands there
  std::vector<double> times = {};  // microseconds on each rung; empty: not measured
};

/// Makes the node stand on one of its rungs.
void put(ir::Graph& graph, const Site& site, std::size_t rung);

/// How far the outputs of a graph are from the wanted ones.
using Divergence = std::function<Result<double>(const ir::Graph& graph)>;

/// Moves sites down, one rung at a time, until the divergence of `graph` is at most `limit`: first
/// the site with the largest sensitivity for each microsecond that the move costs. A move that does
/// not help is taken back. Where no more move helps, or a dozen and some were tried, sites go to
/// 8 bits if they have fewer, and then to their last rung, in the order of their sensitivities,
/// twice as many each time, and of the last ones only as many as it takes: `together` is asked some
/// forty times at most, however many sites there are. `alone` is the divergence of one site on its
/// rung, all others on their last. Each move is a warning in the log.
///
/// Returns the divergence that is left. Errors: those of the callbacks.
Result<double> fall_back(
    ir::Graph& graph,
    std::vector<Site>& sites,
    double limit,
    const Divergence& together,
    const std::function<Result<double>(const Site& site, std::size_t rung)>& alone,
    Log& log);

}  // namespace rtai::quant
