#include "libopt/grad/multiply.h"

#include "runtime/kernels/linear_f32.h"

#include <algorithm>
#include <vector>

namespace rtai::grad {
namespace {

constexpr Index kPanel = 16;

/// A matrix [k, n] in the order of LinearF32: panels [n/16][k][16], 64-byte aligned.
class Panels {
 public:
  Panels(Index k, Index n)
      : k_(k), lines_(static_cast<std::size_t>((n + kPanel - 1) / kPanel * k)) {}

  const float* data() const { return lines_.data()->values; }
  float* row(Index i, Index column) {
    return lines_[static_cast<std::size_t>(column / kPanel * k_ + i)].values;
  }

 private:
  struct alignas(64) Line {
    float values[kPanel];
  };

  Index k_;
  std::vector<Line> lines_;
};

Panels panels_of(const AnyRows& b) {
  Panels panels(b.rows(), b.cols());
  for (Index column = 0; column < b.cols(); column += kPanel) {
    const Index width = std::min(kPanel, b.cols() - column);
    for (Index i = 0; i < b.rows(); ++i)
      std::copy_n(b.data() + i * b.outerStride() + column, width, panels.row(i, column));
  }
  return panels;
}

/// Of b^T.
Panels panels_of_transposed(const AnyRows& b) {
  Panels panels(b.cols(), b.rows());
  for (Index column = 0; column < b.rows(); column += kPanel) {
    const Index width = std::min(kPanel, b.rows() - column);
    for (Index j = 0; j < width; ++j) {
      const float* row = b.data() + (column + j) * b.outerStride();
      for (Index i = 0; i < b.cols(); ++i)
        panels.row(i, column)[j] = row[i];
    }
  }
  return panels;
}

void run(const AnyRows& a, const Panels& b, MutableAnyRows& dst) {
  static const Kernel<LinearF32>& kernel = select_kernel<LinearF32>(select_target().value());
  const LinearF32::Args args{.src = a.data(),
                             .src_stride = a.outerStride(),
                             .weight = b.data(),
                             .bias = nullptr,
                             .residual = dst.data(),
                             .residual_stride = dst.outerStride(),
                             .dst = dst.data(),
                             .dst_stride = dst.outerStride(),
                             .absmax = nullptr,
                             .function = Function::none,
                             .rows = dst.rows(),
                             .columns = dst.cols(),
                             .k = a.cols()};
  ExecContext context;
  kernel.run(args, context);
}

bool is_empty(const AnyRows& a, const MutableAnyRows& dst) {
  return a.size() == 0 || dst.size() == 0;
}

}  // namespace

void add_product(const AnyRows& a, const AnyRows& b, MutableAnyRows dst) {
  if (!is_empty(a, dst)) run(a, panels_of(b), dst);
}

void add_product_by_rows(const AnyRows& a, const AnyRows& b, MutableAnyRows dst) {
  if (!is_empty(a, dst)) run(a, panels_of_transposed(b), dst);
}

void add_product_by_columns(const AnyRows& a, const AnyRows& b, MutableAnyRows dst) {
  if (is_empty(a, dst)) return;
  // As many rows at a time as let what is multiplied stay in the L2 cache.
  constexpr Index kRowsAtOnce = 256;
  for (Index row = 0; row < a.rows(); row += kRowsAtOnce) {
    const Index rows = std::min(kRowsAtOnce, a.rows() - row);
    const RowMatrix transposed = a.middleRows(row, rows).transpose();
    run(transposed, panels_of(b.middleRows(row, rows)), dst);
  }
}

}  // namespace rtai::grad
