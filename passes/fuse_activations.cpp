// Finds activation functions in the arithmetic that exporters write for them.
//
//   before: %a = div(%x, @sqrt2)  %b = erf(%a)  %c = add(%b, @1)  %d = mul(%x, %c)  %e = mul(%d,
//   @0.5) after:  %e = gelu(%x)
//
// A function is recognized by its values, not by its nodes. Every value that elementwise operators
// and numbers make of one x is computed at a row of points; where that is an activation function,
// it becomes one operator. This covers every spelling, known or not.
// GELU: Hendrycks and Gimpel 2016, arXiv:1606.08415.
#include "libopt/reference/interpret.h"
#include "passes/passes.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <map>
#include <optional>

namespace rtai::passes {
namespace {

using ir::Op;
using ir::ValueId;

constexpr PassInfo kInfo = {
    .name = "fuse-activations",
    .summary = "finds gelu, relu, sigmoid and tanh in the arithmetic written for them",
    .source = "Hendrycks and Gimpel 2016, arXiv:1606.08415",
    .exactness = Exactness::exact,
};

/// How many variables a value is remembered to be a function of: the longest spelling of gelu known
/// passes nine values.
constexpr std::size_t kMostVariables = 16;
/// The two gelus differ by 5e-4; constants that were rounded to 16 bits move them by 1e-4.
constexpr double kCloseToGelu = 2e-4;
constexpr double kCloseToRounding = 1e-6;

struct Function {
  Op op;
  std::string_view approximate;  // of gelu
  double (*value)(double x);
  double tolerance;
};

double gelu(double x) {
  return 0.5 * x * (1 + std::erf(x / std::sqrt(2.0)));
}
double gelu_tanh(double x) {
  constexpr double kSqrt2OverPi = 0.79788456080286535588;
  return 0.5 * x * (1 + std::tanh(kSqrt2OverPi * (x + 0.044715 * x * x * x)));
}

constexpr std::array<Function, 5> kFunctions = {{
    {Op::gelu, "none", &gelu, kCloseToGelu},
    {Op::gelu, "tanh", &gelu_tanh, kCloseToGelu},
    // Exactly: max(x, 1e-12) keeps a divisor away from zero and is something else.
    {Op::relu, "", [](double x) { return std::max(x, 0.0); }, 0},
    {Op::sigmoid, "", [](double x) { return 1 / (1 + std::exp(-x)); }, kCloseToRounding},
    {Op::tanh, "", [](double x) { return std::tanh(x); }, kCloseToRounding},
}};

/// Dense where the functions bend, sparse where they are straight.
ir::Tensor sample_points() {
  std::vector<float> points;
  for (int i = -160; i <= 160; ++i)
    points.push_back(static_cast<float>(i) * 0.0371f);
  for (const float far : {6.5f, 8.0f, 11.0f, 15.0f, 20.0f}) {
    points.push_back(far);
    points.push_back(-far);
  }
  const auto count = std::ssize(points);
  return ir::Tensor::from<float>({count}, points);
}

bool is_elementwise(Op op) {
  switch (op) {
    case Op::add:
    case Op::sub:
    case Op::mul:
    case Op::div:
    case Op::pow:
    case Op::min:
    case Op::max:
    case Op::neg:
    case Op::abs:
    case Op::sqrt:
    case Op::reciprocal:
    case Op::exp:
    case Op::erf:
    case Op::tanh:
    case Op::sigmoid:
    case Op::relu:
    case Op::clip:
      return true;
    default:
      return false;
  }
}

/// Knows the functions at the sample points.
class Recognizer {
 public:
  explicit Recognizer(const ir::Tensor& points) {
    for (std::size_t f = 0; f < kFunctions.size(); ++f) {
      for (const float x : points.data<float>())
        values_[f].push_back(kFunctions[f].value(x));
    }
  }

  /// The function nearest to the samples, or null if none is close.
  const Function* nearest(const ir::Tensor& samples) const {
    const Function* found = nullptr;
    double least = kCloseToGelu;
    for (std::size_t f = 0; f < kFunctions.size(); ++f) {
      const double most = std::min(least, kFunctions[f].tolerance);
      const std::optional<double> error = distance(samples.data<float>(), values_[f], most);
      if (!error) continue;
      least = *error;
      found = &kFunctions[f];
    }
    return found;
  }

 private:
  /// The largest difference; nothing if it is more than `most` or there is no number somewhere.
  static std::optional<double> distance(std::span<const float> samples,
                                        const std::vector<double>& values,
                                        double most) {
    double worst = 0;
    for (std::size_t i = 0; i < values.size(); ++i) {
      worst = std::max(worst, std::fabs(samples[i] - values[i]));
      if (!(worst <= most) || std::isnan(samples[i])) return std::nullopt;
    }
    return worst;
  }

  std::array<std::vector<double>, kFunctions.size()> values_;
};

/// A value as a function of another one, at the sample points.
struct Sampled {
  ValueId variable;
  ir::Tensor samples;
};

class Sampler {
 public:
  explicit Sampler(const ir::Graph& graph) : graph_(graph), points_(sample_points()) {}

  const ir::Tensor& points() const { return points_; }

  /// The result of `node` as a function of each variable that it is a function of, the nearest
  /// first. Nodes come in order of execution.
  const std::vector<Sampled>& read(const ir::Node& node) {
    std::vector<Sampled>& result = functions_[node.output()];
    const std::vector<ValueId> operands = computed_inputs(node);
    if (operands.empty()) return result;
    for (const Sampled& first : functions_of(operands[0])) {
      if (result.size() == kMostVariables) break;
      if (auto samples = apply(node, first.variable)) {
        result.push_back({first.variable, *std::move(samples)});
      }
    }
    return result;
  }

 private:
  /// Inputs that are not numbers; none if the node is not elementwise in one variable.
  std::vector<ValueId> computed_inputs(const ir::Node& node) const {
    std::vector<ValueId> computed;
    if (!is_elementwise(node.op()) || graph_.type(node.output()).dtype != DType::f32) return {};
    for (const ValueId input : node.inputs()) {
      if (input == ir::kNoValue) continue;
      const ir::Tensor* constant = graph_.constant(input);
      if (constant == nullptr)
        computed.push_back(input);
      else if (constant->elements() != 1 || constant->rank() > 1)
        return {};
    }
    return computed;
  }

  /// Every value is a function of itself.
  std::vector<Sampled> functions_of(ValueId id) const {
    std::vector<Sampled> all = {{id, points_}};
    if (const auto found = functions_.find(id); found != functions_.end()) {
      all.insert(all.end(), found->second.begin(), found->second.end());
    }
    return all;
  }

  const ir::Tensor* samples_of(ValueId id, ValueId variable) const {
    if (id == variable) return &points_;
    const auto found = functions_.find(id);
    if (found == functions_.end()) return nullptr;
    for (const Sampled& sampled : found->second) {
      if (sampled.variable == variable) return &sampled.samples;
    }
    return nullptr;
  }

  /// The node at the sample points of `variable`, if all its inputs are functions of that.
  std::optional<ir::Tensor> apply(const ir::Node& node, ValueId variable) const {
    std::vector<const ir::Tensor*> inputs;
    for (const ValueId input : node.inputs()) {
      const ir::Tensor* samples = nullptr;
      if (input != ir::kNoValue) {
        samples = graph_.constant(input);
        if (samples == nullptr) samples = samples_of(input, variable);
        if (samples == nullptr) return std::nullopt;
      }
      inputs.push_back(samples);
    }
    const auto results = reference::try_evaluate(node, inputs);
    if (!results || results->at(0).dims() != points_.dims()) return std::nullopt;
    return results->at(0);
  }

  const ir::Graph& graph_;
  ir::Tensor points_;
  std::map<ValueId, std::vector<Sampled>> functions_;
};

class FuseActivations final : public PassWith<NoOptions> {
 public:
  const PassInfo& info() const override { return kInfo; }

  Result<PassReport> run(ir::Graph& graph, PassContext& /*context*/) override {
    Sampler sampler(graph);
    const Recognizer recognizer(sampler.points());
    struct Found {
      ir::NodeId node;
      ValueId variable;
      const Function* function;
    };
    std::vector<Found> found;
    for (const ir::NodeId id : graph.order()) {
      for (const Sampled& sampled : sampler.read(graph.node(id))) {
        const Function* function = recognizer.nearest(sampled.samples);
        if (function == nullptr) continue;
        if (!is_already(graph.node(id), sampled.variable, *function)) {
          found.push_back({id, sampled.variable, function});
        }
        break;
      }
    }
    std::map<ValueId, ValueId> replaced;  // the variable of one may be the result of another
    for (const Found& activation : found) {
      const auto x = replaced.find(activation.variable);
      const ValueId before = graph.result(activation.node);
      replaced[before] =
          replace(graph, activation.node, x == replaced.end() ? activation.variable : x->second,
                  *activation.function);
    }
    if (!found.empty()) graph.erase_dead();
    return PassReport{.changed = !found.empty(),
                      .counters = {{"activations fused", static_cast<double>(found.size())}}};
  }

 private:
  static bool is_already(const ir::Node& node, ValueId variable, const Function& function) {
    return node.op() == function.op && node.input(0) == variable;
  }

  /// The new result.
  static ValueId replace(ir::Graph& graph, ir::NodeId id, ValueId x, const Function& function) {
    const ir::Type type = graph.type(graph.result(id));
    ir::Attributes attributes;
    if (function.op == Op::gelu) attributes.set("approximate", std::string(function.approximate));
    const ir::NodeId fused = graph.insert_before(id, {.op = function.op,
                                                      .inputs = {x},
                                                      .outputs = {type},
                                                      .attributes = std::move(attributes),
                                                      .name = graph.node(id).name()});
    const std::string name = graph.name(graph.result(id));
    graph.replace_uses(graph.result(id), graph.result(fused));
    graph.erase(id);
    graph.rename(graph.result(fused), name);
    return graph.result(fused);
  }
};

}  // namespace

std::unique_ptr<Pass> make_fuse_activations() {
  return std::make_unique<FuseActivations>();
}

}  // namespace rtai::passes
