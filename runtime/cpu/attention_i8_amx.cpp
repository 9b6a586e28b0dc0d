#include "runtime/cpu/attention_i8_amx.h"

#include "runtime/cpu/amx_tiles.h"

namespace rtai::cpu {

extern constinit const Kernel<AttentionI8> attention_i8_amx{"attention_i8_amx", Target::amx,
                                                            &attention_i8<TileDots<AmxTiles>>};

}  // namespace rtai::cpu
