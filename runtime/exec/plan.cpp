#include "runtime/exec/plan.h"

#include "runtime/base/checked.h"
#include "runtime/exec/offset_allocator.h"
#include "runtime/exec/unread_rows.h"

#include <algorithm>
#include <array>
#include <map>
#include <tuple>

namespace rtai::exec {
namespace {

using engine::kNone;
using engine::OpKind;
using engine::Program;
using engine::Step;
using engine::ValueIndex;

/// How often each value is used, outputs of the program included.
std::vector<int> count_uses(const Program& program) {
  std::vector<int> uses(program.values.size());
  for (const Step& step : program.steps) {
    for (const ValueIndex src : step.src) {
      if (src != kNone) ++uses[static_cast<std::size_t>(src)];
    }
  }
  for (const engine::Output& output : program.outputs)
    ++uses[static_cast<std::size_t>(output.value)];
  return uses;
}

/// Walks the program once and appends fused steps.
class Planner {
 public:
  explicit Planner(const Program& program) : program_(program), uses_(count_uses(program)) {
    plan_.value_slots.assign(program.values.size(), kNoSlot);
    makers_.assign(program.values.size(), -1);
    users_.resize(program.values.size());
    for (std::size_t i = 0; i < program.steps.size(); ++i) {
      for (const ValueIndex src : program.steps[i].src) {
        if (src != kNone) users_[static_cast<std::size_t>(src)].push_back(i);
      }
    }
    fused_.assign(program.steps.size(), false);
  }

  Plan run() {
    for (std::size_t i = 0; i < program_.inputs.size(); ++i) {
      // Hidden states may be an input; ids and segments are read where the caller keeps them.
      if (program_.values[i].dtype == DType::f32) slot_of(static_cast<ValueIndex>(i));
    }
    for (std::size_t i = 0; i < program_.steps.size(); ++i) {
      if (!fused_[i]) append(i);
    }
    cut_segments();
    link_linears();
    place_slots();
    return std::move(plan_);
  }

 private:
  const Step& step(std::size_t i) const { return program_.steps[i]; }

  bool is_i8(const Step& linear) const {
    const auto weight = static_cast<std::size_t>(linear.tensors[engine::linear_tensor::weight]);
    return linear.op == OpKind::linear && program_.tensors[weight].dtype == DType::i8;
  }

  SlotIndex new_slot(ValueIndex value, bool quantized) {
    const engine::ValueInfo& info = program_.values[static_cast<std::size_t>(value)];
    plan_.slots.push_back({.rows = info.rows, .columns = info.columns, .quantized = quantized});
    return static_cast<SlotIndex>(plan_.slots.size()) - 1;
  }
  SlotIndex slot_of(ValueIndex value) {
    SlotIndex& slot = plan_.value_slots[static_cast<std::size_t>(value)];
    if (slot == kNoSlot) slot = new_slot(value, false);
    return slot;
  }

  /// The one step that uses `value`, if there is only one use of it.
  const Step* only_user(ValueIndex value, std::size_t& index) const {
    const auto& users = users_[static_cast<std::size_t>(value)];
    if (uses_[static_cast<std::size_t>(value)] != 1 || users.size() != 1) return nullptr;
    index = users[0];
    return &step(index);
  }

  void push(PlanStep plan_step, ValueIndex result) {
    if (result != kNone)
      makers_[static_cast<std::size_t>(result)] = static_cast<int>(plan_.steps.size());
    plan_.steps.push_back(std::move(plan_step));
  }

  void append(std::size_t i) {
    const Step& s = step(i);
    switch (s.op) {
      case OpKind::embedding:
        return push(
            {.kind = StepKind::embedding, .source = &s, .dst = slot_of(s.dst), .name = "embedding"},
            s.dst);
      case OpKind::linear:
        return append_linear(s);
      case OpKind::layer_norm:
        return append_layer_norm(s);
      case OpKind::attention:
      case OpKind::relative_attention:
        return append_attention(s);
      case OpKind::activation:
        return append_simple(s, StepKind::activation);
      case OpKind::add:
        return append_simple(s, StepKind::add);
      case OpKind::l2_normalize:
        return append_simple(s, StepKind::l2_normalize);
      case OpKind::first_token:
        return append_simple(s, StepKind::first_token);
      case OpKind::mean_pool:
        return append_simple(s, StepKind::mean_pool);
      case OpKind::columns:
        return append_simple(s, StepKind::columns);
    }
  }

  void append_simple(const Step& s, StepKind kind) {
    PlanStep made{.kind = kind,
                  .source = &s,
                  .src = slot_of(s.src[0]),
                  .src2 = s.src[1] == kNone ? kNoSlot : slot_of(s.src[1]),
                  .dst = slot_of(s.dst),
                  .function = s.function,
                  .name = std::string(engine::op_name(s.op))};
    push(std::move(made), s.dst);
  }

  void append_attention(const Step& s) {
    if (!engine::is_int8_attention(s)) return append_simple(s, StepKind::attention);
    const SlotIndex heads = new_slot(s.src[0], true);
    plan_.slots.back().heads = 3 * Index{s.heads};
    push({.kind = StepKind::quantize_heads,
          .source = &s,
          .src = slot_of(s.src[0]),
          .dst = heads,
          .name = "quantize_heads"},
         kNone);
    push({.kind = StepKind::attention_i8,
          .source = &s,
          .src = heads,
          .dst = slot_of(s.dst),
          .name = "attention"},
         s.dst);
  }

  void append_layer_norm(const Step& s) {
    PlanStep made{.kind = StepKind::layer_norm,
                  .source = &s,
                  .src = slot_of(s.src[0]),
                  .dst = slot_of(s.dst),
                  .name = tensor_name(s.tensors[engine::layer_norm_tensor::weight])};
    // The quantized copy that the next i8 linear wants is made while the row is in registers.
    for (const std::size_t user : users_[static_cast<std::size_t>(s.dst)]) {
      if (!is_i8(step(user))) continue;
      made.fixed_scale = step(user).real;
      made.column_factor = step(user).tensors[engine::linear_tensor::src_factor];
      made.quantized = new_slot(s.dst, true);
      quantized_[copy_for(step(user))] = made.quantized;
      break;
    }
    push(std::move(made), s.dst);
  }

  /// A value, and how it was quantized: static scale and factors.
  using QuantizedCopy = std::tuple<ValueIndex, float, engine::TensorIndex>;
  static QuantizedCopy copy_for(const Step& linear) {
    return {linear.src[0], linear.real, linear.tensors[engine::linear_tensor::src_factor]};
  }

  /// The quantized copy of the source of an i8 linear, made by an own step if no other made it.
  SlotIndex quantized_source(const Step& linear) {
    const ValueIndex src = linear.src[0];
    if (const auto found = quantized_.find(copy_for(linear)); found != quantized_.end())
      return found->second;
    const SlotIndex dst = new_slot(src, true);
    quantized_[copy_for(linear)] = dst;
    PlanStep quantize{.kind = StepKind::quantize,
                      .src = slot_of(src),
                      .dst = dst,
                      .fixed_scale = linear.real,
                      .column_factor = linear.tensors[engine::linear_tensor::src_factor],
                      .name = "quantize"};
    const int maker = makers_[static_cast<std::size_t>(src)];
    if (maker >= 0) {
      PlanStep& made_by = plan_.steps[static_cast<std::size_t>(maker)];
      if (linear.real > 0 && uses_[static_cast<std::size_t>(src)] == 1 && makes_integers(made_by)) {
        made_by.quantized = dst;
        made_by.fixed_scale = quantize.fixed_scale;
        made_by.column_factor = quantize.column_factor;
        plan_.slots[static_cast<std::size_t>(made_by.dst)].absent = true;
        return dst;
      }
      const bool linear_made_it = is_linear(made_by.kind) && linear.real <= 0 &&
                                  quantize.column_factor == engine::kNone;
      if (linear_made_it && made_by.absmax == kNoSlot) {
        plan_.slots.push_back(
            {.rows = plan_.slots[static_cast<std::size_t>(slot_of(src))].rows, .columns = 1});
        made_by.absmax = static_cast<SlotIndex>(plan_.slots.size()) - 1;
      }
      if (linear_made_it) quantize.absmax = made_by.absmax;
    }
    push(std::move(quantize), kNone);
    return dst;
  }

  /// True for a step that can store its results at a fixed scale instead of as floats.
  static bool makes_integers(const PlanStep& step) {
    return is_linear(step.kind) ||
           (step.kind == StepKind::attention_i8 && step.source->head_dim % 16 == 0);
  }

  std::string tensor_name(engine::TensorIndex tensor) const {
    return tensor == kNone ? std::string()
                           : program_.tensors[static_cast<std::size_t>(tensor)].name;
  }

  void append_linear(const Step& s) {
    PlanStep made{.kind = is_i8(s) ? StepKind::linear_i8 : StepKind::linear_f32,
                  .source = &s,
                  .name = tensor_name(s.tensors[engine::linear_tensor::weight])};
    made.src = is_i8(s) ? quantized_source(s) : slot_of(s.src[0]);
    ValueIndex result = s.dst;
    std::size_t next = 0;
    if (const Step* user = only_user(result, next);
        user != nullptr && user->op == OpKind::activation) {
      made.function = user->function;
      fused_[next] = true;
      result = user->dst;
    }
    // The residual must exist already: it is made before this step.
    if (const Step* user = only_user(result, next); user != nullptr && user->op == OpKind::add) {
      const ValueIndex other = user->src[0] == result ? user->src[1] : user->src[0];
      if (other != result && is_made(other)) {
        made.src2 = slot_of(other);
        fused_[next] = true;
        result = user->dst;
      }
    }
    made.dst = slot_of(result);
    push(std::move(made), result);
  }

  bool is_made(ValueIndex value) const {
    return static_cast<std::size_t>(value) < program_.inputs.size() ||
           makers_[static_cast<std::size_t>(value)] >= 0;
  }

  static bool is_row_local(StepKind kind) {
    return kind != StepKind::attention && kind != StepKind::attention_i8 &&
           kind != StepKind::first_token && kind != StepKind::mean_pool;
  }

  Rows rows_of(const PlanStep& s) const {
    return plan_.slots[static_cast<std::size_t>(s.dst)].rows;
  }

  void cut_segments() {
    for (int i = 0; i < static_cast<int>(plan_.steps.size()); ++i) {
      const PlanStep& s = plan_.steps[static_cast<std::size_t>(i)];
      const bool row_local = is_row_local(s.kind);
      const bool joins = !plan_.segments.empty() && row_local && plan_.segments.back().row_local &&
                         plan_.segments.back().rows == rows_of(s);
      if (joins)
        plan_.segments.back().end = i + 1;
      else
        plan_.segments.push_back(
            {.begin = i, .end = i + 1, .rows = rows_of(s), .row_local = row_local});
    }
  }

  /// Which linear step comes after each step, and how much all of them multiply.
  void link_linears() {
    int next = -1;
    for (int i = static_cast<int>(plan_.steps.size()) - 1; i >= 0; --i) {
      PlanStep& s = plan_.steps[static_cast<std::size_t>(i)];
      s.next_linear = next;
      if (!is_linear(s.kind)) continue;
      next = i;
      const auto weight =
          static_cast<std::size_t>(s.source->tensors[engine::linear_tensor::weight]);
      plan_.weight_bytes += static_cast<Index>(program_.tensors[weight].bytes);
    }
  }

  /// Decides which slots live in a block, and in which epochs the others are alive.
  void place_slots() {
    std::vector<int> segment_of_slot(plan_.slots.size(), -1);  // -2: more than one
    // Program inputs are written before the first step and outputs read after the last.
    const int last_epoch = static_cast<int>(plan_.segments.size());
    for (Slot& slot : plan_.slots)
      slot.first_epoch = last_epoch;
    for (int g = 0; g < static_cast<int>(plan_.segments.size()); ++g) {
      const Segment& segment = plan_.segments[static_cast<std::size_t>(g)];
      for (int i = segment.begin; i < segment.end; ++i) {
        const PlanStep& s = plan_.steps[static_cast<std::size_t>(i)];
        for (const SlotIndex slot : {s.src, s.src2, s.dst, s.quantized, s.absmax}) {
          if (slot == kNoSlot) continue;
          Slot& used = plan_.slots[static_cast<std::size_t>(slot)];
          // Threads meet before a segment that is not row-local, and may be a whole segment apart
          // otherwise; so a slot is alive from its first segment to its last, both included.
          used.first_epoch = std::min(used.first_epoch, g);
          used.last_epoch = std::max(used.last_epoch, g);
          int& home = segment_of_slot[static_cast<std::size_t>(slot)];
          if (home == -1)
            home = segment.row_local ? g : -2;
          else if (home != g)
            home = -2;
        }
      }
    }
    for (std::size_t i = 0; i < program_.inputs.size(); ++i)
      pin(static_cast<ValueIndex>(i), segment_of_slot, last_epoch);
    for (const engine::Output& output : program_.outputs)
      pin(output.value, segment_of_slot, last_epoch);
    for (std::size_t i = 0; i < plan_.slots.size(); ++i)
      plan_.slots[i].block = segment_of_slot[i] >= 0;
  }

  /// Keeps the slot of `value` in shared memory for the whole run.
  void pin(ValueIndex value, std::vector<int>& segment_of_slot, int last_epoch) {
    const SlotIndex slot = plan_.value_slots[static_cast<std::size_t>(value)];
    if (slot == kNoSlot) return;
    segment_of_slot[static_cast<std::size_t>(slot)] = -2;
    plan_.slots[static_cast<std::size_t>(slot)].first_epoch = 0;
    plan_.slots[static_cast<std::size_t>(slot)].last_epoch = last_epoch;
  }

  const Program& program_;
  std::vector<int> uses_;
  std::vector<std::vector<std::size_t>> users_;
  std::vector<bool> fused_;
  std::map<QuantizedCopy, SlotIndex> quantized_;
  std::vector<int> makers_;  // plan step that makes a value, -1: none yet
  Plan plan_;
};

}  // namespace

std::string_view step_kind_name(StepKind kind) {
  constexpr std::array<std::string_view, 14> kNames = {
      "embedding",    "quantize",       "linear_i8",    "linear_f32", "layer_norm",
      "attention",    "quantize_heads", "attention_i8", "activation", "add",
      "l2_normalize", "first_token",    "mean_pool",    "columns"};
  return kNames[static_cast<std::size_t>(kind)];
}

Index Slot::row_bytes() const {
  if (heads > 0) return heads * padded_head(columns / heads);
  return quantized ? round_up<Index>(columns, 64) : columns * static_cast<Index>(sizeof(float));
}

Kernels::Kernels(Target target)
    : linear_i8(&select_kernel<LinearI8>(target)),
      linear_f32(&select_kernel<LinearF32>(target)),
      quantize_rows(&select_kernel<QuantizeRows>(target)),
      layer_norm(&select_kernel<LayerNorm>(target)),
      attention(&select_kernel<Attention>(target)),
      quantize_heads(&select_kernel<QuantizeHeads>(target)),
      attention_i8(&select_kernel<AttentionI8>(target)),
      embedding(&select_kernel<Embedding>(target)),
      activation(&select_kernel<Activation>(target)),
      add(&select_kernel<Add>(target)),
      l2_normalize(&select_kernel<L2Normalize>(target)),
      mean_pool(&select_kernel<MeanPool>(target)) {}

Plan make_plan(const Program& program) {
  Program smaller = without_unread_rows(program);
  Plan plan = Planner(smaller).run();
  plan.program = std::move(smaller);  // its steps stay where they are
  return plan;
}

Layout lay_out(Plan& plan, Index tokens, Index sequences) {
  // In shared memory two slots may lie over each other only with a whole segment between them: a
  // fast thread may be one segment ahead of a slow one.
  OffsetAllocator shared(2);
  // Blocks are reused from segment to segment; within one, slots keep to themselves.
  OffsetAllocator block(1);
  for (Slot& slot : plan.slots) {
    if (slot.absent) continue;
    const Index rows = slot.block ? kBlockRows : slot.rows == Rows::tokens ? tokens : sequences;
    const Index data_bytes = round_up<Index>(rows * slot.row_bytes(), 64);
    const Index scale_bytes =
        slot.quantized
            ? round_up<Index>(rows * slot.row_scales() * static_cast<Index>(sizeof(float)), 64)
            : 0;
    OffsetAllocator& allocator = slot.block ? block : shared;
    slot.offset = allocator.place(data_bytes + scale_bytes, slot.first_epoch, slot.last_epoch);
    slot.scale_offset = slot.offset + data_bytes;
  }
  return {.shared_bytes = shared.total(), .block_bytes = block.total()};
}

}  // namespace rtai::exec
