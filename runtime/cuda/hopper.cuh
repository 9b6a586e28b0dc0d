// Hopper's matrix instructions (wgmma), its copies of tiles (TMA) and the barriers they meet at.
#pragma once

#include "runtime/cuda/device.cuh"
#include "runtime/cuda/ops.h"

namespace rtai::cuda::RTAI_GRID {

/// A matrix of bytes in global memory from which tiles are copied, 128 bytes of each row, swizzled
/// as chunk_of has it.
struct TileSource;

/// `tile_rows` <= 256 rows at once of a matrix whose rows of `row_bytes` follow each other. Rows
/// beyond the last one are zeros. Errors: false.
bool make_src_source(TileSource& source, const void* src, int rows, int row_bytes, int tile_rows);

/// In which order the rows of a weight come into a tile, so that the products of wgmma leave every
/// lane stretches of columns that it can write at once (LaneSums). A lane t of four has columns
/// 2 t and 2 t + 1 of each eight: so row 8 j + 2 t + e of 64 is
///   sixteens  row 16 t + 2 j + e                    one stretch of sixteen columns
///   fours     row 16 (j / 2) + 4 t + 2 (j % 2) + e  four stretches of four
enum class WeightOrder : std::uint8_t { sixteens, fours };

/// The same of a weight; memory must reach to the next multiple of kWeightRows rows.
bool make_weight_source(TileSource& source,
                        const void* weight,
                        int columns,
                        int row_bytes,
                        int tile_columns,
                        WeightOrder order);

}  // namespace rtai::cuda::RTAI_GRID

#ifdef __CUDACC__
#include "runtime/cuda/internal/hopper_gpu.cuh"
#else
#include "runtime/cuda/emulation/hopper.h"
#endif
