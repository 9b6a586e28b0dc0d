// From an imported graph to the transformer level, and the proof that nothing changed.
#pragma once

#include "libopt/ir/graph.h"
#include "libopt/ir/obstacle.h"
#include "runtime/base/log.h"
#include "runtime/base/result.h"

#include <string>
#include <vector>

namespace rtai::tools {

struct Understood {
  ir::Graph graph;
  double difference = 0;  // the largest that the proof found
  std::string int8 = {};  // what became of the integers of a quantized model; empty: it had none
};

/// Integers of a quantized model are taken out before and put back afterwards, see
/// libopt/quant/imported.h. What is left is proved like any float graph; with its integers it is
/// only held to be near: rtai's sources may have finer steps.
///
/// Errors: unsupported, naming the first node that does not fit; internal if a proof fails.
Result<Understood> understand(const ir::Graph& imported, Log& log);

/// The nodes that keep `imported` from being understood, as far as they can be told apart; none
/// where it is not single nodes, or where it cannot run.
std::vector<ir::Obstacle> find_obstacles(const ir::Graph& imported);

}  // namespace rtai::tools
