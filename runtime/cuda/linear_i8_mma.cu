#include "runtime/cuda/internal/linear.cuh"
#include "runtime/cuda/kernel.h"

namespace rtai::cuda::RTAI_GRID {
namespace {

template <LinearTile kTile, LinearForm kForm>
__global__ void __launch_bounds__(tile_shape(kTile).threads, tile_shape(kTile).blocks)
    linear_i8_kernel(const __grid_constant__ LinearArgs args) {
  linear<Gemm<kTile>, kForm, std::int32_t, std::int8_t>(args);
}

template <LinearTile kTile>
void launch_tile(const LinearArgs& args, Stream stream) {
  with_form<LinearForm::floats, LinearForm::integers, LinearForm::heads>(
      args, [&]<LinearForm kForm>() {
        launch(&linear_i8_kernel<kTile, kForm>,
               linear_launch(args, row_bytes_of<std::int8_t>(args.k)), stream, args);
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

extern const Kernel<LinearI8> linear_i8_mma{"linear_i8_mma", 80, &run};

}  // namespace rtai::cuda::RTAI_GRID
