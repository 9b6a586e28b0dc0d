#include "libopt/quant/grid.h"

#include <algorithm>
#include <cmath>

namespace rtai::quant {
namespace {

constexpr int kMostSteps = 128;
// 127 steps of numbers that are 3 * 2^-24 off, and a step that is so, too: 5e-5.
constexpr float kTolerance = 1e-3f;

bool lies_on(std::span<const float> values, float scale) {
  return std::ranges::all_of(values, [scale](float value) {
    const float steps = value / scale;
    return std::fabs(steps - std::nearbyint(steps)) <= kTolerance;
  });
}

}  // namespace

std::optional<Grid> grid_of(std::span<const float> values) {
  const auto larger = [](float a, float b) { return std::fabs(a) < std::fabs(b); };
  const auto largest = std::ranges::max_element(values, larger);
  if (largest == values.end()) return std::nullopt;
  Grid grid{.scale = 1, .integers = std::vector<std::int32_t>(values.size(), 0)};
  if (*largest == 0) return grid;
  for (int steps = 1; steps <= kMostSteps; ++steps) {
    // A scale that is a normal float; 127 of it are not too many.
    grid.scale = std::fabs(*largest) / static_cast<float>(steps);
    if (!std::isnormal(grid.scale) || !std::isfinite(*largest)) return std::nullopt;
    if (!lies_on(values, grid.scale)) continue;
    for (std::size_t i = 0; i < values.size(); ++i)
      grid.integers[i] = static_cast<std::int32_t>(std::nearbyint(values[i] / grid.scale));
    if (std::ranges::max(grid.integers) < kMostSteps) return grid;
    return std::nullopt;
  }
  return std::nullopt;
}

std::optional<QuantizedMatrix> grids_of_rows(const ir::Tensor& matrix) {
  const auto columns = static_cast<std::size_t>(matrix.dim(1));
  const std::span<const float> values = matrix.data<float>();
  std::vector<std::int8_t> integers;
  std::vector<float> scales;
  integers.reserve(values.size());
  for (Index row = 0; row < matrix.dim(0); ++row) {
    const auto grid = grid_of(values.subspan(static_cast<std::size_t>(row) * columns, columns));
    if (!grid) return std::nullopt;
    for (const std::int32_t integer : grid->integers)
      integers.push_back(static_cast<std::int8_t>(integer));
    scales.push_back(grid->scale);
  }
  return QuantizedMatrix{ir::Tensor::from<std::int8_t>(matrix.dims(), integers),
                         ir::Tensor::from<float>({matrix.dim(0)}, scales)};
}

}  // namespace rtai::quant
