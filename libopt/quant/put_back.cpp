// The second half of imported.h: integers back into a graph that is understood.
#include "libopt/ir/ops.h"
#include "libopt/quant/grid.h"
#include "libopt/quant/imported.h"

#include <fmt/format.h>

#include <algorithm>
#include <optional>
#include <set>

namespace rtai::quant {
namespace {

using ir::NodeId;
using ir::Op;
using ir::Tensor;
using ir::ValueId;
using Kind = SourceForm::Kind;

class Putter {
 public:
  Putter(ir::Graph& graph, const TakenIntegers& taken) : graph_(graph), taken_(taken) {}

  Result<PutIntegers> run() {
    for (const NodeId id : graph_.nodes_of(Op::linear))
      RTAI_TRY_VOID(put_into(id).in(fmt::format("layer '{}'", graph_.node(id).name())));
    for (const NodeId id : graph_.nodes_of(Op::embedding))
      put_tables(id);
    put_.weights_alone = taken_.sources.empty();
    put_.real_tables = std::max<Index>(0, taken_.tables - put_.tables);
    const std::vector<NodeId> attentions = graph_.nodes_of(Op::attention);
    const bool by_distance = std::ranges::any_of(  // which int8 attention does not know
        attentions, [&](NodeId id) { return graph_.node(id).inputs().size() > 1; });
    put_.attention = !attentions.empty() && !by_distance &&
                     taken_.attention_products == 2 * std::ssize(attentions);
    if (put_.attention) {
      for (const NodeId id : attentions)
        graph_.node(id).attributes().set("bits", Index{8});
    }
    graph_.erase_dead();
    // Without its factors a layer would compute something else.
    for (const auto& [row, form] : taken_.sources) {
      if (form.factor.empty() || used_.contains(&form)) continue;
      return Error{ErrorCode::unsupported,
                   "an int8 layer whose source has factors was not found again"};
    }
    return std::move(put_);
  }

 private:
  /// The form that all rows of the weight remember; nothing if none does.
  std::optional<SourceForm> form_of(const QuantizedMatrix& matrix) {
    const std::span<const std::int8_t> values = matrix.integers.data<std::int8_t>();
    const auto k = static_cast<std::size_t>(matrix.integers.dim(1));
    std::optional<SourceForm> form;
    for (std::size_t begin = 0; begin < values.size(); begin += k) {
      const std::vector<std::int32_t> row(values.begin() + static_cast<std::ptrdiff_t>(begin),
                                          values.begin() + static_cast<std::ptrdiff_t>(begin + k));
      if (std::ranges::all_of(row, [](std::int32_t x) { return x == 0; })) continue;
      const auto found = taken_.sources.find(row);
      if (found == taken_.sources.end()) return std::nullopt;
      if (form && *form != found->second) return SourceForm{.kind = Kind::skewed};
      form = found->second;
      used_.insert(&found->second);
    }
    return form;
  }

  Result<void> put_into(NodeId id) {
    using L = ir::Linear;
    const ValueId weight = graph_.node(id).input(L::weight);
    const Tensor* real = graph_.constant(weight);
    if (real == nullptr || real->dtype() != DType::f32 || real->rank() != 2) return {};
    const auto matrix = grids_of_rows(*real);
    const auto form = matrix ? form_of(*matrix) : std::nullopt;
    if (!form) {
      put_.real.push_back(graph_.node(id).name());
      return {};
    }
    const auto [integers, scales] = store(weight, *matrix);
    graph_.resize_inputs(id, form->factor.empty() ? L::weight_scale + 1 : L::src_factor + 1);
    graph_.set_input(id, L::weight, integers);
    graph_.set_input(id, L::weight_scale, scales);
    if (!form->factor.empty()) {
      const Tensor factor = Tensor::from<float>({std::ssize(form->factor)}, form->factor);
      graph_.set_input(id, L::src_factor,
                       graph_.add_constant(graph_.name(integers) + ".src_factor", factor));
    }
    if (form->kind == Kind::fixed) graph_.node(id).attributes().set("src_scale", form->scale);
    ++put_.layers;
    (form->kind == Kind::fixed ? put_.fixed
     : form->kind == Kind::row ? put_.rows
                               : put_.finer) += 1;
    return {};
  }

  struct Stored {
    ValueId integers;
    ValueId scales;
  };
  Stored store(ValueId real, const QuantizedMatrix& matrix) {
    if (const auto found = stored_.find(real); found != stored_.end()) return found->second;
    const std::string name = graph_.name(real);
    graph_.rename(real, name + "_f32");
    return stored_[real] = {.integers = graph_.add_constant(name, matrix.integers),
                            .scales = graph_.add_constant(name + "_scale", matrix.scales)};
  }

  void put_tables(NodeId id) {
    using E = ir::Embedding;
    for (const std::size_t table : {E::word, E::position, E::segment}) {
      const Tensor* real = graph_.constant(graph_.node(id).input(table));
      if (real == nullptr || real->dtype() != DType::f32) continue;
      const auto matrix = grids_of_rows(*real);
      if (!matrix) continue;
      const Stored made = store(graph_.node(id).input(table), *matrix);
      graph_.resize_inputs(id, E::segment_scale + 1);
      graph_.set_input(id, table, made.integers);
      graph_.set_input(id, table - E::word + E::word_scale, made.scales);
      ++put_.tables;
    }
  }

  ir::Graph& graph_;
  const TakenIntegers& taken_;
  PutIntegers put_;
  std::set<const SourceForm*> used_;
  std::map<ValueId, Stored> stored_;  // by the real numbers
};

}  // namespace

Result<PutIntegers> put_back_integers(ir::Graph& raised, const TakenIntegers& taken) {
  return Putter(raised, taken).run();
}

std::string PutIntegers::text() const {
  std::string text = fmt::format("{} linear layers int8 with the file's weights", layers);
  if (fixed > 0) text += fmt::format(", {} with the file's scale for their source", fixed);
  if (rows > 0) text += fmt::format(", {} with a scale for each row, as in the file", rows);
  if (finer > 0) text += fmt::format(", {} with a scale for each row instead of the file's", finer);
  if (!real.empty()) {
    text +=
        fmt::format(", {} in f32: {}", real.size(),
                    weights_alone ? "their sources are not quantized" : "more steps than int8 has");
  }
  if (tables > 0) text += fmt::format("; {} tables int8", tables);
  if (real_tables > 0)
    text += fmt::format("; {} tables f32: more steps than int8 has", real_tables);
  return text + (attention ? "; attention int8" : "");
}

}  // namespace rtai::quant
