#include "tests/support/models.h"

#include "libopt/ir/ops.h"
#include "libopt/pass/pipeline.h"
#include "passes/passes.h"

#include <cmath>
#include <vector>

namespace rtai::testing {
namespace {

using ir::ValueId;

class ModelBuilder {
 public:
  explicit ModelBuilder(const TinyModel& shape)
      : shape_(shape), state_(shape.seed * 0x9e3779b97f4a7c15 + 1) {}

  ir::Graph run() {
    const ir::Type tokens{DType::i32, std::vector<ir::Dim>{"tokens"}};
    const ValueId ids = graph_.add_input("ids", tokens);
    const ValueId segments = shape_.segments ? graph_.add_input("segments", tokens) : ir::kNoValue;
    const Index h = shape_.hidden;
    ValueId x = node(ir::Op::embedding,
                     {ids, segments, constant("word", {shape_.vocabulary, h}, 0.5f),
                      constant("position", {shape_.positions, h}, 0.2f),
                      shape_.segments ? constant("segment", {2, h}, 0.2f) : ir::kNoValue});
    x = norm(x);
    std::vector<ValueId> tables;  // by distance, for all layers
    if (shape_.relative) {
      const Index distances = 2 * shape_.positions - 1;
      const Index width = shape_.heads * shape_.head_dim;
      tables = {constant("bias", {shape_.heads, distances}, 2.0f),
                constant("relative_key", {width, distances}, 0.5f),
                constant("relative_query", {width, distances}, 0.5f)};
    }
    for (Index layer = 0; layer < shape_.layers; ++layer) {
      const Index width = shape_.heads * shape_.head_dim;
      std::vector<ValueId> inputs = {linear(x, 3 * width, h)};
      inputs.insert(inputs.end(), tables.begin(), tables.end());
      const ValueId context =
          node(ir::Op::attention, std::move(inputs),
               {{"heads", shape_.heads},
                {"head_dim", shape_.head_dim},
                {"scale", 1.0f / std::sqrt(static_cast<float>(shape_.head_dim))}});
      x = norm(node(ir::Op::add, {linear(context, h, width), x}));
      const ValueId inner =
          node(ir::Op::activation, {linear(x, shape_.ffn, h)}, {{"kind", shape_.activation}});
      x = norm(node(ir::Op::add, {linear(inner, h, shape_.ffn), x}));
    }
    if (shape_.pooled) {
      x = linear(node(ir::Op::first_token, {x}), h, h);
      x = node(ir::Op::activation, {x}, {{"kind", std::string("tanh")}});
    }
    const ValueId logits = linear(x, shape_.labels, h);
    graph_.rename(logits, "logits");
    graph_.set_outputs({logits});
    return std::move(graph_);
  }

 private:
  float uniform() {  // in [-1, 1)
    state_ ^= state_ << 13, state_ ^= state_ >> 7, state_ ^= state_ << 17;
    return static_cast<float>(state_ >> 40) * 0x1p-23f - 1.0f;
  }
  ValueId constant(const std::string& name, ir::Dims dims, float scale, float offset = 0) {
    std::vector<float> values(static_cast<std::size_t>(ir::element_count(dims).value()));
    for (float& value : values)
      value = offset + scale * uniform();
    return graph_.add_constant(name, ir::Tensor::from<float>(std::move(dims), values));
  }
  ValueId node(ir::Op op, std::vector<ValueId> inputs, ir::Attributes attributes = {}) {
    return ir::append(graph_, op, std::move(inputs), std::move(attributes)).value();
  }
  ValueId linear(ValueId x, Index n, Index k) {
    const float scale = 1.7f / std::sqrt(static_cast<float>(k));
    return node(ir::Op::linear,
                {x, constant("weight", {n, k}, scale), constant("bias", {n}, 0.1f)});
  }
  ValueId norm(ValueId x) {
    const Index h = shape_.hidden;
    return node(ir::Op::layer_norm,
                {x, constant("norm_weight", {h}, 0.2f, 1.0f), constant("norm_bias", {h}, 0.1f)},
                {{"epsilon", 1e-12f}});
  }

  TinyModel shape_;
  std::uint64_t state_;
  ir::Graph graph_;
};

}  // namespace

ir::Graph make_model(const TinyModel& shape) {
  return ModelBuilder(shape).run();
}

ir::Graph make_int8_model(const TinyModel& shape) {
  ir::Graph graph = make_model(shape);
  PassContext context;
  run_pipeline("name-layers,quantize-int8", graph, context, passes::make).value();
  return graph;
}

ir::Graph make_int4_model(const TinyModel& shape) {
  ir::Graph graph = make_model(shape);
  PassContext context;
  run_pipeline("name-layers,quantize-int8{weights=int4,group=32}", graph, context, passes::make)
      .value();
  return graph;
}

}  // namespace rtai::testing
