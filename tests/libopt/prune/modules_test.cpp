#include "libopt/prune/modules.h"

#include "libopt/ir/ops.h"
#include "libopt/ir/text.h"
#include "tests/support/batches.h"
#include "tests/support/models.h"
#include "tests/support/runtime_evaluator.h"

#include <catch2/catch.hpp>

#include <algorithm>
#include <cmath>

namespace rtai::prune {
namespace {

std::vector<float> outputs_of(const ir::Graph& graph) {
  const auto sequences = testing::random_sequences({7, 1, 12}, 101);
  testing::RuntimeEvaluator evaluator;
  std::vector<ir::Tensor> inputs = sequences.tensors();
  inputs.resize(graph.inputs().size());
  const auto values =
      evaluator.run(graph, inputs, sequences.wide_offsets(), graph.outputs()).value();
  std::vector<float> all;
  for (const ir::Tensor& value : values)
    all.insert(all.end(), value.data<float>().begin(), value.data<float>().end());
  return all;
}

double distance(const std::vector<float>& a, const std::vector<float>& b) {
  REQUIRE(a.size() == b.size());
  double most = 0;
  for (std::size_t i = 0; i < a.size(); ++i)
    most = std::max(most, std::fabs(static_cast<double>(a[i]) - b[i]));
  return most;
}

/// Zeros the columns of `out` that belong to units which are not kept.
void silence(ir::Graph& graph, const Module& module, const std::vector<Index>& kept) {
  Layer layer = layer_of(graph, module.out);
  const auto values = layer.weight.mutable_data<float>();
  const Index columns = layer.weight.dim(1);
  for (Index i = 0; i < layer.weight.elements(); ++i) {
    const Index unit = i % columns / module.width;
    if (std::ranges::find(kept, unit) == kept.end()) values[static_cast<std::size_t>(i)] = 0;
  }
  set_layer(graph, module.out, layer);
}

/// A layer norm in front of each module instead of behind it.
ir::Graph make_pre_norm_model() {
  return ir::parse(R"(
    graph (%ids: i32[tokens]) {
      @word: f32[101, 32] = random
      @n1: f32[32] = ones
      @c1: f32[32] = random
      @wq: f32[96, 32] = random
      @wo: f32[32, 32] = random
      @bo: f32[32] = random
      @n2: f32[32] = ones
      @c2: f32[32] = random
      @w1: f32[48, 32] = random
      @w2: f32[32, 48] = random
      @b2: f32[32] = random
      @n3: f32[32] = ones
      @c3: f32[32] = random
      @head: f32[5, 32] = random
      %e = embedding(%ids, none, @word)
      %x1 = layer_norm(%e, @n1, @c1) {epsilon = 1e-5}
      %q = linear(%x1, @wq)
      %a = attention(%q) {heads = 2, head_dim = 16, scale = 0.25}
      %o = linear(%a, @wo, @bo)
      %s1 = add(%e, %o)
      %x2 = layer_norm(%s1, @n2, @c2) {epsilon = 1e-5}
      %i = linear(%x2, @w1)
      %g = activation(%i) {kind = gelu}
      %f = linear(%g, @w2, @b2)
      %s2 = add(%s1, %f)
      %x3 = layer_norm(%s2, @n3, @c3) {epsilon = 1e-5}
      %y = linear(%x3, @head)
      return %y
    })")
      .value();
}

TEST_CASE("modules are found in order, with their units") {
  const ir::Graph graph = testing::make_model({.layers = 2, .heads = 4, .ffn = 128});
  const std::vector<Module> modules = find_modules(graph).value();
  REQUIRE(modules.size() == 4);
  CHECK(modules[0].name() == "layer.0.attention");
  CHECK(modules[0].count == 4);
  CHECK(modules[0].width == 16);
  CHECK(modules[3].name() == "layer.1.ffn");
  CHECK(modules[3].count == 128);
  CHECK(modules[3].width == 1);
}

TEST_CASE("a quantized model has nothing to prune, and says why") {
  const auto status = find_modules(testing::make_int8_model());
  REQUIRE_FALSE(status);
  CHECK(status.error().code() == ErrorCode::unsupported);
  CHECK(status.error().message() ==
        "no module has float weights and a residual addition; prune before quantizing");
}

TEST_CASE("keeping units gives what silencing the others gives") {
  for (const bool relative : {false, true}) {
    const ir::Graph dense = testing::make_model({.relative = relative});
    const std::vector<Module> modules = find_modules(dense).value();
    for (const std::vector<Index>& kept : {std::vector<Index>{0, 2, 3}, {1}, {}}) {
      for (const Module& module : modules) {
        ir::Graph narrow = dense;
        keep_units(narrow, module, kept);
        REQUIRE(ir::verify(narrow));
        ir::Graph silent = dense;
        silence(silent, module, kept);
        CHECK(distance(outputs_of(narrow), outputs_of(silent)) < 1e-4);
      }
    }
  }
}

TEST_CASE("keeping all units changes nothing") {
  const ir::Graph dense = testing::make_model();
  ir::Graph same = dense;
  const Module module = find_modules(dense).value()[2];
  keep_units(same, module, std::vector<Index>{0, 1, 2, 3});
  CHECK(ir::print(same) == ir::print(dense));
}

TEST_CASE("a constant that two layers share is narrowed for one of them only") {
  ir::Graph graph = testing::make_model();
  const std::vector<Module> modules = find_modules(graph).value();
  const ir::ValueId shared = graph.node(modules[1].in).input(ir::Linear::weight);
  graph.set_input(modules[3].in, ir::Linear::weight, shared);
  keep_units(graph, modules[1], std::vector<Index>{5, 6});
  REQUIRE(ir::verify(graph));
  CHECK(layer_of(graph, modules[1].in).weight.dim(0) == 2);
  CHECK(layer_of(graph, modules[3].in).weight.dim(0) == 128);
}

TEST_CASE("a dropped module leaves its bias behind and nothing else") {
  const bool pre_norm = GENERATE(false, true);
  const ir::Graph dense = pre_norm ? make_pre_norm_model() : testing::make_model();
  const std::vector<Module> modules = find_modules(dense).value();
  for (std::size_t m = 0; m < modules.size(); ++m) {
    ir::Graph empty = dense;
    keep_units(empty, modules[m], {});
    ir::Graph dropped = empty;
    REQUIRE(can_drop(dropped, modules[m]));
    drop_module(dropped, modules[m]);
    REQUIRE(ir::verify(dropped));
    CHECK(dropped.order().size() < dense.order().size());
    CHECK(distance(outputs_of(dropped), outputs_of(empty)) < 1e-4);
  }
}

TEST_CASE("all modules can be dropped, last to first") {
  const bool pre_norm = GENERATE(false, true);
  ir::Graph graph = pre_norm ? make_pre_norm_model() : testing::make_model();
  const std::vector<Module> modules = find_modules(graph).value();
  for (const Module& module : modules)
    keep_units(graph, module, {});
  const std::vector<float> before = outputs_of(graph);
  for (std::size_t m = modules.size(); m-- > 0;)
    drop_module(graph, modules[m]);
  REQUIRE(ir::verify(graph));
  CHECK(graph.nodes_of(ir::Op::attention).empty());
  CHECK(graph.nodes_of(ir::Op::linear).size() == 1);
  CHECK(distance(outputs_of(graph), before) < 1e-4);
}

TEST_CASE("a module whose residual is also a result of the model is not dropped") {
  ir::Graph graph = testing::make_model();
  const std::vector<Module> modules = find_modules(graph).value();
  std::vector<ir::ValueId> outputs(graph.outputs().begin(), graph.outputs().end());
  outputs.push_back(modules[2].residual);
  graph.set_outputs(outputs);
  CHECK_FALSE(can_drop(graph, modules[2]));
  CHECK(can_drop(graph, modules[3]));
}

TEST_CASE("a cut is the value that everything behind it follows from") {
  const ir::Graph post = testing::make_model();
  const std::vector<Module> modules = find_modules(post).value();
  for (const Module& module : modules)
    CHECK(cut_before(post, module) == module.source);
  const ir::Graph pre = make_pre_norm_model();
  const std::vector<Module> pre_modules = find_modules(pre).value();
  for (const Module& module : pre_modules)
    CHECK(cut_before(pre, module) == module.residual);
}

TEST_CASE("a cut lies in front of every value that is a result of the model") {
  ir::Graph graph = testing::make_model();
  const std::vector<Module> modules = find_modules(graph).value();
  std::vector<ir::ValueId> outputs(graph.outputs().begin(), graph.outputs().end());
  outputs.push_back(modules[0].source);
  graph.set_outputs(outputs);
  CHECK(cut_before(graph, modules[0]) == modules[0].source);
  CHECK(cut_before(graph, modules[3]) == modules[0].source);
}

}  // namespace
}  // namespace rtai::prune
