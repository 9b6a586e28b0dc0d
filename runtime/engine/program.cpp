#include "runtime/engine/program.h"

#include "runtime/base/checked.h"
#include "runtime/engine/format.h"
#include "runtime/engine/packed_weights.h"

#include <algorithm>
#include <cmath>
#include <limits>

namespace rtai::engine {
namespace {

constexpr std::array<std::string_view, kOpKindCount> kOpNames = {
    "",    "embedding",   "linear",    "layer_norm",   "attention", "activation",
    "add", "first_token", "mean_pool", "l2_normalize", "columns",   "relative_attention"};

Error corrupt(std::string message) {
  return {ErrorCode::corrupt, std::move(message)};
}

/// Checks one step against the values and tensors it names; every helper says what does not fit.
class StepVerifier {
 public:
  StepVerifier(const Program& program, const Step& step) : program_(program), step_(step) {}

  Result<void> run() const {
    RTAI_TRY_VOID(nothing_else());
    switch (step_.op) {
      case OpKind::embedding:
        return embedding();
      case OpKind::linear:
        return linear();
      case OpKind::layer_norm:
        return layer_norm();
      case OpKind::attention:
        return attention();
      case OpKind::relative_attention:
        return relative_attention();
      case OpKind::activation:
        return activation();
      case OpKind::add:
        return add();
      case OpKind::first_token:
      case OpKind::mean_pool:
        return pool();
      case OpKind::l2_normalize:
        return same_as_source();
      case OpKind::columns:
        return columns();
    }
    return corrupt("unknown operator " + std::to_string(static_cast<int>(step_.op)));
  }

 private:
  const ValueInfo& value(ValueIndex i) const {
    return program_.values[static_cast<std::size_t>(i)];
  }
  const ValueInfo& dst() const { return value(step_.dst); }
  bool has_tensor(std::size_t slot) const { return step_.tensors[slot] != kNone; }
  const TensorInfo& tensor(std::size_t slot) const {
    return program_.tensors[static_cast<std::size_t>(step_.tensors[slot])];
  }

  /// Sources and tensors that the operator does not have are not given: a plan may look at them.
  Result<void> nothing_else() const {
    struct Most {
      std::size_t sources;
      std::size_t tensors;
    };
    static constexpr std::array<Most, kOpKindCount> kMost = {{{2, 6},
                                                              {2, 6},
                                                              {1, 5},
                                                              {1, 2},
                                                              {1, 0},
                                                              {1, 0},
                                                              {2, 0},
                                                              {1, 0},
                                                              {1, 0},
                                                              {1, 0},
                                                              {1, 0},
                                                              {1, 3}}};
    static_assert(kMost.back().sources > 0, "every operator has its line");
    const Most& most = kMost[static_cast<std::size_t>(step_.op)];
    for (std::size_t i = most.sources; i < step_.src.size(); ++i) {
      if (step_.src[i] != kNone) return corrupt("source " + std::to_string(i) + " is one too many");
    }
    for (std::size_t i = most.tensors; i < step_.tensors.size(); ++i) {
      if (has_tensor(i)) return corrupt("tensor " + std::to_string(i) + " is one too many");
    }
    return {};
  }

  Result<void> source(std::size_t i, DType dtype) const {
    if (step_.src[i] == kNone) return corrupt("source " + std::to_string(i) + " is missing");
    if (value(step_.src[i]).dtype == dtype) return {};
    return corrupt("source " + std::to_string(i) + " is not " + std::string(dtype_name(dtype)));
  }
  Result<void> result(Rows rows, Index columns) const {
    if (dst() == ValueInfo{rows, DType::f32, columns}) return {};
    return corrupt("the result has other rows or columns than the operator gives");
  }
  /// Tensor `slot` is [rows, columns] of one of `dtypes` in `layout`.
  Result<void> is_tensor(std::size_t slot,
                         std::initializer_list<DType> dtypes,
                         Layout layout,
                         std::array<Index, 2> dims) const {
    const std::string place = "tensor " + std::to_string(slot);
    if (!has_tensor(slot)) return corrupt(place + " is missing");
    const TensorInfo& info = tensor(slot);
    if (std::find(dtypes.begin(), dtypes.end(), info.dtype) == dtypes.end()) {
      return corrupt(place + " has element type " + std::string(dtype_name(info.dtype)));
    }
    if (info.layout != layout || info.dims != dims) {
      return corrupt(place + " is [" + std::to_string(info.dims[0]) + ", " +
                     std::to_string(info.dims[1]) + "], expected [" + std::to_string(dims[0]) +
                     ", " + std::to_string(dims[1]) + "]");
    }
    return {};
  }
  Result<void> vector(std::size_t slot, DType dtype, Index size) const {
    return is_tensor(slot, {dtype}, Layout::row_major, {size, 1});
  }

  Result<void> embedding() const {
    using namespace embedding_tensor;
    RTAI_TRY_VOID(source(0, DType::i32));
    if (step_.src[1] != kNone) RTAI_TRY_VOID(source(1, DType::i32));
    if ((step_.src[1] != kNone) != has_tensor(segment)) {
      return corrupt("segments and their table go together");
    }
    if (!has_tensor(word)) return corrupt("tensor 0 is missing");
    for (const std::size_t table : {word, position, segment}) {
      const std::size_t scale = table + word_scale;
      const bool is_i8 = has_tensor(table) && tensor(table).dtype == DType::i8;
      if (has_tensor(scale) && !is_i8) return corrupt("a scale of a table without integers");
      if (!has_tensor(table)) continue;
      const Index rows = tensor(table).dims[0];
      if (rows < 1) return corrupt("tensor " + std::to_string(table) + " has no rows");
      RTAI_TRY_VOID(
          is_tensor(table, {DType::f32, DType::i8}, Layout::row_major, {rows, dst().columns}));
      if (is_i8) RTAI_TRY_VOID(vector(scale, DType::f32, rows));
    }
    if (step_.first < 0) return corrupt("negative position offset");
    if (has_tensor(position) && step_.first >= tensor(position).dims[0]) {
      return corrupt("position offset beyond the table");
    }
    return result(Rows::tokens, dst().columns);
  }

  Result<void> linear() const {
    using namespace linear_tensor;
    RTAI_TRY_VOID(source(0, DType::f32));
    const ValueInfo& src = value(step_.src[0]);
    const Index n = dst().columns;
    RTAI_TRY_VOID(
        is_tensor(weight, {DType::f32, DType::bf16, DType::i8}, Layout::panels, {n, src.columns}));
    if (has_tensor(bias)) RTAI_TRY_VOID(vector(bias, DType::f32, n));
    if (tensor(weight).dtype == DType::i8) {
      constexpr Index kMostSummed = 1 << 16;  // 255 * 127 for each column: below 2^31
      if (src.columns > kMostSummed)
        return corrupt("more columns than int8 products can be summed");
      RTAI_TRY_VOID(vector(weight_scale, DType::f32, n));
      RTAI_TRY_VOID(vector(weight_sum, DType::i32, n));
    } else if (has_tensor(weight_scale) || has_tensor(weight_sum) || has_tensor(src_factor)) {
      return corrupt("scales of a weight without integers");
    }
    if (!std::isfinite(step_.real) || step_.real < 0) return corrupt("impossible source scale");
    if (has_tensor(src_factor)) {
      RTAI_TRY_VOID(vector(src_factor, DType::f32, src.columns));
    }
    return result(src.rows, n);
  }

  Result<void> layer_norm() const {
    RTAI_TRY_VOID(source(0, DType::f32));
    const ValueInfo& src = value(step_.src[0]);
    RTAI_TRY_VOID(vector(layer_norm_tensor::weight, DType::f32, src.columns));
    RTAI_TRY_VOID(vector(layer_norm_tensor::bias, DType::f32, src.columns));
    if (!std::isfinite(step_.real) || step_.real < 0) return corrupt("impossible epsilon");
    return result(src.rows, src.columns);
  }

  Result<void> attention() const {
    RTAI_TRY_VOID(source(0, DType::f32));
    const ValueInfo& src = value(step_.src[0]);
    if (step_.heads < 1 || step_.head_dim < 1 || src.rows != Rows::tokens) {
      return corrupt("impossible heads");
    }
    const Index width = Index{step_.heads} * step_.head_dim;  // both below 2^31: no overflow
    if (width > kMaxColumns || src.columns != 3 * width)
      return corrupt("qkv does not fit the heads");
    if (!std::isfinite(step_.real)) return corrupt("impossible scale");
    if (step_.first != 0 && step_.first != 8) return corrupt("unknown arithmetic");
    return result(Rows::tokens, width);
  }

  Result<void> relative_attention() const {
    RTAI_TRY_VOID(attention());
    using namespace attention_tensor;
    if (step_.first != 0) return corrupt("relative attention in int8");
    const Index distances = relative_distances(program_, step_);
    if (distances % 2 != 1) return corrupt("impossible relative attention");
    const Index width = Index{step_.heads} * step_.head_dim;
    for (const std::size_t slot : {bias, relative_key, relative_query}) {
      if (!has_tensor(slot)) continue;
      const Index rows = slot == bias ? step_.heads : width;
      RTAI_TRY_VOID(is_tensor(slot, {DType::f32}, Layout::row_major, {rows, distances}));
    }
    return {};
  }

  Result<void> activation() const {
    if (step_.function == Function::none) return corrupt("no function");
    return same_as_source();
  }

  Result<void> same_as_source() const {
    RTAI_TRY_VOID(source(0, DType::f32));
    const ValueInfo& src = value(step_.src[0]);
    return result(src.rows, src.columns);
  }

  Result<void> add() const {
    RTAI_TRY_VOID(source(0, DType::f32));
    RTAI_TRY_VOID(source(1, DType::f32));
    if (value(step_.src[0]) != value(step_.src[1])) return corrupt("the two sides differ");
    return same_as_source();
  }

  Result<void> pool() const {
    RTAI_TRY_VOID(source(0, DType::f32));
    const ValueInfo& src = value(step_.src[0]);
    if (src.rows != Rows::tokens) return corrupt("pools something else than tokens");
    return result(Rows::sequences, src.columns);
  }

  Result<void> columns() const {
    RTAI_TRY_VOID(source(0, DType::f32));
    const ValueInfo& src = value(step_.src[0]);
    if (step_.first < 0 || step_.last <= step_.first || step_.last > src.columns) {
      return corrupt("columns outside the source");
    }
    return result(src.rows, step_.last - step_.first);
  }

  const Program& program_;
  const Step& step_;
};

Result<void> verify_tensor(const TensorInfo& tensor, std::uint64_t weights_bytes) {
  if (tensor.dims[0] > kMaxRows || tensor.dims[1] > kMaxRows)
    return corrupt("impossible dimensions");
  RTAI_TRY(const std::uint64_t expected, stored_bytes(tensor.dtype, tensor.layout, tensor.dims));
  if (tensor.bytes != expected) return corrupt("has another size than its dimensions");
  if (tensor.group != 0 && (tensor.dtype != DType::i8 || !is_group(tensor.group)))
    return corrupt("has impossible groups of " + std::to_string(tensor.group));
  if (tensor.offset % kEngineAlignment != 0) return corrupt("is not aligned");
  const std::uint64_t slack = tensor.layout == Layout::panels ? kPanelSlack : 0;
  const auto needed = checked_add(tensor.bytes, slack);
  if (tensor.offset > weights_bytes || !needed || *needed > weights_bytes - tensor.offset) {
    return corrupt("lies outside the weights");
  }
  return {};
}

/// What a batch brings: ids and segments for one embedding, or hidden states of its tokens.
Result<void> verify_inputs(const Program& program) {
  int hidden = 0;
  for (std::size_t i = 0; i < program.inputs.size(); ++i) {
    const ValueInfo& value = program.values[i];
    if (value.dtype != DType::f32) continue;
    if (value.rows != Rows::tokens || ++hidden > 1) {
      return corrupt("input '" + program.inputs[i] +
                     "' is no hidden states of tokens, or the second");
    }
  }
  const auto embeddings = std::count_if(program.steps.begin(), program.steps.end(),
                                        [](const Step& s) { return s.op == OpKind::embedding; });
  if (embeddings > 1) return corrupt("more than one embedding");
  return {};
}

Result<void> verify_indices(const Program& program, const Step& step, std::size_t made) {
  const auto known = [&](ValueIndex i) { return i >= 0 && static_cast<std::size_t>(i) < made; };
  for (const ValueIndex src : step.src) {
    if (src != kNone && !known(src)) return corrupt("uses a value that is not made yet");
  }
  for (const TensorIndex tensor : step.tensors) {
    if (tensor != kNone && (tensor < 0 || tensor >= std::ssize(program.tensors))) {
      return corrupt("uses a tensor that does not exist");
    }
  }
  if (static_cast<int>(step.function) >= kFunctionCount) return corrupt("unknown function");
  // Values are made in the order of their indices, so one number says which are known.
  if (step.dst < 0 || static_cast<std::size_t>(step.dst) != made || made >= program.values.size()) {
    return corrupt("makes a value out of order");
  }
  return {};
}

}  // namespace

std::string_view op_name(OpKind op) {
  return kOpNames[static_cast<std::size_t>(op)];
}

Result<std::uint64_t> stored_bytes(DType dtype, Layout layout, const std::array<Index, 2>& dims) {
  const Error impossible = corrupt("impossible dimensions");
  if (dims[0] < 0 || dims[1] < 0) return impossible;
  auto rows = static_cast<std::uint64_t>(dims[0]);
  auto columns = static_cast<std::uint64_t>(dims[1]);
  if (layout == Layout::panels) {
    if (dtype_bytes(dtype) > 4) return corrupt("element type cannot stand in panels");
    const auto padded_rows = checked_round_up(rows, static_cast<std::uint64_t>(kPanelRows));
    const auto padded_columns =
        checked_round_up(columns, static_cast<std::uint64_t>(panel_group(dtype)));
    if (!padded_rows || !padded_columns) return impossible;
    rows = *padded_rows;
    columns = *padded_columns;
  }
  const auto elements = checked_mul(rows, columns);
  if (!elements) return impossible;
  const auto bytes = checked_mul(*elements, static_cast<std::uint64_t>(dtype_bytes(dtype)));
  if (!bytes) return impossible;
  return *bytes;
}

Result<void> verify(const Program& program, std::uint64_t weights_bytes) {
  if (program.inputs.size() > program.values.size()) return corrupt("more inputs than values");
  RTAI_TRY_VOID(verify_inputs(program));
  for (std::size_t i = 0; i < program.values.size(); ++i) {
    const ValueInfo& value = program.values[i];
    const bool sane_type =
        value.dtype == DType::f32 || (value.dtype == DType::i32 && i < program.inputs.size());
    if (value.columns < 1 || value.columns > kMaxColumns || !sane_type) {
      return corrupt("value " + std::to_string(i) + " is impossible");
    }
  }
  for (const TensorInfo& tensor : program.tensors) {
    RTAI_TRY_VOID(verify_tensor(tensor, weights_bytes).in("tensor '" + tensor.name + "'"));
  }
  std::size_t made = program.inputs.size();
  for (std::size_t i = 0; i < program.steps.size(); ++i) {
    const Step& step = program.steps[i];
    const std::string place = "step " + std::to_string(i);
    RTAI_TRY_VOID(verify_indices(program, step, made).in(place));
    RTAI_TRY_VOID(StepVerifier(program, step).run().in(place));
    ++made;
  }
  if (made != program.values.size()) return corrupt("values that no step makes");
  if (program.outputs.empty()) return corrupt("no outputs");
  for (const Output& output : program.outputs) {
    if (output.value < 0 || static_cast<std::size_t>(output.value) >= made) {
      return corrupt("output '" + output.name + "' is not a value");
    }
    if (program.values[static_cast<std::size_t>(output.value)].dtype != DType::f32) {
      return corrupt("output '" + output.name + "' is not f32");
    }
  }
  return {};
}

Index relative_distances(const Program& program, const Step& step) {
  using namespace attention_tensor;
  if (step.op != OpKind::relative_attention) return 0;
  for (const std::size_t slot : {bias, relative_key, relative_query}) {
    const TensorIndex table = step.tensors[slot];
    if (table != kNone) return program.tensors[static_cast<std::size_t>(table)].dims[1];
  }
  return 0;
}

Index longest_sequence(const Program& program) {
  constexpr Index kLongestInt8Attention = (1 << 16) - 1;  // 255 * 127 for each token: below 2^31
  Index longest = std::numeric_limits<std::int32_t>::max();
  for (const Step& step : program.steps) {
    if (is_int8_attention(step)) longest = std::min(longest, kLongestInt8Attention);
    if (step.op == OpKind::relative_attention)
      longest = std::min(longest, relative_distances(program, step) / 2 + 1);
    if (step.op != OpKind::embedding) continue;
    const TensorIndex table = step.tensors[embedding_tensor::position];
    if (table == kNone) continue;
    longest =
        std::min(longest, program.tensors[static_cast<std::size_t>(table)].dims[0] - step.first);
  }
  return longest;
}

}  // namespace rtai::engine
