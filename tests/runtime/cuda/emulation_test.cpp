// The emulation itself: that it finds the mistakes it is there to find.
#include "runtime/cuda/device.cuh"
#include "tests/runtime/cuda/device_rows.h"

#include <catch2/catch.hpp>

namespace rtai::cuda::host {
namespace {

struct Args {
  int* out;
};

std::vector<std::string> faults_of(void (*kernel)(Args), int* out, const LaunchShape& shape) {
  launch(kernel, shape, nullptr, Args{out});
  return take_faults();
}

TEST_CASE("the emulation runs every thread of every block once") {
  std::vector<int> counts(3 * 64);
  const auto faults = faults_of([](Args args) { ++args.out[block_index() * 64 + thread_index()]; },
                                counts.data(), {.blocks = 3, .threads = 64});
  CHECK(faults.empty());
  CHECK(counts == std::vector<int>(3 * 64, 1));
}

TEST_CASE("the emulation keeps threads at a barrier until all have come") {
  for (const auto& schedule : test::kSchedules) {
    set_schedule(schedule);
    std::vector<int> sums(128);
    const auto faults = faults_of(
        [](Args args) {
          int* shared = shared_memory<int>();
          shared[thread_index()] = thread_index();
          sync_block();
          args.out[thread_index()] = shared[(thread_index() + 77) % 128];
        },
        sums.data(), {.threads = 128, .shared_bytes = 128 * sizeof(int)});
    CHECK(faults.empty());
    for (int i = 0; i < 128; ++i)
      CHECK(sums[static_cast<std::size_t>(i)] == (i + 77) % 128);
  }
}

TEST_CASE("without a barrier the result depends on the schedule") {
  std::vector<std::vector<int>> results;
  for (const auto& schedule : test::kSchedules) {
    set_schedule(schedule);
    std::vector<int> sums(128);
    faults_of(
        [](Args args) {
          int* shared = shared_memory<int>();
          shared[thread_index()] = thread_index();
          args.out[thread_index()] = shared[(thread_index() + 77) % 128];
        },
        sums.data(), {.threads = 128, .shared_bytes = 128 * sizeof(int)});
    results.push_back(sums);
  }
  CHECK(results[0] != results[1]);
}

TEST_CASE("an asynchronous copy that nobody waits for has not happened") {
  set_schedule({});
  alignas(16) std::array<int, 4> source = {1, 2, 3, 4};
  struct CopyArgs {
    const int* source;
    int* out;
    bool wait;
  };
  const auto copied = [&](bool wait) {
    int out = 0;
    launch(
        +[](CopyArgs args) {
          int* shared = shared_memory<int>();
          if (thread_index() == 0) copy_async16(shared, args.source, true);
          commit_copies();
          if (args.wait) wait_copies<0>();
          sync_block();
          if (thread_index() == 31) *args.out = shared[2];
        },
        {.threads = 32, .shared_bytes = 16}, nullptr, CopyArgs{source.data(), &out, wait});
    return out;
  };
  CHECK(copied(true) == 3);
  CHECK(copied(false) == -1);  // what shared memory begins with
}

TEST_CASE("a grid that cannot end is a fault") {
  set_schedule({});
  int out = 0;
  SECTION("a barrier that a thread waits at and others never reach is passed when they end") {
    CHECK(faults_of(
              [](Args) {
                if (thread_index() < 32) sync_block();
              },
              &out, {.threads = 64})
              .empty());
  }
  SECTION("a lane of a warp that does not come") {
    CHECK(faults_of(
              [](Args) {
                if (thread_index() != 5) sync_warp();
              },
              &out, {.threads = 32})
              .size() == 1);
  }
  SECTION("lanes at different instructions") {
    const auto faults = faults_of(
        [](Args) {
          if (thread_index() < 16) sync_warp();
          shuffle_xor(1, 1);
        },
        &out, {.threads = 32});
    REQUIRE(faults.size() == 1);
    CHECK(faults[0].find("different instructions") != std::string::npos);
  }
  SECTION("waiting for a block that is not resident") {
    const auto kernel = [](Args args) {
      if (block_index() == 1) add_release(args.out, 1);
      while (load_acquire(args.out) == 0)
        pause();
    };
    CHECK(faults_of(kernel, &out, {.blocks = 2, .threads = 32}).size() == 1);
    out = 0;
    CHECK(faults_of(kernel, &out, {.blocks = 2, .threads = 32, .team = 2}).empty());
  }
  SECTION("a matrix that lies outside of shared memory") {
    const auto faults = faults_of(
        [](Args) {
          std::uint32_t registers[4];
          load_matrices(registers, shared_memory<std::byte>() + 16 * thread_index());
        },
        &out, {.threads = 32, .shared_bytes = 31 * 16});
    REQUIRE(faults.size() == 1);
    CHECK(faults[0].find("outside") != std::string::npos);
  }
}

TEST_CASE("matrix instructions multiply what ldmatrix loads") {
  set_schedule({});
  // A [16, 32 bytes] and B [8, 32 bytes] in shared memory, C = A B^T by mma and by loops.
  struct MatrixArgs {
    const std::int8_t* operands;  // 24 rows of 32
    std::int32_t* out;            // [16, 8]
  };
  alignas(16) std::array<std::int8_t, 24 * 32> operands{};
  test::Random random(3);
  for (std::int8_t& value : operands)
    value = static_cast<std::int8_t>(random.integer(-128, 127));
  std::array<std::int32_t, 16 * 8> out{};
  launch(
      +[](MatrixArgs args) {
        auto* shared = shared_memory<std::int8_t>();
        for (int i = thread_index(); i < 24 * 32; i += 32)
          shared[i] = args.operands[i];
        sync_block();
        const int lane = thread_index();
        std::uint32_t a[4];
        std::uint32_t b[4];
        load_matrices(a, shared + lane % 16 * 32 + lane / 16 * 16);
        load_matrices(b, shared + (16 + lane % 8) * 32 + lane / 8 % 2 * 16);
        std::int32_t c[4] = {};
        multiply_add(c, a, b[0], b[1]);
        for (int i = 0; i < 4; ++i)
          args.out[(lane / 4 + 8 * (i / 2)) * 8 + lane % 4 * 2 + i % 2] = c[i];
      },
      {.threads = 32, .shared_bytes = 24 * 32}, nullptr, MatrixArgs{operands.data(), out.data()});
  CHECK(take_faults().empty());
  for (std::size_t i = 0; i < 16; ++i) {
    for (std::size_t j = 0; j < 8; ++j) {
      int sum = 0;
      for (std::size_t k = 0; k < 32; ++k)
        sum += operands[i * 32 + k] * operands[(16 + j) * 32 + k];
      CHECK(out[i * 8 + j] == sum);
    }
  }
}

TEST_CASE("permute_bytes picks bytes as the hardware does") {
  CHECK(permute_bytes(0x03020100, 0x07060504, 0x5140) == 0x05010400);
  CHECK(permute_bytes(0x03020100, 0x07060504, 0x7632) == 0x07060302);
}

}  // namespace
}  // namespace rtai::cuda::host
