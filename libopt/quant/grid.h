// Finding the integers that real numbers were made from.
#pragma once

#include "libopt/quant/site.h"

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

namespace rtai::quant {

/// values[i] = integers[i] * scale, the integers without a common factor.
struct Grid {
  float scale = 1;
  std::vector<std::int32_t> integers;
};

/// The coarsest grid that the values lie on with integers in [-128, 127]; nothing if there is none.
/// Numbers that were not made from integers do not lie on one by chance, unless they are very few.
/// Values may be off by the rounding of three f32 operations. Zeros alone have scale 1.
std::optional<Grid> grid_of(std::span<const float> values);

/// The same row by row; nothing if one row has none. Shape: f32[n, k].
std::optional<QuantizedMatrix> grids_of_rows(const ir::Tensor& matrix);

}  // namespace rtai::quant
