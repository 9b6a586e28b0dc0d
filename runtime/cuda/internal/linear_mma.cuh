// Linear layers on the matrix instructions of sm_80 and later: int8 and f16 alike.
#pragma once

#include "runtime/cuda/internal/linear.cuh"
#include "runtime/cuda/kernel.h"

namespace rtai::cuda::RTAI_GRID {

template <class Element, LinearTile kTile, LinearForm kForm>
__global__ void __launch_bounds__(tile_shape(kTile).threads, tile_shape(kTile).blocks)
    linear_mma_kernel(const __grid_constant__ LinearArgs args) {
  linear<Gemm<kTile>, kForm, SumOf<Element>, Element>(args);
}

/// kForms: of which there are kernels of their own.
template <class Element, LinearForm... kForms>
struct MmaLinear {
  static void run(const LinearArgs& args, Stream stream) {
    switch (args.tile) {
      case LinearTile::t32x32:
        return launch_tile<LinearTile::t32x32>(args, stream);
      case LinearTile::t32x64:
        return launch_tile<LinearTile::t32x64>(args, stream);
      case LinearTile::t64x64:
        return launch_tile<LinearTile::t64x64>(args, stream);
      case LinearTile::t128x128:
        return launch_tile<LinearTile::t128x128>(args, stream);
      default:
        return fail_launch();
    }
  }

 private:
  template <LinearTile kTile>
  static void launch_tile(const LinearArgs& args, Stream stream) {
    with_form<kForms...>(args, [&]<LinearForm kForm>() {
      launch(&linear_mma_kernel<Element, kTile, kForm>,
             linear_launch(args, row_bytes_of<Element>(args.k)), stream, args);
    });
  }
};

}  // namespace rtai::cuda::RTAI_GRID
