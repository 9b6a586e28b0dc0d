#include "libopt/raise/prove.h"

#include "libopt/ir/ops.h"
#include "libopt/raise/trace.h"
#include "libopt/raise/widen.h"
#include "libopt/reference/interpret.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <span>

namespace rtai::raise {
namespace {

/// The same sequences padded for one graph and packed for the other.
struct Batch {
  std::vector<Index> lengths;
  Index padded_length = 0;

  std::vector<Index> offsets() const {
    std::vector<Index> result = {0};
    for (const Index length : lengths)
      result.push_back(result.back() + length);
    return result;
  }
};

/// A gelu whose constants were rounded to 16 bits is 1e-4 off, and more from layer to layer.
constexpr double kHalfFactor = 100;

bool has_half_floats(const ir::Graph& graph) {
  for (const ir::ValueId id : graph.constants()) {
    const DType dtype = graph.type(id).dtype;
    if (dtype == DType::f16 || dtype == DType::bf16) return true;
  }
  return false;
}

constexpr Index kLargeModel = 50'000'000;  // parameters

/// How long sequences may be for the relative tables of a graph; nothing if it has none.
std::optional<Index> shortest_span(const ir::Graph& raised) {
  std::optional<Index> shortest;
  for (const ir::NodeId id : raised.nodes_of(ir::Op::attention)) {
    const ir::Node& attention = raised.node(id);
    for (std::size_t i = ir::Attention::bias; i < attention.inputs().size(); ++i) {
      const ir::Tensor* table = raised.constant(attention.input(i));
      if (table == nullptr) continue;
      const Index span = table->dim(1) / 2 + 1;
      shortest = std::min(shortest.value_or(span), span);
    }
  }
  return shortest;
}

Batch make_batch(const Interface& interface, std::vector<Index> lengths) {
  const auto given = lengths.size();
  const auto count = static_cast<std::size_t>(interface.batch.value_or(std::ssize(lengths)));
  for (std::size_t i = given; i < count; ++i)
    lengths.push_back(lengths[i % given]);
  lengths.resize(count);
  Batch batch{.lengths = std::move(lengths), .padded_length = 0};
  batch.padded_length =
      interface.length.value_or(*std::max_element(batch.lengths.begin(), batch.lengths.end()));
  const bool may_be_padded = interface.find(Role::mask).has_value();
  for (Index& length : batch.lengths)
    length = may_be_padded ? std::min(length, batch.padded_length) : batch.padded_length;
  return batch;
}

/// Copies the real rows of a padded [batch, length, ...] tensor one after the other.
Result<ir::Tensor> pack(const ir::Tensor& padded, const Batch& batch) {
  const Index rows = std::ssize(batch.lengths) * batch.padded_length;
  const Index columns = padded.elements() / rows;
  const ir::Tensor wide = padded.converted(DType::f32);
  RTAI_TRY(ir::Tensor packed, ir::Tensor::zeros(DType::f32, {batch.offsets().back(), columns}));
  const float* src = wide.data<float>().data();
  float* dst = packed.mutable_data<float>().data();
  for (const Index length : batch.lengths) {
    dst = std::copy_n(src, length * columns, dst);
    src += batch.padded_length * columns;
  }
  return packed;
}

/// Two sequences each become the choices of one question.
void pair_up(std::vector<ir::Tensor>& inputs) {
  for (ir::Tensor& input : inputs) {
    if (input.rank() != 3 || input.dim(0) % 2 != 0) continue;
    input = input.reshaped({input.dim(0) / 2, 2, input.dim(2)});
  }
}

/// The inputs of the raised graph, by the names that emission gives them.
Result<std::vector<ir::Tensor>> packed_inputs(const ir::Graph& raised,
                                              const Interface& interface,
                                              std::span<const ir::Tensor> padded,
                                              const Batch& batch) {
  std::vector<ir::Tensor> inputs;
  for (const ir::ValueId id : raised.inputs()) {
    const std::string& name = raised.name(id);
    const Role role = name == "ids"        ? Role::ids
                      : name == "segments" ? Role::segments
                      : name == "hidden"   ? Role::hidden
                                           : Role::unused;
    const auto source = interface.find(role);
    if (role == Role::unused || !source) {
      return Error{ErrorCode::internal, fmt::format("input '{}' has no counterpart", name)};
    }
    RTAI_TRY(ir::Tensor rows, pack(padded[*source], batch));
    if (role != Role::hidden) rows = rows.reshaped({rows.elements()}).converted(DType::i32);
    inputs.push_back(std::move(rows));
  }
  return inputs;
}

/// A model with a weight that is no number answers nothing: that is its fault, not the import's.
Result<void> expect_numbers(const ir::Graph& graph) {
  for (const ir::ValueId id : graph.constants()) {
    const ir::Tensor& tensor = *graph.constant(id);
    if (tensor.dtype() != DType::f32) continue;
    const std::span<const float> values = tensor.data<float>();
    const auto odd = std::ranges::find_if_not(values, [](float x) { return std::isfinite(x); });
    if (odd == values.end()) continue;
    return Error{ErrorCode::invalid_input,
                 fmt::format("'{}' holds {} at {}", graph.name(id), *odd, odd - values.begin())};
  }
  return {};
}

Result<void> compare(const std::string& name,
                     const ir::Tensor& expected,
                     const ir::Tensor& actual,
                     const ProofOptions& options,
                     Proof& proof) {
  if (expected.elements() != actual.elements()) {
    return Error{ErrorCode::internal, fmt::format("output '{}' has {} elements, expected {}", name,
                                                  actual.elements(), expected.elements())};
  }
  double magnitude = 1;
  for (const float x : expected.data<float>()) {
    if (!std::isfinite(x)) {  // the weights are finite, but overflow
      return invalid_input(
          fmt::format("output '{}' is {} for random ids, before anything is changed", name, x));
    }
    magnitude = std::max(magnitude, static_cast<double>(std::fabs(x)));
  }
  for (Index i = 0; i < actual.elements(); ++i) {
    const double difference = std::fabs(actual.value(i) - expected.value(i));
    if (!(difference <= options.tolerance * magnitude)) {
      return Error{
          ErrorCode::internal,
          fmt::format("output '{}' differs at row {}, column {}: {} instead of {}", name,
                      i / actual.dim(-1), i % actual.dim(-1), actual.value(i), expected.value(i))};
    }
    proof.difference = std::max(proof.difference, difference);
  }
  proof.magnitude = std::max(proof.magnitude, magnitude);
  return {};
}

}  // namespace

Result<Proof> prove(const ir::Graph& imported,
                    const ir::Graph& raised,
                    const ProofOptions& wanted) {
  RTAI_TRY_VOID(expect_numbers(raised));
  ir::Graph original = imported;  // shares the weights
  ProofOptions options = wanted;
  if (has_half_floats(original)) options.tolerance *= kHalfFactor;
  widen_floats(original);
  RTAI_TRY(const Interface interface, recognize_inputs(original));
  std::vector<Index> lengths = options.lengths;
  if (lengths.empty()) {
    const bool is_large = footprint(raised).parameters > kLargeModel;
    lengths = is_large ? std::vector<Index>{3, 1} : std::vector<Index>{5, 2, 1};
    // Longer than the probes that biases were recognized by.
    if (const auto span = shortest_span(raised)) lengths[0] = std::min<Index>(*span, 24);
  }
  if (interface.has_choices && lengths.size() % 2 == 1) lengths.push_back(lengths[0]);
  const Batch batch = make_batch(interface, std::move(lengths));
  std::vector<ir::Tensor> inputs =
      make_inputs(original, interface, batch.lengths, batch.padded_length, options.seed);
  if (interface.has_choices) pair_up(inputs);
  RTAI_TRY(const std::vector<ir::Tensor> packed, packed_inputs(raised, interface, inputs, batch));
  const Index memory = run_memory(original);
  RTAI_TRY(const std::vector<ir::Tensor> expected,
           reference::interpret(original, inputs, {.memory_limit_bytes = memory}));
  RTAI_TRY(const std::vector<ir::Tensor> actual,
           reference::interpret(raised, packed,
                                {.offsets = batch.offsets(), .memory_limit_bytes = memory})
               .in("raised graph"));
  if (expected.size() != actual.size()) {
    return Error{ErrorCode::internal,
                 fmt::format("{} outputs instead of {}", actual.size(), expected.size())};
  }
  Proof proof;
  for (std::size_t i = 0; i < expected.size(); ++i) {
    const ir::ValueId output = raised.outputs()[i];
    const bool per_token = (*raised.type(output).dims)[0] == ir::Dim("tokens");
    RTAI_TRY(const ir::Tensor rows, per_token
                                        ? pack(expected[i], batch)
                                        : Result<ir::Tensor>(expected[i].converted(DType::f32)));
    RTAI_TRY_VOID(compare(raised.name(output), rows, actual[i], options, proof));
  }
  return proof;
}

}  // namespace rtai::raise
