#include "tools/understanding.h"

#include "libopt/pass/pipeline.h"
#include "libopt/quant/imported.h"
#include "libopt/raise/prove.h"
#include "libopt/raise/raise.h"
#include "passes/passes.h"

#include <fmt/format.h>

namespace rtai::tools {
namespace {

/// How far the outputs of a quantized model may move, as a share of the largest: rtai computes
/// attention, additions and normalization in floats where the file rounds them to 8 bits.
constexpr double kLargestMove = 1;
/// Beyond this somebody should look: the file may be one that its quantization has spoiled.
constexpr double kNotableMove = 0.25;

Result<void> run(std::string_view pipeline, ir::Graph& graph, Log& log) {
  PassContext context{.log = &log};
  RTAI_TRY([[maybe_unused]] const std::vector<PassRecord> records,
           run_pipeline(std::string(pipeline), graph, context, passes::make));
  return {};
}

}  // namespace

Result<Understood> understand(const ir::Graph& imported, Log& log) {
  const std::string raise = std::string(passes::kRaisePipeline) + ",name-layers";
  Understood understood{.graph = imported};
  if (!quant::has_integers(imported)) {
    RTAI_TRY_VOID(run(raise, understood.graph, log));
    RTAI_TRY(const raise::Proof proof, raise::prove(imported, understood.graph));
    understood.difference = proof.difference;
    return understood;
  }
  ir::Graph real = imported;
  RTAI_TRY_VOID(run("fold-constants,widen-floats", real, log));
  RTAI_TRY(const quant::TakenIntegers taken, quant::take_out_integers(real));
  understood.graph = real;
  RTAI_TRY_VOID(run(raise, understood.graph, log));
  RTAI_TRY_VOID(raise::prove(real, understood.graph));
  RTAI_TRY(const quant::PutIntegers put, quant::put_back_integers(understood.graph, taken));
  RTAI_TRY(const raise::Proof proof,
           raise::prove(imported, understood.graph, {.tolerance = kLargestMove}));
  understood.difference = proof.difference;
  if (proof.difference > kNotableMove * proof.magnitude) {
    log.warning(
        fmt::format("on random ids outputs move by {:.2g} of {:.2g} against the file's own 8-bit "
                    "arithmetic, whose "
                    "ranges may not cover them; rtai computes what lies between products in floats",
                    proof.difference, proof.magnitude));
  }
  understood.int8 =
      fmt::format("{}; largest difference to the file's own arithmetic {:.1e} of {:.1e}",
                  put.text(), proof.difference, proof.magnitude);
  return understood;
}

std::vector<ir::Obstacle> find_obstacles(const ir::Graph& imported) {
  constexpr std::string_view kPipeline = passes::kRaisePipeline;
  ir::Graph graph = imported;
  if (quant::has_integers(imported)) {
    if (!run("fold-constants,widen-floats", graph, silent_log())) return {};
    if (!quant::take_out_integers(graph)) return {};
  }
  if (!run(kPipeline.substr(0, kPipeline.find(",raise-transformer")), graph, silent_log()))
    return {};
  return raise::find_obstacles(graph).value_or(std::vector<ir::Obstacle>{});
}

}  // namespace rtai::tools
