#include "runtime/engine/packed_weights.h"

#include "libopt/lower/lower.h"
#include "runtime/engine/format.h"
#include "tests/support/models.h"
#include "tests/support/small_engines.h"

#include <catch2/catch.hpp>

#include <algorithm>
#include <random>

namespace rtai::engine {
namespace {

using Bytes = std::vector<std::byte>;

TensorInfo tensor(Layout layout, Index rows, Index columns, std::uint16_t group) {
  TensorInfo info{
      .name = "w", .dtype = DType::i8, .layout = layout, .dims = {rows, columns}, .group = group};
  info.bytes = stored_bytes(info.dtype, layout, info.dims).value();
  return info;
}

/// Where element [row, column] stands.
std::size_t place_of(const TensorInfo& info, Index row, Index column) {
  const Index columns = info.dims[1];
  if (info.layout == Layout::row_major) return static_cast<std::size_t>(row * columns + column);
  const Index quads = (columns + 3) / 4;
  return static_cast<std::size_t>(((row / 16 * quads + column / 4) * 16 + row % 16) * 4 +
                                  column % 4);
}

std::byte byte_of(int value) {
  return static_cast<std::byte>(static_cast<std::uint8_t>(value));
}

/// Integers times multipliers, zeros where panels are padded; every pair of the two is in it.
Bytes packable(const TensorInfo& info) {
  std::mt19937 random(3);
  Bytes memory(info.bytes);
  for (Index row = 0; row < info.dims[0]; ++row) {
    int times = 1;
    for (Index column = 0; column < info.dims[1]; ++column) {
      if (column % info.group == 0) times = static_cast<int>(random() % 18) + 1;
      const int integer = static_cast<int>(random() % 15) - 7;
      memory[place_of(info, row, column)] = byte_of(integer * times);
    }
  }
  return memory;
}

TEST_CASE("weights of 4 bits come back as they were, whatever their shape") {
  for (const Layout layout : {Layout::row_major, Layout::panels}) {
    for (const int group : {32, 64, 128}) {
      for (const auto& [rows, columns] : {std::pair{1, 1}, std::pair{3, 31}, std::pair{16, 64},
                                          std::pair{17, 65}, std::pair{40, 129}, std::pair{64, 384},
                                          std::pair{5, 1030}, std::pair{0, 64}, std::pair{64, 0}}) {
        const TensorInfo info = tensor(layout, rows, columns, static_cast<std::uint16_t>(group));
        const Bytes memory = packable(info);
        Bytes file(bytes_in_file(info).value());
        REQUIRE(pack_weights(info, memory, file));
        Bytes again(memory.size(), std::byte{99});
        INFO(rows << " x " << columns << " in groups of " << group);
        REQUIRE(unpack_weights(info, file, again));
        CHECK(again == memory);
      }
    }
  }
}

TEST_CASE("of 384 columns in groups of 64, 4 bits take 0.516 of the bytes") {
  const TensorInfo info = tensor(Layout::panels, 1536, 384, 64);
  CHECK(bytes_in_file(info).value() == 1536 * 384 / 2 + 1536 * 6);
}

TEST_CASE("the largest and the smallest that 4 bits hold, and what they do not") {
  const TensorInfo info = tensor(Layout::row_major, 1, 32, 32);
  Bytes memory(32);
  Bytes file(bytes_in_file(info).value());
  memory[0] = byte_of(126);
  memory[31] = byte_of(-126);
  REQUIRE(pack_weights(info, memory, file));
  CHECK(file.back() == std::byte{18});
  memory[0] = byte_of(127);
  const auto prime = pack_weights(info, memory, file);
  REQUIRE_FALSE(prime);
  CHECK(prime.error().code() == ErrorCode::internal);
  CHECK(prime.error().message() == "tensor 'w' does not fit into 4 bits");
  memory[0] = byte_of(7);
  memory[31] = byte_of(8);
  CHECK_FALSE(pack_weights(info, memory, file));
}

TEST_CASE("integers and multipliers that writers do not make are refused") {
  const TensorInfo info = tensor(Layout::panels, 16, 64, 32);
  Bytes memory(info.bytes);
  Bytes file(bytes_in_file(info).value());
  REQUIRE(pack_weights(info, memory, file));
  const auto refuse = [&](std::size_t at, int value) {
    Bytes changed = file;
    changed[at] = byte_of(value);
    const auto status = unpack_weights(info, changed, memory);
    REQUIRE_FALSE(status);
    CHECK(status.error().code() == ErrorCode::corrupt);
    return status.error().message();
  };
  CHECK(refuse(0, 0x08) == "tensor 'w' holds -8, expected -7 to 7");
  CHECK(refuse(5, 0x80) == "tensor 'w' holds -8, expected -7 to 7");
  CHECK(refuse(file.size() - 1, 0) == "tensor 'w' has a multiplier of 0, expected 1 to 18");
  CHECK(refuse(file.size() - 32, 19) == "tensor 'w' has a multiplier of 19, expected 1 to 18");
}

TEST_CASE("an engine with weights of 4 bits is read back with the int8 they mean") {
  const Engine engine = lower(testing::make_int4_model()).value();
  REQUIRE(has_packed(engine.program));
  const Bytes file = serialize(engine).value();
  CHECK(file[8] == std::byte{2});
  const Result<Engine> read = testing::parse_copy(file, Verify::digests);
  REQUIRE(read);
  CHECK(read->program == engine.program);
  CHECK(std::ranges::equal(read->weights, engine.weights));
  CHECK(serialize(*read).value() == file);
  for (const TensorInfo& info : read->program.tensors)
    CHECK(reinterpret_cast<std::uintptr_t>(read->bytes_of(info).data()) % 64 == 0);

  Engine wide = lower(testing::make_int4_model()).value();
  for (TensorInfo& info : wide.program.tensors)
    info.group = 0;
  const Bytes wide_file = serialize(wide).value();
  CHECK(wide_file[8] == std::byte{1});
  CHECK(5 * file.size() < 4 * wide_file.size());
  CHECK(std::ranges::equal(testing::parse_copy(wide_file)->weights, read->weights));
}

TEST_CASE("an engine that says 4 bits of what does not fit is not written") {
  Engine engine = lower(testing::make_int8_model()).value();
  const auto i8 = std::ranges::find(engine.program.tensors, DType::i8, &TensorInfo::dtype);
  i8->group = 64;
  const auto written = serialize(engine);
  REQUIRE_FALSE(written);
  CHECK(written.error().code() == ErrorCode::internal);
  CHECK_THAT(written.error().message(), Catch::Contains("does not fit into 4 bits"));
}

}  // namespace
}  // namespace rtai::engine
