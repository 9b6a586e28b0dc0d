#include "runtime/cpu/quantize_rows_ref.h"
#include "runtime/kernels/attention_i8.h"

#include <algorithm>
#include <bit>
#include <cmath>

namespace rtai::cpu {
namespace {

/// log2 of a scale, as SoftmaxOfI8 has it.
float logarithm(float scale) {
  const auto bits = std::bit_cast<std::uint32_t>(scale);
  const auto exponent = static_cast<float>(static_cast<std::int32_t>(bits >> 23) - 127);
  const float u = std::bit_cast<float>((bits & 0x7fffffu) | 0x3f800000u) - 1.0f;
  return std::fma(polynomial(kSoftmaxOfI8.logarithm, u), u, exponent);
}

/// 2^y as AttentionI8 has it; below 1.2e-38 for y < -126.
float weight_of(float y) {
  if (std::isnan(y)) return y;
  return power_of_two(kSoftmaxOfI8.power, y < -126.0f ? -126.0f : y);
}

/// What the weights stand for, added in the order of AttentionI8.
class Divisor {
 public:
  void add(Index token, float weight, float inverse_scale) {
    float& sum = sums_[token % 128 / 32][token % 8 / 2];
    sum = std::fma(weight, inverse_scale, sum);
  }
  float sum() const {
    float sum = 0;
    for (const auto& of : sums_)
      sum += (of[0] + of[1]) + (of[2] + of[3]);
    return sum;
  }

 private:
  float sums_[4][4] = {};
};

/// One head of the rows of a sequence.
struct HeadRows {
  const std::int8_t* integers;
  const float* scales;
  Index bytes_apart;
  Index scales_apart;

  const std::int8_t* row(Index t) const { return integers + t * bytes_apart; }
  /// Not a number if the scale is infinite.
  float scale(Index t) const {
    const float scale = scales[t * scales_apart];
    return scale + (scale - scale);
  }
};

HeadRows head_rows(const AttentionI8::Args& args, Index head) {
  const Index bytes = padded_head(args.head_dim);
  return {args.qkv + head * bytes, args.scale_qkv + head, 3 * args.heads_in_row * bytes,
          3 * args.heads_in_row};
}

void attend(const AttentionI8::Args& args, Index head, Index q, float* x) {
  const HeadRows queries = head_rows(args, args.first_head + head);
  const HeadRows keys = head_rows(args, args.heads_in_row + args.first_head + head);
  const HeadRows values = head_rows(args, 2 * args.heads_in_row + args.first_head + head);
  const Index place = args.first_query + q;
  const Index visible = args.causal ? std::min(args.tokens, place + 1) : args.tokens;
  const float factor = queries.scale(place) * (args.scale * 1.44269504f);
  float largest = -INFINITY;
  for (Index t = 0; t < visible; ++t) {
    std::int32_t dot = 0;
    for (Index d = 0; d < args.head_dim; ++d)
      dot += queries.row(place)[d] * keys.row(t)[d];
    const float scaled = static_cast<float>(dot) * keys.scale(t);
    x[t] = std::fma(scaled, factor, logarithm(values.scale(t)));
    largest = std::max(largest, x[t]);
  }
  const float highest = largest - kSoftmaxOfI8.log2_of_255;
  Divisor divisor;
  for (Index t = 0; t < visible; ++t) {
    x[t] = weight_of(x[t] - highest);
    divisor.add(t, x[t], 1.0f / values.scale(t));
  }
  const float factor_of_sum = 1.0f / divisor.sum();
  for (Index d = 0; d < args.head_dim; ++d) {
    std::int32_t sum = 0;
    for (Index t = 0; t < visible; ++t) {
      const float weight = x[t] < 255.0f ? x[t] : 255.0f;
      sum += static_cast<std::int32_t>(std::nearbyint(weight)) * values.row(t)[d];
    }
    const float value = static_cast<float>(sum) * factor_of_sum;
    const Index column = head * args.head_dim + d;
    if (args.quantized.data != nullptr)
      store_integer(args.quantized, q, column, value);
    else
      args.dst[q * args.dst_stride + column] = value;
  }
}

void run(const AttentionI8::Args& args, ExecContext& context) noexcept {
  auto* x = reinterpret_cast<float*>(context.scratch);
  for (Index h = 0; h < args.heads; ++h) {
    for (Index q = 0; q < args.queries; ++q)
      attend(args, h, q, x);
  }
}

}  // namespace

extern constinit const Kernel<AttentionI8> attention_i8_ref{"attention_i8_ref", Target::ref, &run};

}  // namespace rtai::cpu
