// The kernel contract of quantize_heads and attention_i8.
#include "runtime/kernels/attention_i8.h"
#include "tests/support/compare.h"
#include "tests/support/guarded.h"
#include "tests/support/kernel_variants.h"
#include "tests/support/kernels_under_test.h"
#include "tests/support/random.h"
#include "tests/support/tolerance.h"

#include <catch2/catch.hpp>
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <string>
#include <vector>

namespace rtai::test {
namespace {

// ---- quantize_heads

/// Heads as a kernel writes them.
struct Heads {
  Heads(Index rows, Index count, Index head_dim)
      : bytes(rows, count * padded_head(head_dim), count * padded_head(head_dim), 64),
        scale(rows, count, count) {}
  QuantizedHeads view(Index row = 0) { return {bytes.row(row), scale.row(row), scale.columns()}; }
  bool is_intact() const { return bytes.is_intact() && scale.is_intact(); }

  GuardedRows<std::int8_t> bytes;
  GuardedRows<float> scale;
};

Heads quantize(const Kernel<QuantizeHeads>& kernel,
               const GuardedRows<float>& src,
               Index head_dim,
               Index rows_at_once) {
  Heads dst(src.rows(), src.columns() / head_dim, head_dim);
  for (Index r = 0; r < src.rows(); r += rows_at_once) {
    const QuantizeHeads::Args args{.src = src.row(r),
                                   .src_stride = src.stride(),
                                   .dst = dst.view(r),
                                   .rows = std::min(rows_at_once, src.rows() - r),
                                   .head_dim = head_dim};
    run_kernel(kernel, args, nullptr);
  }
  return dst;
}

constexpr Index kHeadDims[] = {1,  2,  3,  5,  8,  15, 16, 17, 24, 31, 32,
                               33, 40, 47, 48, 63, 64, 65, 80, 96, 128};

TEST_CASE("quantize_heads gives the reference's bytes and scales for every size of head") {
  Random random(31);
  for (const auto* kernel : kernels_under_test<QuantizeHeads>()) {
    for (const Index head_dim : kHeadDims) {
      for (const Index heads : {1, 3, 4, 36}) {
        GuardedRows<float> src(7, heads * head_dim, heads * head_dim + 3);
        for (Index r = 0; r < 7; ++r)
          random.fill(src.row_span(r), -4.0f, 4.0f);
        INFO(kernel->name << ": " << heads << " heads of " << head_dim);
        const Heads expected = quantize(reference_kernel<QuantizeHeads>(), src, head_dim, 7);
        const Heads result = quantize(*kernel, src, head_dim, 7);
        CHECK(result.is_intact());
        CHECK(same_bits(result.bytes, expected.bytes));
        CHECK(same_bits(result.scale, expected.scale));
        const Heads one_by_one = quantize(*kernel, src, head_dim, 1);
        CHECK(same_bits(result.bytes, one_by_one.bytes));
      }
    }
  }
}

TEST_CASE("quantize_heads gives a head of zeros scale 1 and an infinite one no finite scale") {
  for (const auto* kernel : kernels_under_test<QuantizeHeads>()) {
    GuardedRows<float> src(1, 4 * 20, 4 * 20);
    std::fill(src.row(0), src.row(0) + 80, 0.0f);
    src.row(0)[20] = 1e-37f;  // counts as zero
    src.row(0)[41] = -kInfinity;
    src.row(0)[79] = kNan;
    const Heads result = quantize(*kernel, src, 20, 1);
    INFO(kernel->name);
    for (const Index head : {0, 1}) {
      CHECK(result.scale.row(0)[head] == 1.0f);
      CHECK(std::all_of(result.bytes.row(0) + head * 32, result.bytes.row(0) + head * 32 + 32,
                        [](std::int8_t byte) { return byte == 0; }));
    }
    CHECK_FALSE(std::isfinite(result.scale.row(0)[2]));
    CHECK_FALSE(std::isfinite(result.scale.row(0)[3]));
  }
}

// ---- attention_i8

/// Those of kernels.inc, and that of AMX on emulated registers.
std::vector<const Kernel<AttentionI8>*> attention_i8_kernels() {
  auto kernels = kernels_under_test<AttentionI8>();
  add_variant(attention_i8_amx_variant, Target::avx2, kernels);
  return kernels;
}

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

/// q, k and v of a sequence, as floats and as heads.
struct AttentionData {
  AttentionData(const AttentionCase& shape, Random& random) : c(shape) {
    for (Index t = 0; t < c.tokens; ++t) {
      random.fill(floats.row_span(t).first(static_cast<std::size_t>(2 * width)), -c.size, c.size);
      // Values of very different size, as tokens without a message have them.
      const float largest = t % 3 == 0 ? 0.01f : 2.0f;
      random.fill(floats.row_span(t).last(static_cast<std::size_t>(width)), -largest, largest);
    }
    quantize_again();
  }

  void quantize_again() {
    heads = quantize(reference_kernel<QuantizeHeads>(), floats, c.head_dim, c.tokens);
  }

  AttentionI8::Args args(GuardedRows<float>& dst) const {
    return {.qkv = heads.bytes.data(),
            .scale_qkv = heads.scale.data(),
            .heads_in_row = c.heads,
            .first_head = 0,
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
  GuardedRows<float> floats = GuardedRows<float>(c.tokens, 3 * width, 3 * width);
  Heads heads = Heads(c.tokens, 3 * c.heads, c.head_dim);
};

/// Runs queries and heads in pieces of the given sizes.
GuardedRows<float> attend(const Kernel<AttentionI8>& kernel,
                          const AttentionData& data,
                          Index queries_at_once,
                          Index heads_at_once,
                          bool& scratch_intact) {
  const AttentionCase& c = data.c;
  GuardedRows<float> dst(c.queries, data.width, data.width + 3);
  const GuardedMemory scratch(AttentionI8::scratch_bytes(c.tokens, c.head_dim), 64);
  const AttentionI8::Args all = data.args(dst);
  for (Index q = 0; q < c.queries; q += queries_at_once) {
    for (Index h = 0; h < c.heads; h += heads_at_once) {
      AttentionI8::Args part = all;
      part.first_head = h;
      part.dst += q * all.dst_stride + h * c.head_dim;
      part.queries = std::min(queries_at_once, c.queries - q);
      part.first_query += q;
      part.heads = std::min(heads_at_once, c.heads - h);
      run_kernel(kernel, part, scratch.data());
    }
  }
  scratch_intact = scratch.is_intact();
  return dst;
}

std::string check_attention(const Kernel<AttentionI8>& kernel, const AttentionData& data) {
  const AttentionCase& c = data.c;
  bool intact = true;
  const auto expected = attend(reference_kernel<AttentionI8>(), data, c.queries, c.heads, intact);
  const auto result = attend(kernel, data, c.queries, c.heads, intact);
  if (!intact) return "wrote outside of its scratch";
  if (!result.is_intact() || !data.heads.is_intact()) return "wrote outside of dst";
  std::string difference = first_difference(result.values(), expected.values(), {});
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
  for (const Index tokens :
       {1, 2, 3, 7, 8, 9, 15, 16, 17, 31, 33, 47, 48, 63, 64, 65, 79, 81, 129}) {
    cases.push_back({.queries = tokens, .tokens = tokens, .heads = 2});
  }
  for (const Index head_dim : kHeadDims) {
    cases.push_back(
        {.queries = 20, .first_query = 5, .tokens = 27, .heads = 2, .head_dim = head_dim});
  }
  const std::size_t count = cases.size();
  for (std::size_t i = 0; i < count; ++i) {
    cases.push_back(cases[i]);
    cases.back().causal = true;
  }
  return cases;
}

TEST_CASE("attention_i8 gives the reference's bits on shapes of models and around blocks") {
  Random random(6);
  for (const auto* kernel : attention_i8_kernels()) {
    for (const AttentionCase& c : attention_cases()) {
      INFO(kernel->name << ": " << c.text());
      CHECK(check_attention(*kernel, AttentionData(c, random)) == kNothing);
    }
  }
}

TEST_CASE("attention_i8 gives the reference's bits on random shapes and sizes of scores") {
  Random random(7);
  const auto kernels = attention_i8_kernels();
  for (int i = 0; i < 300; ++i) {
    const Index tokens = random.integer(1, 150);
    const Index first = random.integer(0, tokens - 1);
    const AttentionCase c{.queries = random.integer(1, tokens - first),
                          .first_query = first,
                          .tokens = tokens,
                          .heads = random.integer(1, 3),
                          .head_dim = random.integer(1, 70),
                          .causal = random.coin(),
                          .size = std::exp2(random.real(-20.0f, 12.0f))};
    const AttentionData data(c, random);
    for (const auto* kernel : kernels) {
      INFO(kernel->name << ": " << c.text());
      CHECK(check_attention(*kernel, data) == kNothing);
    }
  }
}

TEST_CASE("attention_i8 makes the integers that quantize_rows makes of its results") {
  Random random(14);
  for (const AttentionCase& c : {AttentionCase{.queries = 20, .tokens = 33, .heads = 3},
                                 {.queries = 9, .tokens = 70, .heads = 2, .head_dim = 64},
                                 {.queries = 5, .first_query = 3, .tokens = 8, .head_dim = 16},
                                 {.queries = 7, .tokens = 7, .heads = 5, .head_dim = 48}}) {
    const AttentionData data(c, random);
    GuardedRows<float> factors(1, data.width);
    random.fill(factors.row_span(0), 0.2f, 1.5f);
    for (const auto* kernel : attention_i8_kernels()) {
      bool intact = true;
      const auto floats = attend(*kernel, data, c.queries, c.heads, intact);
      for (const bool has_factors : {false, true}) {
        const Index stride = round_up<Index>(data.width, 64);
        GuardedRows<std::uint8_t> expected(c.queries, stride, stride, 64);
        GuardedRows<float> scale(1, c.queries);
        QuantizedRows dst = {.data = expected.data(),
                             .stride = stride,
                             .scale = scale.data(),
                             .fixed_scale = 0.01f,
                             .flip = 0x80,
                             .column_factor = has_factors ? factors.data() : nullptr};
        run_kernel(reference_kernel<QuantizeRows>(),
                   {.src = floats.data(),
                    .src_stride = floats.stride(),
                    .absmax = nullptr,
                    .dst = dst,
                    .rows = c.queries,
                    .columns = data.width},
                   nullptr);
        GuardedRows<std::uint8_t> bytes(c.queries, data.width, stride, 64);
        GuardedRows<float> none(c.queries, data.width);
        const GuardedMemory scratch(AttentionI8::scratch_bytes(c.tokens, c.head_dim), 64);
        AttentionI8::Args args = data.args(none);
        args.dst = nullptr;
        args.quantized = dst;
        args.quantized.data = bytes.data();
        run_kernel(*kernel, args, scratch.data());
        INFO(kernel->name << ": " << c.text() << " factors " << has_factors);
        CHECK(bytes.is_intact());
        bool equal = true;
        for (Index r = 0; r < c.queries; ++r)
          equal = equal && std::equal(bytes.row(r), bytes.row(r) + data.width, expected.row(r));
        CHECK(equal);
      }
    }
  }
}

TEST_CASE("attention_i8 stays close to attention without quantization") {
  Random random(12);
  for (const Index tokens : {5, 64, 200}) {
    const AttentionData data({.queries = tokens, .tokens = tokens, .head_dim = 64}, random);
    bool intact = true;
    const auto result = attend(reference_kernel<AttentionI8>(), data, tokens, 1, intact);
    for (Index q = 0; q < tokens; ++q) {
      std::vector<double> weights;
      double sum = 0;
      for (Index t = 0; t < tokens; ++t) {
        double dot = 0;
        for (Index d = 0; d < 64; ++d)
          dot += double{data.floats.row(q)[d]} * double{data.floats.row(t)[64 + d]};
        weights.push_back(std::exp(dot / 8));
        sum += weights.back();
      }
      for (Index d = 0; d < 64; ++d) {
        double expected = 0;
        for (Index t = 0; t < tokens; ++t)
          expected += weights[static_cast<std::size_t>(t)] * double{data.floats.row(t)[128 + d]};
        INFO(tokens << " tokens, query " << q << ", column " << d);
        // Values of up to 2 in steps of 1/64, weights in steps of 1/255 of the largest: both
        // errors average out over tokens of similar weight.
        CHECK(result.row(q)[d] == Approx(expected / sum).margin(0.02));
      }
    }
  }
}

TEST_CASE("attention_i8 weighs a token of small values for what it contributes") {
  Random random(13);
  for (const auto* kernel : attention_i8_kernels()) {
    // Token 0 draws nearly all attention and says next to nothing.
    AttentionData data({.queries = 40, .tokens = 40, .head_dim = 32, .size = 0.01f}, random);
    for (Index t = 0; t < 40; ++t) {
      data.floats.row(t)[0] = 6.0f;
      data.floats.row(t)[32] = t == 0 ? 6.0f : 0.0f;
      std::fill_n(data.floats.row(t) + 64, 32,
                  t == 0 ? 1e-5f : 1.0f + 0.02f * static_cast<float>(t));
    }
    data.quantize_again();
    bool intact = true;
    const auto result = attend(*kernel, data, 40, 1, intact);
    // exp(36 / sqrt(32)) = 580 against 39 others of nearly equal weight.
    const double expected = (39 * 1.0 + 0.02 * 39 * 20) / (39 + std::exp(36 / std::sqrt(32.0)));
    INFO(kernel->name);
    CHECK(result.row(7)[3] == Approx(expected).epsilon(0.02));
  }
}

TEST_CASE("causal attention_i8 never looks at later tokens") {
  Random random(10);
  for (const auto* kernel : attention_i8_kernels()) {
    AttentionData data({.queries = 40, .tokens = 70, .heads = 2, .causal = true}, random);
    bool intact = true;
    const auto before = attend(*kernel, data, 40, 2, intact);
    for (Index t = 40; t < 70; ++t)
      random.fill(data.floats.row_span(t), -9.0f, 9.0f);
    data.floats.row(41)[3] = kNan;
    data.floats.row(42)[2 * 64 + 5] = kInfinity;
    data.floats.row(43)[64 + 5] = kInfinity;
    data.quantize_again();
    INFO(kernel->name);
    CHECK(same_bits(before, attend(*kernel, data, 40, 2, intact)));
  }
}

TEST_CASE("attention_i8 over what is not finite is not a number") {
  Random random(11);
  for (const auto* kernel : attention_i8_kernels()) {
    for (const Index column : {0, 40, 80}) {  // query, key, value
      for (const float bad : {kNan, kInfinity}) {
        AttentionData data({.queries = 9, .tokens = 9, .head_dim = 40}, random);
        data.floats.row(4)[column] = bad;
        data.quantize_again();
        bool intact = true;
        const auto result = attend(*kernel, data, 9, 1, intact);
        INFO(kernel->name << ": column " << column << ", " << bad);
        CHECK_FALSE(std::isfinite(result.row(4)[0]));
      }
    }
  }
}

}  // namespace
}  // namespace rtai::test
