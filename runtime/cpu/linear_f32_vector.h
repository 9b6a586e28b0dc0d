// LinearF32 in vectors.
#pragma once

#include "runtime/cpu/linear_tiles.h"
#include "runtime/kernels/linear_f32.h"

namespace rtai::cpu {
namespace {

struct F32Sums {
  static constexpr int kTileRows = 6;
  static constexpr int kTilePanels = kRegisters >= 32 ? 4 : 1;

  struct Column {
    Floats bias;
  };
  template <class AnyLanes>
  static Column column(const LinearF32::Args& args, Index at, AnyLanes lanes) {
    return {args.bias == nullptr ? zeros() : load(args.bias + at, lanes)};
  }
  static Floats value(const LinearF32::Args& /*args*/,
                      Index /*row*/,
                      const Column& column,
                      const std::int32_t* sums) {
    return from_bits(load_ints(sums)) + column.bias;
  }

  template <int kRows, int kPanels>
  static void accumulate(const LinearF32::Args& args, Index row, Index column, std::int32_t* tile) {
    const float* weight = args.weight + column * args.k;
    const float* src = args.src + row * args.src_stride;
    Floats sums[kRows][kPanels];
#pragma GCC unroll 8
    for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 4
      for (int p = 0; p < kPanels; ++p)
        sums[r][p] = zeros();
    }
    for (Index i = 0; i < args.k; ++i) {
      Floats weights[kPanels];
#pragma GCC unroll 4
      for (int p = 0; p < kPanels; ++p)
        weights[p] = load(weight + (p * args.k + i) * 16);
#pragma GCC unroll 8
      for (int r = 0; r < kRows; ++r) {
        const Floats source = all(src[r * args.src_stride + i]);
#pragma GCC unroll 4
        for (int p = 0; p < kPanels; ++p)
          sums[r][p] = fma(source, weights[p], sums[r][p]);
      }
    }
#pragma GCC unroll 8
    for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 4
      for (int p = 0; p < kPanels; ++p)
        store_ints(tile + (r * kTilePanels + p) * 16, bits(sums[r][p]));
    }
  }
};

void linear_f32(const LinearF32::Args& args, ExecContext& /*context*/) noexcept {
  LinearTiles<F32Sums, LinearF32::Args>(args).run();
}

}  // namespace
}  // namespace rtai::cpu
