#include "runtime/cuda/internal/tile.cuh"
#include "runtime/cuda/kernel.h"

#include <algorithm>

namespace rtai::cuda::RTAI_GRID {
namespace {

constexpr int kThreads = 128;
constexpr int kKeys = 64;  // of a block in shared memory
constexpr int kKeyTiles = kKeys / 8;
constexpr int kPadding = 8;  // elements after a row, so that rows lie in different banks

template <int kHead>
using HeadRows = F16[kKeys][kHead + kPadding];

template <int kHead>
struct Shared {
  alignas(16) HeadRows<kHead> queries;
  alignas(16) HeadRows<kHead> keys;
  alignas(16) HeadRows<kHead> values;
};
static_assert(kAttentionQueries == kKeys);
template <int kHead>
using ResultTile = Tile<kAttentionQueries, kHead, kThreads>;

/// Rows [0, count) of a head, zeros after them and beside them.
template <int kHead>
__device__ void load_rows(
    HeadRows<kHead>& dst, const F16* src, int count, int stride, int head_dim) {
  const bool aligned = head_dim % 8 == 0;  // so is every head of a row then
  for (int i = thread_index(); i < kKeys * kHead / 8; i += kThreads) {
    const int row = i / (kHead / 8);
    const int column = i % (kHead / 8) * 8;
    const bool valid = row < count && column < head_dim;
    const F16* from = src + (valid ? static_cast<std::int64_t>(row) * stride + column : 0);
    if (aligned) {
      copy_async16(&dst[row][column], valid ? from : src, valid);
      continue;
    }
    for (int j = 0; j < 8; ++j)
      dst[row][column + j] = valid && column + j < head_dim ? from[j] : F16{0};
  }
}

/// A block computes one tile of queries for one head, a warp 16 queries of it. Weights are relative
/// to the largest score so far; what was summed before is scaled down when a larger one comes.
template <int kHead>
__global__ void __launch_bounds__(kThreads, 2)
    attention_f16_kernel(const __grid_constant__ AttentionArgs args) {
  const int index = place_in_grid(args.dst.team, shared_memory<int>());
  const int team = index / args.heads;
  const int head = index % args.heads;
  let_next_grid_start();
  if (team >= *args.tiles.count) return;
  wait_for_grid_in_front();
  auto& shared = *shared_memory<Shared<kHead>>();
  const AttentionTile tile = args.tile[team];
  const int width = args.heads * args.head_dim;
  const int stride = row_stride(3 * width, 2);
  const F16* qkv = static_cast<const F16*>(args.qkv) +
                   static_cast<std::int64_t>(tile.first_token) * stride + head * args.head_dim;
  const int lane = thread_index() % 32;
  const int warp = thread_index() / 32;
  const int first_row = warp * 16 + lane / 4;

  load_rows<kHead>(shared.queries, qkv + static_cast<std::int64_t>(tile.first_query) * stride,
                   tile.queries, stride, args.head_dim);
  int visible[2];
#pragma unroll
  for (int h = 0; h < 2; ++h) {
    const int place = tile.first_query + first_row + 8 * h;
    visible[h] = args.causal && place + 1 < tile.tokens ? place + 1 : tile.tokens;
  }
  const float factor = args.scale * 1.44269504f;
  float largest[2] = {-INFINITY, -INFINITY};
  float sums[2] = {};
  float results[1][kHead / 8][4] = {};
  for (int first = 0; first < tile.tokens; first += kKeys) {
    const F16* keys = qkv + static_cast<std::int64_t>(first) * stride + width;
    load_rows<kHead>(shared.keys, keys, tile.tokens - first, stride, args.head_dim);
    load_rows<kHead>(shared.values, keys + width, tile.tokens - first, stride, args.head_dim);
    commit_copies();
    wait_copies<0>();
    sync_block();

    float x[kKeyTiles][4] = {};
#pragma unroll
    for (int step = 0; step < kHead / 16; ++step) {
      std::uint32_t queries[4];
      load_matrices(queries, &shared.queries[warp * 16 + lane % 16][16 * step + lane / 16 * 8]);
#pragma unroll
      for (int n = 0; n < kKeyTiles; n += 2) {
        std::uint32_t columns[4];
        load_matrices(columns,
                      &shared.keys[8 * n + lane % 8 + lane / 16 * 8][16 * step + lane / 8 % 2 * 8]);
        multiply_add(x[n], queries, columns[0], columns[1]);
        multiply_add(x[n + 1], queries, columns[2], columns[3]);
      }
    }
    float highest[2] = {largest[0], largest[1]};
#pragma unroll
    for (int n = 0; n < kKeyTiles; ++n) {
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        const int key = first + 8 * n + lane % 4 * 2 + i % 2;
        x[n][i] = key < visible[i / 2] ? x[n][i] * factor : -INFINITY;
        highest[i / 2] = fmaxf(highest[i / 2], x[n][i]);
      }
    }
#pragma unroll
    for (int h = 0; h < 2; ++h) {
      highest[h] = fmaxf(highest[h], shuffle_xor(highest[h], 1));
      highest[h] = fmaxf(highest[h], shuffle_xor(highest[h], 2));
      // Key 0 is visible to every query, so the largest score is finite from the first block on.
      const float shrink = exp2f(largest[h] - highest[h]);
      sums[h] *= shrink;
#pragma unroll
      for (int d = 0; d < kHead / 8; ++d) {
        results[0][d][2 * h] *= shrink;
        results[0][d][2 * h + 1] *= shrink;
      }
      largest[h] = highest[h];
    }
#pragma unroll
    for (int step = 0; step < kKeys / 16; ++step) {
      std::uint32_t weights[4];
#pragma unroll
      for (int n = 0; n < 2; ++n) {
#pragma unroll
        for (int h = 0; h < 2; ++h) {
          const float a = exp2f(x[2 * step + n][2 * h] - largest[h]);
          const float b = exp2f(x[2 * step + n][2 * h + 1] - largest[h]);
          sums[h] += a + b;
          weights[2 * n + h] = pack(to_f16(a), to_f16(b));
        }
      }
#pragma unroll
      for (int d = 0; d < kHead / 8; d += 2) {
        std::uint32_t columns[4];
        load_matrices_transposed(columns,
                                 &shared.values[16 * step + lane % 16][8 * d + lane / 16 * 8]);
        multiply_add(results[0][d], weights, columns[0], columns[1]);
        multiply_add(results[0][d + 1], weights, columns[2], columns[3]);
      }
    }
    sync_block();
  }
#pragma unroll
  for (int h = 0; h < 2; ++h) {
    sums[h] += shuffle_xor(sums[h], 1);
    sums[h] += shuffle_xor(sums[h], 2);
#pragma unroll
    for (int d = 0; d < kHead / 8; ++d) {
      results[0][d][2 * h] = divide(results[0][d][2 * h], sums[h]);
      results[0][d][2 * h + 1] = divide(results[0][d][2 * h + 1], sums[h]);
    }
  }
  using T = ResultTile<kHead>;
  auto* result = shared_memory<float>();
  put_fragments<T>(result, results, first_row, lane % 4 * 2);
  sync_block();
  const TilePlace place{tile.dst_row, tile.queries, head * args.head_dim, args.head_dim, width,
                        tile.dst_row, args.heads};
  write_tile<T>(result, place, args.dst, FinishedValues<T>{result});
}

template <int kHead>
void launch_head(const AttentionArgs& args, Stream stream) {
  launch(
      &attention_f16_kernel<kHead>,
      {.blocks = args.heads * args.tiles.most,
       .threads = kThreads,
       .shared_bytes = std::max(sizeof(Shared<kHead>), std::size_t{ResultTile<kHead>::kWords} * 4),
       .team = args.heads},
      stream, args);
}

void run(const AttentionArgs& args, Stream stream) {
  switch (padded_head_dim(args.head_dim)) {
    case 32:
      return launch_head<32>(args, stream);
    case 64:
      return launch_head<64>(args, stream);
    default:
      return launch_head<128>(args, stream);
  }
}

}  // namespace

extern const Kernel<AttentionF16> attention_f16_mma{"attention_f16_mma", 80, &run};

}  // namespace rtai::cuda::RTAI_GRID
