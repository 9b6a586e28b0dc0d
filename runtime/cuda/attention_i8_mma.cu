// Attention on quantized heads. The weights that multiply the values are integers relative to the
// largest score of the whole sequence, so that is found first. Up to kKeys keys, scores stay in
// registers; of longer sequences they are computed twice, which gives the integers of the CPU for
// sequences of any length.
#include "runtime/cuda/internal/lane_columns.cuh"
#include "runtime/cuda/internal/tile.cuh"
#include "runtime/cuda/kernel.h"

#include <type_traits>

namespace rtai::cuda::RTAI_GRID {
namespace {

constexpr int kThreads = 128;
constexpr int kKeys = 128;  // of a chunk
constexpr int kKeyTiles = kKeys / 8;
constexpr float kLog2Of255 = SoftmaxOfI8{}.log2_of_255;
constexpr int kPadding = 16;  // bytes after a row, so that rows lie in different banks

template <int kHead>
struct Chunk {
  alignas(16) std::int8_t keys[kKeys][kHead + kPadding];
  alignas(16) std::int8_t values[kKeys][kHead + kPadding];
  float key_scale[kKeys];
  float value_log2[kKeys];     // log2 of a value's scale
  float value_inverse[kKeys];  // one over it
};

/// How the four warps of a block share their work: all keys for 64 queries, two parts of them for
/// 32, or four for 16. More parts read keys more often, and take less time where few sequences
/// leave the device idle. Sums are added in the same order whichever it is.
template <int kHead, int kKeyParts>
struct Shape {
  static constexpr int kParts = kKeyParts;
  static constexpr int kQueries = kAttentionQueries / kParts;
  static constexpr int kTiles = kKeyTiles / kParts;  // of a warp in a chunk
  static constexpr int kSteps = kTiles / 4;          // of 32 keys
  // Of a multiprocessor that registers are meant for.
  static constexpr int kBlocks = kHead == 128 ? 2 : kParts == 1 ? 3 : 4;
  static constexpr int kClasses = 4;  // of keys whose weights are added one after the other
  using Result = Tile<kQueries, kHead, kThreads>;

  __device__ static int part() { return thread_index() / 32 % kParts; }
  __device__ static int first_row() {
    return thread_index() / 32 / kParts * 16 + thread_index() % 32 / 4;
  }
};

/// Two chunks, later the results of each part; and what the warps tell each other.
template <int kHead>
struct Shared {
  Chunk<kHead> chunks[2];
  float largest[kAttentionQueries];   // [part, query]
  float sums[4 * kAttentionQueries];  // [class, query]
};

__device__ float logarithm(float scale) {
  constexpr SoftmaxOfI8 kConstants;
  const std::uint32_t bits = float_bits(scale);
  const auto exponent = static_cast<float>(static_cast<std::int32_t>(bits >> 23) - 127);
  const float u = bits_float((bits & 0x7fffffu) | 0x3f800000u) - 1.0f;
  float sum = kConstants.logarithm[5];
#pragma unroll
  for (int i = 4; i >= 0; --i)
    sum = fma_f32(sum, u, kConstants.logarithm[i]);
  return fma_f32(sum, u, exponent);
}

constexpr std::int32_t kRounderBits = 0x4b400000;

/// 2^y of numbers; whether a score is none, `score` notes.
template <int kCount>
__device__ void weights_of(float (&y)[kCount]) {
  constexpr SoftmaxOfI8 kConstants;
#pragma unroll
  for (int i = 0; i < kCount; ++i)
    y[i] = fmaxf(y[i], -126.0f);
  power_of_two(kConstants.power, y);
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

/// Starts copying keys, and values if wanted; those that do not exist are zeros.
template <int kHead>
__device__ void load_chunk(Chunk<kHead>& chunk,
                           const Job<kHead>& job,
                           int first,
                           bool with_values) {
  constexpr int kPieces = kHead / 16;
  static_assert(kKeys == kThreads);
#pragma unroll
  for (int p = 0; p < kPieces; ++p) {
    const int i = p * kThreads + thread_index();
    const int key = i / kPieces;
    const int byte = i % kPieces * 16;
    const bool valid = first + key < job.tile.tokens;
    const int token = valid ? first + key : 0;
    copy_async16(&chunk.keys[key][byte], job.row(token, 1) + byte, valid);
    if (with_values) copy_async16(&chunk.values[key][byte], job.row(token, 2) + byte, valid);
  }
  commit_copies();
  const int key = thread_index();
  const bool valid = first + key < job.tile.tokens;
  chunk.key_scale[key] = valid ? job.scale_of(first + key, 1) : 0.0f;
  const float value_scale = valid ? job.scale_of(first + key, 2) : 1.0f;
  chunk.value_log2[key] = logarithm(value_scale);
  chunk.value_inverse[key] = divide(1.0f, value_scale);
}

/// What a warp holds: 16 queries, two rows of a lane.
template <int kHead>
struct Queries {
  std::uint32_t fragments[kHead / 32][4];
  float factor[2];
  int visible[2];
};

/// Scores of a warp's keys of a chunk, in log2 and with the values' scales; minus infinity where
/// none is seen. `check` of a row becomes not a number if one of its scores is not finite.
template <class S, bool kAllVisible, int kHead>
__device__ void score(float (&x)[S::kTiles][4],
                      float (&check)[2],
                      const Chunk<kHead>& chunk,
                      const Queries<kHead>& queries,
                      int first,
                      int tokens) {
  const int lane = thread_index() % 32;
#pragma unroll
  for (int j = 0; j < S::kTiles; ++j) {
    const int n = S::part() * S::kTiles + j;
    if (!kAllVisible && first + 8 * n >= tokens) {
#pragma unroll
      for (int i = 0; i < 4; ++i)
        x[j][i] = -INFINITY;
      continue;
    }
    // Sums that begin there end as floats, less kRounder: 127 * 127 * kHead < 2^22.
    std::int32_t dots[4] = {kRounderBits, kRounderBits, kRounderBits, kRounderBits};
    if constexpr (kHead == 32) {
      const std::int8_t* key = &chunk.keys[8 * n + lane / 4][lane % 4 * 4];
      multiply_add(dots, queries.fragments[0], *reinterpret_cast<const std::uint32_t*>(key),
                   *reinterpret_cast<const std::uint32_t*>(key + 16));
    } else {
#pragma unroll
      for (int step = 0; step < kHead / 32; step += 2) {
        std::uint32_t keys[4];
        load_matrices(keys, &chunk.keys[8 * n + lane % 8][32 * step + lane / 8 * 16]);
        multiply_add(dots, queries.fragments[step], keys[0], keys[1]);
        multiply_add(dots, queries.fragments[step + 1], keys[2], keys[3]);
      }
    }
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      const int key = 8 * n + lane % 4 * 2 + i % 2;
      const float dot = bits_float(static_cast<std::uint32_t>(dots[i])) - kRounder;
      const float scaled = dot * chunk.key_scale[key];
      x[j][i] = fma_f32(scaled, queries.factor[i / 2], chunk.value_log2[key]);
      if (kAllVisible || first + key < queries.visible[i / 2])
        check[i / 2] = fma_f32(x[j][i], 0.0f, check[i / 2]);
      else
        x[j][i] = -INFINITY;
    }
  }
}

/// What the next step of 32 keys needs comes to where that of this one was, so that steps are a
/// loop of short code: registers have no index.
template <int kSteps, int kTiles>
__device__ void go_on_to_next_step(float (&sums)[kSteps][2], float (&x)[kTiles][4]) {
#pragma unroll
  for (int j = 0; j + 4 < kTiles; ++j) {
#pragma unroll
    for (int i = 0; i < 4; ++i)
      x[j][i] = x[j + 4][i];
  }
#pragma unroll
  for (int h = 0; h < 2; ++h) {
    const float first = sums[0][h];
#pragma unroll
    for (int s = 0; s + 1 < kSteps; ++s)
      sums[s][h] = sums[s + 1][h];
    sums[kSteps - 1][h] = first;
  }
}

/// results += weights of the scores . values; sums += what the weights stand for.
///
/// Of sixteen keys, lane t of four has the scores of 2 t, 2 t + 1, 2 t + 8 and 2 t + 9: the order
/// of keys does not matter to a sum, so it is this one. Values are read two dimensions at a time,
/// transposed, and come out as tiles of even and of odd dimensions: results[2 p] has dimensions 16
/// p, 16 p + 2, .. and results[2 p + 1] those between.
template <class S, bool kAllVisible, int kHead>
__device__ void weigh(std::int32_t (&results)[kHead / 8][4],
                      float (&sums)[S::kSteps][2],
                      float (&x)[S::kTiles][4],
                      const float (&largest)[2],
                      const Chunk<kHead>& chunk,
                      const Queries<kHead>& queries,
                      int first,
                      int tokens) {
  const int lane = thread_index() % 32;
#pragma unroll 1
  for (int s = 0; s < S::kSteps; ++s, go_on_to_next_step(sums, x)) {
    const int step = S::part() * S::kSteps + s;
    if (!kAllVisible && first + 32 * step >= tokens) continue;
    std::uint32_t weights[4];
#pragma unroll
    for (int half = 0; half < 2; ++half) {  // sixteen keys
      float weight[8];                      // [row, eight keys, key]
#pragma unroll
      for (int i = 0; i < 8; ++i) {
        const int h = i / 4;
        weight[i] = x[2 * half + i / 2 % 2][2 * h + i % 2] - largest[h];
      }
      weights_of(weight);
#pragma unroll
      for (int i = 0; i < 8; ++i) {
        const int h = i / 4;
        const int key = 32 * step + 16 * half + 8 * (i / 2 % 2) + lane % 4 * 2 + i % 2;
        if (kAllVisible || first + key < queries.visible[h])
          sums[0][h] = fma_f32(weight[i], chunk.value_inverse[key], sums[0][h]);
        else
          weight[i] = 0.0f;
      }
#pragma unroll
      for (int h = 0; h < 2; ++h) {
        weights[2 * half + h] =
            to_u8(weight[4 * h], weight[4 * h + 1], weight[4 * h + 2], weight[4 * h + 3]);
      }
    }
#pragma unroll
    for (int p = 0; p < kHead / 16; ++p) {
      std::uint32_t pairs[4];
      load_matrices_transposed(pairs, &chunk.values[32 * step + lane][16 * p]);
      multiply_add_u8(results[2 * p], weights, permute_bytes(pairs[0], pairs[1], 0x6420),
                      permute_bytes(pairs[2], pairs[3], 0x6420));
      multiply_add_u8(results[2 * p + 1], weights, permute_bytes(pairs[0], pairs[1], 0x7531),
                      permute_bytes(pairs[2], pairs[3], 0x7531));
    }
  }
}

/// The largest of what the four lanes of a row, and the warps that share it, have.
template <class S, int kHead>
__device__ float largest_of_row(float value, Shared<kHead>& shared, int row) {
  value = fmaxf(value, shuffle_xor(value, 1));
  value = fmaxf(value, shuffle_xor(value, 2));
  if constexpr (S::kParts == 1) return value;
  if (thread_index() % 4 == 0) shared.largest[S::part() * S::kQueries + row] = value;
  sync_block();
#pragma unroll
  for (int part = 0; part < S::kParts; ++part)
    value = fmaxf(value, shared.largest[part * S::kQueries + row]);
  return value;
}

/// Integers over the sum of weights, where a warp has all keys: see LaneColumns.
template <int kHead>
struct LaneValues {
  static constexpr int kGroups = 1;
  static constexpr int kFours = kHead / 16;
  static constexpr bool kTogether = false;
  const std::int32_t (&results)[kHead / 8][4];
  const float* factors;  // of the head's columns; null: none
  int columns;
  float inverse[2];

  __device__ static int row(int h) {
    return thread_index() / 32 * 16 + thread_index() % 32 / 4 + 8 * h;
  }
  __device__ static int column(int, int q) { return 16 * q + thread_index() % 4 * 4; }
  __device__ Four<float> factor(int, int q) const {
    if (factors == nullptr) return all_four(1.0f);
    return load_four(factors + column(0, q), columns - column(0, q));
  }
  template <bool kWhole>
  __device__ void finish(int group, Four<float> (&x)[kFours][2]) const {
#pragma unroll
    for (int q = 0; q < kFours; ++q)
      finish_four(group, q, x[q]);
  }
  __device__ void to_next_group() const {}
  __device__ void finish_four(int, int q, Four<float> (&x)[2]) const {
#pragma unroll
    for (int h = 0; h < 2; ++h) {
#pragma unroll
      for (int j = 0; j < 4; ++j)
        x[h].values[j] = static_cast<float>(results[2 * q + j % 2][2 * h + j / 2]) * inverse[h];
    }
  }
};

/// Integers of the parts, which add up, over the sums of weights.
template <class S, int kHead>
struct WeightedValues {
  using T = typename S::Result;
  const float* tile;
  const Shared<kHead>& shared;

  struct Loaded {
    RowFours<T, std::int32_t> values;
    float inverse;
  };
  template <bool kWhole>
  __device__ Loaded load(int row, bool, int) const {
    Loaded loaded;
    loaded.values = sum_tile_row<T, std::int32_t, S::kParts>(tile, row);
    float sum = shared.sums[row];
#pragma unroll
    for (int i = 1; i < S::kClasses; ++i)
      sum += shared.sums[i * S::kQueries + row];
    loaded.inverse = divide(1.0f, sum);
    return loaded;
  }
  __device__ Four<float> finish(const Loaded& loaded, int v) const {
    Four<float> x;
#pragma unroll
    for (int i = 0; i < 4; ++i)
      x.values[i] = static_cast<float>(loaded.values.of[v].values[i]) * loaded.inverse;
    return x;
  }
};

/// True of encoders: all keys are seen, heads are not padded, and only integers of a scale that is
/// known are written.
bool is_plain(const AttentionArgs& args) {
  const RowsOut& out = args.dst;
  return !args.causal && args.head_dim == padded_head_dim(args.head_dim) && out.f32 == nullptr &&
         out.f16 == nullptr && out.i8 != nullptr && out.fixed_scale > 0.0f;
}
/// The same arguments, of which the compiler knows what is_plain() says: see LinearForm.
template <int kHead, bool kPlain>
__device__ AttentionArgs known(AttentionArgs args) {
  if constexpr (kPlain) {
    args.causal = false;
    args.head_dim = kHead;
    args.dst.f32 = nullptr;
    args.dst.f16 = nullptr;
    args.dst.team = {};
    assume(args.dst.i8 != nullptr && args.dst.fixed_scale > 0.0f);
  }
  return args;
}

/// A block computes some queries of one tile for one head.
template <int kHead, int kKeyParts, bool kPlain>
__global__ void __launch_bounds__(kThreads, Shape<kHead, kKeyParts>::kBlocks)
    attention_i8_kernel(const __grid_constant__ AttentionArgs all) {
  const AttentionArgs args = known<kHead, kPlain>(all);
  using S = Shape<kHead, kKeyParts>;
  const int index = place_in_grid(args.dst.team, shared_memory<int>());
  const int head = index % args.heads;
  const int tile_index = index / args.heads / S::kParts;
  const int skipped = index / args.heads % S::kParts * S::kQueries;  // queries of the tile
  let_next_grid_start();
  if (tile_index >= *args.tiles.count) return;
  const AttentionTile tile = args.tile[tile_index];
  const int query_count = tile.queries - skipped;
  if (query_count <= 0) return;
  const int stride = row_stride(3 * args.heads * kHead, 1);
  const Job<kHead> job{
      static_cast<const std::int8_t*>(args.qkv) +
          static_cast<std::int64_t>(tile.first_token) * stride + head * kHead,
      args.scale_qkv + static_cast<std::int64_t>(tile.first_token) * 3 * args.heads + head,
      stride,
      3 * args.heads,
      args.heads,
      tile};
  auto& shared = *shared_memory<Shared<kHead>>();
  const int count = div_up(tile.tokens, kKeys);
  wait_for_grid_in_front();

  // Queries as fragments, straight from memory: each is read once. Nothing uses them before the
  // keys are on their way.
  const int lane = thread_index() % 32;
  const int first_row = S::first_row();
  Queries<kHead> queries;
  float query_scale[2];
#pragma unroll
  for (int h = 0; h < 2; ++h) {
    const bool valid = first_row + 8 * h < query_count;
    const int place = tile.first_query + skipped + (valid ? first_row + 8 * h : 0);
    query_scale[h] = job.scale[static_cast<std::int64_t>(place) * job.scale_stride];
    queries.visible[h] = args.causal && place + 1 < tile.tokens ? place + 1 : tile.tokens;
#pragma unroll
    for (int step = 0; step < kHead / 32; ++step) {
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        queries.fragments[step][h + 2 * half] = *reinterpret_cast<const std::uint32_t*>(
            job.row(place, 0) + 32 * step + 16 * half + lane % 4 * 4);
      }
    }
  }
  float check[2] = {};
  float largest[2] = {-INFINITY, -INFINITY};
  float sums[S::kSteps][2] = {};
  std::int32_t results[kHead / 8][4] = {};
  float x[S::kTiles][4];
  // First all chunks for the largest score, then all again for the weights; one chunk only once.
  const int loads = count == 1 ? 1 : 2 * count;
  for (int i = -1; i < loads; ++i) {
    const int first = i % count * kKeys;
    const int next = i + 1;
    if (next < loads)
      load_chunk(shared.chunks[next % 2], job, next % count * kKeys, count == 1 || next >= count);
    else
      commit_copies();
    if (i < 0) {
#pragma unroll
      for (int h = 0; h < 2; ++h)
        queries.factor[h] = checked_scale(query_scale[h]) * (args.scale * 1.44269504f);
      continue;
    }
    wait_copies<1>();
    sync_block();
    const Chunk<kHead>& chunk = shared.chunks[i % 2];
    const auto attend = [&]<bool kAllVisible>(std::bool_constant<kAllVisible>) {
      score<S, kAllVisible>(x, check, chunk, queries, first, tile.tokens);
      if (i < count) {
#pragma unroll
        for (int n = 0; n < S::kTiles; ++n) {
#pragma unroll
          for (int j = 0; j < 4; ++j)
            largest[j / 2] = fmaxf(largest[j / 2], x[n][j]);
        }
      }
      if (i == count - 1) {
#pragma unroll
        for (int h = 0; h < 2; ++h)
          largest[h] = largest_of_row<S>(largest[h], shared, first_row + 8 * h) - kLog2Of255;
      }
      if (i >= count || count == 1)
        weigh<S, kAllVisible>(results, sums, x, largest, chunk, queries, first, tile.tokens);
    };
    if (!args.causal && first + kKeys <= tile.tokens)
      attend(std::true_type{});
    else
      attend(std::false_type{});
    sync_block();
  }

#pragma unroll
  for (int h = 0; h < 2; ++h) {
#pragma unroll
    for (int s = 0; s < S::kSteps; ++s) {
      float& sum = sums[s][h];
      sum += check[h];
      sum += shuffle_xor(sum, 1);
      sum += shuffle_xor(sum, 2);
    }
  }
  const int first = tile.dst_row + skipped;
  const TilePlace place{first,
                        query_count < S::kQueries ? query_count : S::kQueries,
                        head * args.head_dim,
                        args.head_dim,
                        args.heads * args.head_dim,
                        first,
                        args.heads};
  if constexpr (S::kParts == 1) {
    const float* factors = args.dst.column_factor;
    LaneValues<kHead> source{
        results, factors == nullptr ? nullptr : factors + place.column, args.head_dim, {}};
#pragma unroll
    for (int h = 0; h < 2; ++h) {
      float sum = sums[0][h];
#pragma unroll
      for (int s = 1; s < S::kSteps; ++s)
        sum += sums[s][h];
      source.inverse[h] = divide(1.0f, sum);
    }
    const LaneColumns<LaneValues<kHead>> columns(source, place);
    if (place.rows == S::kQueries && args.head_dim == kHead)
      columns.template write<true>(args.dst);
    else
      columns.template write<false>(args.dst);
    clear_padding(args.dst, place, kThreads);
  } else {
    using T = typename S::Result;
    auto* result = shared_memory<float>();
#pragma unroll
    for (int h = 0; h < 2; ++h) {
      const int query = first_row + 8 * h;
#pragma unroll
      for (int s = 0; s < S::kSteps; ++s) {
        if (lane % 4 == 0)
          shared.sums[(S::part() * S::kSteps + s) * S::kQueries + query] = sums[s][h];
      }
      float* row = result + S::part() * T::kWords + query * T::kPitch + lane % 4 * 4;
#pragma unroll
      for (int p = 0; p < kHead / 16; ++p) {
        Four<std::int32_t> four;
#pragma unroll
        for (int j = 0; j < 4; ++j)
          four.values[j] = results[2 * p + j % 2][2 * h + j / 2];
        *reinterpret_cast<Four<std::int32_t>*>(row + 16 * p) = four;
      }
    }
    sync_block();
    write_tile<T>(result, place, args.dst, WeightedValues<S, kHead>{result, shared});
  }
}

template <int kHead, int kKeyParts, bool kPlain>
void launch_shape(const AttentionArgs& args, Stream stream) {
  using S = Shape<kHead, kKeyParts>;
  static_assert(S::kSteps * S::kParts == S::kClasses);
  static_assert(S::kParts * S::Result::kWords * 4 <= 2 * sizeof(Chunk<kHead>));
  launch(&attention_i8_kernel<kHead, kKeyParts, kPlain>,
         {.blocks = args.heads * args.tiles.most * S::kParts,
          .threads = kThreads,
          .shared_bytes = sizeof(Shared<kHead>),
          .team = args.heads},
         stream, args);
}

template <int kHead, int kKeyParts>
void launch_shape(const AttentionArgs& args, Stream stream) {
  if (is_plain(args)) return launch_shape<kHead, kKeyParts, true>(args, stream);
  launch_shape<kHead, kKeyParts, false>(args, stream);
}

template <int kHead>
void launch_head(const AttentionArgs& args, Stream stream) {
  if (args.key_parts == 4) return launch_shape<kHead, 4>(args, stream);
  if constexpr (kHead < 128) {  // more would not fit in registers
    if (args.key_parts == 1) return launch_shape<kHead, 1>(args, stream);
  }
  launch_shape<kHead, 2>(args, stream);
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
