// Products of large matrices, by the kernel that runs engines and uses what the processor has:
// Eigen is compiled for any.
#pragma once

#include "runtime/base/dtype.h"

#include <Eigen/Core>

namespace rtai::grad {

using RowMatrix = Eigen::Matrix<float, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;
/// A matrix or a block of one: elements of a row stand side by side, rows as far apart as they are.
using AnyRows = Eigen::Ref<const RowMatrix>;
using MutableAnyRows = Eigen::Ref<RowMatrix>;

/// dst += a b. Shapes: a [m, k], b [k, n], dst [m, n].
void add_product(const AnyRows& a, const AnyRows& b, MutableAnyRows dst);

/// dst += a b^T. Shapes: a [m, k], b [n, k], dst [m, n].
void add_product_by_rows(const AnyRows& a, const AnyRows& b, MutableAnyRows dst);

/// dst += a^T b. Shapes: a [k, m], b [k, n], dst [m, n].
void add_product_by_columns(const AnyRows& a, const AnyRows& b, MutableAnyRows dst);

}  // namespace rtai::grad
