#include "libopt/raise/trace.h"

#include "libopt/reference/interpret.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstdlib>
#include <memory>

namespace rtai::raise {
namespace {

using ir::Op;
using ir::ValueId;

constexpr Index kMostWorkOfOneNode = Index{1} << 32;

std::uint64_t next_random(std::uint64_t& state) {
  state ^= state << 13, state ^= state >> 7, state ^= state << 17;  // xorshift, Marsaglia 2003
  return state >> 11;
}

/// A matrix of weights, as opposed to a number or vector that a mask is computed with.
bool is_weight(const ir::Graph& graph, ValueId id) {
  const ir::Tensor* constant = graph.constant(id);
  return constant != nullptr && constant->rank() >= 2 && constant->dim(-1) > 1 &&
         constant->dim(-2) > 1;
}

bool multiplies_weights(const ir::Graph& graph, const ir::Node& node) {
  switch (node.op()) {
    case Op::matmul:
    case Op::gemm:
    case Op::einsum:
    case Op::matmul_integer:
      return std::any_of(node.inputs().begin(), node.inputs().end(),
                         [&](ValueId input) { return is_weight(graph, input); });
    default:
      return false;
  }
}

/// Operators of one input that change neither dimensions nor type.
bool keeps_type(Op op) {
  switch (op) {
    case Op::neg:
    case Op::abs:
    case Op::sqrt:
    case Op::exp:
    case Op::erf:
    case Op::tanh:
    case Op::sigmoid:
    case Op::relu:
    case Op::gelu:
    case Op::softmax:
    case Op::identity:
      return true;
    default:
      return false;
  }
}

/// The dimensions of a @ b, or nothing if they do not fit the rules of numpy.
std::optional<ir::Dims> product_dims(const ir::Dims& a, const ir::Dims& b) {
  if (a.size() < 2 || b.size() < 2 || a.back() != b.end()[-2]) return std::nullopt;
  ir::Dims dims(std::max(a.size(), b.size()), 1);
  for (std::size_t i = 3; i <= dims.size(); ++i) {
    const Index x = i <= a.size() ? a[a.size() - i] : 1;
    const Index y = i <= b.size() ? b[b.size() - i] : 1;
    if (x != y && x != 1 && y != 1) return std::nullopt;
    dims[dims.size() - i] = x == 1 ? y : x;
  }
  dims.end()[-2] = a.end()[-2];
  dims.back() = b.back();
  return dims;
}

/// The dimensions of a gemm, or nothing if its operands do not fit.
std::optional<ir::Dims> gemm_dims(const ir::Node& node,
                                  const ir::Dims& a,
                                  const ir::Dims& b,
                                  const ir::Dims* c) {
  if (a.size() != 2 || b.size() != 2) return std::nullopt;
  const std::size_t turn_a = node.attributes().integer("transA", 0) != 0 ? 1 : 0;
  const std::size_t turn_b = node.attributes().integer("transB", 0) != 0 ? 1 : 0;
  if (a[1 - turn_a] != b[turn_b]) return std::nullopt;
  ir::Dims dims = {a[turn_a], b[1 - turn_b]};
  if (c == nullptr) return dims;
  if (c->size() > 2) return std::nullopt;
  for (std::size_t i = 1; i <= c->size(); ++i) {
    const Index size = (*c)[c->size() - i];
    if (size != 1 && size != dims[dims.size() - i]) return std::nullopt;
  }
  return dims;
}

}  // namespace

Index run_memory(const ir::Graph& graph) {
  constexpr Index kAtLeast = Index{128} << 20;
  constexpr Index kTimesWeights = 16;
  return kAtLeast + kTimesWeights * ir::footprint(graph).bytes;
}

/// Zeros that nothing was written to: the system gives them memory of their own only then.
class Zeros {
 public:
  Result<ir::Tensor> tensor(DType dtype, const ir::Dims& dims, Index most_bytes) {
    RTAI_TRY(const Index elements, ir::element_count(dims));
    if (elements > most_bytes / dtype_bytes(dtype)) {
      return Error{
          ErrorCode::unsupported,
          fmt::format("makes {}, too large for a model of this size", ir::to_string(dims))};
    }
    const auto bytes = static_cast<std::size_t>(elements * dtype_bytes(dtype));
    if (bytes > size_) {
      size_ = std::max(bytes, 2 * size_);
      zeros_ = {static_cast<const std::byte*>(std::calloc(size_, 1)),
                [](const std::byte* zeros) { std::free(const_cast<std::byte*>(zeros)); }};
      if (zeros_ == nullptr) {
        size_ = 0;
        return Error{ErrorCode::device, "out of memory"};
      }
    }
    return ir::Tensor::borrow(dtype, dims, zeros_, {zeros_.get(), bytes});
  }

 private:
  std::size_t size_ = 0;
  std::shared_ptr<const std::byte> zeros_;
};

/// Fills one probe node by node. `bytes_left` of memory are for all probes.
class Tracer {
 public:
  Tracer(const ir::Graph& graph, Probe& probe, Index& bytes_left)
      : graph_(graph), probe_(probe), bytes_left_(bytes_left) {
    probe_.values_.resize(graph.value_count());
    probe_.known_.resize(graph.value_count(), false);
  }

  Result<void> run(std::span<const ir::Tensor> inputs, const Interface& interface) {
    for (std::size_t i = 0; i < inputs.size(); ++i) {
      const bool known = interface.inputs[i].role != Role::hidden;
      const ValueId id = graph_.inputs()[i];
      RTAI_TRY_VOID(set(id, inputs[i], known).in(fmt::format("input '{}'", graph_.name(id))));
    }
    for (const ValueId id : graph_.constants()) {
      probe_.values_[static_cast<std::size_t>(id)] = *graph_.constant(id);
      probe_.known_[static_cast<std::size_t>(id)] = true;
    }
    for (const ir::NodeId id : graph_.order()) {
      const ir::Node& node = graph_.node(id);
      RTAI_TRY_VOID(
          run_node(node).in(fmt::format("node '{}' ({})", node.name(), info(node.op()).onnx_name)));
    }
    return {};
  }

 private:
  Result<void> set(ValueId id, ir::Tensor value, bool known) {
    if (known) {
      bytes_left_ -= std::ssize(value.bytes());
      if (bytes_left_ < 0) {
        return Error{ErrorCode::unsupported, "takes more memory than fits a model of this size"};
      }
    } else {
      RTAI_TRY(value, zeros_.tensor(value.dtype(), value.dims(), bytes_left_));
    }
    probe_.values_[static_cast<std::size_t>(id)] = std::move(value);
    probe_.known_[static_cast<std::size_t>(id)] = known;
    return {};
  }

  Result<void> run_node(const ir::Node& node) {
    const bool reads_dims_only = node.op() == Op::shape || node.op() == Op::size;
    const bool all_known = std::all_of(node.inputs().begin(), node.inputs().end(), [&](ValueId in) {
      return in == ir::kNoValue || probe_.is_known(in);
    });
    const bool known = reads_dims_only || (all_known && !multiplies_weights(graph_, node));
    RTAI_TRY(const std::vector<ir::Tensor> results, known ? evaluate(node) : shape_of(node));
    if (results.size() < node.outputs().size()) {
      return Error{ErrorCode::invalid_input,
                   fmt::format("has {} outputs, makes {}", node.outputs().size(), results.size())};
    }
    for (std::size_t i = 0; i < node.outputs().size(); ++i)
      RTAI_TRY_VOID(set(node.outputs()[i], results[i], known));
    return {};
  }

  Result<std::vector<ir::Tensor>> evaluate(const ir::Node& node) const {
    std::vector<const ir::Tensor*> inputs;
    for (const ValueId id : node.inputs())
      inputs.push_back(id == ir::kNoValue ? nullptr : &probe_.at(id));
    return reference::evaluate(
        node, inputs, {.memory_limit_bytes = bytes_left_, .work_limit = kMostWorkOfOneNode});
  }

  /// Results of the right dimensions and type whose elements mean nothing. Products, which take
  /// nearly all the time of a real run, and the most frequent others are not computed.
  Result<std::vector<ir::Tensor>> shape_of(const ir::Node& node) {
    if (keeps_type(node.op())) return std::vector{probe_.at(node.input(0))};
    if (node.op() == Op::layer_normalization && node.outputs().size() == 1) {
      return std::vector{probe_.at(node.input(0))};
    }
    if (const auto dims = dims_of_product(node)) {
      RTAI_TRY(ir::Tensor result, zeros_.tensor(probe_.dtype(node.input(0)), *dims, bytes_left_));
      return std::vector{std::move(result)};
    }
    return evaluate(node);
  }

  std::optional<ir::Dims> dims_of_product(const ir::Node& node) const {
    if (node.op() != Op::matmul && node.op() != Op::gemm) return std::nullopt;
    const ir::Dims& a = probe_.dims(node.input(0));
    const ir::Dims& b = probe_.dims(node.input(1));
    if (node.op() == Op::matmul) return product_dims(a, b);
    return gemm_dims(node, a, b,
                     node.input(2) == ir::kNoValue ? nullptr : &probe_.dims(node.input(2)));
  }

  const ir::Graph& graph_;
  Probe& probe_;
  Index& bytes_left_;
  Zeros zeros_;
};

std::vector<ir::Tensor> make_inputs(const ir::Graph& graph,
                                    const Interface& interface,
                                    const std::vector<Index>& lengths,
                                    Index length,
                                    std::uint64_t seed) {
  std::uint64_t state = seed * 0x9e3779b97f4a7c15 + 0x2545f4914f6cdd1d;
  const Index batch = std::ssize(lengths);
  std::vector<ir::Tensor> inputs;
  for (std::size_t i = 0; i < interface.inputs.size(); ++i) {
    const ir::Type& type = graph.type(graph.inputs()[i]);
    const InputRole& role = interface.inputs[i];
    if (role.role == Role::unused) {
      inputs.emplace_back();  // nothing looks at it
      continue;
    }
    if (role.role == Role::mask && type.dims && type.dims->size() == 1) {
      const std::vector<std::int64_t> counts(lengths.begin(), lengths.end());
      inputs.push_back(ir::Tensor::from<std::int64_t>({batch}, counts).converted(type.dtype));
      continue;
    }
    // The first few ids are often padding and other marks that graphs compare with.
    const Index lowest = role.role == Role::ids ? std::min<Index>(4, role.limit - 1) : 0;
    const Index width = role.role == Role::hidden ? role.limit : 1;
    std::vector<float> values;
    values.reserve(static_cast<std::size_t>(batch * length * width));
    for (Index b = 0; b < batch; ++b) {
      const Index real = lengths[static_cast<std::size_t>(b)];
      for (Index t = 0; t < length * width; ++t) {
        const auto random = static_cast<Index>(next_random(state));
        Index value = 0;
        if (role.role == Role::mask) value = t < real ? 1 : 0;
        if (role.role == Role::positions) value = t;
        if (role.role == Role::segments) value = (t + random) % std::max<Index>(role.limit, 1);
        if (role.role == Role::ids && t < real) value = lowest + random % (role.limit - lowest);
        values.push_back(role.role == Role::hidden ? static_cast<float>(random % 2001 - 1000) / 500
                                                   : static_cast<float>(value));
      }
    }
    // [batch, seq]; masks of rank 3 and 4 have ones between, and so has what comes in choices.
    ir::Dims dims = {batch, length};
    if (role.role == Role::hidden)
      dims.push_back(width);
    else if (type.dims)
      dims.insert(dims.begin() + 1, type.dims->size() - 2, 1);
    inputs.push_back(ir::Tensor::from<float>(dims, values).converted(type.dtype));
  }
  return inputs;
}

Result<Probe> probe_values(const ir::Graph& graph,
                           const Interface& interface,
                           Index length,
                           std::span<const ValueId> wanted,
                           std::map<ValueId, ir::Tensor> given) {
  Probe probe;
  probe.batch = interface.batch.value_or(1);
  probe.length = length;
  probe.lengths.assign(static_cast<std::size_t>(probe.batch), length);
  const std::vector<ir::Tensor> inputs = make_inputs(graph, interface, probe.lengths, length, 1);
  RTAI_TRY(std::vector<ir::Tensor> values,
           reference::interpret(graph, inputs,
                                {.given = std::move(given),
                                 .wanted = {wanted.begin(), wanted.end()},
                                 .memory_limit_bytes = run_memory(graph),
                                 .work_limit = kMostWorkOfOneNode}));
  probe.values_.resize(graph.value_count());
  probe.known_.resize(graph.value_count(), false);
  for (std::size_t i = 0; i < wanted.size(); ++i) {
    probe.values_[static_cast<std::size_t>(wanted[i])] = std::move(values[i]);
    probe.known_[static_cast<std::size_t>(wanted[i])] = true;
  }
  return probe;
}

Result<Trace> trace(const ir::Graph& graph) {
  RTAI_TRY(Interface interface, recognize_inputs(graph));
  Trace result{.interface = std::move(interface), .probes = {}};
  struct Sizes {
    Index length;
    std::vector<Index> lengths;
  };
  Index bytes_left = run_memory(graph);
  // Batch, length and their products differ, so that each dimension tells what it is.
  const std::vector<Sizes> kSizes = {{5, {3, 5}}, {7, {7, 7, 7}}, {6, {4, 0, 6, 1}}};
  for (std::size_t i = 0; i < kSizes.size(); ++i) {
    Probe probe;
    probe.length = result.interface.length.value_or(kSizes[i].length);
    probe.lengths = kSizes[i].lengths;
    if (result.interface.batch) {  // a prescribed batch takes the first lengths
      probe.lengths.resize(static_cast<std::size_t>(*result.interface.batch), 2);
    }
    for (Index& length : probe.lengths) {
      const bool full = !result.interface.find(Role::mask) || length == kSizes[i].length;
      length = full ? probe.length : std::min(length, probe.length);
    }
    probe.batch = std::ssize(probe.lengths);
    const std::vector<ir::Tensor> inputs =
        make_inputs(graph, result.interface, probe.lengths, probe.length, i + 1);
    Tracer tracer(graph, probe, bytes_left);
    RTAI_TRY_VOID(tracer.run(inputs, result.interface)
                      .in(fmt::format("on a batch of [{}, {}]", probe.batch, probe.length)));
    result.probes.push_back(std::move(probe));
  }
  return result;
}

}  // namespace rtai::raise
