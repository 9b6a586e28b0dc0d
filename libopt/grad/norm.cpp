// layer_norm and l2_normalize: rows divided by their own size.
#include "libopt/grad/internal/operators.h"

#include <algorithm>
#include <cmath>

namespace rtai::grad {
namespace {

using N = ir::LayerNorm;

/// (row - mean) / sqrt(variance + epsilon), and the factor that did it.
struct Normalized {
  Eigen::ArrayXf row;
  float factor;
};

Normalized normalized(const Rows& src, Index r, float epsilon) {
  const Eigen::ArrayXf row = src.row(r).transpose().array();
  const Eigen::ArrayXf centred = row - row.mean();
  const float factor = 1 / std::sqrt(centred.square().mean() + epsilon);
  return {centred * factor, factor};
}

Result<ir::Tensor> normalize(const Call& call) {
  const Rows src = rows_of(call[N::src]);
  const float epsilon = call.node.attributes().real("epsilon", 0);
  const auto weight = rows_of(call[N::weight]).row(0).transpose().array();
  const auto bias = rows_of(call[N::bias]).row(0).transpose().array();
  RTAI_TRY(ir::Tensor result, ir::Tensor::zeros(DType::f32, call[N::src].dims()));
  MutableRows dst = rows_of(result);
  for (Index r = 0; r < src.rows(); ++r)
    dst.row(r) = (normalized(src, r, epsilon).row * weight + bias).matrix().transpose();
  return result;
}

void normalize_back(const Call& call, const ir::Tensor& d_dst, Slots slots) {
  const Rows src = rows_of(call[N::src]);
  const Rows d = rows_of(d_dst);
  const float epsilon = call.node.attributes().real("epsilon", 0);
  const auto weight = rows_of(call[N::weight]).row(0).transpose().array();
  for (Index r = 0; r < src.rows(); ++r) {
    const Normalized x = normalized(src, r, epsilon);
    const Eigen::ArrayXf d_row = d.row(r).transpose().array();
    if (slots[N::weight] != nullptr)
      rows_of(*slots[N::weight]).row(0) += (d_row * x.row).matrix().transpose();
    if (slots[N::bias] != nullptr) rows_of(*slots[N::bias]).row(0) += d_row.matrix().transpose();
    if (slots[N::src] == nullptr) continue;
    // What changes the mean or the variance of the row is divided out again.
    const Eigen::ArrayXf g = d_row * weight;
    const Eigen::ArrayXf d_src = (g - g.mean() - x.row * (g * x.row).mean()) * x.factor;
    rows_of(*slots[N::src]).row(r) += d_src.matrix().transpose();
  }
}

constexpr float kSmallestNorm = 1e-12f;

Result<ir::Tensor> to_unit_length(const Call& call) {
  const Rows src = rows_of(call[0]);
  RTAI_TRY(ir::Tensor result, ir::Tensor::zeros(DType::f32, call[0].dims()));
  MutableRows dst = rows_of(result);
  for (Index r = 0; r < src.rows(); ++r)
    dst.row(r) = src.row(r) / std::max(src.row(r).norm(), kSmallestNorm);
  return result;
}

void to_unit_length_back(const Call& call, const ir::Tensor& d_dst, Slots slots) {
  const Rows src = rows_of(call[0]);
  const Rows d = rows_of(d_dst);
  for (Index r = 0; r < src.rows(); ++r) {
    const float norm = std::max(src.row(r).norm(), kSmallestNorm);
    const float along = src.row(r).dot(d.row(r)) / (norm * norm);
    rows_of(*slots[0]).row(r) += (d.row(r) - along * src.row(r)) / norm;
  }
}

}  // namespace

const Operator kLayerNorm = {ir::Op::layer_norm, normalize, normalize_back};
const Operator kL2Normalize = {ir::Op::l2_normalize, to_unit_length, to_unit_length_back};

}  // namespace rtai::grad
