#include "runtime/cpu/linear_tiles_avx512.h"
#include "runtime/kernels/linear_i8.h"

namespace rtai::cpu {
namespace {

struct Sums {
  template <int kRows, int kPanels>
  static void accumulate(const LinearI8::Args& args, Index row, Index column, TileSums& tile) {
    const Index groups = (args.k + 3) / 4;
    const Index panel_bytes = groups * 64;
    const std::int8_t* weight = args.weight + column / 16 * panel_bytes;
    const std::uint8_t* src = args.src + row * args.src_stride;
    __m512i sums[kRows][kPanels];
#pragma GCC unroll 6
    for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 4
      for (int p = 0; p < kPanels; ++p)
        sums[r][p] = _mm512_setzero_si512();
    }
    for (Index g = 0; g < groups; ++g) {
      __m512i weights[kPanels];
#pragma GCC unroll 4
      for (int p = 0; p < kPanels; ++p)
        weights[p] = _mm512_load_si512(weight + p * panel_bytes + g * 64);
#pragma GCC unroll 6
      for (int r = 0; r < kRows; ++r) {
        std::int32_t four = 0;
        __builtin_memcpy(&four, src + r * args.src_stride + g * 4, 4);
        const __m512i source = _mm512_set1_epi32(four);
#pragma GCC unroll 4
        for (int p = 0; p < kPanels; ++p) {
          sums[r][p] = _mm512_dpbusd_epi32(sums[r][p], source, weights[p]);
        }
      }
    }
#pragma GCC unroll 6
    for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 4
      for (int p = 0; p < kPanels; ++p)
        _mm512_store_si512(&tile.values[r][16 * p], sums[r][p]);
    }
  }

  static __m512 value(const LinearI8::Args& args,
                      Index row,
                      Index column,
                      __mmask16 lanes,
                      const std::int32_t* sums) {
    // The source is integer + 128, so every sum is 128 weight sums too high.
    const __m512i extra =
        _mm512_slli_epi32(_mm512_maskz_loadu_epi32(lanes, args.weight_sum + column), 7);
    const __m512i sum = _mm512_sub_epi32(_mm512_load_si512(sums), extra);
    const __m512 scaled =
        _mm512_mul_ps(_mm512_cvtepi32_ps(sum), _mm512_set1_ps(args.src_scale[row]));
    const __m512 bias = args.bias == nullptr ? _mm512_setzero_ps()
                                             : _mm512_maskz_loadu_ps(lanes, args.bias + column);
    return _mm512_fmadd_ps(scaled, _mm512_maskz_loadu_ps(lanes, args.weight_scale + column), bias);
  }
};

void run(const LinearI8::Args& args, ExecContext& /*context*/) noexcept {
  LinearTiles<Sums, LinearI8::Args>(args).run();
}

}  // namespace

extern constinit const Kernel<LinearI8> linear_i8_avx512_vnni{"linear_i8_avx512_vnni",
                                                              Target::avx512_vnni, &run};

}  // namespace rtai::cpu
