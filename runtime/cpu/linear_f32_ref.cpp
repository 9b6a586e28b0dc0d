#include "runtime/base/checked.h"
#include "runtime/cpu/quantize_rows_ref.h"
#include "runtime/cpu/scalar_functions.h"
#include "runtime/kernels/linear_f32.h"

#include <algorithm>
#include <cmath>

namespace rtai::cpu {
namespace {

/// Row `i`, column `j` of a panel.
float weight_at(const LinearF32::Args& args, Index panel, Index i, Index j) {
  if (args.weight_bf16 == nullptr) return args.weight[panel * args.k + i * 16 + j];
  const Index padded = round_up<Index>(args.k, 2);
  return bf16_to_f32(args.weight_bf16[panel * padded + i / 2 * 32 + j * 2 + i % 2]);
}

void run(const LinearF32::Args& args, ExecContext& /*context*/) noexcept {
  for (Index r = 0; r < args.rows; ++r) {
    const float* src = args.src + r * args.src_stride;
    float absmax = 0;
    for (Index panel = 0; panel < args.columns; panel += 16) {
      float sums[16] = {};
      for (Index i = 0; i < args.k; ++i) {
        for (Index j = 0; j < 16; ++j)
          sums[j] += src[i] * weight_at(args, panel, i, j);
      }
      for (Index j = panel; j < std::min(panel + 16, args.columns); ++j) {
        const float bias = args.bias == nullptr ? 0.0f : args.bias[j];
        float value = apply(args.function, sums[j - panel] + bias);
        if (args.residual != nullptr) value += args.residual[r * args.residual_stride + j];
        if (args.quantized.data != nullptr)
          store_integer(args.quantized, r, j, value);
        else
          args.dst[r * args.dst_stride + j] = value;
        absmax = larger_magnitude(absmax, value);
      }
    }
    if (args.absmax != nullptr) args.absmax[r] = larger_magnitude(args.absmax[r], absmax);
  }
}

}  // namespace

extern constinit const Kernel<LinearF32> linear_f32_ref{"linear_f32_ref", Target::ref, &run};

}  // namespace rtai::cpu
