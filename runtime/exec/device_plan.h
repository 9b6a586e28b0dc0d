// How a program runs on a GPU: the plan's steps as few launches, each writing every form of its
// result that later ones read.
//
// It starts from the fused steps of runtime/exec/plan.h. What is a step of its own on a CPU becomes
// part of the launch before it: quantizing rows or heads, conversion to f16, the norm after an
// embedding. A layer of BERT is seven launches: qkv and heads; attention and rows; projection and
// residual; norm and rows; feed-forward in, its function and rows; feed-forward out and residual;
// norm and rows.
#pragma once

#include "runtime/cuda/backend.h"
#include "runtime/exec/plan.h"

#include <vector>

namespace rtai::exec {

struct Launch {
  enum class Kind : std::uint8_t {
    rows,
    linear_i8,
    linear_f16,
    attention_i8,
    attention_f16,
    quantize_heads,
  };
  Kind kind{};
  const PlanStep* step = nullptr;  // what it computes; null: src in other forms
  const PlanStep* norm = nullptr;  // rows: the layer_norm after an embedding
  SlotIndex src = kNoSlot;
  SlotIndex src2 = kNoSlot;
  SlotIndex dst = kNoSlot;                            // floats
  SlotIndex quantized = kNoSlot;                      // dst as i8
  float fixed_scale = 0;                              // of quantized
  engine::TensorIndex column_factor = engine::kNone;  // likewise
  SlotIndex heads = kNoSlot;                          // dst as quantized heads, instead of all else
};

/// A slot's forms on the device; bytes from the start of the arena.
struct DeviceSlot {
  bool any = false;  // wanted by somebody, in either form
  bool f32 = false;
  bool f16 = false;
  int first_launch = 0;  // that writes it
  int last_launch = 0;   // that reads it
  Index f32_offset = 0;
  Index f16_offset = 0;
  Index i8_offset = 0;  // of quantized slots
  Index scale_offset = 0;
};

struct DevicePlan {
  std::vector<Launch> launches;
  std::vector<DeviceSlot> slots;  // by slot of the plan
};

/// Errors: unsupported for heads or rows larger than the kernels have registers for.
Result<DevicePlan> make_device_plan(const Plan& plan, const cuda::DeviceInfo& device);

/// Sets the offsets for batches up to these sizes; returns the bytes of the arena.
Index lay_out(const Plan& plan, DevicePlan& device_plan, Index tokens, Index sequences);

/// What a linear layer asks of its tile.
struct TileNeeds {
  Index columns = 0;   // of the result
  bool meets = false;  // blocks that share rows wait for each other, where that is safe
  int whole = 1;       // columns that must not be split: those of a head
};

/// The largest tile that gives every multiprocessor blocks enough (TileShape::worth). Where blocks
/// meet, there is one: has_meeting_tile.
cuda::LinearTile choose_tile(Index rows, const TileNeeds& needs, const cuda::DeviceInfo& device);
/// All that such a layer can have, but for those of which every multiprocessor would compute more
/// than a dozen: of very many rows none.
std::vector<cuda::LinearTile> usable_tiles(Index rows,
                                           const TileNeeds& needs,
                                           const cuda::DeviceInfo& device);
bool has_meeting_tile(Index columns, const cuda::DeviceInfo& device);

/// Blocks of a tile that run on the device at once, at least.
Index resident_blocks(const cuda::TileShape& shape, const cuda::DeviceInfo& device);

}  // namespace rtai::exec
