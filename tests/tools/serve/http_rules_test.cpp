#include "tools/serve/http_rules.h"

#include "tools/serve/http_message.h"

#include <catch2/catch.hpp>

#include <random>
#include <string>

using namespace rtai::serve;

namespace {

const std::string kGood =
    "POST /v1/predict HTTP/1.1\r\nHost: a:8000\r\nContent-Length: 16\r\nA: b c\r\n\r\n";

int status(const std::string& head) {
  const auto refusal = check_head(head);
  return refusal ? refusal->status : 0;
}

}  // namespace

// The hostile heads themselves are in malformed.py, sent to a real server.
TEST_CASE("heads get the status that says what is wrong with them") {
  CHECK(status(kGood) == 0);
  CHECK(status("GET / HTTP/1.1\r\nHost: \r\n\r\n") == 0);
  CHECK(status("GET / HTTP/1.1\r\n\r\n") == 400);
  CHECK(status("GET / HTTP/1.0\r\n\r\n") == 0);
  CHECK(status("GET / HTTP/2.0\r\nHost: a\r\n\r\n") == 505);
  CHECK(status("GET / HTTP/1.1\r\nHost: a\r\nExpect: x\r\n\r\n") == 417);
  CHECK(status("GET / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n") == 411);
  CHECK(status("GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 9999999999999999\r\n\r\n") == 413);
  std::string many = "GET / HTTP/1.1\r\nHost: a\r\n";
  for (std::size_t i = 0; i < kMaxHeaders; ++i)
    many += "A: b\r\n";
  CHECK(status(many + "\r\n") == 431);
}

TEST_CASE(
    "the beginning of a good head is never hopeless, and each control character makes it so") {
  for (std::size_t size = 0; size <= kGood.size(); ++size)
    CHECK_FALSE(is_hopeless(kGood.substr(0, size)));
  CHECK(is_hopeless("GET / HTTP/1.1\n"));
  CHECK(is_hopeless("GET /\rx"));
  CHECK(is_hopeless(std::string("GE\0", 3)));
  CHECK(is_hopeless("\r\n"));
}

TEST_CASE("heads with random changes are judged without reading beyond them") {
  std::mt19937 random(7);
  int refused = 0;
  for (int i = 0; i < 200'000; ++i) {
    std::string head = kGood;
    for (int change = 0; change < 3; ++change) {
      const std::size_t at = random() % head.size();
      if (random() % 4 == 0)
        head.erase(at, 1);
      else
        head[at] = static_cast<char>(random());
    }
    const std::string exact(head.begin(), head.end());  // its own memory: sanitizers see the end
    refused += check_head(exact) ? 1 : 0;
  }
  CHECK(refused > 100'000);
}

TEST_CASE("headers are found whatever their case") {
  const Headers headers = {{"Content-TYPE", "a"}, {"b", "c"}};
  CHECK(header(headers, "content-type") == "a");
  CHECK(header(headers, "B") == "c");
  CHECK(header(headers, "d").empty());
}
