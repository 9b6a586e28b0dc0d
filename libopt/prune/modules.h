// What pruning makes narrower: attention modules by heads, FFNs by columns.
#pragma once

#include "libopt/ir/graph.h"

#include <optional>
#include <span>
#include <string>
#include <vector>

namespace rtai::prune {

enum class ModuleKind : std::uint8_t { attention, ffn };

/// A module of the encoder with the residual addition behind it.
///
///   attention: %q = linear(%source), %units = attention(%q)
///   ffn:       %i = linear(%source), %units = activation(%i)
///   both:      %o = linear(%units), %sum = add(%o, %residual)
///
/// Its ids stay valid in copies of the graph that are narrowed by the functions below.
struct Module {
  ModuleKind kind = ModuleKind::attention;
  Index layer = 0;  // counted from 0, as ir::find_layers does
  ir::NodeId in{};
  ir::NodeId middle{};
  ir::NodeId out{};
  ir::NodeId add{};
  ir::ValueId source{};    // f32[tokens, hidden]
  ir::ValueId units{};     // f32[tokens, count * width]
  ir::ValueId residual{};  // f32[tokens, hidden]
  ir::ValueId sum{};       // f32[tokens, hidden]
  Index count = 0;         // heads or columns
  Index width = 1;         // columns of %units for each: head_dim or 1

  std::string name() const;  // "layer.3.attention"
};

/// All modules with float weights and a residual addition, in order of execution.
///
/// Errors: unsupported if there are none, or if weights are int8 already.
Result<std::vector<Module>> find_modules(const ir::Graph& graph);

/// The columns of %units that `kept` units stand in: unit by unit, `width` columns each.
std::vector<Index> unit_columns(const Module& module, std::span<const Index> kept);

/// The rows of the `in` layer that make `kept` units: for heads those of q, then k, then v.
std::vector<Index> unit_rows(const Module& module, std::span<const Index> kept);

/// Weight and bias of a linear layer; the bias is zeros where the graph has none.
struct Layer {
  ir::Tensor weight;        // f32[n, k]
  std::vector<float> bias;  // [n]
};
Layer layer_of(const ir::Graph& graph, ir::NodeId linear);

/// Stores a weight and bias of any size; the types of what depends on them are not touched.
void set_layer(ir::Graph& graph, ir::NodeId linear, const Layer& layer);

/// Rows or columns of a matrix f32[n, k], in the order of `picked`.
ir::Tensor pick_rows(const ir::Tensor& matrix, std::span<const Index> picked);
ir::Tensor pick_columns(const ir::Tensor& matrix, std::span<const Index> picked);
std::vector<float> pick(std::span<const float> values, std::span<const Index> picked);

/// Leaves only the `kept` units (ascending) in the module.
///
/// No unit at all leaves the first one with a weight of zeros behind it, which gives the same
/// result as none; drop_module() removes such a module in earnest.
void keep_units(ir::Graph& graph, const Module& module, std::span<const Index> kept);

/// True if the bias that a module without units leaves behind can be moved into what made its
/// residual.
bool can_drop(const ir::Graph& graph, const Module& module);

/// Removes a module. What remains of it, the bias of its `out` layer, moves into what made the
/// residual (the shift of a layer norm, the bias of a linear layer, or an embedding table).
///
/// Precondition: can_drop().
void drop_module(ir::Graph& graph, const Module& module);

/// The last value in front of `module` that everything behind it can be computed from alone;
/// nothing if there is none.
std::optional<ir::ValueId> cut_before(const ir::Graph& graph, const Module& module);

/// The same in front of module `m`; nothing behind the last one.
std::optional<ir::ValueId> cut_before(const ir::Graph& graph,
                                      std::span<const Module> modules,
                                      std::size_t m);

}  // namespace rtai::prune
