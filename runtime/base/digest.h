// Digests of engine files and source models: SHA-256 against change, CRC-32C against damage.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>

namespace rtai {

using Sha256Digest = std::array<std::uint8_t, 32>;

/// Source: FIPS 180-4. Uses the SHA extensions of the CPU where there are some.
class Sha256 {
 public:
  Sha256();
  void update(std::span<const std::byte> bytes);
  /// Ends the computation; the object must not be updated afterwards.
  Sha256Digest finish();

 private:
  std::array<std::uint32_t, 8> state_;
  std::array<std::byte, 64> block_;
  std::size_t filled_ = 0;
  std::uint64_t total_bytes_ = 0;
};

Sha256Digest sha256(std::span<const std::byte> bytes);

/// Lower-case hexadecimal, 64 characters.
std::string to_hex(const Sha256Digest& digest);

/// CRC-32C (Castagnoli), reflected, as in RFC 3720 appendix B.4: finds every burst of up to 32
/// bits. Many times faster than SHA-256, so it is what guards the weights each time an engine is
/// opened.
std::uint32_t crc32c(std::span<const std::byte> bytes);

}  // namespace rtai
