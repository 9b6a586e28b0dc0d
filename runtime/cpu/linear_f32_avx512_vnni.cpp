#include "runtime/cpu/linear_tiles_avx512.h"
#include "runtime/kernels/linear_f32.h"

namespace rtai::cpu {
namespace {

struct Sums {
  template <int kRows, int kPanels>
  static void accumulate(const LinearF32::Args& args, Index row, Index column, TileSums& tile) {
    const float* weight = args.weight + column * args.k;
    const float* src = args.src + row * args.src_stride;
    __m512 sums[kRows][kPanels];
#pragma GCC unroll 6
    for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 4
      for (int p = 0; p < kPanels; ++p)
        sums[r][p] = _mm512_setzero_ps();
    }
    for (Index i = 0; i < args.k; ++i) {
      __m512 weights[kPanels];
#pragma GCC unroll 4
      for (int p = 0; p < kPanels; ++p)
        weights[p] = _mm512_load_ps(weight + (p * args.k + i) * 16);
#pragma GCC unroll 6
      for (int r = 0; r < kRows; ++r) {
        const __m512 source = _mm512_set1_ps(src[r * args.src_stride + i]);
#pragma GCC unroll 4
        for (int p = 0; p < kPanels; ++p)
          sums[r][p] = _mm512_fmadd_ps(source, weights[p], sums[r][p]);
      }
    }
#pragma GCC unroll 6
    for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 4
      for (int p = 0; p < kPanels; ++p)
        _mm512_store_ps(&tile.values[r][16 * p], sums[r][p]);
    }
  }

  static __m512 value(const LinearF32::Args& args,
                      Index /*row*/,
                      Index column,
                      __mmask16 lanes,
                      const std::int32_t* sums) {
    const __m512 sum = _mm512_load_ps(sums);
    if (args.bias == nullptr) return sum;
    return _mm512_add_ps(sum, _mm512_maskz_loadu_ps(lanes, args.bias + column));
  }
};

void run(const LinearF32::Args& args, ExecContext& /*context*/) noexcept {
  LinearTiles<Sums, LinearF32::Args>(args).run();
}

}  // namespace

extern constinit const Kernel<LinearF32> linear_f32_avx512_vnni{"linear_f32_avx512_vnni",
                                                                Target::avx512_vnni, &run};

}  // namespace rtai::cpu
