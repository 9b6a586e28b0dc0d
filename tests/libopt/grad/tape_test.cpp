#include "libopt/grad/tape.h"

#include "libopt/ir/ops.h"
#include "libopt/reference/interpret.h"
#include "tests/support/models.h"
#include "tests/support/random.h"

#include <catch2/catch.hpp>

#include <cmath>

namespace rtai::grad {
namespace {

using ir::ValueId;
using test::Random;

const std::vector<Index> kOffsets = {0, 5, 6, 13};
constexpr Index kTokens = 13;

ir::Tensor random_values(ir::Dims dims, Random& random, float scale = 1) {
  std::vector<float> values(static_cast<std::size_t>(ir::element_count(dims).value()));
  random.fill(values, -scale, scale);
  return ir::Tensor::from<float>(std::move(dims), values);
}

ir::Tensor random_ids(Index below, Random& random) {
  std::vector<std::int32_t> ids;
  for (Index t = 0; t < kTokens; ++t)
    ids.push_back(static_cast<std::int32_t>(random.integer(0, below - 1)));
  return ir::Tensor::from<std::int32_t>({kTokens}, ids);
}

double dot(const ir::Tensor& a, const ir::Tensor& b) {
  REQUIRE(a.dims() == b.dims());
  double sum = 0;
  for (Index i = 0; i < a.elements(); ++i)
    sum += a.value(i) * b.value(i);
  return sum;
}

/// A graph with its inputs, and the number whose derivatives are taken: the sum over everything it
/// puts out, each element with a weight of its own.
struct Case {
  ir::Graph graph;
  std::vector<ir::Tensor> inputs;
  Gradients weights = {};  // by output

  double number(const ir::Graph& changed, std::span<const ir::Tensor> given) const {
    const auto outputs = reference::interpret(changed, given, {.offsets = kOffsets}).value();
    double sum = 0;
    for (std::size_t i = 0; i < outputs.size(); ++i)
      sum += dot(outputs[i], weights.at(graph.outputs()[i]));
    return sum;
  }
  double number() const { return number(graph, inputs); }

  /// The number with `value` moved by `step` times `direction`.
  double moved(ValueId value, const ir::Tensor& direction, float step) const {
    const auto move = [&](ir::Tensor tensor) {
      const auto values = tensor.mutable_data<float>();
      for (std::size_t i = 0; i < values.size(); ++i)
        values[i] += step * direction.data<float>()[i];
      return tensor;
    };
    if (const ir::Tensor* constant = graph.constant(value)) {
      ir::Graph changed = graph;
      changed.set_constant(value, move(*constant));
      return number(changed, inputs);
    }
    std::vector<ir::Tensor> given = inputs;
    const auto input = std::ranges::find(graph.inputs(), value) - graph.inputs().begin();
    given[static_cast<std::size_t>(input)] = move(given[static_cast<std::size_t>(input)]);
    return number(graph, given);
  }
};

/// Float inputs and constants.
std::vector<ValueId> variables(const Case& of) {
  std::vector<ValueId> values = of.graph.constants();
  for (std::size_t i = 0; i < of.inputs.size(); ++i) {
    if (of.inputs[i].dtype() == DType::f32) values.push_back(of.graph.inputs()[i]);
  }
  return values;
}

/// Checks the derivatives by every variable along three directions each, against what the reference
/// interpreter gives a small step to both sides.
void check_derivatives(Case of, Random& random) {
  const Tape tape = Tape::record(of.graph, of.inputs, kOffsets).value();
  const auto expected = reference::interpret(of.graph, of.inputs, {.offsets = kOffsets}).value();
  for (std::size_t i = 0; i < expected.size(); ++i) {
    const ValueId output = of.graph.outputs()[i];
    REQUIRE(tape.value(output).dims() == expected[i].dims());
    for (Index e = 0; e < expected[i].elements(); ++e)
      REQUIRE(tape.value(output).value(e) == Approx(expected[i].value(e)).margin(2e-5));
    of.weights.emplace(output, random_values(expected[i].dims(), random));
  }
  const std::vector<ValueId> wanted = variables(of);
  const Gradients gradients = tape.back(of.weights, wanted).value();
  REQUIRE(gradients.size() == wanted.size());
  for (const ValueId value : wanted) {
    INFO("derivative by " << of.graph.name(value));
    const ir::Tensor& gradient = gradients.at(value);
    for (int i = 0; i < 3; ++i) {
      const ir::Tensor direction = random_values(gradient.dims(), random);
      constexpr float kStep = 4e-3f;
      const double slope =
          (of.moved(value, direction, kStep) - of.moved(value, direction, -kStep)) / (2 * kStep);
      // Independent entries would give a product of this size: what an error is measured by.
      const double size = std::sqrt(dot(gradient, gradient) / 3);
      CHECK(dot(gradient, direction) == Approx(slope).margin(4e-3 * size + 2e-4));
    }
  }
}

/// One operator on an input of `columns` columns.
Case one_operator(ir::Op op,
                  Index columns,
                  const std::vector<ir::Dims>& constants,
                  ir::Attributes attributes,
                  Random& random) {
  Case made;
  const ValueId src =
      made.graph.add_input("src", {DType::f32, std::vector<ir::Dim>{"tokens", columns}});
  made.inputs = {random_values({kTokens, columns}, random, 2)};
  std::vector<ValueId> inputs = {src};
  for (const ir::Dims& dims : constants)
    inputs.push_back(made.graph.add_constant("constant", random_values(dims, random)));
  made.graph.set_outputs({ir::append(made.graph, op, inputs, std::move(attributes)).value()});
  return made;
}

TEST_CASE("the derivatives of every operator are those of finite differences") {
  Random random(7);
  const auto check = [&](ir::Op op, Index columns, const std::vector<ir::Dims>& constants = {},
                         const ir::Attributes& attributes = {}) {
    INFO(ir::info(op).name << ' ' << attributes.text("kind", ""));
    check_derivatives(one_operator(op, columns, constants, attributes, random), random);
  };
  check(ir::Op::linear, 6, {{4, 6}, {4}});
  check(ir::Op::linear, 6, {{4, 6}});
  check(ir::Op::layer_norm, 8, {{8}, {8}}, {{"epsilon", 0.1f}});
  const std::vector<ir::Dims> by_distance = {{2, 15}, {8, 15}, {8, 15}};
  for (const auto& tables : {std::vector<ir::Dims>{}, by_distance}) {
    for (const std::int64_t causal : {0, 1}) {
      check(ir::Op::attention, 3 * 2 * 4, tables,
            {{"heads", std::int64_t{2}},
             {"head_dim", std::int64_t{4}},
             {"scale", 0.6f},
             {"causal", causal}});
    }
  }
  for (const char* kind : {"gelu", "gelu_tanh", "relu", "tanh", "sigmoid", "silu"})
    check(ir::Op::activation, 5, {}, {{"kind", std::string(kind)}});
  check(ir::Op::first_token, 5);
  check(ir::Op::mean_pool, 5);
  check(ir::Op::l2_normalize, 5);
  check(ir::Op::columns, 5, {}, {{"begin", std::int64_t{1}}, {"end", std::int64_t{4}}});
}

TEST_CASE("a value that is used twice collects both derivatives") {
  Random random(8);
  Case twice = one_operator(ir::Op::activation, 5, {}, {{"kind", std::string("tanh")}}, random);
  const ValueId src = twice.graph.inputs()[0];
  const ValueId sum = ir::append(twice.graph, ir::Op::add, {twice.graph.outputs()[0], src}).value();
  const ValueId doubled = ir::append(twice.graph, ir::Op::add, {sum, sum}).value();
  twice.graph.set_outputs({doubled, sum});
  check_derivatives(std::move(twice), random);
}

TEST_CASE("the derivatives by the tables of an embedding") {
  Random random(9);
  Case made;
  const ir::Type ids{DType::i32, std::vector<ir::Dim>{"tokens"}};
  std::vector<ValueId> inputs = {made.graph.add_input("ids", ids),
                                 made.graph.add_input("segments", ids)};
  made.inputs = {random_ids(11, random), random_ids(2, random)};
  for (const Index rows : {11, 9, 2})
    inputs.push_back(made.graph.add_constant("table", random_values({rows, 4}, random)));
  made.graph.set_outputs(
      {ir::append(made.graph, ir::Op::embedding, inputs, {{"position_offset", std::int64_t{2}}})
           .value()});
  const ir::Graph graph = made.graph;
  std::vector<ir::Tensor> outside = made.inputs;
  check_derivatives(std::move(made), random);

  outside[0].mutable_data<std::int32_t>()[3] = 11;
  const auto status = Tape::record(graph, outside, kOffsets);
  REQUIRE_FALSE(status);
  CHECK(status.error().message().find("row 11 is outside of the table of 11") != std::string::npos);
}

TEST_CASE("the derivatives of a whole model by everything it learnt") {
  Random random(10);
  const bool pooled = GENERATE(false, true);
  Case model{.graph = testing::make_model({.layers = 2,
                                           .hidden = 16,
                                           .heads = 2,
                                           .head_dim = 8,
                                           .ffn = 24,
                                           .vocabulary = 20,
                                           .pooled = pooled}),
             .inputs = {random_ids(20, random), random_ids(2, random)}};
  check_derivatives(std::move(model), random);
}

TEST_CASE("derivatives in the middle of a model are those by everything in front") {
  Random random(11);
  Case made = one_operator(ir::Op::linear, 6, {{4, 6}}, {}, random);
  const ValueId middle = made.graph.outputs()[0];
  const auto act = [&](ValueId src) {
    return ir::append(made.graph, ir::Op::activation, {src}, {{"kind", std::string("gelu")}})
        .value();
  };
  const ValueId later = act(middle);
  made.graph.set_outputs({act(later)});
  const Tape tape = Tape::record(made.graph, made.inputs, kOffsets).value();
  const Gradients given = {{made.graph.outputs()[0], random_values({kTokens, 4}, random)}};
  const ValueId wanted[] = {middle, made.graph.constants()[0]};
  const Gradients gradients = tape.back(given, wanted).value();
  // Nothing in front of a value is needed for the derivative by it.
  const Gradients alone = tape.back(given, std::span(&later, 1)).value();
  const Gradients onward = tape.back(alone, wanted).value();
  CHECK(onward.at(middle) == gradients.at(middle));
  // d weight = (d middle)^T src
  const Case& c = made;
  for (Index n = 0; n < 4; ++n) {
    for (Index k = 0; k < 6; ++k) {
      double sum = 0;
      for (Index t = 0; t < kTokens; ++t)
        sum += gradients.at(middle).value(t * 4 + n) * c.inputs[0].value(t * 6 + k);
      CHECK(gradients.at(wanted[1]).value(n * 6 + k) == Approx(sum).margin(1e-5));
    }
  }
}

TEST_CASE("int8 weights have no derivatives") {
  Random random(12);
  const ir::Graph graph = testing::make_int8_model();
  const std::vector<ir::Tensor> inputs = {random_ids(20, random), random_ids(2, random)};
  const auto status = Tape::record(graph, inputs, kOffsets);
  REQUIRE_FALSE(status);
  CHECK(status.error().code() == ErrorCode::unsupported);
}

}  // namespace
}  // namespace rtai::grad
