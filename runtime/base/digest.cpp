#include "runtime/base/digest.h"

#include <immintrin.h>

#include <algorithm>
#include <bit>
#include <cstring>

namespace rtai {
namespace {

constexpr std::array<std::uint32_t, 8> kInitial = {0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a,
                                                   0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19};

alignas(16) constexpr std::array<std::uint32_t, 64> kRound = {
    0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5,
    0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174,
    0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da,
    0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967,
    0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85,
    0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070,
    0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3,
    0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2};

void compress_plain(std::array<std::uint32_t, 8>& state,
                    const std::byte* blocks,
                    std::size_t count) {
  for (; count > 0; --count, blocks += 64) {
    std::array<std::uint32_t, 64> w;
    for (std::size_t i = 0; i < 16; ++i) {
      std::uint32_t word = 0;
      std::memcpy(&word, blocks + 4 * i, 4);
      w[i] = __builtin_bswap32(word);
    }
    for (std::size_t i = 16; i < 64; ++i) {
      const std::uint32_t s0 =
          std::rotr(w[i - 15], 7) ^ std::rotr(w[i - 15], 18) ^ (w[i - 15] >> 3);
      const std::uint32_t s1 = std::rotr(w[i - 2], 17) ^ std::rotr(w[i - 2], 19) ^ (w[i - 2] >> 10);
      w[i] = w[i - 16] + s0 + w[i - 7] + s1;
    }
    auto [a, b, c, d, e, f, g, h] = state;
    for (std::size_t i = 0; i < 64; ++i) {
      const std::uint32_t s1 = std::rotr(e, 6) ^ std::rotr(e, 11) ^ std::rotr(e, 25);
      const std::uint32_t t1 = h + s1 + ((e & f) ^ (~e & g)) + kRound[i] + w[i];
      const std::uint32_t s0 = std::rotr(a, 2) ^ std::rotr(a, 13) ^ std::rotr(a, 22);
      const std::uint32_t t2 = s0 + ((a & b) ^ (a & c) ^ (b & c));
      h = g, g = f, f = e, e = d + t1, d = c, c = b, b = a, a = t1 + t2;
    }
    const std::array<std::uint32_t, 8> sum = {a, b, c, d, e, f, g, h};
    for (std::size_t i = 0; i < 8; ++i)
      state[i] += sum[i];
  }
}

// Four rounds an iteration; the message schedule of 16 words lives in four registers that rotate.
// Instruction semantics: Intel SDM volume 2, SHA256RNDS2, SHA256MSG1, SHA256MSG2.
__attribute__((target("sha,sse4.1,ssse3"))) void compress_sha_ni(
    std::array<std::uint32_t, 8>& state, const std::byte* blocks, std::size_t count) {
  const __m128i swap = _mm_set_epi64x(0x0c0d0e0f08090a0b, 0x0405060700010203);
  // The instructions want the state as {a, b, e, f} and {c, d, g, h}, most significant first.
  const auto& s = state;
  const auto word = [](std::uint32_t v) __attribute__((target("sha,sse4.1,ssse3"))) {
    return static_cast<int>(v);
  };
  __m128i abef = _mm_set_epi32(word(s[0]), word(s[1]), word(s[4]), word(s[5]));
  __m128i cdgh = _mm_set_epi32(word(s[2]), word(s[3]), word(s[6]), word(s[7]));

  for (; count > 0; --count, blocks += 64) {
    const __m128i abef_before = abef;
    const __m128i cdgh_before = cdgh;
    __m128i w[4];
    for (int i = 0; i < 4; ++i) {
      const auto* source = reinterpret_cast<const __m128i*>(blocks + 16 * i);
      w[i] = _mm_shuffle_epi8(_mm_loadu_si128(source), swap);
    }
    for (int i = 0; i < 16; ++i) {
      if (i >= 4) {
        const __m128i w15 = w[(i + 1) % 4];
        const __m128i w7 = _mm_alignr_epi8(w[(i + 3) % 4], w[(i + 2) % 4], 4);
        const __m128i partial = _mm_add_epi32(_mm_sha256msg1_epu32(w[i % 4], w15), w7);
        w[i % 4] = _mm_sha256msg2_epu32(partial, w[(i + 3) % 4]);
      }
      const auto* constants = reinterpret_cast<const __m128i*>(kRound.data() + 4 * i);
      const __m128i sum = _mm_add_epi32(w[i % 4], _mm_load_si128(constants));
      cdgh = _mm_sha256rnds2_epu32(cdgh, abef, sum);
      abef = _mm_sha256rnds2_epu32(abef, cdgh, _mm_shuffle_epi32(sum, 0x0e));
    }
    abef = _mm_add_epi32(abef, abef_before);
    cdgh = _mm_add_epi32(cdgh, cdgh_before);
  }

  const auto lane = [](std::uint64_t pair, int high) {
    return static_cast<std::uint32_t>(high != 0 ? pair >> 32 : pair);
  };
  const auto fe = static_cast<std::uint64_t>(_mm_cvtsi128_si64(abef));
  const auto ba = static_cast<std::uint64_t>(_mm_extract_epi64(abef, 1));
  const auto hg = static_cast<std::uint64_t>(_mm_cvtsi128_si64(cdgh));
  const auto dc = static_cast<std::uint64_t>(_mm_extract_epi64(cdgh, 1));
  state = {lane(ba, 1), lane(ba, 0), lane(dc, 1), lane(dc, 0),
           lane(fe, 1), lane(fe, 0), lane(hg, 1), lane(hg, 0)};
}

void compress(std::array<std::uint32_t, 8>& state, const std::byte* blocks, std::size_t count) {
  static const bool has_sha_ni = [] {
    // CPUID leaf 7, EBX bit 29; __builtin_cpu_supports does not know the name in gcc 12.
    std::uint32_t eax = 7;
    std::uint32_t ebx = 0;
    std::uint32_t ecx = 0;
    std::uint32_t edx = 0;
    __asm__("cpuid" : "+a"(eax), "=b"(ebx), "+c"(ecx), "=d"(edx));
    return (ebx >> 29 & 1u) != 0 && __builtin_cpu_supports("sse4.1") != 0;
  }();
  if (has_sha_ni) return compress_sha_ni(state, blocks, count);
  compress_plain(state, blocks, count);
}

// Castagnoli polynomial, reflected.
constexpr std::uint32_t kCrcPolynomial = 0x82f63b78;

constexpr std::array<std::uint32_t, 256> make_crc_table() {
  std::array<std::uint32_t, 256> table{};
  for (std::uint32_t i = 0; i < 256; ++i) {
    std::uint32_t crc = i;
    for (int bit = 0; bit < 8; ++bit)
      crc = (crc >> 1) ^ ((crc & 1u) != 0 ? kCrcPolynomial : 0u);
    table[i] = crc;
  }
  return table;
}
constexpr std::array<std::uint32_t, 256> kCrcTable = make_crc_table();

std::uint32_t crc_plain(std::uint32_t crc, const std::byte* data, std::size_t size) {
  for (std::size_t i = 0; i < size; ++i) {
    crc = (crc >> 8) ^ kCrcTable[(crc ^ static_cast<std::uint32_t>(data[i])) & 0xffu];
  }
  return crc;
}

// One crc32 instruction has a latency of 3 cycles and a throughput of one a cycle, so three streams
// of kCrcStream bytes run side by side and are joined by appending zeros to the earlier ones.
constexpr std::size_t kCrcStream = 4096;

// crc(a followed by n zero bytes) is linear in crc(a): one table per byte of the crc.
using CrcShift = std::array<std::array<std::uint32_t, 256>, 4>;

constexpr CrcShift make_crc_shift(std::size_t zero_bytes) {
  // Column i of the matrix: bit i pushed through zero_bytes * 8 zero bits, by repeated squaring.
  using Matrix = std::array<std::uint32_t, 32>;
  const auto apply = [](const Matrix& m, std::uint32_t v) {
    std::uint32_t sum = 0;
    for (std::size_t i = 0; v != 0; ++i, v >>= 1) {
      if ((v & 1u) != 0) sum ^= m[i];
    }
    return sum;
  };
  Matrix power{};  // one zero bit
  power[0] = kCrcPolynomial;
  for (std::size_t i = 1; i < 32; ++i)
    power[i] = 1u << (i - 1);
  Matrix total{};
  for (std::size_t i = 0; i < 32; ++i)
    total[i] = 1u << i;
  for (std::size_t bits = zero_bytes * 8; bits != 0; bits >>= 1) {
    if ((bits & 1u) != 0) {
      Matrix next{};
      for (std::size_t i = 0; i < 32; ++i)
        next[i] = apply(power, total[i]);
      total = next;
    }
    Matrix squared{};
    for (std::size_t i = 0; i < 32; ++i)
      squared[i] = apply(power, power[i]);
    power = squared;
  }
  CrcShift shift{};
  for (std::size_t byte = 0; byte < 4; ++byte) {
    for (std::uint32_t v = 0; v < 256; ++v)
      shift[byte][v] = apply(total, v << (8 * byte));
  }
  return shift;
}
constexpr CrcShift kShiftOne = make_crc_shift(kCrcStream);
constexpr CrcShift kShiftTwo = make_crc_shift(2 * kCrcStream);

std::uint32_t append_zeros(const CrcShift& shift, std::uint32_t crc) {
  return shift[0][crc & 0xffu] ^ shift[1][(crc >> 8) & 0xffu] ^ shift[2][(crc >> 16) & 0xffu] ^
         shift[3][crc >> 24];
}

__attribute__((target("sse4.2"))) std::uint32_t crc_sse42(std::uint32_t crc,
                                                          const std::byte* data,
                                                          std::size_t size) {
  while (size >= 3 * kCrcStream) {
    std::uint64_t a = crc;
    std::uint64_t b = 0;
    std::uint64_t c = 0;
    for (std::size_t i = 0; i < kCrcStream; i += 8) {
      std::uint64_t words[3];
      std::memcpy(&words[0], data + i, 8);
      std::memcpy(&words[1], data + kCrcStream + i, 8);
      std::memcpy(&words[2], data + 2 * kCrcStream + i, 8);
      a = _mm_crc32_u64(a, words[0]);
      b = _mm_crc32_u64(b, words[1]);
      c = _mm_crc32_u64(c, words[2]);
    }
    crc = append_zeros(kShiftTwo, static_cast<std::uint32_t>(a)) ^
          append_zeros(kShiftOne, static_cast<std::uint32_t>(b)) ^ static_cast<std::uint32_t>(c);
    data += 3 * kCrcStream;
    size -= 3 * kCrcStream;
  }
  for (; size >= 8; size -= 8, data += 8) {
    std::uint64_t word = 0;
    std::memcpy(&word, data, 8);
    crc = static_cast<std::uint32_t>(_mm_crc32_u64(crc, word));
  }
  return crc_plain(crc, data, size);
}

}  // namespace

Sha256::Sha256() : state_(kInitial), block_{} {}

void Sha256::update(std::span<const std::byte> bytes) {
  total_bytes_ += bytes.size();
  if (filled_ > 0) {
    const std::size_t take = std::min(bytes.size(), block_.size() - filled_);
    std::copy_n(bytes.begin(), take, block_.begin() + static_cast<std::ptrdiff_t>(filled_));
    filled_ += take;
    bytes = bytes.subspan(take);
    if (filled_ < block_.size()) return;
    compress(state_, block_.data(), 1);
    filled_ = 0;
  }
  compress(state_, bytes.data(), bytes.size() / 64);
  bytes = bytes.subspan(bytes.size() / 64 * 64);
  std::copy(bytes.begin(), bytes.end(), block_.begin());
  filled_ = bytes.size();
}

Sha256Digest Sha256::finish() {
  const std::uint64_t bits = total_bytes_ * 8;
  std::array<std::byte, 72> padding{std::byte{0x80}};
  const std::size_t zeros = (filled_ < 56 ? 56 : 120) - filled_;
  for (std::size_t i = 0; i < 8; ++i) {
    padding[zeros + i] = static_cast<std::byte>(bits >> (56 - 8 * i));
  }
  update(std::span(padding).first(zeros + 8));
  Sha256Digest digest;
  for (std::size_t i = 0; i < digest.size(); ++i) {
    digest[i] = static_cast<std::uint8_t>(state_[i / 4] >> (24 - 8 * (i % 4)));
  }
  return digest;
}

Sha256Digest sha256(std::span<const std::byte> bytes) {
  Sha256 hash;
  hash.update(bytes);
  return hash.finish();
}

std::string to_hex(const Sha256Digest& digest) {
  constexpr std::string_view kDigits = "0123456789abcdef";
  std::string text;
  for (const std::uint8_t byte : digest) {
    text += kDigits[byte >> 4];
    text += kDigits[byte & 15];
  }
  return text;
}

std::uint32_t crc32c(std::span<const std::byte> bytes) {
  static const bool has_sse42 = __builtin_cpu_supports("sse4.2") != 0;
  const std::uint32_t crc = has_sse42 ? crc_sse42(~0u, bytes.data(), bytes.size())
                                      : crc_plain(~0u, bytes.data(), bytes.size());
  return ~crc;
}

}  // namespace rtai
