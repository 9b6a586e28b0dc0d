#include "runtime/cpu/quantize_rows_ref.h"
#include "runtime/cpu/scalar_functions.h"
#include "runtime/kernels/linear_i8.h"

#include <algorithm>
#include <cmath>

namespace rtai::cpu {
namespace {

/// Column j of the panels at k: [columns/16][k/4][16][4].
std::int32_t weight_at(const LinearI8::Args& args, Index j, Index i) {
  const Index groups = (args.k + 3) / 4;
  return args.weight[((j / 16 * groups + i / 4) * 16 + j % 16) * 4 + i % 4];
}

float function_of(const LinearI8::Args& args, float x) {
  return args.function == Function::gelu ? gelu_of_i8_scalar(x) : apply(args.function, x);
}

void run(const LinearI8::Args& args, ExecContext& /*context*/) noexcept {
  for (Index r = 0; r < args.rows; ++r) {
    const std::uint8_t* src = args.src + r * args.src_stride;
    float absmax = 0;
    for (Index j = 0; j < args.columns; ++j) {
      std::int32_t sum = 0;
      for (Index i = 0; i < args.k; ++i) {
        sum += static_cast<std::int8_t>(src[i] ^ args.flip) * weight_at(args, j, i);
      }
      const float bias = args.bias == nullptr ? 0.0f : args.bias[j];
      const float scaled = static_cast<float>(sum) * args.src_scale[r];
      float value = function_of(args, std::fma(scaled, args.weight_scale[j], bias));
      if (args.residual != nullptr) value += args.residual[r * args.residual_stride + j];
      if (args.quantized.data != nullptr)
        store_integer(args.quantized, r, j, value);
      else
        args.dst[r * args.dst_stride + j] = value;
      absmax = larger_magnitude(absmax, value);
    }
    if (args.absmax != nullptr) args.absmax[r] = larger_magnitude(args.absmax[r], absmax);
  }
}

}  // namespace

extern constinit const Kernel<LinearI8> linear_i8_ref{"linear_i8_ref", Target::ref, &run};

}  // namespace rtai::cpu
