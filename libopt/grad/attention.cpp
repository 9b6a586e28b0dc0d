// Attention within each sequence, head by head: softmax(q k^T scale) v, its scores changed by what
// relative tables say of how far key and query are apart (ir::Attention).
#include "libopt/grad/internal/operators.h"

#include <limits>

namespace rtai::grad {
namespace {

using A = ir::Attention;
using Strided = Eigen::Map<const RowMatrix, 0, Eigen::OuterStride<>>;
using MutableStrided = Eigen::Map<RowMatrix, 0, Eigen::OuterStride<>>;

/// Where the heads of the sequences stand in rows of q, k and v.
struct Layout {
  Index heads, head_dim;
  float scale;
  bool causal;

  explicit Layout(const Call& call)
      : heads(ir::head_shape(call.node).heads),
        head_dim(ir::head_shape(call.node).head_dim),
        scale(call.node.attributes().real("scale", 1)),
        causal(call.node.attributes().integer("causal", 0) != 0) {}

  Index width() const { return heads * head_dim; }
  /// Part 0, 1 or 2 (q, k or v) of a head: [seq, head_dim].
  template <class Map, class Float>
  Map part(Float* qkv, Index begin, Index seq, Index head, Index which) const {
    return {qkv + begin * 3 * width() + which * width() + head * head_dim, seq, head_dim,
            Eigen::OuterStride<>(3 * width())};
  }
  /// A head of the result: [seq, head_dim].
  template <class Map, class Float>
  Map result(Float* dst, Index begin, Index seq, Index head) const {
    return {dst + begin * width() + head * head_dim, seq, head_dim, Eigen::OuterStride<>(width())};
  }
};

/// The rows of a head in a relative table and the distances of a sequence: [rows, 2 * seq - 1].
template <class Table>
auto of_head(Table table, Index rows, Index head, Index seq) {
  return table.block(head * rows, table.cols() / 2 + 1 - seq, rows, 2 * seq - 1);
}

/// Adds to each score of query i and key j what the row of one of them has for their distance.
/// Shapes: rows [seq, 2 * seq - 1], scores [seq, seq].
void add_by_distance(const RowMatrix& rows, A::Input table, float factor, RowMatrix& scores) {
  const Index seq = scores.rows();
  for (Index i = 0; i < seq; ++i) {
    for (Index j = 0; j < seq; ++j)
      scores(i, j) += factor * rows(table == A::relative_query ? j : i, seq - 1 + j - i);
  }
}

/// The other way round: what each row takes of each distance. [seq, 2 * seq - 1]
RowMatrix by_distance(const RowMatrix& scores, A::Input table) {
  const Index seq = scores.rows();
  RowMatrix rows = RowMatrix::Zero(seq, 2 * seq - 1);
  for (Index i = 0; i < seq; ++i) {
    for (Index j = 0; j < seq; ++j)
      rows(table == A::relative_query ? j : i, seq - 1 + j - i) = scores(i, j);
  }
  return rows;
}

/// What each token takes of each other: [seq, seq], rows sum to 1.
RowMatrix shares(
    const Call& call, const Layout& layout, Index head, const Strided& q, const Strided& k) {
  const Index seq = q.rows();
  RowMatrix p = q * k.transpose() * layout.scale;
  for (const auto& [table, rows] : {std::pair{A::relative_key, q}, {A::relative_query, k}}) {
    if (!call.has(table)) continue;
    const RowMatrix products = rows * of_head(rows_of(call[table]), layout.head_dim, head, seq);
    add_by_distance(products, table, layout.scale, p);
  }
  if (call.has(A::bias)) {
    const RowMatrix biases = of_head(rows_of(call[A::bias]), 1, head, seq).replicate(seq, 1);
    add_by_distance(biases, A::bias, 1, p);
  }
  for (Index i = 0; i < p.rows(); ++i) {
    if (layout.causal)
      p.row(i).tail(p.cols() - i - 1).setConstant(-std::numeric_limits<float>::infinity());
    p.row(i) = (p.row(i).array() - p.row(i).maxCoeff()).exp().matrix();
    p.row(i) /= p.row(i).sum();
  }
  return p;
}

template <class Work>
void for_each_head(const Layout& layout, std::span<const Index> offsets, const Work& work) {
  for (std::size_t s = 0; s + 1 < offsets.size(); ++s) {
    for (Index head = 0; head < layout.heads; ++head)
      work(offsets[s], offsets[s + 1] - offsets[s], head);
  }
}

Result<ir::Tensor> attend(const Call& call) {
  if (call.node.attributes().integer("bits", 0) != 0)
    return Error{ErrorCode::unsupported, "int8 attention has no derivative"};
  const Layout layout(call);
  const float* qkv = call[0].data<float>().data();
  RTAI_TRY(ir::Tensor result, ir::Tensor::zeros(DType::f32, {call[0].dim(0), layout.width()}));
  float* dst = result.mutable_data<float>().data();
  for_each_head(layout, call.offsets, [&](Index begin, Index seq, Index head) {
    const auto part = [&](Index which) {
      return layout.part<Strided>(qkv, begin, seq, head, which);
    };
    layout.result<MutableStrided>(dst, begin, seq, head).noalias() =
        shares(call, layout, head, part(0), part(1)) * part(2);
  });
  return result;
}

void attend_back(const Call& call, const ir::Tensor& d_dst, Slots slots) {
  const Layout layout(call);
  const float* qkv = call[0].data<float>().data();
  const auto slot = [&](A::Input i) { return i < slots.size() ? slots[i] : nullptr; };
  RowMatrix unasked;  // where only derivatives by tables are asked for
  if (slots[0] == nullptr) unasked = RowMatrix::Zero(call[0].dim(0), call[0].dim(1));
  float* d_qkv = slots[0] != nullptr ? slots[0]->mutable_data<float>().data() : unasked.data();
  for_each_head(layout, call.offsets, [&](Index begin, Index seq, Index head) {
    const auto part = [&](Index which) {
      return layout.part<Strided>(qkv, begin, seq, head, which);
    };
    const auto d_part = [&](Index which) {
      return layout.part<MutableStrided>(d_qkv, begin, seq, head, which);
    };
    const auto d = layout.result<Strided>(d_dst.data<float>().data(), begin, seq, head);
    const RowMatrix p = shares(call, layout, head, part(0), part(1));
    d_part(2).noalias() += p.transpose() * d;
    // Through the softmax: a score moves its own share up and all others of its row down.
    RowMatrix d_scores = d * part(2).transpose();
    const Eigen::VectorXf common = d_scores.cwiseProduct(p).rowwise().sum();
    d_scores.colwise() -= common;
    d_scores = d_scores.cwiseProduct(p);
    if (slot(A::bias) != nullptr) {
      of_head(rows_of(*slot(A::bias)), 1, head, seq) +=
          by_distance(d_scores, A::bias).colwise().sum();
    }
    d_scores *= layout.scale;
    d_part(0).noalias() += d_scores * part(1);
    d_part(1).noalias() += d_scores.transpose() * part(0);
    for (const auto& [table, rows] :
         {std::pair{A::relative_key, Index{0}}, {A::relative_query, 1}}) {
      if (!call.has(table)) continue;
      const RowMatrix d_products = by_distance(d_scores, table);
      d_part(rows).noalias() +=
          d_products * of_head(rows_of(call[table]), layout.head_dim, head, seq).transpose();
      if (slot(table) != nullptr) {
        of_head(rows_of(*slot(table)), layout.head_dim, head, seq).noalias() +=
            part(rows).transpose() * d_products;
      }
    }
  });
}

}  // namespace

const Operator kAttention = {ir::Op::attention, attend, attend_back};

}  // namespace rtai::grad
