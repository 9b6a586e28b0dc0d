// Weights in the order that kernels read them; see engine::Layout.
#pragma once

#include "libopt/ir/tensor.h"

#include <span>

namespace rtai {

/// Writes matrix [n, k] of f32, bf16 or i8 as panels [n/16][k/g][16][g], g = 4 / sizeof(element),
/// zeros where n is padded to 16 and k to g. `target` has exactly that size.
void pack_panels(const ir::Tensor& matrix, std::span<std::byte> target);

/// Writes the sum of each row of an i8 matrix as i32[n].
void sum_rows(const ir::Tensor& matrix, std::span<std::byte> target);

}  // namespace rtai
