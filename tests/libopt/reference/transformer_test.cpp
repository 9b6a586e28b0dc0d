#include "libopt/ir/ops.h"
#include "libopt/ir/text.h"
#include "tests/libopt/reference/apply.h"

#include <cmath>

namespace rtai::reference {
namespace {

using ir::Op;
using ir::Tensor;

TEST_CASE("embedding adds rows of its tables, positions counting within each sequence") {
  const Tensor ids = i32({3}, {2, 0, 1});
  const Tensor word = f32({3, 2}, {0, 1, 10, 11, 20, 21});
  const Tensor position = f32({3, 2}, {100, 100, 200, 200, 300, 300});
  const Run run{.offsets = {0, 2, 3}};
  CHECK(apply(Op::embedding, {ids, std::nullopt, word, position}, {}, run) ==
        f32({3, 2}, {120, 121, 200, 201, 110, 111}));
  CHECK(apply(Op::embedding, {ids, std::nullopt, word, position}, {{"position_offset", 1}}, run) ==
        f32({3, 2}, {220, 221, 300, 301, 210, 211}));
  CHECK(apply(Op::embedding, {ids, i32({3}, {1, 0, 1}), word, std::nullopt,
                              f32({2, 2}, {0, 0, 5, 5})}) == f32({3, 2}, {25, 26, 0, 1, 15, 16}));
}

TEST_CASE("embedding scales the rows of quantized tables") {
  const Tensor result =
      apply(Op::embedding, {i32({2}, {1, 0}), std::nullopt, i8({2, 2}, {1, 2, -3, 4}), std::nullopt,
                            std::nullopt, f32({2}, {0.5f, 2})});
  CHECK(result == f32({2, 2}, {-6, 8, 0.5f, 1}));
}

TEST_CASE("embedding refuses ids, positions and segments outside of its tables") {
  const Tensor word = f32({2, 1}, {0, 1});
  CHECK(refusal(Op::embedding, {i32({1}, {2}), std::nullopt, word}) ==
        "node 'node' (embedding): id 2 is outside of the table of 2");
  CHECK(refusal(Op::embedding, {i32({1}, {-1}), std::nullopt, word}).find("id -1") !=
        std::string::npos);
  CHECK(refusal(Op::embedding, {i32({2}, {0, 0}), std::nullopt, word, f32({1, 1}, {0})})
            .find("position 1") != std::string::npos);
  CHECK(refusal(Op::embedding, {i32({1}, {0}), i32({1}, {7}), word, std::nullopt, f32({1, 1}, {0})})
            .find("segment 7") != std::string::npos);
  CHECK(refusal(Op::embedding, {i32({1}, {0}), std::nullopt, word, std::nullopt, f32({1, 1}, {0})})
            .find("without segments") != std::string::npos);
  CHECK(refusal(Op::embedding, {i32({1}, {0}), std::nullopt, i8({1, 1}, {1})})
            .find("without a scale") != std::string::npos);
}

TEST_CASE("offsets must rise from 0 to the number of tokens") {
  const Tensor src = f32({3, 1}, {1, 2, 3});
  for (const std::vector<Index>& offsets :
       {std::vector<Index>{0, 2}, {1, 3}, {0, 2, 2, 3}, {0, 4, 3}, {3}, {0, 4}}) {
    CHECK(refusal(Op::first_token, {src}, {}, {.offsets = offsets}).find("offsets") !=
          std::string::npos);
  }
}

TEST_CASE("linear multiplies by the transposed weight and adds the bias") {
  const Tensor src = f32({2, 3}, {1, 2, 3, 4, 5, 6});
  const Tensor weight = f32({2, 3}, {1, 0, 0, 1, 1, 1});
  CHECK(apply(Op::linear, {src, weight, f32({2}, {10, 20})}) == f32({2, 2}, {11, 26, 14, 35}));
  CHECK(apply(Op::linear, {src, weight}) == f32({2, 2}, {1, 6, 4, 15}));
  CHECK(refusal(Op::linear, {src, f32({1, 2}, {1, 1})}).find("weight") != std::string::npos);
  CHECK(refusal(Op::linear, {src, weight, f32({3}, {1, 1, 1})}).find("bias") != std::string::npos);
}

TEST_CASE("dynamic int8 linear quantizes each row by its largest magnitude") {
  // Row 0: scale 1, q = {127, 0 (0.5 to even), 2 (1.5 to even)}; row 1 is zero and has scale 1.
  const Tensor src = f32({3, 3}, {127, 0.5f, 1.5f, 0, 0, 0, -254, 3, 1});
  const Tensor weight = i8({2, 3}, {1, 1, 1, 0, 0, -2});
  const Tensor result = apply(Op::linear, {src, weight, f32({2}, {0, 100}), f32({2}, {1, 0.5f})});
  // Row 2: scale 2, q = {-127, 2 (1.5 to even), 0 (0.5 to even)}.
  CHECK(result == f32({3, 2}, {129, 98, 0, 100, -250, 100}));
}

TEST_CASE("static int8 linear uses its scale and clamps") {
  const Tensor src = f32({1, 3}, {1000, -1000, 0.6f});
  const Tensor weight = i8({3, 3}, {1, 0, 0, 0, 1, 0, 0, 0, 1});
  CHECK(apply(Op::linear, {src, weight, std::nullopt, f32({3}, {1, 1, 1})},
              {{"src_scale", 0.5f}}) == f32({1, 3}, {63.5f, -63.5f, 0.5f}));
}

TEST_CASE("int8 linear lets NaN and infinity through without undefined conversions") {
  const float inf = std::numeric_limits<float>::infinity();
  const Tensor weight = i8({1, 2}, {1, 1});
  const Tensor result = apply(
      Op::linear, {f32({2, 2}, {inf, 1, std::nanf(""), 2}), weight, std::nullopt, f32({1}, {1})});
  CHECK(std::isnan(result.value(0)));
  CHECK(result.value(1) == Approx(2));  // NaN counts as 0
  CHECK(refusal(Op::linear, {f32({1, 2}, {1, 2}), weight}).find("without scales") !=
        std::string::npos);
}

TEST_CASE("layer_norm centres and scales each row") {
  const Tensor result =
      apply(Op::layer_norm, {f32({2, 2}, {1, 3, 5, 5}), f32({2}, {1, 2}), f32({2}, {0, 10})},
            {{"epsilon", 0.0f}});
  CHECK(result.value(0) == -1);
  CHECK(result.value(1) == 12);
  CHECK(std::isnan(result.value(2)));  // no variance and no epsilon
  check_close(apply(Op::layer_norm, {f32({1, 2}, {5, 5}), f32({2}, {1, 2}), f32({2}, {0, 10})},
                    {{"epsilon", 1e-12f}}),
              f32({1, 2}, {0, 10}), 0);
}

/// softmax(q k^T * scale) v of one head, as the formula says.
std::vector<double> plain_attention(const Tensor& qkv,
                                    Index begin,
                                    Index end,
                                    Index heads,
                                    Index head_dim,
                                    Index head,
                                    double scale,
                                    bool causal) {
  const Index width = heads * head_dim;
  const auto at = [&](Index token, Index part, Index i) {
    return qkv.value(token * 3 * width + part * width + head * head_dim + i);
  };
  std::vector<double> result;
  for (Index t = begin; t < end; ++t) {
    std::vector<double> weights;
    double sum = 0;
    for (Index u = begin; u < (causal ? t + 1 : end); ++u) {
      double score = 0;
      for (Index i = 0; i < head_dim; ++i)
        score += at(t, 0, i) * at(u, 1, i);
      weights.push_back(std::exp(score * scale));
      sum += weights.back();
    }
    for (Index i = 0; i < head_dim; ++i) {
      double value = 0;
      for (std::size_t u = 0; u < weights.size(); ++u)
        value += weights[u] / sum * at(begin + static_cast<Index>(u), 2, i);
      result.push_back(value);
    }
  }
  return result;
}

TEST_CASE("attention stays within its sequence and its head") {
  const auto graph = ir::parse(R"(
    graph () {
      @qkv: f32[11, 18] = random
      return @qkv
    })");
  const Tensor qkv = *graph->constant(graph->outputs()[0]);
  const std::vector<Index> offsets = {0, 1, 6, 11};
  for (const bool causal : {false, true}) {
    const Tensor result =
        apply(Op::attention, {qkv},
              {{"heads", 2}, {"head_dim", 3}, {"scale", 0.7f}, {"causal", causal ? 1 : 0}},
              {.offsets = offsets});
    REQUIRE(result.dims() == ir::Dims{11, 6});
    for (std::size_t s = 0; s + 1 < offsets.size(); ++s) {
      for (Index head = 0; head < 2; ++head) {
        const std::vector<double> expected =
            plain_attention(qkv, offsets[s], offsets[s + 1], 2, 3, head, 0.7, causal);
        for (std::size_t i = 0; i < expected.size(); ++i) {
          const Index token = offsets[s] + static_cast<Index>(i) / 3;
          CHECK(result.value(token * 6 + head * 3 + static_cast<Index>(i) % 3) ==
                Approx(expected[i]).margin(1e-6));
        }
      }
    }
  }
}

TEST_CASE("attention in 8 bits is attention to about a hundredth") {
  const auto graph = ir::parse(R"(
    graph () {
      @qkv: f32[11, 18] = random
      return @qkv
    })");
  const Tensor qkv = *graph->constant(graph->outputs()[0]);
  const std::vector<Index> offsets = {0, 1, 6, 11};
  for (const Index causal : {0, 1}) {
    ir::Attributes attributes = {
        {"heads", 2}, {"head_dim", 3}, {"scale", 0.7f}, {"causal", causal}};
    const Tensor exact = apply(Op::attention, {qkv}, attributes, {.offsets = offsets});
    attributes.set("bits", 8);
    const Tensor rounded = apply(Op::attention, {qkv}, attributes, {.offsets = offsets});
    double largest = 0;
    for (Index i = 0; i < exact.elements(); ++i)
      largest = std::max(largest, std::fabs(exact.value(i) - rounded.value(i)));
    CHECK(largest > 0);
    CHECK(largest < 0.02);
  }
}

TEST_CASE("attention adds biases by how far key and query are apart") {
  // Queries are zero: what is left of a score is its bias. Values are 1, 10, 100.
  const auto attend = [](std::string_view bias) {
    return ir::parse(R"(
      graph (%qkv: f32[tokens, 6]) {
        @b: f32[2, 5] = )" +
                     std::string(bias) + R"(
        %y = attention(%qkv, @b) {heads = 2, head_dim = 1, scale = 1.0} : f32[tokens, 2]
        return %y
      })");
  };
  const auto graph = attend("[-100, 0, -100, -100, -100, -100, -100, -100, -100, 0]");
  INFO((graph ? "" : graph.error().message()));
  REQUIRE(graph);
  REQUIRE(ir::verify(*graph));
  std::vector<float> qkv;
  for (const float value : {1.0f, 10.0f, 100.0f})
    qkv.insert(qkv.end(), {0, 0, 0, 0, value, 2 * value});
  const auto result =
      reference::interpret(*graph, std::vector{ir::Tensor::from<float>({3, 6}, qkv)});
  INFO((result ? "" : result.error().message()));
  REQUIRE(result);
  const auto values = result->at(0).data<float>();
  // Head 0 looks at the token before, head 1 at the second after; without one, at all alike.
  CHECK(values[0] == Approx(37));
  CHECK(values[2] == Approx(1));
  CHECK(values[4] == Approx(10));
  CHECK(values[1] == Approx(200));
  CHECK(values[3] == Approx(74));
  CHECK(values[5] == Approx(74));
  const auto longer = reference::interpret(
      *graph, std::vector{ir::Tensor::from<float>({4, 6}, std::vector<float>(24))});
  REQUIRE_FALSE(longer);
  CHECK(longer.error().message().find("relative table f32[2, 5] for 2 heads of 1 and 4 tokens") !=
        std::string::npos);
}

TEST_CASE("attention adds what query and key say about their distance") {
  // One head of one column: score(i, j) = q_i k_j + q_i rk[j - i] + k_j rq[j - i], here of 2
  // tokens.
  const auto graph = ir::parse(R"(
    graph (%qkv: f32[tokens, 3]) {
      @rk: f32[1, 3] = [0.5, 1, -1]
      @rq: f32[1, 3] = [2, -3, 0.25]
      %y = attention(%qkv, none, @rk, @rq) {heads = 1, head_dim = 1, scale = 0.5} : f32[tokens, 1]
      return %y
    })");
  INFO((graph ? "" : graph.error().message()));
  REQUIRE(graph);
  const auto result = reference::interpret(
      *graph, std::vector{ir::Tensor::from<float>({2, 3}, std::vector<float>{1, 2, 0, 3, -1, 1})});
  INFO((result ? "" : result.error().message()));
  REQUIRE(result);
  // Values are 0 and 1: the result is the weight of token 1.
  const auto weight = [](double score_0, double score_1) {
    return 1 / (1 + std::exp(0.5 * (score_0 - score_1)));
  };
  CHECK(result->at(0).value(0) ==
        Approx(weight(1 * 2 + 1 * 1 + 2 * -3, 1 * -1 + 1 * -1 + -1 * 0.25)));
  CHECK(result->at(0).value(1) ==
        Approx(weight(3 * 2 + 3 * 0.5 + 2 * 2, 3 * -1 + 3 * 1 + -1 * -3)));
}

TEST_CASE("attention refuses heads that do not fill its input") {
  const Tensor qkv = f32({1, 6}, {1, 2, 3, 4, 5, 6});
  CHECK(apply(Op::attention, {qkv}, {{"heads", 2}, {"head_dim", 1}}) == f32({1, 2}, {5, 6}));
  CHECK(refusal(Op::attention, {qkv}, {{"heads", 3}, {"head_dim", 1}}).find("heads 3") !=
        std::string::npos);
  CHECK(refusal(Op::attention, {qkv}, {{"heads", Index{1} << 62}, {"head_dim", 4}}).find("heads") !=
        std::string::npos);
  CHECK(refusal(Op::attention, {qkv}).find("heads 0") != std::string::npos);
}

TEST_CASE("activations follow their formulas") {
  const Tensor x = f32({1, 3}, {-1, 0, 2});
  const auto kind = [&](const char* name) {
    return apply(Op::activation, {x}, {{"kind", std::string(name)}});
  };
  check_close(kind("gelu"), f32({1, 3}, {-0.15865526f, 0, 1.9544997f}), 1e-6);
  check_close(kind("gelu_tanh"), f32({1, 3}, {-0.15880801f, 0, 1.9545977f}), 1e-6);
  check_close(kind("relu"), f32({1, 3}, {0, 0, 2}), 0);
  check_close(kind("tanh"), f32({1, 3}, {-0.76159416f, 0, 0.96402758f}), 1e-6);
  check_close(kind("sigmoid"), f32({1, 3}, {0.26894143f, 0.5f, 0.88079708f}), 1e-6);
  check_close(kind("silu"), f32({1, 3}, {-0.26894143f, 0, 1.7615942f}), 1e-6);
  CHECK(refusal(Op::activation, {x}, {{"kind", std::string("softplus")}}).find("softplus") !=
        std::string::npos);
}

TEST_CASE("pooling makes one row of each sequence") {
  const Tensor src = f32({3, 2}, {1, 2, 3, 4, 10, 20});
  const Run run{.offsets = {0, 2, 3}};
  CHECK(apply(Op::first_token, {src}, {}, run) == f32({2, 2}, {1, 2, 10, 20}));
  CHECK(apply(Op::mean_pool, {src}, {}, run) == f32({2, 2}, {2, 3, 10, 20}));
}

TEST_CASE("l2_normalize divides each row by its norm, a row of zeros by hardly anything") {
  check_close(apply(Op::l2_normalize, {f32({2, 2}, {3, 4, 0, 0})}), f32({2, 2}, {0.6f, 0.8f, 0, 0}),
              1e-7);
}

TEST_CASE("columns takes a range of columns") {
  const Tensor src = f32({2, 3}, {1, 2, 3, 4, 5, 6});
  CHECK(apply(Op::columns, {src}, {{"begin", 1}, {"end", 3}}) == f32({2, 2}, {2, 3, 5, 6}));
  CHECK(refusal(Op::columns, {src}, {{"begin", 1}, {"end", 4}}).find("[1, 4)") !=
        std::string::npos);
  CHECK(refusal(Op::columns, {src}, {{"begin", 2}, {"end", 2}}).find("[2, 2)") !=
        std::string::npos);
}

}  // namespace
}  // namespace rtai::reference
