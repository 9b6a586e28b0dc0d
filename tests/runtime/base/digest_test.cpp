#include "runtime/base/digest.h"

#include <catch2/catch.hpp>

#include <string>
#include <string_view>
#include <vector>

namespace rtai {
namespace {

std::span<const std::byte> bytes_of(std::string_view text) {
  return std::as_bytes(std::span(text));
}

TEST_CASE("sha256 gives the examples of FIPS 180-4") {
  CHECK(to_hex(sha256(bytes_of(""))) ==
        "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
  CHECK(to_hex(sha256(bytes_of("abc"))) ==
        "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
  CHECK(to_hex(sha256(bytes_of("abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq"))) ==
        "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1");
  CHECK(to_hex(sha256(bytes_of(std::string(1'000'000, 'a')))) ==
        "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0");
}

TEST_CASE("sha256 does not depend on how the bytes are cut") {
  std::string text;
  for (int i = 0; i < 300; ++i)
    text += static_cast<char>(i * 7);
  const Sha256Digest whole = sha256(bytes_of(text));
  for (std::size_t cut = 0; cut <= text.size(); ++cut) {
    Sha256 hash;
    hash.update(bytes_of(text).first(cut));
    hash.update(bytes_of(text).subspan(cut));
    REQUIRE(hash.finish() == whole);
  }
}

TEST_CASE("crc32c gives the examples of RFC 3720") {
  CHECK(crc32c(bytes_of("123456789")) == 0xe3069283);
  CHECK(crc32c(bytes_of(std::string(32, '\0'))) == 0x8a9136aa);
  CHECK(crc32c(bytes_of(std::string(32, '\xff'))) == 0x62a8ab43);
}

TEST_CASE("crc32c equals the bitwise definition across the sizes where streams are joined") {
  std::string text;
  for (std::size_t i = 0; i < 30'000; ++i)
    text += static_cast<char>(i * i >> 5);
  for (const std::size_t size :
       {0UL, 1UL, 7UL, 8UL, 9UL, 12'287UL, 12'288UL, 12'289UL, 24'576UL, 29'999UL}) {
    std::uint32_t expected = ~0u;
    for (std::size_t i = 0; i < size; ++i) {
      expected ^= static_cast<std::uint8_t>(text[i]);
      for (int bit = 0; bit < 8; ++bit) {
        expected = (expected >> 1) ^ ((expected & 1u) != 0 ? 0x82f63b78u : 0u);
      }
    }
    CHECK(crc32c(bytes_of(text).first(size)) == ~expected);
  }
}

}  // namespace
}  // namespace rtai
