#include "runtime/cpu/linear_i8_amx.h"

#include "runtime/cpu/amx_tiles.h"

namespace rtai::cpu {
namespace {

void run(const LinearI8::Args& args, ExecContext& /*context*/) noexcept {
  linear_i8_amx_tiles<AmxTiles>(args);
}

}  // namespace

extern constinit const Kernel<LinearI8> linear_i8_amx{"linear_i8_amx", Target::amx, &run};

}  // namespace rtai::cpu
