// LinearF32 in vectors.
#pragma once

#include "runtime/cpu/linear_tiles.h"
#include "runtime/kernels/linear_f32.h"

namespace rtai::cpu {
namespace {

/// One row of a panel after the other, as it is stored.
struct F32Rows {
  static constexpr Index kRowsOfALine = 1;  // 64 bytes

  static const float* panel(const LinearF32::Args& args, Index column) {
    return args.weight + column * args.k;
  }
  static Index panel_size(const LinearF32::Args& args) { return 16 * args.k; }
  static void load_rows(const float* line, Floats (&rows)[1]) { rows[0] = load(line); }
};

/// Two rows in each line of memory: of every 32 bits the low half is the even one's.
struct Bf16Rows {
  static constexpr Index kRowsOfALine = 2;

  static const std::uint16_t* panel(const LinearF32::Args& args, Index column) {
    return args.weight_bf16 + column * ((args.k + 1) / 2 * 2);
  }
  static Index panel_size(const LinearF32::Args& args) { return 16 * ((args.k + 1) / 2 * 2); }
  static void load_rows(const std::uint16_t* line, Floats (&rows)[2]) {
    const Ints both = load_ints(line);
    rows[0] = from_bits(shift_left<16>(both));
    rows[1] = from_bits(both & all_ints(static_cast<std::int32_t>(0xffff0000u)));
  }
};

template <class Weights>
struct F32Sums {
  // Two rows of weights in registers leave AVX2 none for a sixth row of sums: it would be on the
  // stack, where each addition waits for the one before (46 % of the peak instead of 95 %).
  static constexpr Index kTileRows = Weights::kRowsOfALine > 1 && kRegisters < 32 ? 5 : 6;
  static constexpr Index kTilePanels = kRegisters >= 32 ? 4 : 1;

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
  static Floats gelu(Floats x) { return gelu_vector(x); }

  template <Index kRows, Index kPanels>
  static void accumulate(const LinearF32::Args& args, Index row, Index column, std::int32_t* tile) {
    constexpr Index kLine = Weights::kRowsOfALine;
    const auto* weight = Weights::panel(args, column);
    const Index panel = Weights::panel_size(args);
    const float* src = args.src + row * args.src_stride;
    auto ahead = weights_ahead<kRows, kPanels>(
        args, Weights::panel(args, 0), panel * static_cast<Index>(sizeof *weight), row, column);
    Floats sums[kRows][kPanels];
#pragma GCC unroll 8
    for (Index r = 0; r < kRows; ++r) {
#pragma GCC unroll 4
      for (Index p = 0; p < kPanels; ++p)
        sums[r][p] = zeros();
    }
    for (Index i = 0; i < args.k; i += kLine) {
      ahead.fetch(kPanels * 64);
      Floats weights[kPanels][kLine];
#pragma GCC unroll 4
      for (Index p = 0; p < kPanels; ++p)
        Weights::load_rows(weight + p * panel + i * 16, weights[p]);
#pragma GCC unroll 2
      for (Index l = 0; l < kLine; ++l) {
        if (kLine > 1 && i + l == args.k) break;  // the last line may be half empty
#pragma GCC unroll 8
        for (Index r = 0; r < kRows; ++r) {
          const Floats source = all(src[r * args.src_stride + i + l]);
#pragma GCC unroll 4
          for (Index p = 0; p < kPanels; ++p)
            sums[r][p] = fma(source, weights[p][l], sums[r][p]);
        }
      }
    }
#pragma GCC unroll 8
    for (Index r = 0; r < kRows; ++r) {
#pragma GCC unroll 4
      for (Index p = 0; p < kPanels; ++p)
        store_ints(tile + (r * kTilePanels + p) * 16, bits(sums[r][p]));
    }
  }
};

inline void linear_f32(const LinearF32::Args& args, ExecContext& /*context*/) noexcept {
  if (args.weight_bf16 != nullptr)
    return LinearTiles<F32Sums<Bf16Rows>, LinearF32::Args>(args).run();
  LinearTiles<F32Sums<F32Rows>, LinearF32::Args>(args).run();
}

}  // namespace
}  // namespace rtai::cpu
