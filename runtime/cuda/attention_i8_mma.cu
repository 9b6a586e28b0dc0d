// Attention on quantized heads. The weights that multiply the values are integers relative to the
// largest score of the whole sequence, so scores are computed twice: once to find the largest, once
// to weigh. That costs half as much again in products of queries and keys, and gives the integers of
// the CPU for sequences of any length.
#include "runtime/cuda/internal/rows_out.cuh"
#include "runtime/cuda/kernel.h"

namespace rtai::cuda::RTAI_GRID {
namespace {

constexpr int kThreads = 128;
constexpr int kKeys = 64;          // of a block in shared memory
constexpr int kKeyTiles = kKeys / 8;
constexpr int kPadding = 16;       // bytes after a row, so that rows lie in different banks
constexpr float kLog2Of255 = 7.99435344f;  // constants: runtime/kernels/attention_i8.h

template <int kHead>
struct Shared {
  alignas(16) std::int8_t keys[kKeys][kHead + kPadding];
  alignas(16) std::int8_t values[kHead][kKeys + kPadding];  // transposed, see load_values
  float key_scale[kKeys];
  float value_log2[kKeys];     // log2 of a value's scale
  float value_inverse[kKeys];  // one over it
  std::uint32_t row_words[kAttentionQueries];
};

__device__ float logarithm(float scale) {
  constexpr float kLogarithm[6] = {1.44255316f,   -0.718281925f, 0.458270788f,
                                   -0.279538095f, 0.123451449f,  -0.0264574364f};
  const std::uint32_t bits = float_bits(scale);
  const auto exponent = static_cast<float>(static_cast<std::int32_t>(bits >> 23) - 127);
  const float u = bits_float((bits & 0x7fffffu) | 0x3f800000u) - 1.0f;
  float sum = kLogarithm[5];
#pragma unroll
  for (int i = 4; i >= 0; --i)
    sum = fma_f32(sum, u, kLogarithm[i]);
  return fma_f32(sum, u, exponent);
}

__device__ float power_of_two(float y) {
  constexpr float kPower[4] = {0.999928057f, 0.693260968f, 0.242611125f, 0.0551716685f};
  y = y < -126.0f ? -126.0f : y;
  const float whole = nearest(y);
  const float r = y - whole;
  float sum = kPower[3];
#pragma unroll
  for (int i = 2; i >= 0; --i)
    sum = fma_f32(sum, r, kPower[i]);
  if (whole != whole) return whole;
  return bits_float(float_bits(sum) + (static_cast<std::uint32_t>(static_cast<int>(whole)) << 23));
}

/// Not a number if the scale is infinite.
__device__ float checked_scale(float scale) {
  return scale + (scale - scale);
}

/// What a block works on.
template <int kHead>
struct Job {
  const std::int8_t* qkv;  // of the sequence's first token, at the head's query
  const float* scale;
  int stride;        // bytes from token to token
  int scale_stride;  // scales from token to token
  int heads;
  AttentionTile tile;

  __device__ const std::int8_t* row(int token, int kind) const {
    return qkv + static_cast<std::int64_t>(token) * stride + kind * heads * kHead;
  }
  __device__ float scale_of(int token, int kind) const {
    return checked_scale(scale[static_cast<std::int64_t>(token) * scale_stride + kind * heads]);
  }
};

template <int kHead>
__device__ void load_keys(Shared<kHead>& shared, const Job<kHead>& job, int first) {
  constexpr int kChunks = kHead / 16;
  for (int i = thread_index(); i < kKeys * kChunks; i += kThreads) {
    const int key = i / kChunks;
    const bool valid = first + key < job.tile.tokens;
    copy_async16(&shared.keys[key][i % kChunks * 16],
                 job.row(valid ? first + key : 0, 1) + i % kChunks * 16, valid);
  }
  commit_copies();
  for (int key = thread_index(); key < kKeys; key += kThreads) {
    const bool valid = first + key < job.tile.tokens;
    shared.key_scale[key] = valid ? job.scale_of(first + key, 1) : 0.0f;
    const float value_scale = valid ? job.scale_of(first + key, 2) : 1.0f;
    shared.value_log2[key] = logarithm(value_scale);
    shared.value_inverse[key] = divide(1.0f, value_scale);
  }
}

/// Values with four tokens of a dimension side by side, as mma takes them. The four are those whose
/// weights one lane holds after Q K^T: of sixteen keys, lane t has 2 t, 2 t + 1, 2 t + 8, 2 t + 9.
/// The order of keys does not matter to a sum, so it is this one.
template <int kHead>
__device__ void load_values(Shared<kHead>& shared, const Job<kHead>& job, int first) {
  constexpr int kQuads = kHead / 4;
  for (int i = thread_index(); i < kKeys / 4 * kQuads; i += kThreads) {
    const int quad = i % kQuads;
    const int place = i / kQuads;  // of four keys
    const int key = place / 4 * 16 + place % 4 * 2;
    std::uint32_t rows[4];
#pragma unroll
    for (int j = 0; j < 4; ++j) {
      const int token = first + key + j % 2 + j / 2 * 8;
      rows[j] = token < job.tile.tokens
                    ? *reinterpret_cast<const std::uint32_t*>(job.row(token, 2) + 4 * quad)
                    : 0;
    }
    const std::uint32_t low01 = permute_bytes(rows[0], rows[1], 0x5140);
    const std::uint32_t low23 = permute_bytes(rows[2], rows[3], 0x5140);
    const std::uint32_t high01 = permute_bytes(rows[0], rows[1], 0x7362);
    const std::uint32_t high23 = permute_bytes(rows[2], rows[3], 0x7362);
    const std::uint32_t columns[4] = {
        permute_bytes(low01, low23, 0x5410), permute_bytes(low01, low23, 0x7632),
        permute_bytes(high01, high23, 0x5410), permute_bytes(high01, high23, 0x7632)};
#pragma unroll
    for (int d = 0; d < 4; ++d)
      *reinterpret_cast<std::uint32_t*>(&shared.values[4 * quad + d][4 * place]) = columns[d];
  }
}

/// A block computes one tile of queries for one head, a warp 16 queries of it.
template <int kHead>
__global__ void __launch_bounds__(kThreads, 4)
    attention_i8_kernel(const __grid_constant__ AttentionArgs args) {
  const int index = place_in_grid(args.dst.team, shared_memory<int>());
  const int team = index / args.heads;
  const int head = index % args.heads;
  if (team >= *args.tiles.count) return;
  auto& shared = *shared_memory<Shared<kHead>>();
  const AttentionTile tile = args.tile[team];
  const int stride = row_stride(3 * args.heads * kHead, 1);
  const Job<kHead> job{
      static_cast<const std::int8_t*>(args.qkv) + static_cast<std::int64_t>(tile.first_token) * stride +
          head * kHead,
      args.scale_qkv + static_cast<std::int64_t>(tile.first_token) * 3 * args.heads + head,
      stride,
      3 * args.heads,
      args.heads,
      tile};
  const int lane = thread_index() % 32;
  const Fragments at{thread_index() / 32 * 16 + lane / 4, lane % 4 * 2};

  // Queries as fragments, straight from memory: each is read once.
  std::uint32_t queries[kHead / 32][4];
  float factor[2];
  int visible[2];
#pragma unroll
  for (int h = 0; h < 2; ++h) {
    const bool valid = at.row(0, h) < tile.queries;
    const int place = tile.first_query + (valid ? at.row(0, h) : 0);
    factor[h] = job.scale_of(place, 0) * (args.scale * 1.44269504f);
    visible[h] = args.causal && place + 1 < tile.tokens ? place + 1 : tile.tokens;
#pragma unroll
    for (int step = 0; step < kHead / 32; ++step) {
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        queries[step][h + 2 * half] = *reinterpret_cast<const std::uint32_t*>(
            job.row(place, 0) + 32 * step + 16 * half + lane % 4 * 4);
      }
    }
  }

  const auto score = [&](int first, float (&x)[kKeyTiles][4]) {
#pragma unroll
    for (int n = 0; n < kKeyTiles; ++n) {
      std::int32_t dots[4] = {};
#pragma unroll
      for (int step = 0; step < kHead / 32; ++step) {
        const std::int8_t* key = &shared.keys[8 * n + lane / 4][32 * step + lane % 4 * 4];
        multiply_add(dots, queries[step], *reinterpret_cast<const std::uint32_t*>(key),
                     *reinterpret_cast<const std::uint32_t*>(key + 16));
      }
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        const int key = 8 * n + lane % 4 * 2 + i % 2;
        const float scaled = static_cast<float>(dots[i]) * shared.key_scale[key];
        x[n][i] = first + key < visible[i / 2]
                      ? fma_f32(scaled, factor[i / 2], shared.value_log2[key])
                      : -INFINITY;
      }
    }
  };

  float largest[2] = {-INFINITY, -INFINITY};
  for (int first = 0; first < tile.tokens; first += kKeys) {
    load_keys(shared, job, first);
    wait_copies<0>();
    sync_block();
    float x[kKeyTiles][4];
    score(first, x);
#pragma unroll
    for (int n = 0; n < kKeyTiles; ++n) {
#pragma unroll
      for (int i = 0; i < 4; ++i)
        largest[i / 2] = fmaxf(largest[i / 2], x[n][i]);
    }
    sync_block();
  }
  float sums[2] = {};
  std::int32_t results[kHead / 8][4] = {};
#pragma unroll
  for (int h = 0; h < 2; ++h) {
    largest[h] = fmaxf(largest[h], shuffle_xor(largest[h], 1));
    largest[h] = fmaxf(largest[h], shuffle_xor(largest[h], 2));
    largest[h] -= kLog2Of255;
  }

  for (int first = 0; first < tile.tokens; first += kKeys) {
    load_keys(shared, job, first);
    load_values(shared, job, first);
    wait_copies<0>();
    sync_block();
    float x[kKeyTiles][4];
    score(first, x);
#pragma unroll
    for (int step = 0; step < kKeys / 32; ++step) {
      std::uint32_t weights[4] = {};
#pragma unroll
      for (int n = 0; n < 4; ++n) {
#pragma unroll
        for (int i = 0; i < 4; ++i) {
          const int key = 32 * step + 8 * n + lane % 4 * 2 + i % 2;
          if (first + key >= visible[i / 2]) continue;
          const float weight = power_of_two(x[4 * step + n][i] - largest[i / 2]);
          sums[i / 2] = fma_f32(weight, shared.value_inverse[key], sums[i / 2]);
          const auto integer =
              static_cast<std::uint32_t>(nearest_int(weight < 255.0f ? weight : 255.0f));
          weights[i / 2 + n / 2 * 2] |= integer << 8 * (i % 2 + n % 2 * 2);
        }
      }
#pragma unroll
      for (int d = 0; d < kHead / 8; ++d) {
        const std::int8_t* value = &shared.values[8 * d + lane / 4][32 * step + lane % 4 * 4];
        multiply_add_u8(results[d], weights, *reinterpret_cast<const std::uint32_t*>(value),
                        *reinterpret_cast<const std::uint32_t*>(value + 16));
      }
    }
    sync_block();
  }

  float values[1][kHead / 8][4];
#pragma unroll
  for (int h = 0; h < 2; ++h) {
    sums[h] += shuffle_xor(sums[h], 1);
    sums[h] += shuffle_xor(sums[h], 2);
    const float inverse = divide(1.0f, sums[h]);
#pragma unroll
    for (int d = 0; d < kHead / 8; ++d) {
#pragma unroll
      for (int e = 0; e < 2; ++e)
        values[0][d][2 * h + e] = static_cast<float>(results[d][2 * h + e]) * inverse;
    }
  }
  const TilePlace place{tile.dst_row, tile.queries, head * args.head_dim, args.head_dim,
                        args.heads * args.head_dim, team, args.heads};
  write_rows<kAttentionQueries>(values, at, place, args.dst, shared.row_words, kThreads);
}

template <int kHead>
void launch_head(const AttentionArgs& args, Stream stream) {
  launch(&attention_i8_kernel<kHead>,
         {.blocks = args.heads * args.tiles.most,
          .threads = kThreads,
          .shared_bytes = sizeof(Shared<kHead>),
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

extern const Kernel<AttentionI8> attention_i8_mma{"attention_i8_mma", 80, &run};

}  // namespace rtai::cuda::RTAI_GRID
