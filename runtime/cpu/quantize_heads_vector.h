// QuantizeHeads in vectors.
#pragma once

#include "runtime/cpu/quantize_rows_vector.h"
#include "runtime/kernels/attention_i8.h"

namespace rtai::cpu {
namespace {

/// Quantizes 64 columns of whole heads, kHeadVectors vectors each, and gives their scales.
template <Index kHeadVectors>
void quantize_64(const float* src, std::int8_t* dst, float* scale) {
  float factors[4];
  for (Index v = 0; v < 4; v += kHeadVectors) {
    Ints largest = bits(magnitude(load(src + 16 * v)));
    for (Index i = 1; i < kHeadVectors; ++i)
      largest = larger_magnitudes(largest, load(src + 16 * (v + i)));
    const Quantization q = dynamic_quantization(largest_magnitude(largest));
    scale[v / kHeadVectors] = q.scale;
    for (Index i = 0; i < kHeadVectors; ++i)
      factors[v + i] = q.factor;
  }
  store_bytes(reinterpret_cast<std::uint8_t*>(dst), bounded_integers(load(src), factors[0]),
              bounded_integers(load(src + 16), factors[1]),
              bounded_integers(load(src + 32), factors[2]),
              bounded_integers(load(src + 48), factors[3]), 0);
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
      std::int8_t* dst = args.dst.data + head * bytes;
      for_vectors(args.head_dim, [&](Index i, auto lanes) {
        store_bytes(dst + i, bounded_integers(keep(load(src + i, lanes), lanes), q.factor));
      });
    }
  }
}

}  // namespace
}  // namespace rtai::cpu
