// The kernel contract of every op that is not a linear layer (those: linear_kernels_test.cpp).
#include "runtime/kernels/attention.h"
#include "runtime/kernels/embedding.h"
#include "runtime/kernels/layer_norm.h"
#include "runtime/kernels/linear_f32.h"
#include "runtime/kernels/linear_i8.h"
#include "runtime/kernels/quantize_rows.h"
#include "runtime/kernels/rowwise.h"
#include "tests/support/guarded.h"
#include "tests/support/kernels_under_test.h"
#include "tests/support/random.h"
#include "tests/support/tolerance.h"

#include <catch2/catch.hpp>
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <string>

namespace rtai::test {
namespace {

constexpr float kLargest = std::numeric_limits<float>::max();
constexpr float kInfinity = std::numeric_limits<float>::infinity();
constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
constexpr float kDenormal = 1e-41f;

/// Sizes of rows: around vectors of 8 and 16 and blocks of 64, and those of models.
constexpr Index kRowSizes[] = {1,  2,  7,  8,  9,  15,  16,  17,  31,  32,  33,   47,   48,  63,
                               64, 65, 72, 79, 80, 127, 128, 129, 224, 384, 1000, 1152, 1536};

template <class T>
bool same_bits(std::span<const T> a, std::span<const T> b) {
  return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size_bytes()) == 0;
}

template <class T>
bool same_bits(const GuardedRows<T>& a, const GuardedRows<T>& b) {
  const std::vector<T> x = a.values();
  const std::vector<T> y = b.values();
  return same_bits<T>(x, y);
}

/// The first element further from `expected` than `tolerance`; empty: none.
std::string first_difference(std::span<const float> values,
                             std::span<const float> expected,
                             Tolerance tolerance) {
  for (std::size_t i = 0; i < values.size(); ++i) {
    if (!is_close(values[i], expected[i], tolerance)) {
      return fmt::format("[{}] is {} instead of {}", i, values[i], expected[i]);
    }
  }
  return {};
}

// ---- quantize_rows

/// Quantized rows as a kernel writes them: bytes up to the next multiple of 64, and scales.
struct Quantized {
  Quantized(Index rows, Index columns, Index gap)
      : bytes(rows, round_up<Index>(columns, 64), round_up<Index>(columns, 64) + gap, 64),
        scale(1, rows) {}
  QuantizedRows view(float fixed_scale, std::uint8_t flip) const {
    return {bytes.data(), bytes.stride(), scale.data(), fixed_scale, flip};
  }
  bool is_intact() const { return bytes.is_intact() && scale.is_intact(); }

  GuardedRows<std::uint8_t> bytes;
  GuardedRows<float> scale;
};

struct QuantizeCase {
  float fixed_scale = 0;
  std::uint8_t flip = 0;
  bool absmax_known = false;
};

Quantized quantize(const Kernel<QuantizeRows>& kernel,
                   const GuardedRows<float>& src,
                   const float* absmax,
                   const QuantizeCase& c,
                   Index rows_at_once) {
  Quantized dst(src.rows(), src.columns(), 64);
  for (Index r = 0; r < src.rows(); r += rows_at_once) {
    QuantizedRows view = dst.view(c.fixed_scale, c.flip);
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
          CHECK(check_quantize(*kernel, src, c) == "");
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
          CHECK(check_quantize(*kernel, src, c) == "");
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
        args.quantized = bytes.view(c.quantize.fixed_scale, c.quantize.flip);
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
  for (Index r = 0; r < c.rows; ++r) {
    for (Index i = 0; i < c.hidden; ++i) {
      const Tolerance tolerance = layer_norm_tolerance(data.weight.data()[i], data.bias.data()[i]);
      if (!is_close(result.dst.row(r)[i], expected.dst.row(r)[i], tolerance)) {
        return fmt::format("[{}, {}] is {} instead of {}", r, i, result.dst.row(r)[i],
                           expected.dst.row(r)[i]);
      }
    }
  }
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
        CHECK(check_layer_norm(*kernel, LayerNormData(c, random)) == "");
      }
    }
  }
}

TEST_CASE("layer_norm gives the same bits on all targets but ref") {
  Random random(20);
  const auto kernels = vector_kernels<LayerNorm>();
  for (const Index hidden : kRowSizes) {
    const LayerNormData data({.rows = 2, .hidden = hidden}, random);
    for (const auto* kernel : kernels) {
      INFO(kernel->name << ": hidden " << hidden);
      CHECK(same_bits(LayerNormResult(*kernel, data, 2).dst,
                      LayerNormResult(*kernels.front(), data, 2).dst));
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
                                 {.absolute = kEpsilon, .relative = kEpsilon}) == "");
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

// ---- attention

struct AttentionCase {
  Index queries = 1;
  Index first_query = 0;
  Index tokens = 1;
  Index heads = 1;
  Index head_dim = 32;
  bool causal = false;
  float size = 1;  // of queries and keys

  std::string text() const {
    return fmt::format("queries {} from {} tokens {} heads {} head_dim {} causal {} size {}",
                       queries, first_query, tokens, heads, head_dim, causal, size);
  }
};

/// q, k and v as columns of one matrix, as the plan has them.
struct AttentionData {
  AttentionData(const AttentionCase& shape, Random& random) : c(shape) {
    for (Index t = 0; t < c.tokens; ++t) {
      random.fill(qkv.row_span(t).first(static_cast<std::size_t>(2 * width)), -c.size, c.size);
      random.fill(qkv.row_span(t).last(static_cast<std::size_t>(width)), -2.0f, 2.0f);
    }
  }

  Attention::Args args(GuardedRows<float>& dst) const {
    return {.query = qkv.row(c.first_query),
            .key = qkv.data() + width,
            .value = qkv.data() + 2 * width,
            .qkv_stride = qkv.stride(),
            .dst = dst.data(),
            .dst_stride = dst.stride(),
            .queries = c.queries,
            .first_query = c.first_query,
            .tokens = c.tokens,
            .heads = c.heads,
            .head_dim = c.head_dim,
            .scale = 1.0f / std::sqrt(static_cast<float>(c.head_dim)),
            .causal = c.causal};
  }

  AttentionCase c;
  Index width = c.heads * c.head_dim;
  GuardedRows<float> qkv = GuardedRows<float>(c.tokens, 3 * width, 3 * width + 5);
};

/// Runs queries and heads in pieces of the given sizes.
GuardedRows<float> attend(const Kernel<Attention>& kernel,
                          const AttentionData& data,
                          Index queries_at_once,
                          Index heads_at_once,
                          bool& scratch_intact) {
  const AttentionCase& c = data.c;
  GuardedRows<float> dst(c.queries, data.width, data.width + 3);
  const GuardedMemory scratch(Attention::scratch_bytes(c.tokens, c.head_dim), 64);
  const Attention::Args all = data.args(dst);
  for (Index q = 0; q < c.queries; q += queries_at_once) {
    for (Index h = 0; h < c.heads; h += heads_at_once) {
      Attention::Args part = all;
      const Index column = h * c.head_dim;
      part.query += q * all.qkv_stride + column;
      part.key += column;
      part.value += column;
      part.dst += q * all.dst_stride + column;
      part.queries = std::min(queries_at_once, c.queries - q);
      part.first_query += q;
      part.heads = std::min(heads_at_once, c.heads - h);
      run_kernel(kernel, part, scratch.data());
    }
  }
  scratch_intact = scratch.is_intact();
  return dst;
}

std::string check_attention(const Kernel<Attention>& kernel, const AttentionData& data) {
  const AttentionCase& c = data.c;
  bool intact = true;
  const auto expected = attend(reference_kernel<Attention>(), data, c.queries, c.heads, intact);
  const auto result = attend(kernel, data, c.queries, c.heads, intact);
  if (!intact) return "wrote outside of its scratch";
  if (!result.is_intact() || !data.qkv.is_intact()) return "wrote outside of dst";
  const float largest_score = c.size * c.size * std::sqrt(static_cast<float>(c.head_dim));
  const Tolerance tolerance = attention_tolerance(c.head_dim, largest_score, 2.0f);
  const std::string difference = first_difference(result.values(), expected.values(), tolerance);
  if (!difference.empty()) return difference;
  if (!same_bits(result, attend(kernel, data, 1, c.heads, intact))) {
    return "a query depends on those around it";
  }
  if (!same_bits(result, attend(kernel, data, c.queries, 1, intact))) {
    return "a head depends on those around it";
  }
  return {};
}

std::vector<AttentionCase> attention_cases() {
  std::vector<AttentionCase> cases = {
      {.queries = 128, .tokens = 128, .heads = 2, .head_dim = 32},
      {.queries = 64, .first_query = 64, .tokens = 130, .heads = 2, .head_dim = 64},
      {.queries = 33, .tokens = 384, .heads = 1, .head_dim = 64},
      {.queries = 17, .first_query = 495, .tokens = 512, .heads = 3, .head_dim = 32},
      {.queries = 3, .tokens = 700, .heads = 1, .head_dim = 96},
  };
  for (const Index tokens : {1, 2, 3, 7, 8, 9, 15, 16, 17, 31, 33, 47, 48, 63, 64, 65, 79, 81, 129})
    cases.push_back({.queries = tokens, .tokens = tokens, .heads = 2});
  for (const Index head_dim : {1, 2, 3, 8, 15, 16, 17, 24, 31, 33, 40, 48, 63, 64, 65, 80, 96, 128})
    cases.push_back(
        {.queries = 20, .first_query = 5, .tokens = 27, .heads = 2, .head_dim = head_dim});
  const std::size_t count = cases.size();
  for (std::size_t i = 0; i < count; ++i) {
    cases.push_back(cases[i]);
    cases.back().causal = true;
  }
  return cases;
}

TEST_CASE("attention agrees with the reference on shapes of models and around blocks") {
  Random random(6);
  for (const auto* kernel : kernels_under_test<Attention>()) {
    for (const AttentionCase& c : attention_cases()) {
      INFO(kernel->name << ": " << c.text());
      CHECK(check_attention(*kernel, AttentionData(c, random)) == "");
    }
  }
}

TEST_CASE("attention agrees with the reference on random shapes") {
  Random random(7);
  const auto kernels = kernels_under_test<Attention>();
  for (int i = 0; i < 300; ++i) {
    const Index tokens = random.integer(1, 100);
    const Index first = random.integer(0, tokens - 1);
    const AttentionCase c{.queries = random.integer(1, tokens - first),
                          .first_query = first,
                          .tokens = tokens,
                          .heads = random.integer(1, 3),
                          .head_dim = random.integer(1, 70),
                          .causal = random.coin()};
    const AttentionData data(c, random);
    for (const auto* kernel : kernels) {
      INFO(kernel->name << ": " << c.text());
      CHECK(check_attention(*kernel, data) == "");
    }
  }
}

TEST_CASE("attention gives the same bits on all targets but ref") {
  Random random(21);
  const auto kernels = vector_kernels<Attention>();
  for (const AttentionCase& c : attention_cases()) {
    const AttentionData data(c, random);
    for (const auto* kernel : kernels) {
      INFO(kernel->name << ": " << c.text());
      bool intact = true;
      CHECK(same_bits(attend(*kernel, data, c.queries, c.heads, intact),
                      attend(*kernels.front(), data, c.queries, c.heads, intact)));
    }
  }
}

TEST_CASE("attention survives scores of any size") {
  Random random(8);
  for (const auto* kernel : kernels_under_test<Attention>()) {
    for (const float size : {0.0f, 1e-20f, 1e-3f, 3.0f, 5.0f}) {
      const AttentionCase c{.queries = 30, .tokens = 30, .heads = 1, .head_dim = 40, .size = size};
      INFO(kernel->name << ": " << c.text());
      CHECK(check_attention(*kernel, AttentionData(c, random)) == "");
    }
  }
}

TEST_CASE("attention with one score far above the others copies that token's value") {
  Random random(9);
  for (const auto* kernel : kernels_under_test<Attention>()) {
    for (const float size : {30.0f, 1e4f, 1e15f}) {
      AttentionData data({.queries = 19, .tokens = 19, .head_dim = 20}, random);
      for (Index t = 0; t < 19; ++t) {
        for (Index d = 0; d < 20; ++d) {
          data.qkv.row(t)[d] = t == d ? size : 0.0f;       // query t asks for dimension t
          data.qkv.row(t)[20 + d] = t == d ? size : 0.0f;  // which token t alone has
        }
      }
      bool intact = true;
      const auto result = attend(*kernel, data, 19, 1, intact);
      for (Index t = 0; t < 19; ++t) {
        INFO(kernel->name << ": size " << size << ", token " << t);
        CHECK(first_difference(result.row_span(t), data.qkv.row_span(t).last(20),
                               {.absolute = 1e-6f, .relative = 1e-6f}) == "");
      }
    }
  }
}

TEST_CASE("causal attention never looks at later tokens") {
  Random random(10);
  for (const auto* kernel : kernels_under_test<Attention>()) {
    AttentionData data({.queries = 40, .tokens = 70, .heads = 2, .causal = true}, random);
    bool intact = true;
    const auto before = attend(*kernel, data, 40, 2, intact);
    for (Index t = 40; t < 70; ++t)
      random.fill(data.qkv.row_span(t), -9.0f, 9.0f);
    INFO(kernel->name);
    CHECK(same_bits(before, attend(*kernel, data, 40, 2, intact)));
  }
}

TEST_CASE("attention over a value that is not a number is not a number") {
  Random random(11);
  for (const auto* kernel : kernels_under_test<Attention>()) {
    for (const Index column : {0, 40, 80}) {  // query, key, value
      AttentionData data({.queries = 9, .tokens = 9, .head_dim = 40}, random);
      data.qkv.row(4)[column] = kNan;
      bool intact = true;
      const auto result = attend(*kernel, data, 9, 1, intact);
      INFO(kernel->name << ": column " << column);
      CHECK(std::isnan(result.row(4)[0]));
    }
  }
}

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

TEST_CASE("activation agrees with the reference from zero to the largest float") {
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
      const std::vector<float> expected = run(reference_kernel<Activation>(), false);
      CHECK(first_difference(run(*kernel, false), expected, function_tolerance(function)) == "");
      CHECK(first_difference(run(*kernel, true), expected, function_tolerance(function)) == "");
    }
  }
}

TEST_CASE("activation gives the same bits on all targets but ref") {
  const std::vector<float> values = notable_floats();
  const auto count = static_cast<Index>(values.size());
  const auto kernels = vector_kernels<Activation>();
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
                               kL2NormalizeTolerance) == "");
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
