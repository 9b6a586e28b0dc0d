// Gives every value its type: see libopt/raise/trace.h.
//
// Dimensions that are the same in every probe are numbers; the others become batch, seq, or a
// product of the two and a number: "batch.seq.12".
#include "libopt/raise/trace.h"
#include "passes/passes.h"

#include <fmt/format.h>

#include <array>

namespace rtai::passes {
namespace {

using ir::ValueId;

constexpr PassInfo kInfo = {
    .name = "trace-types",
    .summary = "gives every value its type, by running the model on inputs of a few sizes",
    .source = "-",
    .exactness = Exactness::exact,
};

/// The dimension that has sizes[p] in probe p.
ir::Dim dim_of(const std::vector<Index>& sizes, std::span<const raise::Probe> probes) {
  struct Unit {
    std::string_view name;
    Index (*size)(const raise::Probe&);
  };
  constexpr std::array<Unit, 4> kUnits = {{
      {"", [](const raise::Probe&) { return Index{1}; }},
      {"batch", [](const raise::Probe& p) { return p.batch; }},
      {"seq", [](const raise::Probe& p) { return p.length; }},
      {"batch.seq", [](const raise::Probe& p) { return p.batch * p.length; }},
  }};
  for (const Unit& unit : kUnits) {
    const Index factor = sizes[0] / unit.size(probes[0]);
    bool fits = true;
    for (std::size_t p = 0; p < probes.size(); ++p)
      fits = fits && sizes[p] == factor * unit.size(probes[p]);
    if (!fits) continue;
    if (unit.name.empty()) return ir::Dim(factor);
    return factor == 1 ? ir::Dim(std::string(unit.name))
                       : ir::Dim(fmt::format("{}.{}", unit.name, factor));
  }
  return ir::Dim("unknown");
}

class TraceTypes final : public PassWith<NoOptions> {
 public:
  const PassInfo& info() const override { return kInfo; }

  Result<PassReport> run(ir::Graph& graph, PassContext& /*context*/) override {
    if (is_raised(graph)) return PassReport{};
    RTAI_TRY(const raise::Trace trace, raise::trace(graph));
    Counter typed{.name = "types changed"};
    for (const ir::NodeId id : graph.order()) {
      for (const ValueId output : graph.node(id).outputs()) {
        ir::Type type = type_of(output, trace.probes);
        if (type == graph.type(output)) continue;
        graph.set_type(output, std::move(type));
        ++typed.value;
      }
    }
    return PassReport{.changed = typed.value > 0, .counters = {typed}};
  }

 private:
  static ir::Type type_of(ValueId value, std::span<const raise::Probe> probes) {
    const ir::Dims& first = probes[0].dims(value);
    ir::Type type{.dtype = probes[0].dtype(value), .dims = std::vector<ir::Dim>{}};
    for (std::size_t i = 0; i < first.size(); ++i) {
      std::vector<Index> sizes;
      for (const raise::Probe& probe : probes) {
        if (probe.dims(value).size() != first.size()) return {.dtype = type.dtype, .dims = {}};
        sizes.push_back(probe.dims(value)[i]);
      }
      type.dims->push_back(dim_of(sizes, probes));
    }
    return type;
  }
};

}  // namespace

std::unique_ptr<Pass> make_trace_types() {
  return std::make_unique<TraceTypes>();
}

}  // namespace rtai::passes
