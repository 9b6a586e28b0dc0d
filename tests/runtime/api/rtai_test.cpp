// What the C interface promises beyond what its functions are tested for elsewhere.
#include "runtime/api/rtai.h"

#include "runtime/text/utf8.h"

#include <catch2/catch.hpp>

#include <string>

namespace rtai {
namespace {

TEST_CASE("a message that is too long ends with a whole character") {
  for (std::size_t shift = 0; shift < 4; ++shift) {
    std::string path(shift, 'x');
    for (int i = 0; i < 400; ++i)
      path += "\xf0\x9f\x98\x80";  // U+1F600
    rtai_engine* none = nullptr;
    REQUIRE(rtai_engine_open(path.c_str(), &none) != RTAI_OK);
    const std::string message = rtai_last_error();
    INFO(shift);
    CHECK(message.size() <= 1023);
    CHECK(message.size() > 1023 - 4);
    CHECK(text::is_valid_utf8(message));
    CHECK(path.starts_with(message));
  }
}

}  // namespace
}  // namespace rtai
