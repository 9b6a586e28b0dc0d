// What GPU kernels write, in all forms, and what the CPU's reference kernels make of the floats.
#pragma once

#include "runtime/kernels/quantize_rows.h"
#include "tests/runtime/cuda/device_rows.h"
#include "tests/support/compare.h"
#include "tests/support/kernels_under_test.h"

#include <string>

namespace rtai::test {

/// All forms of a result.
struct Results {
  Results(int rows, int columns)
      : f32(rows, columns), f16(rows, columns), i8(rows, columns), scale(1, rows) {}

  cuda::RowsOut view(float fixed_scale = 0,
                     const float* factor = nullptr,
                     const cuda::RowTeam& team = {}) const {
    return {.f32 = f32.data(),
            .f16 = f16.data(),
            .i8 = i8.data(),
            .scale = scale.data(),
            .fixed_scale = fixed_scale,
            .column_factor = factor,
            .team = team};
  }

  /// What of the other forms is not what f32 becomes; empty: nothing.
  std::string check_forms(float fixed_scale = 0, const float* factor = nullptr) const {
    if (!f32.is_intact() || !f16.is_intact() || !i8.is_intact() || !scale.is_intact())
      return "memory outside was written";
    if (!f16.has_zero_padding() || !i8.has_zero_padding()) return "padding is not zero";
    GuardedRows<std::uint8_t> integers(f32.rows(), round_up<Index>(f32.columns(), 64));
    GuardedRows<float> scales(1, f32.rows());
    run_kernel(reference_kernel<QuantizeRows>(),
               {.src = f32.data(),
                .src_stride = f32.stride(),
                .absmax = nullptr,
                .dst = {.data = integers.data(),
                        .stride = integers.stride(),
                        .scale = scales.data(),
                        .fixed_scale = fixed_scale,
                        .column_factor = factor},
                .rows = f32.rows(),
                .columns = f32.columns()},
               nullptr);
    if (!same_bits(scale, scales)) return "scales differ";
    for (int r = 0; r < f32.rows(); ++r) {
      for (int i = 0; i < f32.columns(); ++i) {
        if (i8.at(r, i) != static_cast<std::int8_t>(integers.row(r)[i]))
          return fmt::format("integer {} of row {} differs", i, r);
        if (f16.at(r, i) != f32_to_f16(f32.at(r, i)))
          return fmt::format("half {} of row {} differs", i, r);
      }
    }
    return {};
  }

  DeviceRows<float> f32;
  DeviceRows<std::uint16_t> f16;
  DeviceRows<std::int8_t> i8;
  GuardedRows<float> scale;
};

}  // namespace rtai::test
