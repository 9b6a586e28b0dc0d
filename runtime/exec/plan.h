// How a program runs on a CPU: fused steps in order, who computes which rows, what lies where.
//
// A step is row-local (row r of the result needs row r of the sources alone) or it is not
// (attention, pooling). Consecutive row-local steps form a segment. With many rows each thread
// takes its share of them through a whole segment, block by block, so that what the segment makes
// for itself never leaves the L2 cache, and threads meet only where a segment needs other rows.
// With few rows the threads share each step's columns or heads instead, and meet after every step.
#pragma once

#include "runtime/base/function.h"
#include "runtime/base/result.h"
#include "runtime/engine/engine.h"
#include "runtime/kernels/attention.h"
#include "runtime/kernels/attention_i8.h"
#include "runtime/kernels/embedding.h"
#include "runtime/kernels/layer_norm.h"
#include "runtime/kernels/linear_f32.h"
#include "runtime/kernels/linear_i8.h"
#include "runtime/kernels/quantize_rows.h"
#include "runtime/kernels/rowwise.h"

#include <string>
#include <vector>

namespace rtai::exec {

using engine::Rows;

/// Rows of activations: floats, or quantized bytes with a scale for each row.
struct Slot {
  Rows rows = Rows::tokens;
  Index columns = 0;
  bool quantized = false;
  Index heads = 0;     // quantized by QuantizeHeads: of a row, each with a scale of its own
  bool block = false;  // lives in a thread's own block, only while its segment runs
  bool absent = false;  // never in memory: read only quantized, and quantized as it is made
  // Bytes from the start of the shared memory for `capacity` rows, or of the block. Set by lay_out.
  Index offset = 0;
  Index scale_offset = 0;  // quantized: where the scales are
  // Epochs (barriers passed) of the first write and the last read.
  int first_epoch = 0;
  int last_epoch = 0;

  Index row_bytes() const;
  Index row_scales() const { return heads > 0 ? heads : 1; }  // quantized
};

using SlotIndex = int;
inline constexpr SlotIndex kNoSlot = -1;

enum class StepKind : std::uint8_t {
  embedding,
  quantize,
  linear_i8,
  linear_f32,
  layer_norm,
  attention,
  quantize_heads,
  attention_i8,
  activation,
  add,
  l2_normalize,
  first_token,
  mean_pool,
  columns,
};
std::string_view step_kind_name(StepKind kind);
constexpr bool is_linear(StepKind kind) {
  return kind == StepKind::linear_i8 || kind == StepKind::linear_f32;
}

struct PlanStep {
  StepKind kind{};
  const engine::Step* source = nullptr;  // tensors and parameters
  SlotIndex src =
      kNoSlot;  // floats, or quantized for linear_i8 and attention_i8; kNoSlot: a model input
  SlotIndex src2 = kNoSlot;       // add: the other side; linear: the residual
  SlotIndex dst = kNoSlot;        // floats; quantize, quantize_heads: quantized
  SlotIndex quantized = kNoSlot;  // layer_norm: its second result; others: instead of an absent dst
  SlotIndex absmax = kNoSlot;     // linear: largest magnitude of each row, for a quantize
  Function function = Function::none;
  float fixed_scale = 0;  // static scale of the quantized result; 0: dynamic
  engine::TensorIndex column_factor = engine::kNone;  // likewise: of its columns
  int next_linear = -1;  // the next step that multiplies weights; -1: none
  std::string name;      // for reports: the weight's name
};

/// Steps [begin, end) of the plan; all row-local, or one that is not.
struct Segment {
  int begin = 0;
  int end = 0;
  Rows rows = Rows::tokens;
  bool row_local = true;
};

/// The kernels of one target.
struct Kernels {
  const Kernel<LinearI8>* linear_i8;
  const Kernel<LinearF32>* linear_f32;
  const Kernel<QuantizeRows>* quantize_rows;
  const Kernel<LayerNorm>* layer_norm;
  const Kernel<Attention>* attention;
  const Kernel<QuantizeHeads>* quantize_heads;
  const Kernel<AttentionI8>* attention_i8;
  const Kernel<Embedding>* embedding;
  const Kernel<Activation>* activation;
  const Kernel<Add>* add;
  const Kernel<L2Normalize>* l2_normalize;
  const Kernel<MeanPool>* mean_pool;

  explicit Kernels(Target target);
};

struct Plan {
  engine::Program program;  // without rows that nothing reads; steps point into it
  std::vector<Slot> slots;
  std::vector<PlanStep> steps;
  std::vector<Segment> segments;
  Index weight_bytes = 0;              // that steps multiply
  std::vector<SlotIndex> value_slots;  // by value of the program; kNoSlot for fused ones and ids
};

/// Drops unread rows, fuses the program's steps and decides the segments; independent of batch and
/// length. Values keep no number: what outputs are is said by the plan's own program.
Plan make_plan(const engine::Program& program);

/// Rows of one block: small enough that a block of FFN activations stays in L2, large enough that
/// weights are read seldom.
inline constexpr Index kBlockRows = 64;

/// Memory of a plan for `tokens` and `sequences`: sets the offsets of its slots.
struct Layout {
  Index shared_bytes = 0;
  Index block_bytes = 0;  // of each thread
};
Layout lay_out(Plan& plan, Index tokens, Index sequences);

}  // namespace rtai::exec
