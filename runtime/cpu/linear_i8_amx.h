// LinearI8 on tile registers.
#pragma once

#include "runtime/cpu/linear_amx.h"
#include "runtime/cpu/linear_i8_vector.h"

namespace rtai::cpu {
namespace {

/// Steps of 64 k.
class AmxI8Product {
 public:
  using Args = LinearI8::Args;
  using Value = I8Value;
  static constexpr int kParts = 1;

  explicit AmxI8Product(const Args& args) : args_(args) {}

  const std::byte* source(Index row) const {
    return reinterpret_cast<const std::byte*>(args_.src + row * args_.src_stride);
  }
  Index source_stride() const { return args_.src_stride; }
  static Index part_bytes() { return 0; }
  const std::byte* weight(Index column) const {
    return reinterpret_cast<const std::byte*>(args_.weight) + column / 16 * panel_bytes();
  }
  Index panel_bytes() const { return (args_.k + 3) / 4 * 64; }
  Index steps() const { return (args_.k + 63) / 64; }
  /// Whatever integers lie behind a panel, times zero they are zero.
  const std::byte* last_weights(Index /*column*/) const { return nullptr; }

  template <class Tiles, int kSums, int kSource, int kWeights>
  static void add() {
    Tiles::template add_dot<kSums, kSource, kWeights>();
  }

 private:
  const Args& args_;
};

template <class Tiles>
void linear_i8_amx_tiles(const LinearI8::Args& args) {
  AmxI8Product product(args);
  multiply_in_tiles<Tiles>(args, product);
}

}  // namespace
}  // namespace rtai::cpu
