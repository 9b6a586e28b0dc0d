// The kernel contract of the small ops, and how kernels are chosen. Larger ops have files of their
// own.
#include "runtime/kernels/attention.h"
#include "runtime/kernels/embedding.h"
#include "runtime/kernels/layer_norm.h"
#include "runtime/kernels/linear_f32.h"
#include "runtime/kernels/linear_i8.h"
#include "runtime/kernels/quantize_rows.h"
#include "runtime/kernels/rowwise.h"
#include "tests/support/compare.h"
#include "tests/support/guarded.h"
#include "tests/support/kernels_under_test.h"
#include "tests/support/random.h"
#include "tests/support/tolerance.h"

#include <catch2/catch.hpp>
#include <fmt/format.h>

#include <algorithm>
#include <vector>

namespace rtai::test {
namespace {

// ---- embedding

struct Table {
  Table(Index rows, Index hidden, bool is_i8, Random& random)
      : floats(rows, hidden), integers(rows, hidden), scale(1, rows), i8(is_i8) {
    for (Index r = 0; r < rows; ++r) {
      random.fill(floats.row_span(r), -1.0f, 1.0f);
      for (std::int8_t& value : integers.row_span(r))
        value = static_cast<std::int8_t>(random.integer(-127, 127));
    }
    random.fill(scale.row_span(0), 0.001f, 0.01f);
  }
  LookupTable view() const {
    if (i8) return {.data = integers.data(), .scale = scale.data()};
    return {.data = floats.data(), .scale = nullptr};
  }
  GuardedRows<float> floats;
  GuardedRows<std::int8_t> integers;
  GuardedRows<float> scale;
  bool i8;
};

TEST_CASE("embedding gives the sums of the reference") {
  Random random(12);
  constexpr Index kTokens = 9;
  for (const auto* kernel : kernels_under_test<Embedding>()) {
    for (const Index hidden : kRowSizes) {
      for (int kind = 0; kind < 8; ++kind) {
        const Table word(20, hidden, (kind & 1) != 0, random);
        const Table position(12, hidden, (kind & 2) != 0, random);
        const Table segment(2, hidden, (kind & 4) != 0, random);
        GuardedRows<std::int32_t> ids(3, kTokens);
        for (Index t = 0; t < kTokens; ++t) {
          ids.row(0)[t] = static_cast<std::int32_t>(random.integer(0, 19));
          ids.row(1)[t] = static_cast<std::int32_t>(random.integer(0, 11));
          ids.row(2)[t] = static_cast<std::int32_t>(random.integer(0, 1));
        }
        ids.row(0)[0] = 19;  // the row that ends at an unreadable page
        const auto run = [&](const Kernel<Embedding>& k) {
          GuardedRows<float> dst(kTokens, hidden);
          const Embedding::Args args{.ids = ids.row(0),
                                     .positions = ids.row(1),
                                     .segments = ids.row(2),
                                     .word = word.view(),
                                     .position = kind == 3 ? LookupTable{} : position.view(),
                                     .segment = kind == 5 ? LookupTable{} : segment.view(),
                                     .dst = dst.data(),
                                     .tokens = kTokens,
                                     .hidden = hidden};
          run_kernel(k, args, nullptr);
          CHECK(dst.is_intact());
          return dst;
        };
        INFO(kernel->name << ": hidden " << hidden << ", kind " << kind);
        CHECK(run(*kernel).values() == run(reference_kernel<Embedding>()).values());
      }
    }
  }
}

// ---- activation, add, mean_pool, l2_normalize

std::vector<float> notable_floats() {
  std::vector<float> values = {0.0f,   -0.0f,  kDenormal, -kDenormal, 1e-30f,    -1e-30f,  1e10f,
                               -1e10f, 1e25f,  -1e25f,    kLargest,   -kLargest, 88.5f,    -88.5f,
                               90.0f,  -90.0f, 104.0f,    -104.0f,    kNan,      kInfinity};
  for (float x = -12.0f; x < 12.0f; x += 0.01f)
    values.push_back(x);
  return values;
}

/// The function in double precision.
double exact(Function function, double x) {
  switch (function) {
    case Function::none:
      return x;
    case Function::gelu:
      return 0.5 * x * std::erfc(-x * std::sqrt(0.5));
    case Function::gelu_tanh:
      // Without the cancellation of 1 + tanh.
      return x / (1.0 +
                  std::exp(-2.0 * std::sqrt(2.0 / std::numbers::pi) * (x + 0.044715 * x * x * x)));
    case Function::relu:
      return x > 0.0 ? x : 0.0;
    case Function::tanh:
      return std::tanh(x);
    case Function::sigmoid:
      return 1.0 / (1.0 + std::exp(-x));
    case Function::silu:
      return x / (1.0 + std::exp(-x));
  }
  return x;
}

TEST_CASE("activation is its function from zero to the largest float") {
  const std::vector<float> values = notable_floats();
  const auto count = static_cast<Index>(values.size());
  for (const auto* kernel : kernels_under_test<Activation>()) {
    for (int f = 0; f < kFunctionCount; ++f) {
      const auto function = static_cast<Function>(f);
      const auto run = [&](const Kernel<Activation>& k, bool in_place) {
        GuardedRows<float> src(1, count);
        GuardedRows<float> dst(1, count);
        std::ranges::copy(values, src.data());
        float* target = in_place ? src.data() : dst.data();
        run_kernel(k, {.src = src.data(), .dst = target, .function = function, .elements = count},
                   nullptr);
        CHECK(src.is_intact());
        CHECK(dst.is_intact());
        return in_place ? src.values() : dst.values();
      };
      INFO(kernel->name << ": " << function_name(function));
      std::vector<float> expected;
      for (const float x : values)
        expected.push_back(static_cast<float>(exact(function, x)));
      CHECK(first_difference(run(*kernel, false), expected, function_tolerance(function)) ==
            kNothing);
      CHECK(first_difference(run(*kernel, true), expected, function_tolerance(function)) ==
            kNothing);
    }
  }
}

TEST_CASE("activation gives the same bits on all targets") {
  const std::vector<float> values = notable_floats();
  const auto count = static_cast<Index>(values.size());
  const auto kernels = kernels_under_test<Activation>();
  for (int f = 0; f < kFunctionCount; ++f) {
    const auto run = [&](const Kernel<Activation>& kernel) {
      std::vector<float> dst(values.size());
      run_kernel(kernel,
                 {.src = values.data(),
                  .dst = dst.data(),
                  .function = static_cast<Function>(f),
                  .elements = count},
                 nullptr);
      return dst;
    };
    for (const auto* kernel : kernels) {
      INFO(kernel->name << ": " << function_name(static_cast<Function>(f)));
      CHECK(same_bits<float>(run(*kernel), run(*kernels.front())));
    }
  }
}

TEST_CASE("activation of every number of elements stays inside") {
  Random random(13);
  for (const auto* kernel : kernels_under_test<Activation>()) {
    for (const Index count : kRowSizes) {
      GuardedRows<float> src(1, count);
      GuardedRows<float> dst(1, count);
      random.fill(src.row_span(0), -2.0f, 2.0f);
      run_kernel(
          *kernel,
          {.src = src.data(), .dst = dst.data(), .function = Function::relu, .elements = count},
          nullptr);
      INFO(kernel->name << ": " << count);
      CHECK(dst.is_intact());
      CHECK(std::ranges::equal(src.row_span(0), dst.row_span(0),
                               [](float s, float d) { return d == std::max(s, 0.0f); }));
    }
  }
}

TEST_CASE("add gives the floats of the reference") {
  Random random(14);
  for (const auto* kernel : kernels_under_test<Add>()) {
    for (const Index count : kRowSizes) {
      GuardedRows<float> a(1, count);
      GuardedRows<float> b(1, count);
      GuardedRows<float> dst(1, count);
      random.fill(a.row_span(0), -2.0f, 2.0f);
      random.fill(b.row_span(0), -2.0f, 2.0f);
      run_kernel(*kernel, {.a = a.data(), .b = b.data(), .dst = dst.data(), .elements = count},
                 nullptr);
      INFO(kernel->name << ": " << count);
      CHECK((a.is_intact() && b.is_intact() && dst.is_intact()));
      bool equal = true;
      for (Index i = 0; i < count; ++i)
        equal = equal && dst.data()[i] == a.data()[i] + b.data()[i];
      CHECK(equal);
    }
  }
}

TEST_CASE("mean_pool gives the floats of the reference") {
  Random random(15);
  for (const auto* kernel : kernels_under_test<MeanPool>()) {
    for (const Index hidden : kRowSizes) {
      for (const Index rows : {1, 2, 7, 130}) {
        GuardedRows<float> src(rows, hidden);
        for (Index r = 0; r < rows; ++r)
          random.fill(src.row_span(r), -2.0f, 2.0f);
        const auto run = [&](const Kernel<MeanPool>& k) {
          GuardedRows<float> dst(1, hidden);
          run_kernel(k, {.src = src.data(), .dst = dst.data(), .rows = rows, .hidden = hidden},
                     nullptr);
          CHECK((src.is_intact() && dst.is_intact()));
          return dst.values();
        };
        INFO(kernel->name << ": " << rows << " x " << hidden);
        CHECK(run(*kernel) == run(reference_kernel<MeanPool>()));
      }
    }
  }
}

TEST_CASE("l2_normalize agrees with the reference, zero and tiny rows included") {
  Random random(16);
  for (const auto* kernel : kernels_under_test<L2Normalize>()) {
    for (const Index hidden : kRowSizes) {
      for (const float size : {0.0f, 1e-30f, 1e-13f, 1.0f, 1e10f, kLargest}) {
        GuardedRows<float> src(3, hidden);
        for (Index r = 0; r < 3; ++r)
          random.fill(src.row_span(r), -1.0f, 1.0f);
        for (float& value : src.row_span(1))
          value *= size;
        const auto run = [&](const Kernel<L2Normalize>& k, Index rows_at_once) {
          GuardedRows<float> dst(3, hidden);
          for (Index r = 0; r < 3; r += rows_at_once) {
            run_kernel(
                k, {.src = src.row(r), .dst = dst.row(r), .rows = rows_at_once, .hidden = hidden},
                nullptr);
          }
          CHECK((src.is_intact() && dst.is_intact()));
          return dst.values();
        };
        INFO(kernel->name << ": hidden " << hidden << ", size " << size);
        const std::vector<float> result = run(*kernel, 3);
        CHECK(first_difference(result, run(reference_kernel<L2Normalize>(), 3),
                               kL2NormalizeTolerance) == kNothing);
        CHECK(result == run(*kernel, 1));
      }
    }
  }
}

// ---- choosing

TEST_CASE("every op has a reference kernel and lists better targets first") {
  const auto check = [](auto op) {
    const auto kernels = implementations<decltype(op)>();
    REQUIRE_FALSE(kernels.empty());
    CHECK(kernels.back()->target == Target::ref);
    for (std::size_t i = 1; i < kernels.size(); ++i)
      CHECK(kernels[i - 1]->target < kernels[i]->target);
    for (const auto* kernel : kernels)
      CHECK(kernel->name == fmt::format("{}_{}", op.kName, target_name(kernel->target)));
    CHECK(select_kernel<decltype(op)>(Target::ref).target == Target::ref);
  };
  check(LinearI8{});
  check(LinearF32{});
  check(QuantizeRows{});
  check(LayerNorm{});
  check(Attention{});
  check(Embedding{});
  check(Activation{});
  check(Add{});
  check(L2Normalize{});
  check(MeanPool{});
}

}  // namespace
}  // namespace rtai::test
