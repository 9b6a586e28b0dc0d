#include "runtime/cuda/hopper.cuh"
#include "runtime/cuda/ops.h"

#include <cuda_runtime.h>

namespace rtai::cuda::gpu {
namespace {

constexpr int kMostDimensions = 5;

/// Dimensions from the innermost one on; strides in bytes, of all but the innermost.
bool encode(TileSource& source,
            const void* matrix,
            int dimensions,
            const cuuint64_t* sizes,
            const cuuint64_t* strides,
            const cuuint32_t* tile) {
  void* entry = nullptr;
  cudaDriverEntryPointQueryResult found{};
  if (cudaGetDriverEntryPointByVersion("cuTensorMapEncodeTiled", &entry, 12000, cudaEnableDefault,
                                       &found) != cudaSuccess ||
      found != cudaDriverEntryPointSuccess)
    return false;
  const cuuint32_t steps[kMostDimensions] = {1, 1, 1, 1, 1};
  return reinterpret_cast<decltype(&cuTensorMapEncodeTiled)>(entry)(
             &source.map, CU_TENSOR_MAP_DATA_TYPE_UINT8, static_cast<cuuint32_t>(dimensions),
             const_cast<void*>(matrix), sizes, strides, tile, steps, CU_TENSOR_MAP_INTERLEAVE_NONE,
             CU_TENSOR_MAP_SWIZZLE_128B, CU_TENSOR_MAP_L2_PROMOTION_L2_256B,
             CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE) == CUDA_SUCCESS;
}

}  // namespace

bool make_src_source(TileSource& source, const void* src, int rows, int row_bytes, int tile_rows) {
  const auto row = static_cast<cuuint64_t>(row_bytes);
  const cuuint64_t sizes[] = {row, static_cast<cuuint64_t>(rows)};
  const cuuint64_t strides[] = {row};
  const cuuint32_t tile[] = {kRowAlignment, static_cast<cuuint32_t>(tile_rows)};
  return encode(source, src, 2, sizes, strides, tile);
}

bool make_weight_source(TileSource& source,
                        const void* weight,
                        int columns,
                        int row_bytes,
                        int tile_columns,
                        WeightOrder order) {
  const auto row = static_cast<cuuint64_t>(row_bytes);
  const auto in_memory = static_cast<cuuint64_t>(round_up(columns, kWeightRows));
  if (order == WeightOrder::sixteens) {  // e, t, j, then the groups of 64
    const cuuint64_t sizes[] = {row, 2, 4, 8, in_memory / 64};
    const cuuint64_t strides[] = {row, 16 * row, 2 * row, 64 * row};
    const cuuint32_t tile[] = {kRowAlignment, 2, 4, 8, static_cast<cuuint32_t>(tile_columns / 64)};
    return encode(source, weight, 5, sizes, strides, tile);
  }
  // e, t, j % 2, then the groups of 16, of which j / 2 counts four.
  const cuuint64_t sizes[] = {row, 2, 4, 2, in_memory / 16};
  const cuuint64_t strides[] = {row, 4 * row, 2 * row, 16 * row};
  const cuuint32_t tile[] = {kRowAlignment, 2, 4, 2, static_cast<cuuint32_t>(tile_columns / 16)};
  return encode(source, weight, 5, sizes, strides, tile);
}

}  // namespace rtai::cuda::gpu
