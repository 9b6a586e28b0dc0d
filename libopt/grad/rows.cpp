// What picks, adds up and cuts rows: embedding, first_token, mean_pool, columns.
#include "libopt/grad/internal/operators.h"

#include <fmt/format.h>

namespace rtai::grad {
namespace {

using E = ir::Embedding;

/// The row of `table` that token `t` of a sequence that begins at `begin` reads.
Index row_of(const Call& call, std::size_t table, Index t, Index begin) {
  const auto token = static_cast<std::size_t>(t);
  if (table == E::word) return call[E::ids].data<std::int32_t>()[token];
  if (table == E::segment) return call[E::segments].data<std::int32_t>()[token];
  return call.node.attributes().integer("position_offset", 0) + t - begin;
}

/// work(table, row, token) for every row that is read.
template <class Work>
Result<void> for_each_row(const Call& call, const Work& work) {
  for (const std::size_t table : {E::word, E::position, E::segment}) {
    if (!call.has(table)) continue;
    for (std::size_t s = 0; s + 1 < call.offsets.size(); ++s) {
      for (Index t = call.offsets[s]; t < call.offsets[s + 1]; ++t)
        RTAI_TRY_VOID(work(table, row_of(call, table, t, call.offsets[s]), t));
    }
  }
  return {};
}

Result<ir::Tensor> look_up(const Call& call) {
  for (const std::size_t table : {E::word, E::position, E::segment}) {
    if (call.has(table) && call[table].dtype() != DType::f32)
      return Error{ErrorCode::unsupported, "int8 tables have no derivative"};
  }
  RTAI_TRY(ir::Tensor result,
           ir::Tensor::zeros(DType::f32, {call[E::ids].elements(), call[E::word].dim(1)}));
  MutableRows dst = rows_of(result);
  RTAI_TRY_VOID(for_each_row(call, [&](std::size_t table, Index row, Index t) -> Result<void> {
    if (row < 0 || row >= call[table].dim(0)) {
      return Error{ErrorCode::invalid_input,
                   fmt::format("row {} is outside of the table of {}", row, call[table].dim(0))};
    }
    dst.row(t) += rows_of(call[table]).row(row);
    return {};
  }));
  return result;
}

void look_up_back(const Call& call, const ir::Tensor& d_dst, Slots slots) {
  const Rows d = rows_of(d_dst);
  const auto status =
      for_each_row(call, [&](std::size_t table, Index row, Index t) -> Result<void> {
        if (slots[table] != nullptr) rows_of(*slots[table]).row(row) += d.row(t);
        return {};
      });
  RTAI_ASSERT(status.has_value(), "adding rows cannot fail");
}

Result<ir::Tensor> first_token(const Call& call) {
  const Index sequences = std::ssize(call.offsets) - 1;
  RTAI_TRY(ir::Tensor result, ir::Tensor::zeros(DType::f32, {sequences, call[0].dim(1)}));
  MutableRows dst = rows_of(result);
  for (Index s = 0; s < sequences; ++s)
    dst.row(s) = rows_of(call[0]).row(call.offsets[static_cast<std::size_t>(s)]);
  return result;
}

void first_token_back(const Call& call, const ir::Tensor& d_dst, Slots slots) {
  const Rows d = rows_of(d_dst);
  for (Index s = 0; s < d.rows(); ++s)
    rows_of(*slots[0]).row(call.offsets[static_cast<std::size_t>(s)]) += d.row(s);
}

/// Begin and length of a sequence.
std::pair<Index, Index> extent(const Call& call, Index s) {
  const Index begin = call.offsets[static_cast<std::size_t>(s)];
  return {begin, call.offsets[static_cast<std::size_t>(s) + 1] - begin};
}

Result<ir::Tensor> mean_pool(const Call& call) {
  const Index sequences = std::ssize(call.offsets) - 1;
  RTAI_TRY(ir::Tensor result, ir::Tensor::zeros(DType::f32, {sequences, call[0].dim(1)}));
  MutableRows dst = rows_of(result);
  for (Index s = 0; s < sequences; ++s) {
    const auto [begin, seq] = extent(call, s);
    dst.row(s) = rows_of(call[0]).middleRows(begin, seq).colwise().mean();
  }
  return result;
}

void mean_pool_back(const Call& call, const ir::Tensor& d_dst, Slots slots) {
  const Rows d = rows_of(d_dst);
  for (Index s = 0; s < d.rows(); ++s) {
    const auto [begin, seq] = extent(call, s);
    rows_of(*slots[0]).middleRows(begin, seq).rowwise() += d.row(s) / static_cast<float>(seq);
  }
}

Result<ir::Tensor> columns(const Call& call) {
  const Index begin = call.node.attributes().integer("begin", 0);
  const Index count = call.node.attributes().integer("end", 0) - begin;
  RTAI_TRY(ir::Tensor result, ir::Tensor::zeros(DType::f32, {call[0].dim(0), count}));
  rows_of(result) = rows_of(call[0]).middleCols(begin, count);
  return result;
}

void columns_back(const Call& call, const ir::Tensor& d_dst, Slots slots) {
  const Index begin = call.node.attributes().integer("begin", 0);
  rows_of(*slots[0]).middleCols(begin, d_dst.dim(1)) += rows_of(d_dst);
}

}  // namespace

const Operator kEmbedding = {ir::Op::embedding, look_up, look_up_back};
const Operator kFirstToken = {ir::Op::first_token, first_token, first_token_back};
const Operator kMeanPool = {ir::Op::mean_pool, mean_pool, mean_pool_back};
const Operator kColumns = {ir::Op::columns, columns, columns_back};

}  // namespace rtai::grad
