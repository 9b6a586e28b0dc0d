// Engines with something changed: every change is noticed by the digests; with digests made anew,
// what opens is harmless, which the sanitizers see when it is run.
#include "runtime/exec/session.h"
#include "tests/support/engine_parts.h"
#include "tests/support/small_engines.h"

#include <catch2/catch.hpp>

#include <set>

namespace rtai::testing {
namespace {

using engine::Verify;
using Bytes = std::vector<std::byte>;

TEST_CASE("every changed bit of a small engine is noticed") {
  for (const Bytes& good : {small_encoder_file(), small_int4_file(), small_rows_file()}) {
    REQUIRE(parse_copy(good));
    const AlignedCopy copy(good);
    Bytes changed = good;
    std::size_t noticed = 0;
    for (std::size_t bit = 0; bit < 8 * good.size(); ++bit) {
      const std::byte flip{static_cast<std::uint8_t>(1u << bit % 8)};
      changed[bit / 8] ^= flip;
      noticed += parse_copy(changed) ? 0 : 1;
      changed[bit / 8] ^= flip;
    }
    CHECK(noticed == 8 * good.size());
  }
}

TEST_CASE("a small engine cut anywhere, or with anything behind it, is refused") {
  for (const Bytes& good : {small_encoder_file(), small_int4_file()}) {
    for (std::size_t size = 0; size < good.size(); ++size) {
      INFO("cut at " << size);
      REQUIRE_FALSE(parse_copy(std::span(good).first(size)));
    }
    for (std::size_t more = 1; more <= 128; ++more) {
      Bytes longer = good;
      longer.resize(good.size() + more);
      REQUIRE_FALSE(parse_copy(longer));
    }
  }
}

/// Of the size of a real model: every bit of header and table, one in each 4 KiB of the sections,
/// and cuts at every section's ends and in between.
TEST_CASE("changes of a large engine are noticed") {
  const engine::Engine made = lower(make_int8_model({.layers = 4,
                                                     .hidden = 256,
                                                     .heads = 4,
                                                     .head_dim = 64,
                                                     .ffn = 1024,
                                                     .vocabulary = 4000,
                                                     .positions = 128}))
                                  .value();
  const Bytes good = engine::serialize(made).value();
  REQUIRE(good.size() > 4'000'000);
  AlignedCopy copy(good);
  const std::span<std::byte> bytes{const_cast<std::byte*>(copy.span().data()), good.size()};
  const auto refused = [&](std::size_t size) {
    return !engine::parse(bytes.first(size), {}).has_value();
  };
  REQUIRE_FALSE(refused(good.size()));
  const EngineParts parts = take_apart(good).value();
  const std::size_t tables = 64 + parts.sections.size() * 64;
  std::size_t tried = 0, noticed = 0;
  const auto flip = [&](std::size_t at, int bit) {
    const std::byte mask{static_cast<std::uint8_t>(1u << bit)};
    bytes[at] ^= mask;
    ++tried;
    noticed += refused(good.size()) ? 1 : 0;
    bytes[at] ^= mask;
  };
  for (std::size_t at = 0; at < tables; ++at) {
    for (int bit = 0; bit < 8; ++bit)
      flip(at, bit);
  }
  for (std::size_t at = tables; at < good.size(); at += 4096)
    flip(at + at / 4096 * 37 % std::min<std::size_t>(4096, good.size() - at),
         static_cast<int>(at / 4096 % 8));
  std::set<std::size_t> cuts;
  std::size_t end = tables;
  for (const EngineSection& section : parts.sections) {
    for (const std::size_t at : {end, end + section.bytes.size()})
      cuts.insert({at - 1, at, at + 1});
    end = round_up(end + section.bytes.size(), engine::kEngineAlignment);
  }
  for (std::size_t at = 0; at < good.size(); at += 4099)
    cuts.insert(at);
  for (const std::size_t size : cuts) {
    if (size >= good.size()) continue;
    ++tried;
    noticed += refused(size) ? 1 : 0;
  }
  CHECK(tried > 3000);
  CHECK(noticed == tried);
}

/// Runs it on a few tokens, so that a sanitizer sees what it touches.
void run(engine::Engine opened) {
  auto engine = std::make_shared<const engine::Engine>(std::move(opened));
  auto session = Session::create(engine, {.threads = 1, .max_tokens = 4, .max_sequences = 2});
  if (!session) return;
  const std::vector<std::int32_t> ids = {1, 0, 3}, segments = {0, 1, 0}, offsets = {0, 1, 3};
  std::vector<float> hidden;
  for (std::size_t i = 0; i < engine->program.inputs.size(); ++i) {
    const engine::ValueInfo& value = engine->program.values[i];
    if (value.dtype == DType::f32) hidden.assign(3 * static_cast<std::size_t>(value.columns), 0.5f);
  }
  (void)session->run({.ids = ids, .segments = segments, .offsets = offsets, .hidden = hidden});
}

TEST_CASE("a forged engine with right digests is refused or harmless") {
  std::size_t accepted = 0;
  for (const Bytes& good : {small_encoder_file(), small_int4_file(), small_rows_file()}) {
    const EngineParts parts = take_apart(good).value();
    for (std::size_t s = 0; s < parts.sections.size(); ++s) {
      for (std::size_t at = 0; at < parts.sections[s].bytes.size(); ++at) {
        const bool is_weights = parts.sections[s].kind == 2;
        if (is_weights && at % 16 != 3) continue;  // the highest byte of some weights
        for (const int value : {0x00, 0x01, 0x7f, 0x80, 0xff}) {
          EngineParts forged = parts;
          forged.sections[s].bytes[at] = static_cast<std::byte>(value);
          if (is_weights)
            *forged.find(engine::SectionKind::checksums) = checksums_of(forged.sections[s].bytes);
          Result<engine::Engine> opened = parse_copy(put_together(forged), Verify::digests);
          if (!opened) continue;
          ++accepted;
          Index width = 0;
          for (const engine::ValueInfo& info : opened->program.values)
            width += info.columns;
          if (width < 10'000) run(*std::move(opened));
        }
      }
    }
  }
  CHECK(accepted > 0);  // names, weights, and numbers such as epsilon may change
}

}  // namespace
}  // namespace rtai::testing
