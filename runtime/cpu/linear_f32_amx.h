// LinearF32 with weights of 16 bits on tile registers.
//
// The registers multiply numbers of 16 bits only. A source is therefore taken apart into two whose
// sum is within 2^-16 of it, and both are multiplied: twice the work, on units that do sixteen
// times as much as vectors of f32.
#pragma once

#include "runtime/cpu/linear_amx.h"
#include "runtime/cpu/linear_f32_vector.h"

#include <bit>
#include <cstring>

namespace rtai::cpu {
namespace {

/// Steps of 32 k.
class AmxBf16Product {
 public:
  using Args = LinearF32::Args;
  using Value = F32Sums<Bf16Rows>;
  static constexpr int kParts = 2;

  /// scratch: LinearF32::scratch_bytes.
  AmxBf16Product(const Args& args, std::byte* scratch)
      : args_(args), parts_(reinterpret_cast<std::uint16_t*>(scratch)) {
    take_apart();
  }

  const std::byte* source(Index row) const {
    return reinterpret_cast<const std::byte*>(parts_ + row * kParts * padded_);
  }
  Index source_stride() const { return kParts * part_bytes(); }
  Index part_bytes() const { return padded_ * Index{sizeof(std::uint16_t)}; }
  const std::byte* weight(Index column) const {
    return reinterpret_cast<const std::byte*>(args_.weight_bf16) + column / 16 * panel_bytes();
  }
  Index panel_bytes() const { return (args_.k + 1) / 2 * 64; }
  Index steps() const { return padded_ / 32; }

  /// What lies behind a panel may not be a number, and zero times that is none either.
  const std::byte* last_weights(Index column) {
    if (args_.k % 32 == 0) return nullptr;
    copy_last(column);
    return last_;
  }

  template <class Tiles, int kSums, int kSource, int kWeights>
  static void add() {
    Tiles::template add_dot_bf16<kSums, kSource, kWeights>();
  }

 private:
  // Functions of their own, because they write what tiles load (AmxTiles::load).

  [[gnu::noinline]] void take_apart() {
    for (Index row = 0; row < args_.rows; ++row) {
      const float* src = args_.src + row * args_.src_stride;
      std::uint16_t* high = parts_ + row * kParts * padded_;
      std::uint16_t* low = high + padded_;
      for (Index i = 0; i < args_.k; ++i) {
        // Cut off rather than rounded: the largest numbers must not become infinite.
        const auto all = std::bit_cast<std::uint32_t>(src[i]);
        const bool is_finite = (all & 0x7f800000u) != 0x7f800000u;
        const bool is_nan = (all & 0x7fffffffu) > 0x7f800000u;
        const float rest = src[i] - std::bit_cast<float>(all & 0xffff0000u);
        const auto bits = std::bit_cast<std::uint32_t>(rest);
        const std::uint32_t rounded = (bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16;
        high[i] = static_cast<std::uint16_t>((all >> 16) | (is_nan ? 0x40u : 0u));
        low[i] = static_cast<std::uint16_t>(is_finite ? rounded : 0u);
      }
      for (Index i = args_.k; i < padded_; ++i)
        high[i] = low[i] = 0;
    }
  }

  [[gnu::noinline]] void copy_last(Index column) {
    const Index begin = (steps() - 1) * 1024;
    const auto bytes = static_cast<std::size_t>(panel_bytes() - begin);
    const Index panels = column + 16 < args_.columns ? 2 : 1;
    for (Index panel = 0; panel < panels; ++panel) {
      std::byte* to = last_ + panel * 1024;
      std::memset(to, 0, 1024);
      std::memcpy(to, weight(column + panel * 16) + begin, bytes);
    }
  }

  const Args& args_;
  std::uint16_t* parts_;  // [rows, kParts, padded_]
  Index padded_ = (args_.k + 31) / 32 * 32;
  alignas(64) std::byte last_[2 * 1024];
};

template <class Tiles>
void linear_bf16_amx_tiles(LinearF32::Args args, std::byte* scratch) {
  const Index rows = args.rows;
  for (Index row = 0; row < rows; row += LinearF32::kScratchRows) {
    args.rows = rows - row < LinearF32::kScratchRows ? rows - row : LinearF32::kScratchRows;
    AmxBf16Product product(args, scratch);
    multiply_in_tiles<Tiles>(args, product);
    args.src += args.rows * args.src_stride;
    args.dst += args.rows * args.dst_stride;
    if (args.residual != nullptr) args.residual += args.rows * args.residual_stride;
    if (args.absmax != nullptr) args.absmax += args.rows;
  }
}

}  // namespace
}  // namespace rtai::cpu
