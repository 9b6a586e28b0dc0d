#include "runtime/cuda/internal/linear.cuh"
#include "runtime/cuda/kernel.h"

namespace rtai::cuda::RTAI_GRID {
namespace {

template <LinearTile kTile, LinearForm kForm>
__global__ void __launch_bounds__(tile_shape(kTile).threads, tile_shape(kTile).blocks)
    linear_f16_kernel(const __grid_constant__ LinearArgs args) {
  linear<Gemm<kTile>, kForm, float, F16>(args);
}

template <LinearTile kTile>
void launch_tile(const LinearArgs& args, Stream stream) {
  with_form<LinearForm::floats>(args, [&]<LinearForm kForm>() {
    launch(&linear_f16_kernel<kTile, kForm>, linear_launch(args, row_bytes_of<F16>(args.k)), stream,
           args);
  });
}

void run(const LinearArgs& args, Stream stream) {
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

}  // namespace

extern const Kernel<LinearF16> linear_f16_mma{"linear_f16_mma", 80, &run};

}  // namespace rtai::cuda::RTAI_GRID
