// QuantizeHeads in vectors.
#pragma once

#include "runtime/cpu/quantize_rows_vector.h"
#include "runtime/kernels/attention_i8.h"

namespace rtai::cpu {
namespace {

/// Quantizes 64 columns of whole heads, kHeadVectors vectors each, and gives their scales.
template <Index kHeadVectors>
void quantize_64(const float* src, std::int8_t* dst, float* scale) {
  const Floats a = load(src);
  const Floats b = load(src + 16);
  const Floats c = load(src + 32);
  const Floats d = load(src + 48);
  float factors[4 / kHeadVectors];
  const auto quantize_head = [&](Index head, Ints magnitudes) {
    const Quantization q = dynamic_quantization(largest_magnitude(magnitudes));
    scale[head] = q.scale;
    factors[head] = q.factor;
  };
  const Ints a_size = bits(magnitude(a));
  const Ints b_size = bits(magnitude(b));
  const Ints c_size = bits(magnitude(c));
  const Ints d_size = bits(magnitude(d));
  if constexpr (kHeadVectors == 4) {
    quantize_head(0, max(max(a_size, b_size), max(c_size, d_size)));
  } else if constexpr (kHeadVectors == 2) {
    quantize_head(0, max(a_size, b_size));
    quantize_head(1, max(c_size, d_size));
  } else {
    quantize_head(0, a_size);
    quantize_head(1, b_size);
    quantize_head(2, c_size);
    quantize_head(3, d_size);
  }
  // No bound from above: the largest magnitude becomes 127, and where it is not finite any integer
  // will do.
  const auto integers = [&](Floats x, Index vector) {
    return to_ints(x * all(factors[vector / kHeadVectors]));
  };
  store_bytes(reinterpret_cast<std::uint8_t*>(dst), integers(a, 0), integers(b, 1), integers(c, 2),
              integers(d, 3), 0);
}

template <Index kHeadVectors>
void quantize_by_64(const QuantizeHeads::Args& args) {
  const Index columns = args.dst.heads * args.head_dim;
  for (Index r = 0; r < args.rows; ++r) {
    for (Index i = 0; i < columns; i += 64) {
      quantize_64<kHeadVectors>(args.src + r * args.src_stride + i, args.dst.data + r * columns + i,
                                args.dst.scale + r * args.dst.heads + i / (16 * kHeadVectors));
    }
  }
}

inline void quantize_heads(const QuantizeHeads::Args& args, ExecContext& /*context*/) noexcept {
  // Rows of whole blocks of 64 columns without padding: all usual heads.
  if (args.dst.heads * args.head_dim % 64 == 0) {
    if (args.head_dim == 16) return quantize_by_64<1>(args);
    if (args.head_dim == 32) return quantize_by_64<2>(args);
    if (args.head_dim == 64) return quantize_by_64<4>(args);
  }
  const Index bytes = padded_head(args.head_dim);
  for (Index r = 0; r < args.rows; ++r) {
    const float* src = args.src + r * args.src_stride;
    for (Index h = 0; h < args.dst.heads; ++h, src += args.head_dim) {
      const Quantization q = dynamic_quantization(row_absmax(src, args.head_dim));
      const Index head = r * args.dst.heads + h;
      args.dst.scale[head] = q.scale;
      auto* dst = reinterpret_cast<std::uint8_t*>(args.dst.data + head * bytes);
      for_vectors(args.head_dim, [&](Index i, auto lanes) {
        store_bytes(dst + i, bounded_integers(keep(load(src + i, lanes), lanes), q.factor), 0);
      });
    }
  }
}

}  // namespace
}  // namespace rtai::cpu
