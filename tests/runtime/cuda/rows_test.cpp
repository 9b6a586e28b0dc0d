// The rows kernel of runtime/cuda, in the emulation, against the CPU's reference kernels.
#include "runtime/cuda/kernel.h"
#include "runtime/kernels/embedding.h"
#include "runtime/kernels/layer_norm.h"
#include "runtime/kernels/quantize_rows.h"
#include "runtime/kernels/rowwise.h"
#include "tests/runtime/cuda/results.h"
#include "tests/support/compare.h"
#include "tests/support/kernels_under_test.h"

#include <catch2/catch.hpp>

#include <cmath>

namespace rtai::test {
namespace {

using cuda::Rows;

constexpr int kColumns[] = {1, 3, 64, 127, 384, 500, 513, 768, 1030, 3072, 5000};
constexpr int kRowCount = 5;
constexpr int kManyRows = 1500;  // that a launch is made for: warps share blocks then

const cuda::Kernel<Rows>& rows_kernel() {
  static const cuda::Kernels selected = cuda::host::select_kernels(cuda::kLowestCapability);
  return *selected.rows;
}

/// A norm of `src`, all but its result.
Rows::Args norm_args(const cuda::RowCount& rows,
                     const DeviceRows<float>& src,
                     const GuardedRows<float>& weight,
                     const GuardedRows<float>& bias) {
  return {.rows = rows,
          .columns = src.columns(),
          .source = Rows::Source::rows,
          .src = {.f32 = src.data()},
          .src_columns = src.columns(),
          .norm = Rows::Norm::layer,
          .weight = weight.data(),
          .bias = bias.data(),
          .epsilon = 1e-5f};
}

TEST_CASE("rows on a GPU gives layer_norm's floats and their other forms") {
  for (const int columns : kColumns) {
    Random random(static_cast<std::uint64_t>(columns));
    const DeviceRows<float> src(kRowCount, columns);
    fill(src, random, -3.0f, 5.0f);
    GuardedRows<float> weight(1, columns);
    GuardedRows<float> bias(1, columns);
    GuardedRows<float> factor(1, columns);
    random.fill(weight.row_span(0), 0.5f, 1.5f);
    random.fill(bias.row_span(0), -1.0f, 1.0f);
    random.fill(factor.row_span(0), 0.2f, 2.0f);
    GuardedRows<float> expected(kRowCount, columns);
    run_kernel(reference_kernel<LayerNorm>(),
               {.src = src.data(),
                .src_stride = src.stride(),
                .weight = weight.data(),
                .bias = bias.data(),
                .dst = expected.data(),
                .dst_stride = columns,
                .quantized = {},
                .rows = kRowCount,
                .hidden = columns,
                .epsilon = 1e-5f},
               nullptr);
    for (const auto& schedule : kSchedules) {
      cuda::host::set_schedule(schedule);
      const bool plain = schedule.order == cuda::host::Schedule::Order::forward;
      const float fixed_scale = plain ? 0.0f : 0.02f;
      const Results results(kRowCount, columns);
      const DeviceCount rows(kRowCount);
      Rows::Args args = norm_args(rows.bound(plain ? kRowCount + 3 : kManyRows), src, weight, bias);
      args.dst = results.view(fixed_scale, plain ? nullptr : factor.data());
      rows_kernel().run(args, nullptr);
      INFO(columns << " columns");
      REQUIRE(first_fault() == kNothing);
      CHECK(same_bits<float>(results.f32.values(), expected.values()));
      CHECK(results.check_forms(fixed_scale, plain ? nullptr : factor.data()) == kNothing);
    }
  }
}

TEST_CASE("rows on a GPU gives a row the same norm in small and large batches") {
  for (const int columns : {384, 768, 1024}) {  // whose rows warps take in large ones
    Random random(7);
    const DeviceRows<float> src(kRowCount, columns);
    fill(src, random, -3.0f, 5.0f);
    GuardedRows<float> weight(1, columns);
    GuardedRows<float> bias(1, columns);
    random.fill(weight.row_span(0), 0.5f, 1.5f);
    random.fill(bias.row_span(0), -1.0f, 1.0f);
    const DeviceCount rows(kRowCount);
    std::vector<std::vector<float>> results;
    for (const int most : {kRowCount, kManyRows}) {
      const DeviceRows<float> dst(kRowCount, columns);
      Rows::Args args = norm_args(rows.bound(most), src, weight, bias);
      args.dst.f32 = dst.data();
      rows_kernel().run(args, nullptr);
      REQUIRE(first_fault() == kNothing);
      results.push_back(dst.values());
    }
    CHECK(same_bits<float>(results[0], results[1]));
  }
}

TEST_CASE("rows on a GPU gives embedding's sums of i8 and f32 tables, normalized or not") {
  constexpr int kVocabulary = 50;
  for (const int columns : {3, 64, 384, 1030}) {
    Random random(2);
    GuardedRows<std::int8_t> word(kVocabulary, columns);
    GuardedRows<float> word_scale(1, kVocabulary);
    GuardedRows<float> position(20, columns);
    GuardedRows<float> segment(2, columns);
    for (Index r = 0; r < kVocabulary; ++r) {
      for (std::int8_t& value : word.row_span(r))
        value = static_cast<std::int8_t>(random.integer(-127, 127));
    }
    random.fill(word_scale.row_span(0), 0.001f, 0.02f);
    for (Index r = 0; r < 20; ++r)
      random.fill(position.row_span(r), -1.0f, 1.0f);
    for (Index r = 0; r < 2; ++r)
      random.fill(segment.row_span(r), -1.0f, 1.0f);
    GuardedRows<std::int32_t> ids(1, kRowCount);
    GuardedRows<std::int32_t> positions(1, kRowCount);
    GuardedRows<std::int32_t> segments(1, kRowCount);
    for (int r = 0; r < kRowCount; ++r) {
      ids.data()[r] = static_cast<std::int32_t>(random.integer(0, kVocabulary - 1));
      positions.data()[r] = 19 - r;
      segments.data()[r] = r % 2;
    }
    GuardedRows<float> expected(kRowCount, columns);
    run_kernel(reference_kernel<Embedding>(),
               {.ids = ids.data(),
                .positions = positions.data(),
                .segments = segments.data(),
                .word = {word.data(), word_scale.data()},
                .position = {position.data(), nullptr},
                .segment = {segment.data(), nullptr},
                .dst = expected.data(),
                .tokens = kRowCount,
                .hidden = columns},
               nullptr);
    GuardedRows<std::uint32_t> fault(1, 1);
    const DeviceCount rows(kRowCount);
    const auto run = [&](const Results& results) {
      fault.data()[0] = 0;
      rows_kernel().run({.rows = rows.bound(columns == 384 ? kManyRows : kRowCount),
                         .columns = columns,
                         .source = Rows::Source::embedding,
                         .ids = ids.data(),
                         .positions = positions.data(),
                         .segments = segments.data(),
                         .word = {word.data(), word_scale.data(), kVocabulary},
                         .position = {position.data(), nullptr, 20},
                         .segment = {segment.data(), nullptr, 2},
                         .fault = fault.data(),
                         .dst = results.view()},
                        nullptr);
      REQUIRE(first_fault() == kNothing);
    };
    const Results results(kRowCount, columns);
    run(results);
    CHECK(fault.data()[0] == 0);
    CHECK(same_bits<float>(results.f32.values(), expected.values()));
    CHECK(results.check_forms() == kNothing);

    for (const std::int32_t wrong : {-1, kVocabulary, 1 << 30}) {
      ids.data()[2] = wrong;
      run(Results(kRowCount, columns));
      CHECK(fault.data()[0] != 0);
    }
    ids.data()[2] = 0;
    positions.data()[4] = 20;
    run(Results(kRowCount, columns));
    CHECK(fault.data()[0] != 0);
  }
}

TEST_CASE("rows on a GPU picks rows and columns, adds, applies functions and normalizes lengths") {
  const int columns = 70;
  Random random(9);
  const DeviceRows<float> src(12, 200);
  const DeviceRows<float> addend(kRowCount, columns);
  fill(src, random, -2.0f, 2.0f);
  fill(addend, random, -2.0f, 2.0f);
  const DeviceRows<std::uint16_t> src_f16 = round_to_halves(src);
  const DeviceRows<std::uint16_t> addend_f16 = round_to_halves(addend);
  GuardedRows<std::int32_t> row_of(1, kRowCount);
  for (int r = 0; r < kRowCount; ++r)
    row_of.data()[r] = 11 - 2 * r;
  const DeviceCount rows(kRowCount);
  for (int f = 0; f < kFunctionCount; ++f) {
    const auto function = static_cast<Function>(f);
    const Results results(kRowCount, columns);
    Rows::Args args{.rows = rows.bound(kRowCount),
                    .columns = columns,
                    .source = Rows::Source::rows,
                    .src = {.f32 = src.data()},
                    .src_columns = 200,
                    .first_column = 101,
                    .row_of = row_of.data(),
                    .addend = {.f32 = addend.data()},
                    .function = function,
                    .dst = results.view()};
    rows_kernel().run(args, nullptr);
    REQUIRE(first_fault() == kNothing);
    std::vector<float> expected;
    for (int r = 0; r < kRowCount; ++r) {
      for (int i = 0; i < columns; ++i)
        expected.push_back(src.at(11 - 2 * r, 101 + i) + addend.at(r, i));
    }
    run_kernel(reference_kernel<Activation>(),
               {expected.data(), expected.data(), function, std::ssize(expected)}, nullptr);
    CHECK(same_bits<float>(results.f32.values(), expected));
    CHECK(results.check_forms() == kNothing);

    const Results from_f16(kRowCount, columns);
    args.src = {.f16 = src_f16.data()};
    args.addend = {.f16 = addend_f16.data()};
    args.dst = from_f16.view();
    rows_kernel().run(args, nullptr);
    REQUIRE(first_fault() == kNothing);
    CHECK(same_bits<float>(from_f16.f32.values(), results.f32.values()));
  }
  const Results results(kRowCount, 200);
  rows_kernel().run({.rows = rows.bound(kRowCount),
                     .columns = 200,
                     .source = Rows::Source::rows,
                     .src = {.f32 = src.data()},
                     .src_columns = 200,
                     .norm = Rows::Norm::l2,
                     .dst = results.view()},
                    nullptr);
  std::vector<float> rows_in(src.values());
  rows_in.resize(kRowCount * 200);
  std::vector<float> expected(rows_in.size());
  run_kernel(reference_kernel<L2Normalize>(), {rows_in.data(), expected.data(), kRowCount, 200},
             nullptr);
  CHECK(first_difference(results.f32.values(), expected, kL2NormalizeTolerance) == kNothing);
  CHECK(results.check_forms() == kNothing);
}

TEST_CASE("rows on a GPU takes the mean of each sequence") {
  const int columns = 384;
  Random random(10);
  const DeviceRows<float> src(40, columns);
  fill(src, random, -2.0f, 2.0f);
  GuardedRows<std::int32_t> offsets(1, 4);
  const std::int32_t ends[] = {0, 1, 34, 40};
  std::copy(std::begin(ends), std::end(ends), offsets.data());
  const DeviceCount rows(3);
  const Results results(3, columns);
  rows_kernel().run({.rows = rows.bound(8),
                     .columns = columns,
                     .source = Rows::Source::mean,
                     .src = {.f32 = src.data()},
                     .src_columns = columns,
                     .offsets = offsets.data(),
                     .dst = results.view()},
                    nullptr);
  REQUIRE(first_fault() == kNothing);
  std::vector<float> expected(3 * static_cast<std::size_t>(columns));
  for (int s = 0; s < 3; ++s) {
    run_kernel(reference_kernel<MeanPool>(),
               {&src.at(ends[s], 0), expected.data() + s * columns, ends[s + 1] - ends[s], columns},
               nullptr);
  }
  CHECK(same_bits<float>(results.f32.values(), expected));
  CHECK(results.check_forms() == kNothing);
}

}  // namespace
}  // namespace rtai::test
