// Products of large matrices, by the kernel that runs engines and uses what the processor has:
// Eigen is compiled for any.
#pragma once

#include "libopt/grad/internal/operators.h"

namespace rtai::grad {

/// dst += a b. Shapes: a [m, k], b [k, n], dst [m, n].
void add_product(const Rows& a, const Rows& b, MutableRows dst);

/// dst += a b^T. Shapes: a [m, k], b [n, k], dst [m, n].
void add_product_by_rows(const Rows& a, const Rows& b, MutableRows dst);

/// dst += a^T b. Shapes: a [k, m], b [k, n], dst [m, n].
void add_product_by_columns(const Rows& a, const Rows& b, MutableRows dst);

}  // namespace rtai::grad
