// QuantizeRows in vectors; also what other kernels quantize their rows with.
#pragma once

#include "runtime/cpu/vector.h"
#include "runtime/kernels/quantize_rows.h"

namespace rtai::cpu {
namespace {

inline float row_absmax(const float* src, Index columns) {
  Ints largest = all_ints(0);
  for_vectors(columns, [&](Index i, auto lanes) {
    largest = larger_magnitudes(largest, load(src + i, lanes));
  });
  return largest_magnitude(largest);
}

struct Quantization {
  float scale;
  float factor;
};

inline Quantization dynamic_quantization(float absmax) {
  if (absmax < kSmallestAbsmax) return {1.0f, 0.0f};
  return {absmax / 127.0f, 127.0f / absmax};
}

/// Integers of at most 127. store_bytes bounds them from below; from above that would be too late,
/// for what is too large for an integer becomes the lowest one.
inline Ints bounded_integers(Floats a, Floats factor) {
  return to_ints(min(a * factor, all(127.0f)));
}
inline Ints bounded_integers(Floats a, float factor) {
  return bounded_integers(a, all(factor));
}

/// integers(i, lanes): those of columns [i, i + 16).
template <class Integers>
void store_row(std::uint8_t* bytes, Index columns, std::uint8_t flip, const Integers& integers) {
  Index i = 0;
  for (; i + 64 <= columns; i += 64) {
    store_bytes(bytes + i, integers(i, AllLanes{}), integers(i + 16, AllLanes{}),
                integers(i + 32, AllLanes{}), integers(i + 48, AllLanes{}), flip);
  }
  if (i == columns) return;
  Ints last[4] = {all_ints(0), all_ints(0), all_ints(0), all_ints(0)};
  for_vectors(columns - i, [&](Index j, auto lanes) { last[j / 16] = integers(i + j, lanes); });
  store_bytes(bytes + i, last[0], last[1], last[2], last[3], flip);
}

inline void quantize_row(
    const float* src, Index columns, float absmax, const QuantizedRows& dst, Index row) {
  const Quantization q = dst.fixed_scale > 0.0f
                             ? Quantization{dst.fixed_scale, 1.0f / dst.fixed_scale}
                             : dynamic_quantization(absmax);
  dst.scale[row] = q.scale;
  std::uint8_t* bytes = dst.data + row * dst.stride;
  if (dst.fixed_factor != nullptr) {
    store_row(bytes, columns, dst.flip, [&](Index i, auto lanes) {
      return bounded_integers(load(src + i, lanes), load(dst.fixed_factor + i, lanes));
    });
  } else {
    store_row(bytes, columns, dst.flip, [&](Index i, auto lanes) {
      return bounded_integers(load(src + i, lanes), q.factor);
    });
  }
}

inline void quantize_rows(const QuantizeRows::Args& args, ExecContext& /*context*/) noexcept {
  for (Index r = 0; r < args.rows; ++r) {
    const float* src = args.src + r * args.src_stride;
    float absmax = 0.0f;
    if (args.absmax != nullptr) {
      absmax = args.absmax[r];
    } else if (args.dst.fixed_scale <= 0.0f) {
      absmax = row_absmax(src, args.columns);
    }
    quantize_row(src, args.columns, absmax, args.dst, r);
  }
}

}  // namespace
}  // namespace rtai::cpu
