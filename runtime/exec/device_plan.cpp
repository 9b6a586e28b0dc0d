#include "runtime/exec/device_plan.h"

#include "runtime/base/checked.h"
#include "runtime/exec/offset_allocator.h"

#include <algorithm>
#include <optional>
#include <string>

namespace rtai::exec {
namespace {

using Kind = Launch::Kind;

// Shared memory of an attention block, at most (head size 128), and the blocks of a multiprocessor
// that attention is compiled for.
constexpr int kAttentionI8SharedBytes = 77 * 1024;
constexpr int kAttentionF16SharedBytes = 52 * 1024;
constexpr int kAttentionBlocks = 2;
// Of all blocks that fit, the share that may wait in one grid.
constexpr Index kSessionsSideBySide = 4;

/// Blocks that fit, as registers (`blocks` of a multiprocessor) and shared memory have it.
Index blocks_that_fit(int blocks, int shared_bytes, const cuda::DeviceInfo& device) {
  constexpr int kReservedBytes = 1024;  // of each block, by the hardware
  const int by_memory = device.shared_bytes_per_multiprocessor / (shared_bytes + kReservedBytes);
  return Index{std::min(blocks, by_memory)} * device.multiprocessors;
}

/// True if so many of `resident` blocks may wait for each other. Up to four sessions may run side
/// by side without their waiting blocks filling the device; see docs/gpu.md.
bool can_meet(Index blocks, Index resident) {
  return blocks * kSessionsSideBySide <= resident;
}

/// Walks the plan's steps and appends launches, or adds to one that is there.
class Lowering {
 public:
  Lowering(const Plan& plan, const cuda::DeviceInfo& device) : plan_(plan), device_(device) {
    made_.slots.resize(plan.slots.size());
    makers_.assign(plan.slots.size(), -1);
    uses_.assign(plan.slots.size(), 0);
    for (const PlanStep& step : plan.steps) {
      for (const SlotIndex slot : {step.src, step.src2}) {
        if (slot != kNoSlot) ++uses_[at(slot)];
      }
    }
    for (const engine::Output& output : plan.program.outputs) {
      const SlotIndex slot = plan.value_slots[static_cast<std::size_t>(output.value)];
      ++uses_[at(slot)];
      made_.slots[at(slot)].f32 = true;
    }
  }

  Result<DevicePlan> run() {
    for (const PlanStep& step : plan_.steps)
      RTAI_TRY_VOID(append(step));
    choose_forms();
    note_lifetimes();
    return std::move(made_);
  }

 private:
  static std::size_t at(SlotIndex slot) { return static_cast<std::size_t>(slot); }
  const Slot& slot(SlotIndex i) const { return plan_.slots[at(i)]; }

  Launch* maker_of(SlotIndex slot) {
    const int maker = makers_[at(slot)];
    return maker < 0 ? nullptr : &made_.launches[static_cast<std::size_t>(maker)];
  }

  void push(const Launch& launch) {
    if (launch.dst != kNoSlot) makers_[at(launch.dst)] = static_cast<int>(made_.launches.size());
    made_.launches.push_back(launch);
  }

  void push_step(const PlanStep& step, Kind kind) {
    push({.kind = kind,
          .step = &step,
          .src = step.src,
          .src2 = step.src2,
          .dst = step.dst,
          .quantized = step.quantized,
          .fixed_scale = step.fixed_scale,
          .column_factor = step.column_factor});
  }

  Result<void> append(const PlanStep& step) {
    switch (step.kind) {
      case StepKind::linear_i8:
        return append_linear(step, Kind::linear_i8);
      case StepKind::linear_f32:
        want_f16(step.src);
        return append_linear(step, Kind::linear_f16);
      case StepKind::attention:
        want_f16(step.src);
        return append_attention(step, Kind::attention_f16);
      case StepKind::attention_i8:
        return append_attention(step, Kind::attention_i8);
      case StepKind::quantize_heads:
        append_quantize_heads(step);
        return {};
      case StepKind::quantize:
        return append_quantize(step);
      case StepKind::layer_norm:
        return append_layer_norm(step);
      default:
        return append_rows(step);
    }
  }

  Result<void> append_linear(const PlanStep& step, Kind kind) {
    if (step.src2 != kNoSlot) want_floats(step.src2);
    push_step(step, kind);
    return {};
  }

  Result<void> append_attention(const PlanStep& step, Kind kind) {
    if (step.source->op == engine::OpKind::relative_attention)
      return Error{ErrorCode::unsupported, "GPU kernels know no attention by distance"};
    if (step.source->head_dim > cuda::kLargestHeadDim) {
      return Error{ErrorCode::unsupported,
                   "attention with heads of " + std::to_string(step.source->head_dim) +
                       "; GPU kernels have at most " + std::to_string(cuda::kLargestHeadDim)};
    }
    push_step(step, kind);
    return {};
  }

  Result<void> append_rows(const PlanStep& step) {
    const Index columns = slot(step.dst).columns;
    if (columns > cuda::kMostRowColumns) {
      return Error{ErrorCode::unsupported, std::string(step_kind_name(step.kind)) + " of " +
                                               std::to_string(columns) +
                                               " columns; GPU kernels have at most " +
                                               std::to_string(cuda::kMostRowColumns)};
    }
    for (const SlotIndex src : {step.src, step.src2}) {
      if (src != kNoSlot) want_floats(src);
    }
    push_step(step, Kind::rows);
    return {};
  }

  Result<void> append_layer_norm(const PlanStep& step) {
    Launch* maker = maker_of(step.src);
    const bool embedded = maker != nullptr && maker->step != nullptr && maker->norm == nullptr &&
                          maker->step->kind == StepKind::embedding && uses_[at(step.src)] == 1;
    if (!embedded) return append_rows(step);
    maker->norm = &step;
    maker->dst = step.dst;
    maker->quantized = step.quantized;
    maker->fixed_scale = step.fixed_scale;
    maker->column_factor = step.column_factor;
    makers_[at(step.dst)] = makers_[at(step.src)];
    return {};
  }

  static bool is_linear(const Launch& launch) {
    return launch.kind == Kind::linear_i8 || launch.kind == Kind::linear_f16;
  }

  /// Heads are quantized while they are in shared memory, where a tile holds whole ones.
  void append_quantize_heads(const PlanStep& step) {
    Launch* maker = maker_of(step.src);
    const int head_dim = step.source->head_dim;
    if (maker != nullptr && is_linear(*maker) && uses_[at(step.src)] == 1 &&
        (head_dim == 32 || head_dim == 64)) {
      maker->heads = step.dst;
      maker->dst = kNoSlot;
      return;
    }
    want_f32(step.src);
    push({.kind = Kind::quantize_heads, .step = &step, .src = step.src, .heads = step.dst});
  }

  Result<void> append_quantize(const PlanStep& step) {
    Launch* maker = maker_of(step.src);
    if (maker != nullptr && maker->quantized == kNoSlot &&
        (step.fixed_scale > 0 || holds_whole_rows(*maker))) {
      maker->quantized = step.dst;
      maker->fixed_scale = step.fixed_scale;
      maker->column_factor = step.column_factor;
      return {};
    }
    if (slot(step.src).columns > cuda::kMostRowColumns) return append_rows(step);
    want_floats(step.src);
    push({.kind = Kind::rows,
          .src = step.src,
          .quantized = step.dst,
          .fixed_scale = step.fixed_scale,
          .column_factor = step.column_factor});
    return {};
  }

  /// True if a launch can know the largest magnitude of a row before it writes it.
  bool holds_whole_rows(const Launch& launch) const {
    switch (launch.kind) {
      case Kind::rows:
        return true;
      case Kind::linear_i8:
      case Kind::linear_f16:
        return has_meeting_tile(slot(launch.dst).columns, device_);
      case Kind::attention_i8:
        return can_meet(launch.step->source->heads,
                        blocks_that_fit(kAttentionBlocks, kAttentionI8SharedBytes, device_));
      case Kind::attention_f16:
        return can_meet(launch.step->source->heads,
                        blocks_that_fit(kAttentionBlocks, kAttentionF16SharedBytes, device_));
      case Kind::quantize_heads:
        return false;
    }
    return false;
  }

  void want_f32(SlotIndex slot) { made_.slots[at(slot)].f32 = true; }

  /// In whichever form there is, or else the one of choose_forms.
  void want_floats(SlotIndex slot) { made_.slots[at(slot)].any = true; }
  /// What int8 layers add to stays in f32: to round it would change the integers that follow.
  void choose_forms() {
    const bool is_i8 =
        std::any_of(plan_.steps.begin(), plan_.steps.end(),
                    [](const PlanStep& step) { return step.kind == StepKind::linear_i8; });
    for (SlotIndex i = 0; i < static_cast<SlotIndex>(made_.slots.size()); ++i) {
      DeviceSlot& wanted = made_.slots[at(i)];
      if (wanted.any && !wanted.f32 && !wanted.f16)
        (maker_of(i) == nullptr || is_i8 ? wanted.f32 : wanted.f16) = true;
    }
  }

  /// What no launch makes comes from the caller, as f32.
  void want_f16(SlotIndex slot) {
    DeviceSlot& wanted = made_.slots[at(slot)];
    if (wanted.f16) return;
    wanted.f16 = true;
    if (maker_of(slot) != nullptr) return;
    wanted.f32 = true;
    made_.launches.push_back({.kind = Kind::rows, .src = slot, .dst = slot});
  }

  void note_lifetimes() {
    const int count = static_cast<int>(made_.launches.size());
    for (DeviceSlot& slot : made_.slots) {
      slot.first_launch = count;
      slot.last_launch = -1;
    }
    for (int i = 0; i < count; ++i) {
      const Launch& launch = made_.launches[static_cast<std::size_t>(i)];
      for (const SlotIndex used :
           {launch.src, launch.src2, launch.dst, launch.quantized, launch.heads}) {
        if (used != kNoSlot) extend(used, i, i);
      }
    }
    for (std::size_t i = 0; i < plan_.program.inputs.size(); ++i) {
      if (plan_.value_slots[i] != kNoSlot) extend(plan_.value_slots[i], 0, count);
    }
    for (const engine::Output& output : plan_.program.outputs)
      extend(plan_.value_slots[static_cast<std::size_t>(output.value)], 0, count);
  }

  void extend(SlotIndex slot, int first, int last) {
    DeviceSlot& used = made_.slots[at(slot)];
    used.first_launch = std::min(used.first_launch, first);
    used.last_launch = std::max(used.last_launch, last);
  }

  const Plan& plan_;
  const cuda::DeviceInfo& device_;
  DevicePlan made_;
  std::vector<int> makers_;  // launch that writes a slot of floats; -1: none
  std::vector<int> uses_;    // of a slot as a source or an output
};

}  // namespace

Result<DevicePlan> make_device_plan(const Plan& plan, const cuda::DeviceInfo& device) {
  return Lowering(plan, device).run();
}

Index lay_out(const Plan& plan, DevicePlan& device_plan, Index tokens, Index sequences) {
  constexpr Index kAlignment = 256;
  OffsetAllocator arena(1);
  for (std::size_t i = 0; i < plan.slots.size(); ++i) {
    const Slot& slot = plan.slots[i];
    DeviceSlot& placed = device_plan.slots[i];
    if (placed.last_launch < 0) continue;
    const Index rows = slot.rows == Rows::tokens ? tokens : sequences;
    const auto place = [&](Index row_bytes) {
      return arena.place(round_up(rows * row_bytes, kAlignment), placed.first_launch,
                         placed.last_launch);
    };
    const auto columns = static_cast<int>(slot.columns);
    if (slot.quantized) {
      const int head_dim = slot.heads > 0 ? columns / static_cast<int>(slot.heads) : 0;
      const int bytes =
          slot.heads > 0 ? static_cast<int>(slot.heads) * cuda::padded_head_dim(head_dim) : columns;
      placed.i8_offset = place(cuda::row_stride(bytes, 1));
      placed.scale_offset = place(slot.row_scales() * static_cast<Index>(sizeof(float)));
      continue;
    }
    if (placed.f32) placed.f32_offset = place(Index{4} * cuda::row_stride(columns, 4));
    if (placed.f16) placed.f16_offset = place(Index{2} * cuda::row_stride(columns, 2));
  }
  return std::max(arena.total(), kAlignment);
}

Index resident_blocks(const cuda::TileShape& shape, const cuda::DeviceInfo& device) {
  return blocks_that_fit(shape.blocks, cuda::shared_bytes(shape, shape.stages), device);
}

namespace {

bool fits(cuda::LinearTile tile, const TileNeeds& needs, const cuda::DeviceInfo& device) {
  const cuda::TileShape shape = cuda::tile_shape(tile);
  if (shape.columns % needs.whole != 0 || (needs.meets && shape.stays)) return false;
  return !needs.meets ||
         can_meet(div_up<Index>(needs.columns, shape.columns), resident_blocks(shape, device));
}

Index tiles_of(const cuda::TileShape& shape, Index rows, Index columns) {
  return div_up<Index>(rows, shape.rows) * div_up<Index>(columns, shape.columns);
}

}  // namespace

bool has_meeting_tile(Index columns, const cuda::DeviceInfo& device) {
  const auto tiles = cuda::linear_tiles(device.capability);
  return std::any_of(tiles.begin(), tiles.end(), [&](cuda::LinearTile tile) {
    return fits(tile, {.columns = columns, .meets = true}, device);
  });
}

cuda::LinearTile choose_tile(Index rows, const TileNeeds& needs, const cuda::DeviceInfo& device) {
  std::optional<cuda::LinearTile> chosen;
  for (const cuda::LinearTile tile : cuda::linear_tiles(device.capability)) {  // small to large
    if (!fits(tile, needs, device)) continue;
    const cuda::TileShape shape = cuda::tile_shape(tile);
    const Index tiles = tiles_of(shape, rows, needs.columns);
    if (!chosen || tiles >= Index{shape.worth} * device.multiprocessors) chosen = tile;
  }
  return chosen.value_or(cuda::LinearTile::t32x64);
}

std::vector<cuda::LinearTile> usable_tiles(Index rows,
                                           const TileNeeds& needs,
                                           const cuda::DeviceInfo& device) {
  constexpr Index kMostOfOne = 12;
  std::vector<cuda::LinearTile> usable;
  for (const cuda::LinearTile tile : cuda::linear_tiles(device.capability)) {
    const Index tiles = tiles_of(cuda::tile_shape(tile), rows, needs.columns);
    if (fits(tile, needs, device) && tiles <= kMostOfOne * device.multiprocessors)
      usable.push_back(tile);
  }
  return usable;
}

}  // namespace rtai::exec
