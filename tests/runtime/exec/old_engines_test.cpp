// Engines of every format version that was ever released still open and answer as they did.
#include "libopt/lower/lower.h"
#include "runtime/exec/session.h"
#include "tests/support/batches.h"
#include "tests/support/models.h"

#include <catch2/catch.hpp>

#include <filesystem>
#include <fstream>
#include <memory>
#include <string>

namespace rtai {
namespace {

const std::filesystem::path kFolder = std::filesystem::path(RTAI_SOURCE_DIR) / "tests/data/engines";

std::vector<float> answers(const std::filesystem::path& path) {
  auto opened = engine::open(path, engine::Verify::digests);
  INFO((opened ? "" : opened.error().message()));
  REQUIRE(opened);
  Session session =
      Session::create(std::make_shared<const engine::Engine>(*std::move(opened)), {.threads = 1})
          .value();
  REQUIRE(session.run(testing::random_sequences({9, 1, 17}, 101).batch()));
  const auto logits = session.output(0).flat();
  return {logits.begin(), logits.end()};
}

/// The engine of that name answers what stands beside it.
void check_answers(const std::string& name) {
  const std::vector<float> logits = answers(kFolder / (name + ".rtai"));
  std::ifstream file(kFolder / (name + ".logits.txt"));
  for (const float logit : logits) {
    float expected = 0;
    REQUIRE(file >> expected);
    CHECK(logit == Approx(expected).margin(1e-4));
  }
  float more = 0;
  CHECK_FALSE(file >> more);
}

TEST_CASE("engines of version 1 open and answer as they did") {
  check_answers("v1");
}

TEST_CASE("engines of version 2, with weights of 4 bits, open and answer as they did") {
  check_answers("v2");
}

// Run by hand, once for each format version: test_exec "[.write]" writes both files where it is
// run; as tests/data/engines/vN.* they stay.
TEST_CASE("write an engine of today's version", "[.write]") {
  const std::filesystem::path path = "today.rtai";
  REQUIRE(engine::save(
      lower(testing::make_int4_model({.layers = 1, .hidden = 32, .heads = 2, .ffn = 64})).value(),
      path));
  std::ofstream file("today.logits.txt");
  for (const float logit : answers(path))
    file << logit << '\n';
}

}  // namespace
}  // namespace rtai
