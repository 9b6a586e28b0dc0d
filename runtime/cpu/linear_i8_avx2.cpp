// LinearI8 without dot products of bytes: both sides are widened to 16 bits, the weights in
// registers, the source rows once for several panels. vpmaddwd then adds two products exactly.
//
// The other exact way, vpmaddubsw on |source| and weights with the source's sign, needs four
// instructions for 32 products of which three share two pipes of Zen: 133 Gop/s against 167 (Zen 4,
// 64 rows, 1 thread).
#include "runtime/cpu/linear_i8_vector.h"

namespace rtai::cpu {
namespace {

constexpr Index kChunk = 1024;  // of k: 6 rows of 16 bits take 12 KiB of L1

struct Sums : I8Value {
  static constexpr int kTileRows =
      6;  // 12 accumulators, 2 weights, source, product: all 16 registers
  static constexpr int kTilePanels = 4;

  template <int kRows, int kPanels>
  static void accumulate(const LinearI8::Args& args, Index row, Index column, std::int32_t* tile) {
    alignas(64) std::int16_t words[kRows * kChunk];
    const Index groups = (args.k + 3) / 4;
    const std::int8_t* weight = args.weight + column * groups * 4;
    for (Index i = 0; i < args.k; i += kChunk) {
      const Index left = groups * 4 - i;
      const Index count = left < kChunk ? left : kChunk;
      for (Index r = 0; r < kRows; ++r)
        widen(args.src + (row + r) * args.src_stride + i, count, words + r * kChunk);
      for (Index p = 0; p < kPanels; ++p) {
        const std::int8_t* panel = weight + p * groups * 64 + i * 16;
        for (Index half = 0; half < 2; ++half)
          add_half<kRows>(panel + 32 * half, words, count / 4, i == 0, tile + 16 * p + 8 * half);
      }
    }
  }

  /// Rows are zero up to a multiple of 64, so whole vectors may be read.
  static void widen(const std::uint8_t* bytes, Index count, std::int16_t* words) {
    for (Index i = 0; i < count; i += 16) {
      const __m128i part = _mm_load_si128(reinterpret_cast<const __m128i*>(bytes + i));
      _mm256_store_si256(reinterpret_cast<__m256i*>(words + i), _mm256_cvtepi8_epi16(part));
    }
  }

  /// Adds the sums of 8 columns, or stores them the first time.
  template <int kRows>
  static void add_half(const std::int8_t* weight,
                       const std::int16_t* words,
                       Index groups,
                       bool is_first,
                       std::int32_t* tile) {
    __m256i sums[kRows][2];  // of 4 columns: of products 0 and 1, then of products 2 and 3
    unroll<kRows>([&](auto r) __attribute__((always_inline)) {
      sums[r][0] = _mm256_setzero_si256();
      sums[r][1] = _mm256_setzero_si256();
    });
    for (Index g = 0; g < groups; ++g) {
      const auto* bytes = reinterpret_cast<const __m128i*>(weight + g * 64);
      const __m256i weights0 = _mm256_cvtepi8_epi16(_mm_load_si128(bytes));
      const __m256i weights1 = _mm256_cvtepi8_epi16(_mm_load_si128(bytes + 1));
      unroll<kRows>([&](auto r) __attribute__((always_inline)) {
        long long four = 0;
        __builtin_memcpy(&four, words + r * kChunk + g * 4, 8);
        const __m256i source = _mm256_set1_epi64x(four);
        sums[r][0] = _mm256_add_epi32(sums[r][0], _mm256_madd_epi16(source, weights0));
        sums[r][1] = _mm256_add_epi32(sums[r][1], _mm256_madd_epi16(source, weights1));
        compute_now(sums[r][0]);
        compute_now(sums[r][1]);
      });
    }
    unroll<kRows>([&](auto r) __attribute__((always_inline)) {
      // Columns 0 1 4 5 | 2 3 6 7.
      const __m256i mixed = _mm256_hadd_epi32(sums[r][0], sums[r][1]);
      __m256i result = _mm256_permute4x64_epi64(mixed, _MM_SHUFFLE(3, 1, 2, 0));
      auto* to = reinterpret_cast<__m256i*>(tile + r * 16 * kTilePanels);
      if (!is_first) result = _mm256_add_epi32(result, _mm256_load_si256(to));
      _mm256_store_si256(to, result);
    });
  }
};

void run(const LinearI8::Args& args, ExecContext& /*context*/) noexcept {
  LinearTiles<Sums, LinearI8::Args>(args).run();
}

}  // namespace

extern constinit const Kernel<LinearI8> linear_i8_avx2{"linear_i8_avx2", Target::avx2, &run};

}  // namespace rtai::cpu
