// Integers of 4 bits with a multiplier for each group of a row: how weights of 4 bits stand in
// files. In memory they are the int8 that they stand for, in the layout of every other int8.
#pragma once

#include "runtime/engine/program.h"

#include <cstddef>
#include <span>

namespace rtai::engine {

/// An int8 weight is an integer in -7..7 times the multiplier of its group, 1..18: at most 126.
inline constexpr int kLargestPacked = 7;
inline constexpr int kLargestMultiplier = 18;

/// How many consecutive elements of a row may share a multiplier; the last group of a row is what
/// is left.
constexpr bool is_group(Index elements) {
  return elements == 32 || elements == 64 || elements == 128;
}

/// True if a tensor of the program stands in 4 bits in its file.
bool has_packed(const Program& program);

/// Bytes of a tensor in its file: `bytes` unless it is packed.
/// Errors: corrupt if the product of its dimensions overflows.
Result<std::uint64_t> bytes_in_file(const TensorInfo& tensor);

/// Gives every tensor its place, one after the other, each 64-byte aligned: in the memory of an
/// engine or in its file. Returns where the last one ends, rounded up to the alignment.
///
/// Errors: corrupt if a size overflows.
enum class Place : std::uint8_t { memory, file };
Result<std::uint64_t> place_tensors(Program& program, Place place);

/// Writes int8 in the layout of `tensor` as 4 bits: `file` has bytes_in_file(tensor).
///
/// Errors: internal if a group is not a multiplier times integers in -7..7.
Result<void> pack_weights(const TensorInfo& tensor,
                          std::span<const std::byte> memory,
                          std::span<std::byte> file);

/// The int8 of 4 bits; `memory` is as large as the tensor's dimensions and layout say.
///
/// Errors: corrupt for a multiplier or an integer that is out of range.
Result<void> unpack_weights(const TensorInfo& tensor,
                            std::span<const std::byte> file,
                            std::span<std::byte> memory);

}  // namespace rtai::engine
