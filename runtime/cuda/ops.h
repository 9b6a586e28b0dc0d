// What GPU kernels do: contracts and arguments. Formulas are those of runtime/kernels; what differs
// is that one launch computes a whole batch, of which only the device knows the size.
//
// Memory. Rows of every tensor begin at multiples of 128 bytes (row_bytes), and rows of f16 and i8
// are zero up to the next: 128 bytes are what matrix kernels load at a time. A count of rows is
// read from device memory, so that a recorded graph serves every batch of its bucket; `most` bounds
// it.
//
// Results. A kernel writes its rows in up to three forms at once (RowsOut). Where the blocks of a
// row are several and the scale is dynamic, they meet (RowTeam): each raises the row's largest
// magnitude, waits for the others and quantizes what it still has in registers. Integers are those
// that the CPU computes, as it quantizes the same floats by the same rounded operations.
#pragma once

#include "runtime/base/checked.h"
#include "runtime/base/dtype.h"
#include "runtime/base/function.h"

#include <cstdint>
#include <span>
#include <string_view>

namespace rtai::cuda {

inline constexpr int kRowAlignment = 128;  // bytes

/// Elements from one row to the next.
constexpr int row_stride(int columns, int element_bytes) {
  return round_up(columns * element_bytes, kRowAlignment) / element_bytes;
}

/// Bytes from one row to the next.
template <class Element>
constexpr int row_bytes_of(int columns) {
  return row_stride(columns, sizeof(Element)) * static_cast<int>(sizeof(Element));
}

/// Rows whose number is in device memory.
struct RowCount {
  const int* count = nullptr;
  int most = 0;
};

/// Where the blocks that share rows meet. All zeros before a run.
struct RowTeam {
  std::uint32_t* absmax = nullptr;  // [rows]: bits of the largest magnitude; NaN above all
  int* arrived = nullptr;           // [rows]: by the first row, or another number, of a team
  // Null where all blocks of the grid fit on the device at once. Otherwise blocks take their places
  // in the order in which they start, so that no one waits for a block that cannot start.
  int* ticket = nullptr;
};

/// Floats that are read, in one form or both; f16 is preferred. Neither: there are none.
struct RowsIn {
  const float* f32 = nullptr;
  const std::uint16_t* f16 = nullptr;

  constexpr bool exist() const { return f32 != nullptr || f16 != nullptr; }
};

/// Forms of a result, [rows, columns] each.
struct RowsOut {
  float* f32 = nullptr;
  std::uint16_t* f16 = nullptr;          // bits of binary16
  std::int8_t* i8 = nullptr;             // quantized as QuantizeRows does
  float* scale = nullptr;                // [rows], of i8
  float fixed_scale = 0;                 // > 0: static; 0: dynamic
  const float* column_factor = nullptr;  // [columns]: multiplied first; null: none. Of i8 alone
  RowTeam team = {};                     // where i8 is dynamic and rows are shared by blocks
};

/// Each head of each row quantized with its own scale, as QuantizeHeads does.
struct HeadsOut {
  std::int8_t* data = nullptr;  // [rows, heads, padded_head_dim]; zeros where padded
  float* scale = nullptr;       // [rows, heads]
  int heads = 0;                // of a row: queries, then keys, then values
  int head_dim = 0;
};

/// Head sizes that attention has tiles for; others are padded to the next.
constexpr int padded_head_dim(int head_dim) {
  return head_dim <= 32 ? 32 : head_dim <= 64 ? 64 : 128;
}
inline constexpr int kLargestHeadDim = 128;

/// Tiles that linear layers are cut into; which one is a matter of speed alone. Those that begin
/// with w are Hopper's, of four warps for each 64 rows; with r, those of blocks that stay.
enum class LinearTile : std::uint8_t {
  t32x32,
  t32x64,
  t64x64,
  t128x128,
  w64x64,
  w128x128,
  w128x192,
  r128x128,
};
inline constexpr LinearTile kLinearTiles[] = {LinearTile::t32x32, LinearTile::t32x64,
                                              LinearTile::t64x64, LinearTile::t128x128};
/// Of capability 9.0, and no other.
inline constexpr LinearTile kHopperTiles[] = {LinearTile::t32x32,   LinearTile::t32x64,
                                              LinearTile::w64x64,   LinearTile::w128x128,
                                              LinearTile::w128x192, LinearTile::r128x128};
constexpr std::string_view tile_name(LinearTile tile) {
  constexpr std::string_view kNames[] = {"t32x32", "t32x64",   "t64x64",   "t128x128",
                                         "w64x64", "w128x128", "w128x192", "r128x128"};
  return kNames[static_cast<int>(tile)];
}
struct TileShape {
  int rows;
  int columns;
  int threads;
  int stages;          // blocks of 128 bytes of k that are on their way
  int blocks;          // of a multiprocessor that registers and shared memory are meant for
  int worth;           // tiles of a multiprocessor from which on it beats the next smaller tile
  bool stays = false;  // blocks compute one tile after the other
};
constexpr TileShape tile_shape(LinearTile tile) {
  switch (tile) {
    case LinearTile::t32x32:
      return {32, 32, 128, 12, 2, 0};
    case LinearTile::t32x64:
      return {32, 64, 128, 8, 2, 2};
    case LinearTile::t64x64:
      return {64, 64, 128, 4, 3, 1};
    case LinearTile::t128x128:
      return {128, 128, 256, 3, 2, 1};
    case LinearTile::w64x64:
      return {64, 64, 128, 4, 3, 1};
    case LinearTile::w128x128:
      return {128, 128, 256, 3, 2, 1};
    case LinearTile::w128x192:
      return {128, 192, 256, 4, 1, 1};
    case LinearTile::r128x128:
      return {128, 128, 640, 6, 1, 2, true};
  }
  return {};
}
/// Parts of the depth that the warps of a small tile share.
constexpr int depth_parts(const TileShape& shape) {
  return shape.rows == 32 ? 4 : 1;
}
/// Words from row to row of a tile of results in shared memory: neither pairs of fragments nor
/// fours of a row share banks.
constexpr int tile_pitch(int columns) {
  return columns + 8;
}
/// Stages that are used when rows of src are so long.
constexpr int stages_used(const TileShape& shape, int row_bytes) {
  return row_bytes / kRowAlignment < shape.stages ? row_bytes / kRowAlignment : shape.stages;
}
/// For the stages, or afterwards the results, of each part. Then for barriers.
constexpr int stage_bytes(const TileShape& shape, int stages) {
  const int results = depth_parts(shape) * shape.rows * tile_pitch(shape.columns) * 4;
  const int all = stages * (shape.rows + shape.columns) * kRowAlignment;
  return round_up(all > results ? all : results, 1024);
}
inline constexpr int kBarrierBytes = 256;
constexpr int shared_bytes(const TileShape& shape, int stages) {
  return stage_bytes(shape, stages) + kBarrierBytes;
}
constexpr std::span<const LinearTile> linear_tiles(int capability) {
  if (capability == 90) return kHopperTiles;
  return kLinearTiles;
}

/// Rows of weights that are copied at once: see hopper.cuh.
inline constexpr int kWeightRows = 64;

/// dst = f(src . weight^T * scales + bias) + residual
///
/// Shapes: src [rows, k] i8 or f16; weight [columns, k] of the same type, where memory reaches to
/// the next multiple of kWeightRows; bias, weight_scale [columns]; src_scale [rows]; residual
/// [rows, columns]. dst in the forms asked for; or heads, instead of all of them, where head_dim is
/// 32 or 64 and a tile has whole heads.
struct LinearArgs {
  RowCount rows;
  int columns;
  int k;
  const void* src;
  const float* src_scale;  // i8
  const void* weight;
  const float* weight_scale;  // i8
  const float* bias;          // null: zeros
  Function function;
  RowsIn residual;
  RowsOut dst;
  HeadsOut heads;
  LinearTile tile;
};

/// Sums are exact in int32; scales and functions give the bits of the CPU's LinearI8.
struct LinearI8 {
  static constexpr std::string_view kName = "linear_i8";
  using Args = LinearArgs;
};
/// Sums in f32.
struct LinearF16 {
  static constexpr std::string_view kName = "linear_f16";
  using Args = LinearArgs;
};

/// Up to kAttentionQueries queries of one sequence.
struct AttentionTile {
  std::int32_t first_token;  // row of the sequence's first token
  std::int32_t tokens;       // of the sequence
  std::int32_t first_query;  // place in the sequence
  std::int32_t queries;
  std::int32_t dst_row;  // of the first query's result
};
inline constexpr int kAttentionQueries = 64;

/// Shapes: qkv [tokens, 3 * heads * head_dim] f16, or as HeadsOut with its scales; dst [queries,
/// heads * head_dim]. Every tile is computed by some blocks for each head.
struct AttentionArgs {
  RowCount tiles;
  const AttentionTile* tile;
  const void* qkv;
  const float* scale_qkv;  // i8: [tokens, 3 * heads]
  int heads;
  int head_dim;
  float scale;
  bool causal;
  // i8: blocks of a tile and head: 1, 2 or, for few tiles, 4. A matter of speed alone.
  int key_parts;
  RowsOut dst;
};

/// Weights are the integers that AttentionI8 of the CPU has; their sum is added in another order.
struct AttentionI8 {
  static constexpr std::string_view kName = "attention_i8";
  using Args = AttentionArgs;
};
/// Softmax in f32, block by block of keys (Dao et al. 2022, arXiv:2205.14135).
struct AttentionF16 {
  static constexpr std::string_view kName = "attention_f16";
  using Args = AttentionArgs;
};

/// A table of rows without padding, f32 or i8 with a scale for each row.
struct LookupTable {
  const void* data = nullptr;    // null: no such table
  const float* scale = nullptr;  // null: f32
  int rows = 0;
};

/// dst[r] = norm(f(x[r] + addend[r])), row by row, where x[r] is one of
///   rows       src[row_of[r]] or src[r], from first_column on
///   embedding  word[ids[r]] + position[positions[r]] + segment[segments[r]]
///   mean       the mean of src[offsets[r]] .. src[offsets[r + 1] - 1]
///
/// An index outside its table raises *fault and counts as 0. Shapes: src [.., src_columns];
/// addend, dst [rows, columns]; weight, bias [columns]. Planned: columns <= kMostRowColumns.
struct Rows {
  static constexpr std::string_view kName = "rows";
  enum class Source : std::uint8_t { rows, embedding, mean };
  enum class Norm : std::uint8_t { none, layer, l2 };
  struct Args {
    RowCount rows = {};
    int columns = 0;
    Source source = {};
    RowsIn src = {};
    int src_columns = 0;
    int first_column = 0;
    const std::int32_t* row_of = nullptr;   // null: the same row
    const std::int32_t* offsets = nullptr;  // mean
    const std::int32_t* ids = nullptr;
    const std::int32_t* positions = nullptr;
    const std::int32_t* segments = nullptr;
    LookupTable word = {};
    LookupTable position = {};
    LookupTable segment = {};
    std::uint32_t* fault = nullptr;
    RowsIn addend = {};
    Function function = {};
    Norm norm = {};
    const float* weight = nullptr;
    const float* bias = nullptr;
    float epsilon = 0;
    RowsOut dst = {};
  };
};
inline constexpr int kMostRowColumns = 16384;

/// Shapes: src [rows, heads * head_dim].
struct QuantizeHeads {
  static constexpr std::string_view kName = "quantize_heads";
  struct Args {
    RowCount rows = {};
    const float* src = nullptr;
    HeadsOut dst = {};
  };
};

}  // namespace rtai::cuda
