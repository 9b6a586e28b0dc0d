#include "libopt/raise/raise.h"

#include "libopt/raise/internal/emit.h"
#include "libopt/raise/internal/reading.h"
#include "libopt/raise/internal/relative.h"
#include "libopt/raise/internal/rows.h"
#include "libopt/raise/trace.h"

#include <fmt/format.h>

#include <algorithm>
#include <new>
#include <set>

namespace rtai::raise {
namespace {

using ir::Op;
using ir::ValueId;

std::string place_of(const ir::Node& node) {
  return fmt::format("node '{}' ({})", node.name(), info(node.op()).onnx_name);
}

bool is_plain(const Meaning& meaning) {
  return std::holds_alternative<Plain>(meaning);
}

Result<Meanings> read_node(Reading& reading, const ir::Node& node) {
  switch (node.op()) {
    case Op::identity:
    case Op::dropout:
    case Op::cast:
    case Op::cast_like:
    case Op::reshape:
    case Op::flatten:
    case Op::squeeze:
    case Op::unsqueeze:
    case Op::expand:
    case Op::tile:
    case Op::transpose:
    case Op::split:
    case Op::slice:
    case Op::gather:
      return read_layout(reading, node);
    case Op::gather_elements:
      return one(choose_entries(reading, node));
    case Op::matmul:
    case Op::gemm:
    case Op::einsum:
      return one(read_contraction(reading, node));
    case Op::softmax:
    case Op::layer_normalization:
    case Op::reduce_sum:
    case Op::reduce_mean:
    case Op::reduce_max:
    case Op::reduce_min:
    case Op::reduce_prod:
    case Op::reduce_l2:
    case Op::arg_max:
    case Op::log_softmax:
    case Op::reduce_sum_square:
      return one(read_reduction(reading, node));
    default:
      return one(read_arithmetic(reading, node));
  }
}

/// The axes must be those of the value: a defect of ours otherwise.
bool fits(const Reading& reading, ValueId id, const Meaning& meaning) {
  const Axes* axes = axes_of(meaning);
  if (axes == nullptr) return true;
  for (const Probe& probe : reading.probes()) {
    const ir::Dims& dims = probe.dims(id);
    if (dims.size() != axes->size()) return false;
    for (std::size_t i = 0; i < dims.size(); ++i) {
      if (size_of((*axes)[i], probe) != dims[i]) return false;
    }
  }
  return true;
}

/// Rows are looked at column by column: no model has so many that this takes long.
bool is_small(const Meaning& meaning) {
  constexpr Index kMostColumns = Index{1} << 22;
  const Axes* axes = axes_of(meaning);
  if (axes == nullptr) return true;
  Index columns = 1;
  for (const Axis& axis : *axes) {
    for (const Atom& atom : axis) {
      if (atom.unit != Unit::feature) continue;
      if (atom.size > kMostColumns / columns) return false;
      columns *= std::max<Index>(atom.size, 1);
    }
  }
  return true;
}

/// What the first of the inputs that do not fit said.
const Opaque* first_opaque(const Reading& reading, const ir::Node& node) {
  for (const ValueId input : node.inputs()) {
    if (const auto* opaque = reading.get<Opaque>(input)) return opaque;
  }
  return nullptr;
}

/// What a node means; Opaque if that is not understood. Throws std::bad_alloc where memory is what
/// was missing.
Meanings meanings_of(Reading& reading, ir::NodeId id) {
  const ir::Node& node = reading.graph().node(id);
  const bool has_meaning =
      std::any_of(node.inputs().begin(), node.inputs().end(), [&](ValueId input) {
        return input != ir::kNoValue && !is_plain(reading.meaning(input)) &&
               reading.get<Opaque>(input) == nullptr;
      });
  const bool reads_dims_only = node.op() == Op::shape || node.op() == Op::size;
  if (reads_dims_only) return Meanings(node.outputs().size(), Plain{});

  const auto expect_memory = [](const auto& result) {
    if (!result && result.error().code() == ErrorCode::device) throw std::bad_alloc();
  };
  Result<Meaning> lookup = read_lookup(reading, node);
  expect_memory(lookup);
  if (lookup && !is_plain(*lookup)) return Meanings{*std::move(lookup)};
  const Opaque* earlier = first_opaque(reading, node);
  if (!has_meaning && reading.is_known(node.output())) {
    const Meaning same = earlier != nullptr ? Meaning(*earlier) : Meaning(Plain{});
    return Meanings(node.outputs().size(), same);
  }
  Result<Meanings> meanings = read_node(reading, node);
  expect_memory(meanings);
  if (meanings) return *std::move(meanings);
  const Opaque opaque = earlier != nullptr ? *earlier : Opaque{id, meanings.error().message()};
  return Meanings(node.outputs().size(), opaque);
}

/// Hidden states given from outside are rows of a term of their own.
void read_inputs(Reading& reading) {
  const auto input = reading.interface().find(Role::hidden);
  if (!input) return;
  const ValueId id = reading.graph().inputs()[*input];
  const Index width = reading.interface().inputs[*input].limit;
  const TermId term = reading.add(InputTerm{}, width, reading.graph().name(id));
  reading.set_meaning(
      id, Rows{.term = term, .axes = {reading.batch_axis(), {kToken}, {feature(width, 1)}}});
}

/// [batch, seq, columns], [batch * seq, columns], [batch, columns], ...: sequences before tokens
/// before columns.
bool is_in_order(const Axes& axes) {
  std::vector<Unit> units;
  for (const Axis& axis : axes) {
    for (const Atom& atom : axis) {
      if (units.empty() || units.back() != atom.unit) units.push_back(atom.unit);
    }
  }
  return std::is_sorted(units.begin(), units.end());
}

Result<OutputTerm> read_output(Reading& reading, ValueId output) {
  const std::string place = fmt::format("output '{}'", reading.graph().name(output));
  if (const auto* opaque = reading.get<Opaque>(output)) {
    return misfit(opaque->reason).in(place_of(reading.graph().node(opaque->node))).in(place);
  }
  const Rows* rows = reading.get<Rows>(output);
  if (rows == nullptr) {
    return misfit(fmt::format("{}, expected rows of tokens or sequences", reading.describe(output)))
        .in(place);
  }
  RTAI_TRY(const Rows settled, settle(reading, *rows).in(place));
  Axis columns;
  for (const Axis& axis : settled.axes) {
    std::copy_if(axis.begin(), axis.end(), std::back_inserter(columns),
                 [](const Atom& atom) { return atom.unit == Unit::feature; });
  }
  const auto order = columns_of(columns);
  if (!is_in_order(settled.axes) || !order || !std::is_sorted(order->begin(), order->end())) {
    return misfit(fmt::format("{}, expected [batch, seq, columns]", reading.describe(output)))
        .in(place);
  }
  return OutputTerm{reading.graph().name(output), settled.term};
}

/// Gives every value its meaning, in order of execution.
Result<void> read_nodes(Reading& reading) {
  read_inputs(reading);
  const ir::Graph& graph = reading.graph();
  for (const ir::NodeId id : graph.order()) {
    const ir::Node& node = graph.node(id);
    Meanings meanings = meanings_of(reading, id);
    for (std::size_t i = 0; i < node.outputs().size(); ++i) {
      Meaning meaning = i < meanings.size() ? std::move(meanings[i]) : Meaning(Plain{});
      if (!fits(reading, node.outputs()[i], meaning)) {
        return Error{ErrorCode::internal, "a value was given axes that it does not have"}.in(
            place_of(node));
      }
      if (!is_small(meaning)) meaning = Opaque{id, "too many columns"};
      reading.set_meaning(node.outputs()[i], std::move(meaning));
    }
  }
  return {};
}

bool is_opaque(const Reading& reading, ValueId value) {
  return reading.get<Opaque>(value) != nullptr;
}

/// The nodes that outputs are opaque because of: opaque ones whose inputs are not.
std::set<ir::NodeId> first_opaque_nodes(const Reading& reading) {
  const ir::Graph& graph = reading.graph();
  std::set<ir::NodeId> first;
  std::set<ValueId> seen;
  std::vector<ValueId> open(graph.outputs().begin(), graph.outputs().end());
  while (!open.empty()) {
    const ValueId value = open.back();
    open.pop_back();
    if (!is_opaque(reading, value) || !seen.insert(value).second) continue;
    const std::size_t before = open.size();
    std::ranges::copy_if(graph.producer(value)->inputs(), std::back_inserter(open),
                         [&](ValueId input) { return is_opaque(reading, input); });
    if (open.size() == before) first.insert(*graph.value(value).producer);
  }
  return first;
}

ir::Obstacle obstacle(const ir::Node& node, std::string reason) {
  return {.node = node.name(),
          .op = std::string(info(node.op()).onnx_name),
          .reason = std::move(reason)};
}

}  // namespace

Result<std::vector<ir::Obstacle>> find_obstacles(const ir::Graph& imported) {
  RTAI_TRY(const Trace runs, trace(imported));
  Reading reading(imported, runs);
  RTAI_TRY_VOID(read_nodes(reading));
  const std::set<ir::NodeId> first = first_opaque_nodes(reading);
  std::vector<ir::Obstacle> obstacles;
  for (const ir::NodeId id : imported.order()) {
    if (!first.contains(id)) continue;
    const ir::Node& node = imported.node(id);
    const auto output = std::ranges::find_if(
        node.outputs(), [&](ValueId value) { return is_opaque(reading, value); });
    obstacles.push_back(obstacle(node, reading.get<Opaque>(*output)->reason));
  }
  for (const ValueId output : imported.outputs()) {
    const ir::Node* producer = imported.producer(output);
    if (producer == nullptr || is_opaque(reading, output)) continue;
    if (const auto term = read_output(reading, output); !term)
      obstacles.push_back(obstacle(*producer, term.error().message()));
  }
  return obstacles;
}

Result<ir::Graph> raise_transformer(const ir::Graph& imported, Log& log) {
  RTAI_TRY(const Trace runs, trace(imported));
  if (const auto positions = runs.interface.find(Role::positions)) {
    log.warning(fmt::format("input '{}' is taken to count the tokens of a sequence from 0",
                            imported.name(imported.inputs()[*positions])));
  }
  Reading reading(imported, runs);
  RTAI_TRY_VOID(read_nodes(reading));
  std::vector<OutputTerm> outputs;
  for (const ValueId output : imported.outputs()) {
    RTAI_TRY(OutputTerm term, read_output(reading, output));
    outputs.push_back(std::move(term));
  }
  RTAI_TRY(ir::Graph raised, emit(reading.terms(), outputs, runs.interface));
  raised.metadata() = imported.metadata();
  return raised;
}

}  // namespace rtai::raise
