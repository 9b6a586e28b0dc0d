#include "runtime/engine/packed_weights.h"

#include "runtime/base/checked.h"
#include "runtime/engine/format.h"

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <numeric>

namespace rtai::engine {
namespace {

// 32 bytes hold 64 elements: byte i has element i in its low bits and element i + 32 in its high
// ones, so that unpacking is the same few instructions on whole vectors.
constexpr std::uint64_t kBlock = 64;  // elements
constexpr std::uint64_t kHalf = kBlock / 2;
static_assert(kPanelRows * panel_group(DType::i8) == kBlock, "multipliers repeat every block");

/// Rows that stand side by side in memory, and elements of a row that stand together.
struct Strip {
  Index rows;
  Index together;
};

Strip strip_of(const TensorInfo& tensor) {
  if (tensor.layout == Layout::panels) return {kPanelRows, panel_group(DType::i8)};
  return {1, 1};
}

Index groups_of(const TensorInfo& tensor) {
  return div_up<Index>(tensor.dims[1], tensor.group);
}

/// Multipliers stand strip by strip, group by group, row by row.
std::uint64_t multiplier_count(const TensorInfo& tensor) {
  const Index rows = round_up(tensor.dims[0], strip_of(tensor).rows);
  return static_cast<std::uint64_t>(rows * groups_of(tensor));
}

Error error(ErrorCode code, const TensorInfo& tensor, const std::string& what) {
  return {code, "tensor '" + tensor.name + "' " + what};
}

/// Calls use(first, bytes, group) for every group of every strip: where its bytes begin in memory,
/// how many they are, and the place of its first multiplier.
template <class Use>
Result<void> for_each_group(const TensorInfo& tensor, Use&& use) {
  const Strip strip = strip_of(tensor);
  const Index columns = round_up(tensor.dims[1], strip.together);
  const Index strips = div_up(tensor.dims[0], strip.rows);
  const Index groups = groups_of(tensor);
  for (Index s = 0; s < strips; ++s) {
    for (Index g = 0; g < groups; ++g) {
      const Index begin = g * tensor.group;
      const Index end = std::min(begin + tensor.group, columns);
      RTAI_TRY_VOID(use(static_cast<std::size_t>((s * columns + begin) * strip.rows),
                        static_cast<std::size_t>((end - begin) * strip.rows),
                        static_cast<std::size_t>((s * groups + g) * strip.rows)));
    }
  }
  return {};
}

// Both on copies that nothing else points into, so that compilers take whole vectors: 22 MB of
// MiniLM took 50 ms without.

/// The 64 elements of 32 bytes; false if one is -8.
bool unpack_block(const std::uint8_t* packed, std::int8_t* integers) {
  std::array<std::uint8_t, kHalf> both;
  std::array<std::uint8_t, kBlock> nibbles;
  std::array<std::uint8_t, kBlock> wrong;
  std::copy_n(packed, kHalf, both.begin());
  for (std::size_t i = 0; i < kHalf; ++i) {
    nibbles[i] = both[i] & 15;
    nibbles[i + kHalf] = static_cast<std::uint8_t>(both[i] >> 4);
  }
  std::uint8_t any_wrong = 0;
  for (std::size_t i = 0; i < kBlock; ++i)
    wrong[i] = nibbles[i] == 8 ? 1 : 0;
  for (std::size_t i = 0; i < kBlock; ++i)
    any_wrong |= wrong[i];
  std::array<std::int8_t, kBlock> signed_ones;
  for (std::size_t i = 0; i < kBlock; ++i)
    signed_ones[i] = static_cast<std::int8_t>((nibbles[i] ^ 8) - 8);
  std::copy_n(signed_ones.begin(), kBlock, integers);
  return any_wrong == 0;
}

/// At most 7 * 18 each.
void multiply_block(const std::array<std::int8_t, kBlock>& times, std::int8_t* integers) {
  std::array<std::int8_t, kBlock> block;
  std::copy_n(integers, kBlock, block.begin());
  for (std::size_t i = 0; i < kBlock; ++i)
    block[i] = static_cast<std::int8_t>(block[i] * times[i]);
  std::copy_n(block.begin(), kBlock, integers);
}

/// The smallest multiplier that leaves integers in -7..7; 0 if there is none.
int multiplier_of(std::span<const std::int8_t> group, std::size_t row, const Strip& strip) {
  int largest = 0;
  int divisor = 0;
  const auto together = static_cast<std::size_t>(strip.together);
  const std::size_t step = together * static_cast<std::size_t>(strip.rows);
  for (std::size_t i = row * together; i < group.size(); i += step) {
    for (std::size_t j = i; j < i + together; ++j) {
      divisor = std::gcd(divisor, int{group[j]});
      largest = std::max(largest, std::abs(int{group[j]}));
    }
  }
  if (largest == 0) return 1;
  for (int m = std::max(1, div_up(largest, kLargestPacked)); m <= kLargestMultiplier; ++m)
    if (divisor % m == 0) return m;
  return 0;
}

}  // namespace

bool has_packed(const Program& program) {
  return std::any_of(program.tensors.begin(), program.tensors.end(),
                     [](const TensorInfo& tensor) { return tensor.group > 0; });
}

Result<std::uint64_t> bytes_in_file(const TensorInfo& tensor) {
  RTAI_TRY(const std::uint64_t bytes, stored_bytes(tensor.dtype, tensor.layout, tensor.dims));
  if (tensor.group == 0) return bytes;
  // No more multipliers than elements, of which the number did not overflow.
  return div_up(bytes, kBlock) * kHalf + (bytes > 0 ? multiplier_count(tensor) : 0);
}

Result<std::uint64_t> place_tensors(Program& program, Place place) {
  std::uint64_t end = 0;
  for (TensorInfo& tensor : program.tensors) {
    RTAI_TRY(tensor.bytes, place == Place::file
                               ? bytes_in_file(tensor)
                               : stored_bytes(tensor.dtype, tensor.layout, tensor.dims));
    tensor.offset = end;
    const auto sum = checked_add(end, tensor.bytes);
    const auto rounded =
        sum ? checked_round_up<std::uint64_t>(*sum, kEngineAlignment) : std::nullopt;
    if (!rounded) return error(ErrorCode::corrupt, tensor, "is impossibly large");
    end = *rounded;
  }
  return end;
}

Result<void> pack_weights(const TensorInfo& tensor,
                          std::span<const std::byte> memory,
                          std::span<std::byte> file) {
  const Strip strip = strip_of(tensor);
  const auto* integers = reinterpret_cast<const std::int8_t*>(memory.data());
  std::memset(file.data(), 0, file.size());
  const std::span<std::byte> multipliers =
      file.subspan(div_up<std::uint64_t>(memory.size(), kBlock) * kHalf);
  const auto together = static_cast<std::size_t>(strip.together);
  const auto rows = static_cast<std::size_t>(strip.rows);
  return for_each_group(
      tensor, [&](std::size_t first, std::size_t count, std::size_t at) -> Result<void> {
        const std::span<const std::int8_t> group(integers + first, count);
        for (std::size_t row = 0; row < rows; ++row) {
          const int m = multiplier_of(group, row, strip);
          if (m == 0) return error(ErrorCode::internal, tensor, "does not fit into 4 bits");
          multipliers[at + row] = static_cast<std::byte>(m);
        }
        for (std::size_t i = 0; i < count; ++i) {
          const int m = std::to_integer<int>(multipliers[at + i / together % rows]);
          const auto nibble = static_cast<std::uint8_t>((group[i] / m) & 15);
          const std::size_t place = first + i;
          file[place / kBlock * kHalf + place % kHalf] |=
              static_cast<std::byte>(place % kBlock < kHalf ? nibble : nibble << 4);
        }
        return {};
      });
}

Result<void> unpack_weights(const TensorInfo& tensor,
                            std::span<const std::byte> file,
                            std::span<std::byte> memory) {
  const auto* packed = reinterpret_cast<const std::uint8_t*>(file.data());
  auto* integers = reinterpret_cast<std::int8_t*>(memory.data());
  bool is_in_range = true;
  const std::uint64_t whole = memory.size() / kBlock;
  for (std::uint64_t block = 0; block < whole; ++block)
    is_in_range &= unpack_block(packed + block * kHalf, integers + block * kBlock);
  if (const std::uint64_t rest = memory.size() % kBlock; rest > 0) {
    std::array<std::int8_t, kBlock> last{};
    is_in_range &= unpack_block(packed + whole * kHalf, last.data());
    std::copy_n(last.begin(), rest, integers + whole * kBlock);
  }
  if (!is_in_range) return error(ErrorCode::corrupt, tensor, "holds -8, expected -7 to 7");

  const Strip strip = strip_of(tensor);
  const std::uint8_t* multipliers = packed + div_up<std::uint64_t>(memory.size(), kBlock) * kHalf;
  const auto together = static_cast<std::size_t>(strip.together);
  const auto rows = static_cast<std::size_t>(strip.rows);
  return for_each_group(
      tensor, [&](std::size_t first, std::size_t count, std::size_t at) -> Result<void> {
        for (std::size_t row = 0; row < rows; ++row) {
          const int m = multipliers[at + row];
          if (m >= 1 && m <= kLargestMultiplier) continue;
          return error(ErrorCode::corrupt, tensor,
                       "has a multiplier of " + std::to_string(m) + ", expected 1 to 18");
        }
        std::array<std::int8_t, kBlock> times{};  // of the 64 bytes that repeat
        if (rows == 1) times.fill(static_cast<std::int8_t>(multipliers[at]));
        for (std::size_t row = 0; rows > 1 && row < rows; ++row)
          std::fill_n(&times[row * together], together,
                      static_cast<std::int8_t>(multipliers[at + row]));
        std::int8_t* group = integers + first;
        std::size_t begin = 0;
        for (; begin + kBlock <= count; begin += kBlock)
          multiply_block(times, group + begin);
        for (std::size_t i = begin; i < count; ++i)
          group[i] = static_cast<std::int8_t>(group[i] * times[i % kBlock]);
        return {};
      });
}

}  // namespace rtai::engine
