#include "libopt/raise/roles.h"

#include <fmt/format.h>

#include <algorithm>
#include <cctype>
#include <set>

namespace rtai::raise {
namespace {

using ir::Op;
using ir::ValueId;

/// The most rows that a table of segments has; models use 1, 2 or 4.
constexpr Index kMostSegments = 16;

// Of the inputs, where a file prescribes sizes: 8 sequences of 512 for BERT-large are 2^22 numbers.
constexpr Index kMostTokens = Index{1} << 20;
constexpr Index kMostWidth = Index{1} << 16;
constexpr Index kMostNumbers = Index{1} << 24;

bool is_integer(DType dtype) {
  return dtype == DType::i64 || dtype == DType::i32;
}

/// Operators through which an index reaches its table unchanged.
bool keeps_elements(Op op) {
  switch (op) {
    case Op::identity:
    case Op::cast:
    case Op::cast_like:
    case Op::reshape:
    case Op::flatten:
    case Op::transpose:
    case Op::squeeze:
    case Op::unsqueeze:
    case Op::expand:
    case Op::slice:
      return true;
    default:
      return false;
  }
}

/// The constant that a table is, perhaps stored in another type.
const ir::Tensor* stored_table(const ir::Graph& graph, ValueId table) {
  const ir::Node* maker = graph.producer(table);
  while (maker != nullptr && (maker->op() == Op::cast || maker->op() == Op::identity ||
                              maker->op() == Op::dequantize_linear)) {
    table = maker->input(0);
    maker = graph.producer(table);
  }
  return graph.constant(table);
}

/// The rows of the table that `node` selects from with `index`; nothing if it does not.
std::optional<Index> selected_rows(const ir::Graph& graph, const ir::Node& node, ValueId index) {
  if (node.op() == Op::gather && node.input(1) == index) {
    const ir::Tensor* table = stored_table(graph, node.input(0));
    if (table == nullptr || table->rank() != 2 || table->dim(0) < 1 || table->dim(1) < 2)
      return std::nullopt;
    if (node.attributes().integer("axis", 0) != 0 || is_integer(table->dtype()))
      return std::nullopt;
    return table->dim(0);
  }
  if (node.op() == Op::one_hot && node.input(0) == index) {
    const ir::Tensor* depth = graph.constant(node.input(1));
    if (depth == nullptr || depth->elements() != 1) return std::nullopt;
    const Index rows = depth->to_indices()[0];
    return rows < 1 ? std::nullopt : std::optional(rows);
  }
  return std::nullopt;
}

/// The rows of the smallest table that `input` selects from without arithmetic on the way.
std::optional<Index> rows_selected_by(const ir::Graph& graph, ValueId input) {
  std::optional<Index> fewest;
  std::set<ValueId> seen = {input};
  std::vector<ValueId> open = {input};
  while (!open.empty()) {
    const ValueId value = open.back();
    open.pop_back();
    for (const ir::NodeId user : graph.users(value)) {
      const ir::Node& node = graph.node(user);
      if (const auto rows = selected_rows(graph, node, value)) {
        fewest = std::min(fewest.value_or(*rows), *rows);
      } else if (keeps_elements(node.op()) && node.input(0) == value) {
        if (seen.insert(node.output()).second) open.push_back(node.output());
      }
    }
  }
  return fewest;
}

/// Why no input is one of token ids: the first node that selects rows by something else.
Error no_ids(const ir::Graph& graph) {
  for (const ir::NodeId id : graph.order()) {
    const ir::Node& node = graph.node(id);
    if (node.op() != Op::gather || !selected_rows(graph, node, node.input(1))) continue;
    return Error{ErrorCode::unsupported,
                 "rows of a table are selected by a computed value: expected token ids as they "
                 "are given"}
        .in(fmt::format("node '{}' ({})", node.name(), info(node.op()).onnx_name));
  }
  return {ErrorCode::unsupported, "no input selects rows of a constant table: expected token ids"};
}

bool name_has(const ir::Graph& graph, ValueId input, std::string_view part) {
  std::string name = graph.name(input);
  std::transform(name.begin(), name.end(), name.begin(),
                 [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  return name.find(part) != std::string::npos;
}

/// The width of an input of hidden states: a real one of three dimensions, the last one fixed.
std::optional<Index> hidden_width(const ir::Type& type) {
  if (type.dtype != DType::f32 || !type.dims || type.dims->size() != 3) return std::nullopt;
  const ir::Dim& width = type.dims->back();
  return width.is_fixed() ? std::optional(width.size) : std::nullopt;
}

/// An input that selects rows of a table.
struct Selector {
  std::size_t input;
  Index rows;
};

/// Positions and segments by their names, else the token ids have the largest table.
void assign_selectors(const ir::Graph& graph,
                      std::vector<Selector> selectors,
                      Interface& interface) {
  const auto assign = [&](Role role, const auto& fits) {
    const auto found = std::find_if(selectors.begin(), selectors.end(), fits);
    if (found == selectors.end() || interface.find(role)) return;
    interface.inputs[found->input] = {role, found->rows};
    selectors.erase(found);
  };
  std::stable_sort(selectors.begin(), selectors.end(),
                   [](const Selector& a, const Selector& b) { return a.rows > b.rows; });
  const auto named = [&](std::string_view part) {
    return [&graph, part](const Selector& s) {
      return name_has(graph, graph.inputs()[s.input], part);
    };
  };
  if (selectors.size() > 1) assign(Role::positions, named("pos"));
  if (selectors.size() > 1) assign(Role::segments, named("type"));
  if (selectors.size() > 1) assign(Role::segments, named("segment"));
  assign(Role::ids, [](const Selector&) { return true; });
  assign(Role::segments, [](const Selector& s) { return s.rows <= kMostSegments; });
  assign(Role::positions, [](const Selector&) { return true; });
}

/// A dimension that several inputs share: known if one of them prescribes it.
Result<void> merge(std::optional<Index>& known, const ir::Dim& dim, std::string_view what) {
  if (!dim.is_fixed()) return {};
  if (dim.size < 1 || (known && *known != dim.size)) {
    const std::string reason =
        known ? fmt::format("another input has {}", *known) : "expected at least 1";
    return Error{ErrorCode::unsupported, fmt::format("{} is {}, {}", what, dim.size, reason)};
  }
  known = dim.size;
  return {};
}

/// ids [batch, seq] and the like prescribe both sizes, masks of other ranks the outer ones.
Result<void> take_sizes(const ir::Graph& graph, Interface& interface) {
  for (std::size_t i = 0; i < interface.inputs.size(); ++i) {
    const ValueId input = graph.inputs()[i];
    const Role role = interface.inputs[i].role;
    const ir::Type& type = graph.type(input);
    if (role == Role::unused || !type.dims) continue;
    const std::size_t rank = type.dims->size();
    const std::size_t most = role == Role::mask ? 4 : 3;
    const bool has_choices = role != Role::hidden && role != Role::mask && rank == 3;
    if (role == Role::mask && rank == 1) {  // the number of real tokens of each sequence
      RTAI_TRY_VOID(merge(interface.batch, type.dims->front(), "batch")
                        .in(fmt::format("input '{}'", graph.name(input))));
      continue;
    }
    if (rank < 2 || rank > most || (has_choices && (*type.dims)[1].is_fixed())) {
      return Error{ErrorCode::unsupported,
                   fmt::format("input '{}' is {}, expected [batch, seq], or [batch, choices, seq] "
                               "with any number of choices",
                               graph.name(input), to_string(type))};
    }
    interface.has_choices = interface.has_choices || has_choices;
    const std::string place = fmt::format("input '{}'", graph.name(input));
    const ir::Dim& length = role == Role::hidden ? (*type.dims)[1] : type.dims->back();
    RTAI_TRY_VOID(merge(interface.batch, type.dims->front(), "batch").in(place));
    RTAI_TRY_VOID(merge(interface.length, length, "length").in(place));
  }
  return {};
}

/// Probes fill the inputs: sizes that a file only declares must not take memory.
Result<void> expect_usual_sizes(const Interface& interface) {
  const auto hidden = interface.find(Role::hidden);
  const Index width = hidden ? interface.inputs[*hidden].limit : 1;
  const Index batch = interface.batch.value_or(1);
  const Index length = interface.length.value_or(1);
  if (width < 1 || width > kMostWidth || batch > kMostTokens / length ||
      batch * length > kMostNumbers / width) {
    return unsupported(
        fmt::format("inputs of {} x {} tokens and {} columns", batch, length, width));
  }
  return {};
}

}  // namespace

std::string_view to_string(Role role) {
  switch (role) {
    case Role::ids:
      return "token ids";
    case Role::mask:
      return "mask";
    case Role::segments:
      return "segments";
    case Role::positions:
      return "positions";
    case Role::hidden:
      return "hidden states";
    case Role::unused:
      break;
  }
  return "unused";
}

std::optional<std::size_t> Interface::find(Role role) const {
  for (std::size_t i = 0; i < inputs.size(); ++i) {
    if (inputs[i].role == role) return i;
  }
  return std::nullopt;
}

Result<Interface> recognize_inputs(const ir::Graph& graph) {
  Interface interface {
    .inputs = std::vector<InputRole>(graph.inputs().size()), .batch = {}, .length = {}
  };
  std::vector<Selector> selectors;
  std::vector<std::size_t> others;
  for (std::size_t i = 0; i < graph.inputs().size(); ++i) {
    const ValueId input = graph.inputs()[i];
    if (graph.users(input).empty()) continue;
    const ir::Type& type = graph.type(input);
    const auto rows = is_integer(type.dtype) ? rows_selected_by(graph, input) : std::nullopt;
    const auto width = hidden_width(type);
    if (rows)
      selectors.push_back({i, *rows});
    else if (width && !interface.find(Role::hidden))
      interface.inputs[i] = {Role::hidden, *width};
    else
      others.push_back(i);
  }
  assign_selectors(graph, std::move(selectors), interface);
  if (!interface.find(Role::ids) && !interface.find(Role::hidden)) return no_ids(graph);
  if (others.size() == 1) interface.inputs[others[0]].role = Role::mask;
  for (const std::size_t i : others) {
    if (interface.find(Role::mask)) break;
    if (name_has(graph, graph.inputs()[i], "mask")) interface.inputs[i].role = Role::mask;
  }
  for (std::size_t i = 0; i < interface.inputs.size(); ++i) {
    const ValueId input = graph.inputs()[i];
    if (interface.inputs[i].role != Role::unused || graph.users(input).empty()) continue;
    return Error{ErrorCode::unsupported,
                 fmt::format("input '{}' ({}): expected token ids, a mask, segments or positions",
                             graph.name(input), to_string(graph.type(input)))};
  }
  RTAI_TRY_VOID(take_sizes(graph, interface));
  RTAI_TRY_VOID(expect_usual_sizes(interface));
  return interface;
}

}  // namespace rtai::raise
