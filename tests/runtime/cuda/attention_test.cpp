// attention_i8, attention_f16 and quantize_heads of runtime/cuda, in the emulation, against the
// CPU's reference kernels, sequence by sequence.
#include "runtime/kernels/attention.h"

#include "runtime/cuda/kernel.h"
#include "runtime/kernels/attention_i8.h"
#include "runtime/kernels/quantize_rows.h"
#include "tests/runtime/cuda/results.h"
#include "tests/support/compare.h"
#include "tests/support/kernels_under_test.h"

#include <catch2/catch.hpp>

#include <cmath>
#include <numeric>

namespace rtai::test {
namespace {

struct AttentionCase {
  std::vector<int> lengths;
  int heads = 1;
  int head_dim = 32;
  bool causal = false;
  bool first_only = false;  // one query for each sequence

  int tokens() const { return std::accumulate(lengths.begin(), lengths.end(), 0); }
  int queries() const { return first_only ? static_cast<int>(lengths.size()) : tokens(); }
  int width() const { return heads * head_dim; }
  float scale() const { return 1.0f / std::sqrt(static_cast<float>(head_dim)); }
  std::string text() const {
    return fmt::format("{} sequences, {} tokens, {} heads of {}, causal {}, first only {}",
                       lengths.size(), tokens(), heads, head_dim, causal, first_only);
  }
};

// Around blocks of 64 keys and 64 queries and warps of 16; odd numbers of heads, as pruning leaves.
const AttentionCase kCases[] = {
    {.lengths = {1}},
    {.lengths = {7}, .heads = 3, .head_dim = 64},
    {.lengths = {16, 1, 33}, .heads = 5},
    {.lengths = {128}, .heads = 1, .head_dim = 64},
    {.lengths = {65, 3, 64}, .heads = 2, .head_dim = 64, .causal = true},
    {.lengths = {300, 129}, .heads = 1, .head_dim = 64},
    {.lengths = {128, 257}, .heads = 2, .head_dim = 20, .causal = true},
    {.lengths = {150}, .heads = 1, .head_dim = 128},
    {.lengths = {130, 2}, .heads = 12, .head_dim = 32},
    {.lengths = {70, 1, 40}, .heads = 3, .head_dim = 32, .first_only = true},
    {.lengths = {20}, .heads = 2, .head_dim = 16},
    {.lengths = {9, 66}, .heads = 3, .head_dim = 5, .causal = true},
    {.lengths = {12}, .heads = 1, .head_dim = 80},
};

std::vector<cuda::AttentionTile> tiles_of(const AttentionCase& c) {
  std::vector<cuda::AttentionTile> tiles;
  std::int32_t first = 0;
  for (std::size_t s = 0; s < c.lengths.size(); ++s) {
    const std::int32_t length = c.lengths[s];
    if (c.first_only) {
      tiles.push_back({first, length, 0, 1, static_cast<std::int32_t>(s)});
    } else {
      for (std::int32_t q = 0; q < length; q += cuda::kAttentionQueries)
        tiles.push_back(
            {first, length, q, std::min(cuda::kAttentionQueries, length - q), first + q});
    }
    first += length;
  }
  return tiles;
}

/// Random qkv, and tiles in device memory.
struct AttentionData {
  AttentionData(const AttentionCase& c, std::uint64_t seed)
      : qkv(c.tokens(), 3 * c.width()),
        tiles(1, static_cast<Index>(tiles_of(c).size())),
        count(static_cast<int>(tiles.columns())) {
    Random random(seed);
    fill(qkv, random, -2.0f, 2.0f);
    // Values of very different size, as tokens without a message have them.
    for (int t = 0; t < qkv.rows(); t += 3) {
      for (int i = 2 * c.width(); i < 3 * c.width(); ++i)
        qkv.at(t, i) *= 0.01f;
    }
    const auto all = tiles_of(c);
    std::copy(all.begin(), all.end(), tiles.data());
  }

  cuda::AttentionArgs args(const AttentionCase& c) const {
    return {.tiles = count.bound(static_cast<int>(tiles.columns()) + 2),
            .tile = tiles.data(),
            .qkv = nullptr,
            .scale_qkv = nullptr,
            .heads = c.heads,
            .head_dim = c.head_dim,
            .scale = c.scale(),
            .causal = c.causal,
            .key_parts = 2,
            .dst = {}};
  }

  DeviceRows<float> qkv;
  GuardedRows<cuda::AttentionTile> tiles;
  DeviceCount count;
};

/// Calls body(first row of src, first row of dst, tokens, queries) for every sequence.
template <class Body>
void for_each_sequence(const AttentionCase& c, Body&& body) {
  int first = 0;
  for (std::size_t s = 0; s < c.lengths.size(); ++s) {
    body(first, c.first_only ? static_cast<int>(s) : first, c.lengths[s],
         c.first_only ? 1 : c.lengths[s]);
    first += c.lengths[s];
  }
}

const cuda::Kernels& kernels() {
  static const cuda::Kernels selected = cuda::host::select_kernels(cuda::kLowestCapability);
  return selected;
}

TEST_CASE("attention_i8 on a GPU gives the CPU's results from the CPU's integers") {
  for (const AttentionCase& c : kCases) {
    const AttentionData data(c, 7);
    const int padded = cuda::padded_head_dim(c.head_dim);
    // Heads by the GPU's kernel, and by the CPU's.
    const DeviceRows<std::int8_t> heads(c.tokens(), 3 * c.heads * padded);
    const GuardedRows<float> scale(c.tokens(), 3 * c.heads);
    const DeviceCount tokens(c.tokens());
    kernels().quantize_heads->run({tokens.bound(c.tokens() + 5),
                                   data.qkv.data(),
                                   {heads.data(), scale.data(), 3 * c.heads, c.head_dim}},
                                  nullptr);
    INFO(c.text());
    REQUIRE(first_fault() == kNothing);
    CHECK(heads.is_intact());
    const Index cpu_padded = padded_head(c.head_dim);
    GuardedRows<std::int8_t> cpu_heads(c.tokens(), 3 * c.heads * cpu_padded, 0, 64);
    GuardedRows<float> cpu_scale(c.tokens(), 3 * c.heads);
    run_kernel(reference_kernel<QuantizeHeads>(),
               {.src = data.qkv.data(),
                .src_stride = data.qkv.stride(),
                .dst = {cpu_heads.data(), cpu_scale.data(), 3 * c.heads},
                .rows = c.tokens(),
                .head_dim = c.head_dim},
               nullptr);
    CHECK(same_bits(scale, cpu_scale));
    bool same = true;
    for (int t = 0; t < c.tokens(); ++t) {
      for (int h = 0; h < 3 * c.heads; ++h) {
        for (int d = 0; d < padded; ++d) {
          const std::int8_t expected =
              d < c.head_dim ? cpu_heads.row(t)[h * cpu_padded + d] : std::int8_t{0};
          same = same && heads.at(t, h * padded + d) == expected;
        }
      }
    }
    CHECK(same);

    GuardedRows<float> expected(c.queries(), c.width());
    for_each_sequence(c, [&](int first, int dst, int length, int queries) {
      std::vector<std::byte> scratch(AttentionI8::scratch_bytes(length, c.head_dim));
      run_kernel(reference_kernel<AttentionI8>(),
                 {.qkv = cpu_heads.row(first),
                  .scale_qkv = cpu_scale.row(first),
                  .heads_in_row = c.heads,
                  .first_head = 0,
                  .dst = expected.row(dst),
                  .dst_stride = c.width(),
                  .queries = queries,
                  .first_query = 0,
                  .tokens = length,
                  .heads = c.heads,
                  .head_dim = c.head_dim,
                  .scale = c.scale(),
                  .causal = c.causal},
                 scratch.data());
    });
    std::vector<float> first_values;
    for (const int key_parts : {1, 2, 4}) {
      for (const auto& schedule : kSchedules) {
        cuda::host::set_schedule(schedule);
        const Results results(c.queries(), c.width());
        const DeviceTeam team(c.queries() + 2);
        cuda::AttentionArgs args = data.args(c);
        args.key_parts = key_parts;
        args.qkv = heads.data();
        args.scale_qkv = scale.data();
        args.dst = results.view(0, nullptr,
                                team.view(schedule.order == cuda::host::Schedule::Order::shuffled));
        kernels().attention_i8->run(args, nullptr);
        REQUIRE(first_fault() == kNothing);
        CHECK(results.check_forms() == kNothing);
        const std::vector<float> values = results.f32.values();
        if (first_values.empty()) first_values = values;
        CHECK(same_bits<float>(values, first_values));
        CHECK(same_bits<float>(values, expected.values()));
      }
    }
  }
}

TEST_CASE("attention_i8 on a GPU gives nothing finite where a scale is not, and only there") {
  const AttentionCase c{.lengths = {5, 70}, .heads = 2, .head_dim = 64};
  const AttentionData data(c, 9);
  const DeviceRows<std::int8_t> heads(c.tokens(), 3 * c.width());
  const GuardedRows<float> scale(c.tokens(), 3 * c.heads);
  const DeviceCount tokens(c.tokens());
  kernels().quantize_heads->run(
      {tokens.bound(c.tokens()), data.qkv.data(), {heads.data(), scale.data(), 3 * c.heads, 64}},
      nullptr);
  constexpr int kQuery = 12;  // of the second sequence, in head 0
  scale.row(kQuery)[0] = kInfinity;
  scale.row(2)[2 + 1] = kNan;        // a key of the first sequence, in head 1
  scale.row(3)[4 + 1] = -kInfinity;  // a value there
  for (const int key_parts : {1, 2, 4}) {
    const Results results(c.tokens(), c.width());
    const DeviceTeam team(c.tokens() + 2);
    cuda::AttentionArgs args = data.args(c);
    args.key_parts = key_parts;
    args.qkv = heads.data();
    args.scale_qkv = scale.data();
    args.dst = results.view(0, nullptr, team.view(false));
    kernels().attention_i8->run(args, nullptr);
    REQUIRE(first_fault() == kNothing);
    for (int t = 0; t < c.tokens(); ++t) {
      CHECK(std::isfinite(results.f32.at(t, 0)) == (t != kQuery));
      CHECK(std::isfinite(results.f32.at(t, 64)) == (t >= 5));
    }
  }
}

TEST_CASE("attention_f16 on a GPU gives the reference's results within 16-bit weights") {
  for (const AttentionCase& c : kCases) {
    const AttentionData data(c, 8);
    const DeviceRows<std::uint16_t> halves(c.tokens(), 3 * c.width());
    for (int t = 0; t < c.tokens(); ++t) {
      for (int i = 0; i < 3 * c.width(); ++i) {
        halves.at(t, i) = f32_to_f16(data.qkv.at(t, i));
        data.qkv.at(t, i) = f16_to_f32(halves.at(t, i));
      }
    }
    GuardedRows<float> expected(c.queries(), c.width());
    for_each_sequence(c, [&](int first, int dst, int length, int queries) {
      std::vector<std::byte> scratch(Attention::scratch_bytes(length, c.head_dim));
      const float* row = &data.qkv.at(first, 0);
      run_kernel(reference_kernel<Attention>(),
                 {.query = row,
                  .key = row + c.width(),
                  .value = row + 2 * c.width(),
                  .qkv_stride = data.qkv.stride(),
                  .dst = expected.row(dst),
                  .dst_stride = c.width(),
                  .queries = queries,
                  .first_query = 0,
                  .tokens = length,
                  .heads = c.heads,
                  .head_dim = c.head_dim,
                  .scale = c.scale(),
                  .causal = c.causal},
                 scratch.data());
    });
    for (const auto& schedule : kSchedules) {
      cuda::host::set_schedule(schedule);
      const DeviceRows<float> f32(c.queries(), c.width());
      const DeviceRows<std::uint16_t> f16(c.queries(), c.width());
      cuda::AttentionArgs args = data.args(c);
      args.qkv = halves.data();
      args.dst = {.f32 = f32.data(), .f16 = f16.data()};
      kernels().attention_f16->run(args, nullptr);
      INFO(c.text());
      REQUIRE(first_fault() == kNothing);
      CHECK(f32.is_intact());
      CHECK(f16.is_intact());
      CHECK(f16.has_zero_padding());
      // A weight is rounded to 11 bits: at most 2^-11 of an average of values up to 2.
      CHECK(first_difference(f32.values(), expected.values(), {.absolute = 0x1p-10f}) == kNothing);
      CHECK(f16.at(0, 0) == f32_to_f16(f32.at(0, 0)));
    }
  }
}

}  // namespace
}  // namespace rtai::test
