// Linear layers on Hopper's matrix instructions: int8 and f16 alike.
#pragma once

#include "runtime/cuda/internal/linear_relay.cuh"
#include "runtime/cuda/internal/linear_wgmma.cuh"
#include "runtime/cuda/kernel.h"

namespace rtai::cuda::RTAI_GRID {

template <class Element, LinearTile kTile, LinearForm kForm>
__global__ void __launch_bounds__(tile_shape(kTile).threads, tile_shape(kTile).blocks)
    linear_wgmma_kernel(const __grid_constant__ WgmmaArgs args) {
#ifdef RTAI_HAS_WGMMA
  linear_wgmma<WgmmaShape<kTile>, kForm, SumOf<Element>, Element>(args);
#endif
}

template <class Element, LinearTile kTile, LinearForm kForm>
__global__ void __launch_bounds__(tile_shape(kTile).threads, tile_shape(kTile).blocks)
    linear_relay_kernel(const __grid_constant__ WgmmaArgs args) {
#ifdef RTAI_HAS_WGMMA
  linear_relay<RelayShape<kTile>, kForm, SumOf<Element>, Element>(args);
#endif
}

/// kForms: of which there are kernels of their own.
template <class Element, LinearForm... kForms>
struct HopperLinear {
  /// False if the tile is none of Hopper's.
  static bool run(const LinearArgs& args, Stream stream) {
    switch (args.tile) {
      case LinearTile::w64x64:
        launch_tile<LinearTile::w64x64, LinearTile::w64x64>(args, stream);
        return true;
      case LinearTile::w128x128:
        launch_tile<LinearTile::w128x128, LinearTile::w128x128>(args, stream);
        return true;
      case LinearTile::w128x192:
        launch_tile<LinearTile::w128x192, LinearTile::w128x128>(args, stream);
        return true;
      case LinearTile::r128x128:
        launch_tile<LinearTile::r128x128, LinearTile::w128x128>(args, stream);
        return true;
      default:
        return false;
    }
  }

 private:
  /// Tiles of columns that are not whole, and forms that are not known, are computed with kForAny.
  template <LinearTile kTile, LinearTile kForAny>
  static void launch_tile(const LinearArgs& args, Stream stream) {
    const auto launch_form = [&]<LinearForm kForm>() {
      if constexpr (kForm == LinearForm::any) {
        launch_wgmma<Element, kForAny, kForm>(&linear_wgmma_kernel<Element, kForAny, kForm>, args,
                                              stream);
      } else if constexpr (tile_shape(kTile).stays) {
        launch_relay<Element, kTile, kForm>(&linear_relay_kernel<Element, kTile, kForm>, args,
                                            stream);
      } else {
        launch_wgmma<Element, kTile, kForm>(&linear_wgmma_kernel<Element, kTile, kForm>, args,
                                            stream);
      }
    };
    if (args.columns % tile_shape(kTile).columns == 0)
      return with_form<kForms...>(args, launch_form);
    launch_form.template operator()<LinearForm::any>();
  }
};

}  // namespace rtai::cuda::RTAI_GRID
