#include "runtime/cpu/linear_f32_amx.h"

#include "runtime/cpu/amx_tiles.h"

namespace rtai::cpu {
namespace {

void run(const LinearF32::Args& args, ExecContext& context) noexcept {
  if (args.weight_bf16 == nullptr) return linear_f32(args, context);
  linear_bf16_amx_tiles<AmxTiles>(args, context.scratch);
}

}  // namespace

extern constinit const Kernel<LinearF32> linear_f32_amx{"linear_f32_amx", Target::amx, &run};

}  // namespace rtai::cpu
