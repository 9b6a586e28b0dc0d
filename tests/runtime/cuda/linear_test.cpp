// linear_i8 and linear_f16 of runtime/cuda, in the emulation, against the CPU's reference kernels.
#include "runtime/cuda/kernel.h"
#include "runtime/kernels/attention_i8.h"
#include "runtime/kernels/linear_f32.h"
#include "runtime/kernels/linear_i8.h"
#include "runtime/kernels/quantize_rows.h"
#include "tests/runtime/cuda/results.h"
#include "tests/support/compare.h"
#include "tests/support/kernels_under_test.h"

#include <catch2/catch.hpp>

#include <cmath>

namespace rtai::test {
namespace {

using cuda::LinearArgs;
using cuda::LinearTile;

struct LinearCase {
  int rows = 1;
  int columns = 1;
  int k = 1;
  Function function = Function::none;
  bool bias = true;
  bool residual = false;
  int most = 0;  // rows that the launch is made for, if more

  std::string text() const {
    return fmt::format("rows {} columns {} k {} {} bias {} residual {}", rows, columns, k,
                       function_name(function), bias, residual);
  }
};

// Sizes of models, and around tiles of 32, 64 and 128 and blocks of 128 bytes; pruned widths too.
const LinearCase kCases[] = {
    {.rows = 1, .columns = 1, .k = 1},
    {.rows = 7, .columns = 3, .k = 33, .bias = false},
    {.rows = 16, .columns = 192, .k = 128, .function = Function::gelu},
    {.rows = 33, .columns = 65, .k = 129, .residual = true},
    {.rows = 64, .columns = 128, .k = 384, .function = Function::relu, .residual = true},
    {.rows = 128, .columns = 384, .k = 100, .function = Function::gelu},
    {.rows = 130, .columns = 130, .k = 257, .function = Function::tanh, .most = 256},
    {.rows = 5, .columns = 1000, .k = 768, .function = Function::sigmoid},
    {.rows = 31, .columns = 77, .k = 640, .function = Function::silu, .residual = true},
};

/// [columns/16][k/group][16][group] of the CPU's kernels.
template <class T>
GuardedRows<T> pack_panels(const DeviceRows<T>& weight, Index beyond) {
  constexpr Index kGroup = 4 / static_cast<Index>(sizeof(T));
  const Index groups = div_up<Index>(weight.columns(), kGroup);
  GuardedRows<T> packed(1, div_up(weight.rows(), 16) * groups * 16 * kGroup + beyond, 0, 64);
  std::fill_n(packed.data(), packed.columns(), T{0});
  for (int j = 0; j < weight.rows(); ++j) {
    for (int i = 0; i < weight.columns(); ++i)
      packed.data()[((j / 16 * groups + i / kGroup) * 16 + j % 16) * kGroup + i % kGroup] =
          weight.at(j, i);
  }
  return packed;
}

/// Random operands of linear_i8 and what the CPU makes of them.
struct I8Data {
  explicit I8Data(const LinearCase& c)
      : src(std::max(c.rows, c.most), c.k),
        weight(round_up(c.columns, cuda::kWeightRows), c.k),
        src_scale(1, c.rows),
        weight_scale(1, c.columns),
        bias(1, c.columns),
        residual(c.rows, c.columns),
        expected(c.rows, c.columns) {
    Random random(static_cast<std::uint64_t>(c.rows * 1000 + c.columns));
    for (const auto* rows : {&src, &weight}) {
      for (int r = 0; r < rows->rows(); ++r) {
        for (int i = 0; i < c.k; ++i)
          rows->at(r, i) = static_cast<std::int8_t>(random.integer(-127, 127));
      }
      rows->clear_padding();
    }
    const float size = 3.0f / (127.0f * 127.0f * std::sqrt(static_cast<float>(c.k)) / 3.0f);
    random.fill(src_scale.row_span(0), 0.5f * size, 1.5f * size);
    random.fill(weight_scale.row_span(0), 0.5f, 1.5f);
    random.fill(bias.row_span(0), -1.0f, 1.0f);
    fill(residual, random, -2.0f, 2.0f);

    const GuardedRows<std::int8_t> panels = pack_panels(weight, 1024);
    const std::vector<std::int32_t> sums(static_cast<std::size_t>(c.columns));
    run_kernel(reference_kernel<LinearI8>(),
               {.src = reinterpret_cast<const std::uint8_t*>(src.data()),
                .src_stride = src.stride(),
                .src_scale = src_scale.data(),
                .flip = 0,
                .weight = panels.data(),
                .weight_scale = weight_scale.data(),
                .bias = c.bias ? bias.data() : nullptr,
                .weight_sum = sums.data(),
                .residual = c.residual ? residual.data() : nullptr,
                .residual_stride = residual.stride(),
                .dst = expected.data(),
                .dst_stride = expected.columns(),
                .absmax = nullptr,
                .function = c.function,
                .rows = c.rows,
                .columns = c.columns,
                .k = c.k},
               nullptr);
  }

  LinearArgs args(const LinearCase& c, const DeviceCount& rows, LinearTile tile) const {
    return {.rows = rows.bound(std::max(c.rows, c.most)),
            .columns = c.columns,
            .k = c.k,
            .src = src.data(),
            .src_scale = src_scale.data(),
            .weight = weight.data(),
            .weight_scale = weight_scale.data(),
            .bias = c.bias ? bias.data() : nullptr,
            .function = c.function,
            .residual = {.f32 = c.residual ? residual.data() : nullptr},
            .dst = {},
            .heads = {},
            .tile = tile};
  }

  DeviceRows<std::int8_t> src;
  DeviceRows<std::int8_t> weight;
  GuardedRows<float> src_scale;
  GuardedRows<float> weight_scale;
  GuardedRows<float> bias;
  DeviceRows<float> residual;
  GuardedRows<float> expected;
};

/// Tiles of every kernel.
struct TileUnderTest {
  LinearTile tile;
  cuda::Kernels kernels;
};
const std::vector<TileUnderTest>& tiles() {
  static const std::vector<TileUnderTest> all = [] {
    std::vector<TileUnderTest> found;
    for (const int capability : {80, 90}) {
      for (const LinearTile tile : cuda::linear_tiles(capability))
        found.push_back({tile, cuda::host::select_kernels(capability)});
    }
    return found;
  }();
  return all;
}

TEST_CASE("linear_i8 on a GPU gives the CPU's floats and integers with every tile and schedule") {
  for (const LinearCase& c : kCases) {
    const I8Data data(c);
    for (const auto& [tile, kernels] : tiles()) {
      for (const auto& schedule : kSchedules) {
        cuda::host::set_schedule(schedule);
        const Results results(c.rows, c.columns);
        const DeviceTeam team(c.rows);
        const DeviceCount rows(c.rows);
        LinearArgs args = data.args(c, rows, tile);
        args.dst = results.view(
            0, nullptr, team.view(tile != LinearTile::t64x64 && tile != LinearTile::w64x64));
        kernels.linear_i8->run(args, nullptr);
        INFO(c.text() << " " << cuda::tile_shape(tile).rows << " " << kernels.linear_i8->name);
        REQUIRE(first_fault() == kNothing);
        CHECK(results.check_forms() == kNothing);
        CHECK(same_bits<float>(results.f32.values(), data.expected.values()));
      }
    }
  }
}

TEST_CASE(
    "linear_i8 on a GPU multiplies by column factors before it quantizes, static or dynamic") {
  const LinearCase c{.rows = 37, .columns = 150, .k = 96};
  const I8Data data(c);
  GuardedRows<float> factor(1, c.columns);
  Random random(5);
  random.fill(factor.row_span(0), 0.1f, 3.0f);
  for (const float fixed_scale : {0.0f, 0.03f}) {
    GuardedRows<std::uint8_t> integers(c.rows, round_up<Index>(c.columns, 64));
    GuardedRows<float> scales(1, c.rows);
    run_kernel(reference_kernel<QuantizeRows>(),
               {.src = data.expected.data(),
                .src_stride = c.columns,
                .absmax = nullptr,
                .dst = {.data = integers.data(),
                        .stride = integers.stride(),
                        .scale = scales.data(),
                        .fixed_scale = fixed_scale,
                        .column_factor = factor.data()},
                .rows = c.rows,
                .columns = c.columns},
               nullptr);
    for (const auto& [tile, kernels] : tiles()) {
      const DeviceRows<std::int8_t> i8(c.rows, c.columns);
      const GuardedRows<float> scale(1, c.rows);
      const DeviceTeam team(c.rows);
      const DeviceCount rows(c.rows);
      LinearArgs args = data.args(c, rows, tile);
      args.dst = {.i8 = i8.data(),
                  .scale = scale.data(),
                  .fixed_scale = fixed_scale,
                  .column_factor = factor.data(),
                  .team = team.view(false)};
      kernels.linear_i8->run(args, nullptr);
      REQUIRE(first_fault() == kNothing);
      CHECK(same_bits(scale, scales));
      bool same = true;
      for (int r = 0; r < c.rows; ++r) {
        for (int j = 0; j < c.columns; ++j)
          same = same && i8.at(r, j) == static_cast<std::int8_t>(integers.row(r)[j]);
      }
      CHECK(same);
    }
  }
}

TEST_CASE("linear_i8 on a GPU quantizes heads as the CPU does, for any number of them") {
  for (const int head_dim : {32, 64}) {
    for (const int heads : {1, 3, 5, 12}) {
      const LinearCase c{.rows = 35, .columns = 3 * heads * head_dim, .k = 160};
      const I8Data data(c);
      GuardedRows<std::int8_t> integers(c.rows, c.columns, 0, 64);
      GuardedRows<float> scales(c.rows, 3 * heads);
      run_kernel(reference_kernel<QuantizeHeads>(),
                 {.src = data.expected.data(),
                  .src_stride = c.columns,
                  .dst = {integers.data(), scales.data(), 3 * heads},
                  .rows = c.rows,
                  .head_dim = head_dim},
                 nullptr);
      for (const auto& [tile, kernels] : tiles()) {
        if (cuda::tile_shape(tile).columns % head_dim != 0) continue;
        for (const auto& schedule : kSchedules) {
          cuda::host::set_schedule(schedule);
          const DeviceRows<std::int8_t> bytes(c.rows, c.columns);
          const GuardedRows<float> scale(c.rows, 3 * heads);
          const DeviceCount rows(c.rows);
          LinearArgs args = data.args(c, rows, tile);
          args.heads = {bytes.data(), scale.data(), 3 * heads, head_dim};
          kernels.linear_i8->run(args, nullptr);
          INFO(heads << " heads of " << head_dim << ", tile " << cuda::tile_shape(tile).rows
                     << " of " << kernels.linear_i8->name);
          REQUIRE(first_fault() == kNothing);
          CHECK(bytes.is_intact());
          CHECK(same_bits<std::int8_t>(bytes.values(), integers.values()));
          CHECK(same_bits(scale, scales));
        }
      }
    }
  }
}

TEST_CASE("linear_i8 on a GPU gives a row that is not finite no finite scale, and no other row") {
  const LinearCase c{.rows = 40, .columns = 100, .k = 64, .residual = true};
  const I8Data data(c);
  data.residual.at(3, 99) = kNan;
  data.residual.at(17, 0) = -kInfinity;
  const DeviceRows<std::int8_t> i8(c.rows, c.columns);
  const GuardedRows<float> scale(1, c.rows);
  const DeviceTeam team(c.rows);
  const DeviceCount rows(c.rows);
  const cuda::Kernels kernels = cuda::host::select_kernels(cuda::kLowestCapability);
  LinearArgs args = data.args(c, rows, LinearTile::t32x64);
  args.dst = {.i8 = i8.data(), .scale = scale.data(), .team = team.view(false)};
  kernels.linear_i8->run(args, nullptr);
  REQUIRE(first_fault() == kNothing);
  for (int r = 0; r < c.rows; ++r)
    CHECK(std::isfinite(scale.data()[r]) == (r != 3 && r != 17));
}

TEST_CASE("linear_i8 on a GPU writes floats alone, or integers of a known scale") {
  // Whole tiles, and tiles that are cut; more blocks of k than stages.
  for (const LinearCase& c :
       {LinearCase{.rows = 130, .columns = 144, .k = 820, .function = Function::gelu},
        LinearCase{.rows = 129, .columns = 130, .k = 300, .residual = true},
        LinearCase{.rows = 128, .columns = 256, .k = 200, .bias = false, .most = 300},
        LinearCase{.rows = 300, .columns = 256, .k = 300, .residual = true, .most = 520},
        LinearCase{.rows = 257, .columns = 384, .k = 1000, .function = Function::gelu}}) {
    const I8Data data(c);
    GuardedRows<float> factor(1, c.columns);
    Random random(5);
    random.fill(factor.row_span(0), 0.1f, 3.0f);
    for (const auto& [tile, kernels] : tiles()) {
      for (const auto& schedule : kSchedules) {
        cuda::host::set_schedule(schedule);
        INFO(c.text() << " tile " << cuda::tile_shape(tile).rows << " of "
                      << kernels.linear_i8->name);
        const Results results(c.rows, c.columns);
        const DeviceCount rows(c.rows);
        LinearArgs args = data.args(c, rows, tile);
        args.dst = {.f32 = results.f32.data(), .f16 = results.f16.data()};
        kernels.linear_i8->run(args, nullptr);
        REQUIRE(first_fault() == kNothing);
        CHECK(same_bits<float>(results.f32.values(), data.expected.values()));
        if (!c.residual) {
          args.dst = {.i8 = results.i8.data(),
                      .scale = results.scale.data(),
                      .fixed_scale = 0.02f,
                      .column_factor = factor.data()};
          kernels.linear_i8->run(args, nullptr);
          REQUIRE(first_fault() == kNothing);
          CHECK(results.check_forms(0.02f, factor.data()) == kNothing);
        }
      }
    }
  }
}

TEST_CASE("linear_i8 on a GPU reads a residual of 16 bits as the floats that it is") {
  for (const LinearCase& c : {LinearCase{.rows = 33, .columns = 65, .k = 129},
                              LinearCase{.rows = 128, .columns = 256, .k = 64}}) {
    const I8Data data(c);
    const DeviceRows<std::uint16_t> halves = round_to_halves(data.residual);
    for (const auto& [tile, kernels] : tiles()) {
      const DeviceRows<float> from_f32(c.rows, c.columns);
      const DeviceRows<float> from_f16(c.rows, c.columns);
      const DeviceCount rows(c.rows);
      LinearArgs args = data.args(c, rows, tile);
      args.residual = {.f32 = data.residual.data()};
      args.dst = {.f32 = from_f32.data()};
      kernels.linear_i8->run(args, nullptr);
      args.residual = {.f16 = halves.data()};
      args.dst = {.f32 = from_f16.data()};
      kernels.linear_i8->run(args, nullptr);
      REQUIRE(first_fault() == kNothing);
      CHECK(same_bits<float>(from_f16.values(), from_f32.values()));
    }
  }
}

TEST_CASE("linear_f16 on a GPU gives the reference's products of the same numbers") {
  for (const LinearCase& c : kCases) {
    Random random(11);
    const DeviceRows<std::uint16_t> src(std::max(c.rows, c.most), c.k);
    const int weight_rows = round_up(c.columns, cuda::kWeightRows);
    const DeviceRows<std::uint16_t> weight(weight_rows, c.k);
    const DeviceRows<float> src_f32(std::max(c.rows, c.most), c.k);
    const DeviceRows<float> weight_f32(weight_rows, c.k);
    const float size = 2.0f / std::sqrt(static_cast<float>(c.k));
    const auto fill_both = [&](const auto& halves, const auto& floats, float most) {
      for (int r = 0; r < halves.rows(); ++r) {
        for (int i = 0; i < c.k; ++i) {
          halves.at(r, i) = f32_to_f16(random.real(-most, most));
          floats.at(r, i) = f16_to_f32(halves.at(r, i));
        }
      }
      halves.clear_padding();
    };
    fill_both(src, src_f32, 1.0f);
    fill_both(weight, weight_f32, size);
    GuardedRows<float> bias(1, c.columns);
    random.fill(bias.row_span(0), -1.0f, 1.0f);
    const DeviceRows<float> residual(c.rows, c.columns);
    fill(residual, random, -2.0f, 2.0f);
    GuardedRows<float> expected(c.rows, c.columns);
    const GuardedRows<float> panels = pack_panels(weight_f32, 0);
    run_kernel(reference_kernel<LinearF32>(),
               {.src = src_f32.data(),
                .src_stride = src_f32.stride(),
                .weight = panels.data(),
                .bias = c.bias ? bias.data() : nullptr,
                .residual = c.residual ? residual.data() : nullptr,
                .residual_stride = residual.stride(),
                .dst = expected.data(),
                .dst_stride = c.columns,
                .absmax = nullptr,
                .function = c.function,
                .rows = c.rows,
                .columns = c.columns,
                .k = c.k},
               nullptr);
    // Every function's slope is at most 1.13; sums are of products up to `size`.
    Tolerance tolerance = dot_tolerance(c.k, 2 * static_cast<float>(c.k) * size);
    tolerance.absolute += function_tolerance(c.function).absolute + 4 * kEpsilon;
    for (const auto& [tile, kernels] : tiles()) {
      const DeviceRows<float> f32(c.rows, c.columns);
      const DeviceRows<std::uint16_t> f16(c.rows, c.columns);
      const DeviceCount rows(c.rows);
      const LinearArgs args{.rows = rows.bound(std::max(c.rows, c.most)),
                            .columns = c.columns,
                            .k = c.k,
                            .src = src.data(),
                            .src_scale = nullptr,
                            .weight = weight.data(),
                            .weight_scale = nullptr,
                            .bias = c.bias ? bias.data() : nullptr,
                            .function = c.function,
                            .residual = {.f32 = c.residual ? residual.data() : nullptr},
                            .dst = {.f32 = f32.data(), .f16 = f16.data()},
                            .heads = {},
                            .tile = tile};
      kernels.linear_f16->run(args, nullptr);
      INFO(c.text());
      REQUIRE(first_fault() == kNothing);
      CHECK(f32.is_intact());
      CHECK(f16.is_intact());
      CHECK(first_difference(f32.values(), expected.values(), tolerance) == kNothing);
      CHECK(f16.has_zero_padding());
      CHECK(f16.at(c.rows - 1, c.columns - 1) == f32_to_f16(f32.at(c.rows - 1, c.columns - 1)));
    }
  }
}

}  // namespace
}  // namespace rtai::test
