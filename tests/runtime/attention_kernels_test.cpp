// The kernel contract of attention.
#include "runtime/kernels/attention.h"
#include "tests/support/compare.h"
#include "tests/support/guarded.h"
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

struct AttentionCase {
  Index queries = 1;
  Index first_query = 0;
  Index tokens = 1;
  Index heads = 1;
  Index head_dim = 32;
  bool causal = false;
  float size = 1;    // of queries and keys
  Index span = 0;    // of relative tables, 0: without
  bool bias = true;  // if there is a span: which of them
  bool vectors = false;

  std::string text() const {
    return fmt::format(
        "queries {} from {} tokens {} heads {} head_dim {} causal {} size {} span {} vectors {}",
        queries, first_query, tokens, heads, head_dim, causal, size, span, vectors);
  }
};

/// q, k and v as columns of one matrix, as the plan has them.
struct AttentionData {
  AttentionData(const AttentionCase& shape, Random& random) : c(shape) {
    for (Index t = 0; t < c.tokens; ++t) {
      random.fill(qkv.row_span(t).first(static_cast<std::size_t>(2 * width)), -c.size, c.size);
      random.fill(qkv.row_span(t).last(static_cast<std::size_t>(width)), -2.0f, 2.0f);
    }
    random.fill(std::span(bias), -3.0f, 3.0f);
    random.fill(std::span(relative_key), -1.0f, 1.0f);
    random.fill(std::span(relative_query), -1.0f, 1.0f);
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
            .causal = c.causal,
            .bias = bias.empty() ? nullptr : bias.data(),
            .relative_key = relative_key.empty() ? nullptr : relative_key.data(),
            .relative_query = relative_query.empty() ? nullptr : relative_query.data(),
            .span = c.span};
  }

  AttentionCase c;
  Index width = c.heads * c.head_dim;
  std::vector<float> bias = table(c.bias, c.heads);
  std::vector<float> relative_key = table(c.vectors, width);
  std::vector<float> relative_query = table(c.vectors, width);

  std::vector<float> table(bool wanted, Index rows) const {
    const Index columns = wanted && c.span > 0 ? 2 * c.span - 1 : 0;
    return std::vector<float>(static_cast<std::size_t>(rows * columns));
  }
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
      if (part.bias != nullptr) part.bias += h * (2 * c.span - 1);
      if (part.relative_key != nullptr) {
        part.relative_key += column * (2 * c.span - 1);
        part.relative_query += column * (2 * c.span - 1);
      }
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
  const float root = std::sqrt(static_cast<float>(c.head_dim));
  const float largest_bias = c.span == 0 ? 0.0f : 3.0f;
  const float largest_score =
      c.size * c.size * root + largest_bias + (c.vectors ? 2 * c.size * root : 0.0f);
  const Tolerance tolerance = attention_tolerance(c.head_dim, largest_score, 2.0f);
  std::string difference = first_difference(result.values(), expected.values(), tolerance);
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
  for (const Index head_dim :
       {1, 2, 3, 8, 15, 16, 17, 24, 31, 33, 40, 48, 63, 64, 65, 80, 96, 128}) {
    cases.push_back(
        {.queries = 20, .first_query = 5, .tokens = 27, .heads = 2, .head_dim = head_dim});
  }
  const std::size_t count = cases.size();
  for (std::size_t i = 0; i < count; ++i) {
    cases.push_back(cases[i]);
    cases.back().causal = true;
  }
  for (std::size_t i = 0; i < count; i += 2) {  // spans that sequences fill, or not
    cases.push_back(cases[i]);
    cases.back().span = cases[i].tokens + static_cast<Index>(i % 3);
    cases.back().causal = i % 4 == 0;
    cases.push_back(cases.back());
    cases.back().vectors = true;
    cases.back().bias = i % 8 == 0;
  }
  return cases;
}

TEST_CASE("attention agrees with the reference on shapes of models and around blocks") {
  Random random(6);
  for (const auto* kernel : kernels_under_test<Attention>()) {
    for (const AttentionCase& c : attention_cases()) {
      INFO(kernel->name << ": " << c.text());
      CHECK(check_attention(*kernel, AttentionData(c, random)) == kNothing);
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
      CHECK(check_attention(*kernel, data) == kNothing);
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
      CHECK(check_attention(*kernel, AttentionData(c, random)) == kNothing);
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
                               {.absolute = 1e-6f, .relative = 1e-6f}) == kNothing);
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

}  // namespace
}  // namespace rtai::test
