// The kernel contract of quantize_rows and layer_norm.
#include "runtime/kernels/layer_norm.h"
#include "runtime/kernels/quantize_rows.h"
#include "tests/support/compare.h"
#include "tests/support/guarded.h"
#include "tests/support/kernels_under_test.h"
#include "tests/support/random.h"
#include "tests/support/tolerance.h"

#include <catch2/catch.hpp>
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <numeric>
#include <string>

namespace rtai::test {
namespace {

// ---- quantize_rows

struct QuantizeCase {
  float fixed_scale = 0;
  std::uint8_t flip = 0;
  bool absmax_known = false;
  bool has_factors = false;
};

/// Quantized rows as a kernel writes them: bytes up to the next multiple of 64, and scales.
struct Quantized {
  Quantized(Index rows, Index columns, Index gap)
      : bytes(rows, round_up<Index>(columns, 64), round_up<Index>(columns, 64) + gap, 64),
        scale(1, rows),
        factors(1, columns) {
    for (Index i = 0; i < columns; ++i)
      factors.data()[i] = static_cast<float>(1 + i % 7) / 7.0f;
  }
  QuantizedRows view(const QuantizeCase& c) const {
    return {.data = bytes.data(),
            .stride = bytes.stride(),
            .scale = scale.data(),
            .fixed_scale = c.fixed_scale,
            .flip = c.flip,
            .column_factor = c.has_factors ? factors.data() : nullptr};
  }
  bool is_intact() const { return bytes.is_intact() && scale.is_intact() && factors.is_intact(); }

  GuardedRows<std::uint8_t> bytes;
  GuardedRows<float> scale;
  GuardedRows<float> factors;
};

Quantized quantize(const Kernel<QuantizeRows>& kernel,
                   const GuardedRows<float>& src,
                   const float* absmax,
                   const QuantizeCase& c,
                   Index rows_at_once) {
  Quantized dst(src.rows(), src.columns(), 64);
  for (Index r = 0; r < src.rows(); r += rows_at_once) {
    QuantizedRows view = dst.view(c);
    view.data += r * view.stride;
    view.scale += r;
    const QuantizeRows::Args args{.src = src.row(r),
                                  .src_stride = src.stride(),
                                  .absmax = absmax == nullptr ? nullptr : absmax + r,
                                  .dst = view,
                                  .rows = std::min(rows_at_once, src.rows() - r),
                                  .columns = src.columns()};
    run_kernel(kernel, args, nullptr);
  }
  return dst;
}

/// Bytes and scales must be those of the reference, whatever rows are around.
std::string check_quantize(const Kernel<QuantizeRows>& kernel,
                           const GuardedRows<float>& src,
                           const QuantizeCase& c) {
  GuardedRows<float> absmax(1, src.rows());
  for (Index r = 0; r < src.rows(); ++r) {
    absmax.data()[r] = 0;
    for (const float value : src.row_span(r))
      absmax.data()[r] = std::max(absmax.data()[r], std::fabs(value));
  }
  const float* known = c.absmax_known ? absmax.data() : nullptr;
  const Quantized expected = quantize(reference_kernel<QuantizeRows>(), src, known, c, src.rows());
  const Quantized whole = quantize(kernel, src, known, c, src.rows());
  const Quantized single = quantize(kernel, src, known, c, 1);
  if (!whole.is_intact() || !src.is_intact() || !absmax.is_intact()) return "wrote outside of dst";
  if (!same_bits(whole.scale, expected.scale)) return "scales differ";
  if (!same_bits(whole.bytes, expected.bytes)) return "bytes differ";
  if (!same_bits(whole.bytes, single.bytes)) return "a row depends on those around it";
  return {};
}

constexpr QuantizeCase kQuantizeCases[] = {
    {},
    {.flip = 0x80},
    {.absmax_known = true},
    {.flip = 0x80, .absmax_known = true},
    {.fixed_scale = 0.02f},
    {.fixed_scale = 0.02f, .flip = 0x80},
    {.has_factors = true},
    {.flip = 0x80, .absmax_known = true, .has_factors = true},
    {.fixed_scale = 0.02f, .has_factors = true},
};

TEST_CASE("quantize_rows writes the bytes of the reference on every size of row") {
  Random random(1);
  for (const auto* kernel : kernels_under_test<QuantizeRows>()) {
    for (const Index columns : kRowSizes) {
      for (const Index rows : {1, 3}) {
        GuardedRows<float> src(rows, columns, columns + random.integer(0, 2));
        for (Index r = 0; r < rows; ++r)
          random.fill(src.row_span(r), -3.0f, 3.0f);
        for (const QuantizeCase& c : kQuantizeCases) {
          INFO(kernel->name << ": " << rows << " x " << columns << ", scale " << c.fixed_scale);
          CHECK(check_quantize(*kernel, src, c) == kNothing);
        }
      }
    }
  }
}

TEST_CASE("quantize_rows writes the bytes of the reference for extreme values") {
  Random random(2);
  for (const auto* kernel : kernels_under_test<QuantizeRows>()) {
    for (const float extreme :
         {0.0f, -0.0f, kDenormal, -kDenormal, 1e-38f, 1e-36f, 1e-30f, 1e30f, kLargest, -kLargest}) {
      for (const bool alone : {false, true}) {
        GuardedRows<float> src(1, 37);
        random.fill(src.row_span(0), alone ? 0.0f : -1.0f, alone ? 0.0f : 1.0f);
        src.data()[20] = extreme;
        for (const QuantizeCase& c : kQuantizeCases) {
          INFO(kernel->name << ": " << extreme << (alone ? " alone" : "") << ", " << c.fixed_scale);
          CHECK(check_quantize(*kernel, src, c) == kNothing);
        }
      }
    }
  }
}

TEST_CASE("quantize_rows rounds ties to even and clamps") {
  for (const auto* kernel : kernels_under_test<QuantizeRows>()) {
    GuardedRows<float> src(1, 9);
    const float values[] = {0.5f, 1.5f, 2.5f, -0.5f, -1.5f, 126.5f, 127.6f, -1000.0f, kInfinity};
    const std::int8_t integers[] = {0, 2, 2, 0, -2, 126, 127, -127, 127};
    std::ranges::copy(values, src.data());
    const Quantized dst = quantize(*kernel, src, nullptr, {.fixed_scale = 1.0f}, 1);
    for (int i = 0; i < 9; ++i) {
      INFO(kernel->name << ": " << values[i]);
      CHECK(static_cast<std::int8_t>(dst.bytes.data()[i]) == integers[i]);
    }
  }
}

TEST_CASE("a row that is not finite gets a scale that is not finite and integers in range") {
  for (const auto* kernel : kernels_under_test<QuantizeRows>()) {
    for (const float bad : {kNan, -kNan, kInfinity, -kInfinity}) {
      for (const Index at : {0, 7, 16, 36}) {
        for (const float fixed_scale : {0.0f, 0.5f}) {
          GuardedRows<float> src(1, 37);
          std::ranges::fill(src.row_span(0), 1.0f);
          src.data()[at] = bad;
          const Quantized dst = quantize(*kernel, src, nullptr, {.fixed_scale = fixed_scale}, 1);
          INFO(kernel->name << ": " << bad << " at " << at);
          if (fixed_scale == 0.0f) CHECK_FALSE(std::isfinite(dst.scale.data()[0]));
          CHECK(std::ranges::none_of(dst.bytes.row_span(0), [](auto b) { return b == 0x80; }));
        }
      }
    }
  }
}

// ---- layer_norm

struct LayerNormCase {
  Index rows = 3;
  Index hidden = 8;
  bool in_place = false;
  bool quantized = true;
  QuantizeCase quantize{};
  float epsilon = 1e-12f;
};

struct LayerNormData {
  LayerNormData(const LayerNormCase& shape, Random& random) : c(shape) {
    for (Index r = 0; r < c.rows; ++r)
      random.fill(src.row_span(r), -2.0f, 2.5f);
    random.fill(weight.row_span(0), 0.5f, 1.5f);
    random.fill(bias.row_span(0), -1.0f, 1.0f);
  }
  bool is_intact() const { return src.is_intact() && weight.is_intact() && bias.is_intact(); }

  LayerNormCase c;
  GuardedRows<float> src = GuardedRows<float>(c.rows, c.hidden, c.hidden + 1);
  GuardedRows<float> weight = GuardedRows<float>(1, c.hidden);
  GuardedRows<float> bias = GuardedRows<float>(1, c.hidden);
};

struct LayerNormResult {
  LayerNormResult(const Kernel<LayerNorm>& kernel, const LayerNormData& data, Index rows_at_once)
      : dst(data.c.rows, data.c.hidden, data.c.hidden + 2), bytes(data.c.rows, data.c.hidden, 64) {
    const LayerNormCase& c = data.c;
    for (Index r = 0; r < c.rows; r += rows_at_once) {
      if (c.in_place) {
        for (Index i = r; i < std::min(r + rows_at_once, c.rows); ++i)
          std::ranges::copy(data.src.row_span(i), dst.row(i));
      }
      LayerNorm::Args args{.src = c.in_place ? dst.row(r) : data.src.row(r),
                           .src_stride = c.in_place ? dst.stride() : data.src.stride(),
                           .weight = data.weight.data(),
                           .bias = data.bias.data(),
                           .dst = dst.row(r),
                           .dst_stride = dst.stride(),
                           .quantized = {},
                           .rows = std::min(rows_at_once, c.rows - r),
                           .hidden = c.hidden,
                           .epsilon = c.epsilon};
      if (c.quantized) {
        args.quantized = bytes.view(c.quantize);
        args.quantized.data += r * args.quantized.stride;
        args.quantized.scale += r;
      }
      run_kernel(kernel, args, nullptr);
    }
  }
  GuardedRows<float> dst;
  Quantized bytes;
};

std::string check_layer_norm(const Kernel<LayerNorm>& kernel, const LayerNormData& data) {
  const LayerNormCase& c = data.c;
  const LayerNormResult expected(reference_kernel<LayerNorm>(), data, c.rows);
  const LayerNormResult result(kernel, data, c.rows);
  if (!same_bits(result.dst, expected.dst)) return "is not what the reference computes";
  if (!data.is_intact() || !result.dst.is_intact() || !result.bytes.is_intact()) {
    return "wrote outside of its results";
  }
  if (!same_bits(result.dst, LayerNormResult(kernel, data, 1).dst)) {
    return "a row depends on those around it";
  }
  if (!c.quantized) return {};
  // The second result is that of quantize_rows on the first one.
  const Quantized bytes =
      quantize(reference_kernel<QuantizeRows>(), result.dst, nullptr, c.quantize, c.rows);
  if (!same_bits(result.bytes.scale, bytes.scale)) return "scales differ";
  if (!same_bits(result.bytes.bytes, bytes.bytes)) return "bytes differ";
  return {};
}

TEST_CASE("layer_norm agrees with the reference on every size of row") {
  Random random(3);
  for (const auto* kernel : kernels_under_test<LayerNorm>()) {
    for (const Index hidden : kRowSizes) {
      for (const QuantizeCase& quantize : kQuantizeCases) {
        const LayerNormCase c{.rows = random.integer(1, 4),
                              .hidden = hidden,
                              .in_place = random.coin(),
                              .quantized = random.coin(),
                              .quantize = quantize,
                              .epsilon = hidden == 1 ? 1e-5f : 1e-12f};
        INFO(kernel->name << ": hidden " << hidden << (c.in_place ? ", in place" : ""));
        CHECK(check_layer_norm(*kernel, LayerNormData(c, random)) == kNothing);
      }
    }
  }
}

/// In double precision, and from the mean of the whole row.
std::vector<float> exact_layer_norm(const LayerNormData& data, Index r) {
  const std::span<const float> src = data.src.row_span(r);
  const auto count = static_cast<double>(src.size());
  const double mean = std::accumulate(src.begin(), src.end(), 0.0) / count;
  double squares = 0;
  for (const float x : src)
    squares += (x - mean) * (x - mean);
  const double inverse = 1.0 / std::sqrt(squares / count + double{data.c.epsilon});
  std::vector<float> normal;
  for (std::size_t i = 0; i < src.size(); ++i)
    normal.push_back(static_cast<float>((src[i] - mean) * inverse * data.weight.data()[i] +
                                        data.bias.data()[i]));
  return normal;
}

TEST_CASE("layer_norm of the reference is the norm") {
  // Rows whose mean is far larger than their deviation lose more, and are not among these.
  Random random(20);
  for (const Index hidden : kRowSizes) {
    const LayerNormData data({.rows = 2, .hidden = hidden, .epsilon = 1e-5f}, random);
    const LayerNormResult result(reference_kernel<LayerNorm>(), data, 2);
    for (Index r = 0; r < 2; ++r) {
      INFO("hidden " << hidden);
      CHECK(first_difference(result.dst.row_span(r), exact_layer_norm(data, r),
                             {.absolute = 16 * kEpsilon, .relative = 16 * kEpsilon}) == kNothing);
    }
  }
}

TEST_CASE("layer_norm of a constant row is the bias") {
  Random random(4);
  for (const auto* kernel : kernels_under_test<LayerNorm>()) {
    for (const Index hidden : kRowSizes) {
      for (const float constant : {0.0f, 1.0f, -96.0f, kDenormal}) {
        LayerNormData data({.hidden = hidden}, random);
        for (Index r = 0; r < data.c.rows; ++r)
          std::ranges::fill(data.src.row_span(r), constant);
        const LayerNormResult result(*kernel, data, data.c.rows);
        for (Index r = 0; r < data.c.rows; ++r) {
          INFO(kernel->name << ": hidden " << hidden << ", constant " << constant);
          CHECK(first_difference(result.dst.row_span(r), data.bias.row_span(0),
                                 {.absolute = kEpsilon, .relative = kEpsilon}) == kNothing);
        }
      }
    }
  }
}

TEST_CASE("layer_norm of a row that is not finite is not finite") {
  Random random(5);
  for (const auto* kernel : kernels_under_test<LayerNorm>()) {
    for (const float bad : {kNan, kInfinity, -kInfinity, kLargest}) {
      LayerNormData data({.rows = 2, .hidden = 50}, random);
      data.src.row(0)[33] = bad;
      if (bad == kLargest) std::ranges::fill(data.src.row_span(0), bad);  // the sum overflows
      const LayerNormResult result(*kernel, data, 2);
      INFO(kernel->name << ": " << bad);
      CHECK_FALSE(std::isfinite(result.dst.row(0)[33]));
      CHECK_FALSE(std::isfinite(result.bytes.scale.data()[0]));
      CHECK(std::isfinite(result.bytes.scale.data()[1]));
    }
  }
}

}  // namespace
}  // namespace rtai::test
