#include "tools/layer_comparison.h"

#include "tools/metrics.h"

#include <algorithm>
#include <map>

namespace rtai::tools {
namespace {

using engine::Engine;

/// The value behind each normalization, by the name of its weight.
std::map<std::string, engine::ValueIndex> landmarks(const Engine& engine) {
  std::map<std::string, engine::ValueIndex> found;
  for (const engine::Step& step : engine.program.steps) {
    if (step.op != engine::OpKind::layer_norm) continue;
    const auto weight = static_cast<std::size_t>(step.tensors[engine::layer_norm_tensor::weight]);
    const std::string& name = engine.program.tensors[weight].name;
    found.emplace(name.substr(0, name.find_last_of('.')), step.dst);
  }
  return found;
}

/// An engine whose outputs are these values.
Result<Predictor> tapped(const Model& model,
                         const Engine& engine,
                         const std::vector<engine::Output>& outputs,
                         int threads,
                         const std::string& target) {
  Engine other = engine;
  other.program.outputs = outputs;
  Model shown;
  shown.name = model.name;
  shown.engine = std::make_shared<const Engine>(std::move(other));
  return make_predictor(shown, threads, target);
}

class Sums {
 public:
  void add(const SampleOutput& a, const SampleOutput& b) {
    for (Index r = 0; r < a.rows; ++r) {
      for (std::size_t c = 0; c < a.row(r).size(); ++c)
        squares_.add(a.row(r)[c], b.row(r)[c]);
      cosines_ += tools::cosine(a.row(r), b.row(r));
    }
    rows_ += static_cast<double>(a.rows);
  }

  double cosine() const { return rows_ > 0 ? cosines_ / rows_ : 1; }
  double nmse() const { return squares_.nmse(); }

 private:
  SquaredErrors squares_;
  double cosines_ = 0;
  double rows_ = 0;
};

}  // namespace

Result<std::vector<LayerDifference>> compare_layers(const Model& first,
                                                    const Model& second,
                                                    std::span<const text::Encoding> encodings,
                                                    int threads,
                                                    const std::string& target) {
  RTAI_TRY(const auto engine_a, make_engine(first));
  RTAI_TRY(const auto engine_b, make_engine(second));
  const auto of_a = landmarks(*engine_a);
  const auto of_b = landmarks(*engine_b);
  std::vector<engine::Output> outputs_a;
  std::vector<engine::Output> outputs_b;
  for (const auto& [name, value] : of_a) {
    const auto other = of_b.find(name);
    if (other == of_b.end()) continue;
    const auto& a = engine_a->program.values[static_cast<std::size_t>(value)];
    const auto& b = engine_b->program.values[static_cast<std::size_t>(other->second)];
    if (a.columns != b.columns || a.rows != b.rows) continue;
    outputs_a.push_back({name, value});
    outputs_b.push_back({name, other->second});
  }
  if (outputs_a.empty()) return std::vector<LayerDifference>{};
  RTAI_TRY(Predictor a, tapped(first, *engine_a, outputs_a, threads, target));
  RTAI_TRY(Predictor b, tapped(second, *engine_b, outputs_b, threads, target));
  std::vector<Sums> sums(outputs_a.size());
  for (const text::Encoding& encoding : encodings) {  // one by one: memory stays small
    RTAI_TRY(const auto values_a, a.run(std::span(&encoding, 1), silent_log()));
    RTAI_TRY(const auto values_b, b.run(std::span(&encoding, 1), silent_log()));
    for (std::size_t i = 0; i < sums.size(); ++i)
      sums[i].add(values_a[0][i], values_b[0][i]);
  }
  std::map<engine::ValueIndex, LayerDifference> in_order;
  for (std::size_t i = 0; i < sums.size(); ++i)
    in_order[outputs_a[i].value] = {outputs_a[i].name, sums[i].cosine(), sums[i].nmse()};
  std::vector<LayerDifference> differences;
  for (auto& [value, difference] : in_order)
    differences.push_back(std::move(difference));
  return differences;
}

}  // namespace rtai::tools
