// softmax(q k^T scale) v within each sequence, head by head.
#include "libopt/grad/internal/operators.h"

#include <limits>

namespace rtai::grad {
namespace {

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

/// What each token takes of each other: [seq, seq], rows sum to 1.
RowMatrix shares(const Layout& layout, const Strided& q, const Strided& k) {
  RowMatrix p = q * k.transpose() * layout.scale;
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

Result<ir::Tensor> forward(const Call& call) {
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
        shares(layout, part(0), part(1)) * part(2);
  });
  return result;
}

void backward(const Call& call, const ir::Tensor& d_dst, Slots slots) {
  const Layout layout(call);
  const float* qkv = call[0].data<float>().data();
  float* d_qkv = slots[0]->mutable_data<float>().data();
  for_each_head(layout, call.offsets, [&](Index begin, Index seq, Index head) {
    const auto part = [&](Index which) {
      return layout.part<Strided>(qkv, begin, seq, head, which);
    };
    const auto d_part = [&](Index which) {
      return layout.part<MutableStrided>(d_qkv, begin, seq, head, which);
    };
    const auto d = layout.result<Strided>(d_dst.data<float>().data(), begin, seq, head);
    const RowMatrix p = shares(layout, part(0), part(1));
    d_part(2).noalias() += p.transpose() * d;
    // Through the softmax: a score moves its own share up and all others of its row down.
    RowMatrix d_scores = d * part(2).transpose();
    const Eigen::VectorXf common = d_scores.cwiseProduct(p).rowwise().sum();
    d_scores.colwise() -= common;
    d_scores = d_scores.cwiseProduct(p) * layout.scale;
    d_part(0).noalias() += d_scores * part(1);
    d_part(1).noalias() += d_scores.transpose() * part(0);
  });
}

}  // namespace

const Operator kAttention = {ir::Op::attention, forward, backward};

}  // namespace rtai::grad
