#include "libopt/prune/vocabulary.h"

#include "libopt/ir/ops.h"

#include <fmt/format.h>

#include <cstring>

namespace rtai::prune {
namespace {

/// Rows of a table of any type: [rows, ...].
Result<ir::Tensor> pick_any_rows(const ir::Tensor& table, std::span<const Index> kept) {
  ir::Dims dims = table.dims();
  const std::size_t row_bytes = table.bytes().size() / static_cast<std::size_t>(table.dim(0));
  dims[0] = std::ssize(kept);
  const auto rows = std::make_shared<std::vector<std::byte>>(kept.size() * row_bytes);
  for (std::size_t i = 0; i < kept.size(); ++i) {
    if (kept[i] < 0 || kept[i] >= table.dim(0)) {
      return Error{
          ErrorCode::invalid_input,
          fmt::format("token {} has no row: the word table has {}", kept[i], table.dim(0))};
    }
    std::memcpy(rows->data() + i * row_bytes,
                table.bytes().data() + static_cast<std::size_t>(kept[i]) * row_bytes, row_bytes);
  }
  return ir::Tensor::borrow(table.dtype(), std::move(dims), rows, *rows);
}

}  // namespace

Result<void> keep_words(ir::Graph& graph, std::span<const Index> kept) {
  const std::vector<ir::NodeId> embeddings = graph.nodes_of(ir::Op::embedding);
  if (embeddings.empty()) return Error{ErrorCode::unsupported, "the model reads no token ids"};
  for (const ir::NodeId id : embeddings) {
    for (const std::size_t input : {ir::Embedding::word, ir::Embedding::word_scale}) {
      if (input >= graph.node(id).inputs().size()) continue;
      const ir::ValueId table = graph.node(id).input(input);
      if (table == ir::kNoValue) continue;
      if (graph.users(table).size() > 1) {
        return Error{ErrorCode::unsupported,
                     fmt::format("the word table '{}' is used elsewhere, too", graph.name(table))};
      }
      RTAI_TRY(ir::Tensor rows, pick_any_rows(*graph.constant(table), kept));
      graph.set_constant(table, std::move(rows));
    }
  }
  return {};
}

}  // namespace rtai::prune
