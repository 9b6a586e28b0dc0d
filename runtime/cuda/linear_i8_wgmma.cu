#include "runtime/cuda/internal/linear_relay.cuh"
#include "runtime/cuda/internal/linear_wgmma.cuh"
#include "runtime/cuda/kernel.h"

namespace rtai::cuda::RTAI_GRID {

extern const Kernel<LinearI8> linear_i8_mma;

namespace {

template <LinearTile kTile, LinearForm kForm>
__global__ void __launch_bounds__(tile_shape(kTile).threads, tile_shape(kTile).blocks)
    linear_i8_wgmma_kernel(const __grid_constant__ WgmmaArgs args) {
#ifdef RTAI_HAS_WGMMA
  linear_wgmma<WgmmaShape<kTile>, kForm, std::int32_t, std::int8_t>(args);
#endif
}

template <LinearTile kTile, LinearForm kForm>
__global__ void __launch_bounds__(tile_shape(kTile).threads, tile_shape(kTile).blocks)
    linear_i8_relay_kernel(const __grid_constant__ WgmmaArgs args) {
#ifdef RTAI_HAS_WGMMA
  linear_relay<RelayShape<kTile>, kForm, std::int32_t, std::int8_t>(args);
#endif
}

template <LinearTile kTile, LinearForm kForm>
void launch_tile(const LinearArgs& args, Stream stream) {
  launch_wgmma<std::int8_t, kTile, kForm>(&linear_i8_wgmma_kernel<kTile, kForm>, args, stream);
}

/// Calls use<form>().
template <LinearTile kTile, class Use>
void with_kernel_form(const LinearArgs& args, Use&& use) {
  with_whole_form<kTile, LinearForm::floats, LinearForm::integers, LinearForm::heads>(args, use);
}

template <LinearTile kTile>
void launch_tile(const LinearArgs& args, Stream stream) {
  with_kernel_form<kTile>(args,
                          [&]<LinearForm kForm>() { launch_tile<kTile, kForm>(args, stream); });
}

/// Of tiles that have no code for any form.
template <LinearTile kTile, LinearTile kOtherwise>
void launch_known_or(const LinearArgs& args, Stream stream) {
  with_kernel_form<kTile>(args, [&]<LinearForm kForm>() {
    if constexpr (kForm == LinearForm::any)
      launch_tile<kOtherwise>(args, stream);
    else
      launch_tile<kTile, kForm>(args, stream);
  });
}

/// Blocks that stay know no other forms.
template <LinearTile kTile, LinearTile kOtherwise>
void launch_relay_or(const LinearArgs& args, Stream stream) {
  with_kernel_form<kTile>(args, [&]<LinearForm kForm>() {
    if constexpr (kForm == LinearForm::any)
      launch_tile<kOtherwise>(args, stream);
    else
      launch_relay<std::int8_t, kTile, kForm>(&linear_i8_relay_kernel<kTile, kForm>, args, stream);
  });
}

void run(const LinearArgs& args, Stream stream) {
  switch (args.tile) {
    case LinearTile::w64x64:
      return launch_tile<LinearTile::w64x64>(args, stream);
    case LinearTile::w128x192:
      return launch_known_or<LinearTile::w128x192, LinearTile::w128x128>(args, stream);
    case LinearTile::w128x128:
      return launch_tile<LinearTile::w128x128>(args, stream);
    case LinearTile::r128x128:
      return launch_relay_or<LinearTile::r128x128, LinearTile::w128x128>(args, stream);
    default:
      return linear_i8_mma.run(args, stream);
  }
}

}  // namespace

extern const Kernel<LinearI8> linear_i8_wgmma{"linear_i8_wgmma", 90, &run, true};

}  // namespace rtai::cuda::RTAI_GRID
