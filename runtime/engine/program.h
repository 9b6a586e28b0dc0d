// What an engine does, as data: the program of transformer operators and the tensors they use.
//
// The program is the mathematics, not a schedule: how steps are fused, split over threads and laid
// out in memory is decided when a Session is made for a device (runtime/exec).
#pragma once

#include "runtime/base/dtype.h"
#include "runtime/base/function.h"
#include "runtime/base/result.h"

#include <array>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace rtai::engine {

/// Operators; meaning and operand order: docs/engine-format.md. Serialized: never reused.
enum class OpKind : std::uint16_t {
  embedding = 1,     // ids, segments?  | word, position?, segment?, scales of the i8 ones
  linear = 2,        // src             | weight, bias?, weight_scale?, weight_sum?
  layer_norm = 3,    // src             | weight, bias
  attention = 4,     // qkv             |
  activation = 5,    // src             |
  add = 6,           // a, b            |
  first_token = 7,   // src             |
  mean_pool = 8,     // src             |
  l2_normalize = 9,  // src             |
  columns = 10,      // src             |
  // An own code, so that a reader from before it does not take it for attention without a bias.
  relative_attention = 11,  // qkv      | bias?, relative_key?, relative_query?
};
inline constexpr int kOpKindCount = 12;
std::string_view op_name(OpKind op);

/// What one row of a value stands for. Serialized: never reused.
enum class Rows : std::uint8_t { tokens = 0, sequences = 1 };

/// How a tensor's elements are ordered. Serialized: never reused.
enum class Layout : std::uint8_t {
  row_major = 0,
  // A matrix [n, k] as [n/16][k/g][16][g] with g = 4 / sizeof(element), n padded to 16 and k to g
  // with zeros: 64 bytes hold g consecutive k of 16 consecutive n.
  panels = 1,
};
inline constexpr Index kPanelRows = 16;

/// Elements of k that stand together in a panel.
constexpr Index panel_group(DType dtype) {
  return 4 / dtype_bytes(dtype);
}

/// Bytes of a tensor [dims] in `layout`.
/// Errors: corrupt if a dimension is negative or the product overflows.
Result<std::uint64_t> stored_bytes(DType dtype, Layout layout, const std::array<Index, 2>& dims);

using ValueIndex = std::int32_t;
using TensorIndex = std::int32_t;
inline constexpr std::int32_t kNone = -1;

struct ValueInfo {
  Rows rows = Rows::tokens;
  DType dtype = DType::f32;  // i32 for ids and segments
  Index columns = 1;

  friend bool operator==(const ValueInfo&, const ValueInfo&) = default;
};

struct TensorInfo {
  std::string name;  // for reports
  DType dtype = DType::f32;
  Layout layout = Layout::row_major;
  std::array<Index, 2> dims = {1, 1};  // a vector is [n, 1]
  std::uint64_t offset = 0;            // bytes from the start of the weights
  std::uint64_t bytes = 0;
  // Of i8: its file holds 4 bits for each element and a multiplier for each so many of a row
  // (runtime/engine/packed_weights.h); 0: 8 bits.
  std::uint16_t group = 0;

  friend bool operator==(const TensorInfo&, const TensorInfo&) = default;
};

/// One operator. Fields that its kind does not use stay at their defaults.
struct Step {
  OpKind op{};
  std::array<ValueIndex, 2> src = {kNone, kNone};
  ValueIndex dst = kNone;
  std::array<TensorIndex, 6> tensors = {kNone, kNone, kNone, kNone, kNone, kNone};
  Function function = Function::none;  // activation
  std::int32_t heads = 0;              // attention
  std::int32_t head_dim = 0;           // attention
  bool causal = false;                 // attention
  // embedding: position offset; columns: begin; attention: bits of its integers, 0 for f32
  std::int32_t first = 0;
  std::int32_t last = 0;  // columns: end
  float real = 0;         // attention: scale; layer_norm: epsilon; linear: src_scale

  friend bool operator==(const Step&, const Step&) = default;
};

constexpr bool is_attention(const Step& step) {
  return step.op == OpKind::attention || step.op == OpKind::relative_attention;
}

/// True for an attention that quantizes queries, keys, values and weights: AttentionI8.
constexpr bool is_int8_attention(const Step& step) {
  return step.op == OpKind::attention && step.first == 8;
}

/// Names of Step::tensors by operator.
namespace embedding_tensor {
enum : std::size_t { word, position, segment, word_scale, position_scale, segment_scale };
}
namespace linear_tensor {
// src_factor: what the columns of an i8 linear's source are multiplied by before it is quantized.
enum : std::size_t { weight, bias, weight_scale, weight_sum, src_factor };
}  // namespace linear_tensor
namespace layer_norm_tensor {
enum : std::size_t { weight, bias };
}
namespace attention_tensor {
// By how far the key stands from the query: bias [heads, 2 * span - 1], the others [heads *
// head_dim, 2 * span - 1].
enum : std::size_t { bias, relative_key, relative_query };
}  // namespace attention_tensor

struct Output {
  std::string name;
  ValueIndex value = kNone;

  friend bool operator==(const Output&, const Output&) = default;
};

/// Values 0 .. inputs-1 are the inputs; every other value is the dst of exactly one step, and a
/// step uses only values made before it.
struct Program {
  std::vector<ValueInfo> values;
  std::vector<std::string> inputs;  // names; values 0 .. inputs.size() - 1
  std::vector<TensorInfo> tensors;
  std::vector<Step> steps;
  std::vector<Output> outputs;

  friend bool operator==(const Program&, const Program&) = default;
};

/// Checks everything a Session relies on: indices in range, SSA, shapes of every operator, tensors
/// inside `weights_bytes`, dimensions within sane limits.
///
/// Errors: corrupt, naming the step and what does not fit.
Result<void> verify(const Program& program, std::uint64_t weights_bytes);

/// The distances that the tables of a relative attention have columns for, 2 * span - 1; 0 without.
Index relative_distances(const Program& program, const Step& step);

/// The longest sequence the program can take: rows of its shortest position table minus the offset,
/// the span of its relative attention, and what int8 attention can sum. A large number without
/// them.
Index longest_sequence(const Program& program);

}  // namespace rtai::engine
