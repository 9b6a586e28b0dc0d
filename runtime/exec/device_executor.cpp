#include "runtime/exec/internal/device_executor.h"

#include "runtime/base/checked.h"

#include <algorithm>

namespace rtai::exec {
namespace {

using Kind = Launch::Kind;

constexpr std::size_t kFaultBytes = 256;  // the word, and nothing else in its cache lines

/// Bytes of where the blocks of one launch meet: a word for each row, one for each team, a ticket.
std::size_t meeting_bytes_of_launch(BatchSize capacity) {
  const Index teams = capacity.tokens + capacity.sequences;  // more than any tiling makes
  return round_up<std::size_t>(
      static_cast<std::size_t>(capacity.tokens + teams + 1) * sizeof(std::int32_t), 256);
}

/// The arguments of one launch.
class Arguments {
 public:
  Arguments(const DeviceRun& run, std::size_t index, BatchSize bound)
      : run_(run), launch_(run.device_plan->launches[index]), index_(index), bound_(bound) {}

  void record(cuda::Recorder& recorder) const {
    switch (launch_.kind) {
      case Kind::rows:
        return recorder.run(cuda::Rows{}, rows());
      case Kind::linear_i8:
        return recorder.run(cuda::LinearI8{}, linear());
      case Kind::linear_f16:
        return recorder.run(cuda::LinearF16{}, linear());
      case Kind::attention_i8:
        return recorder.run(cuda::AttentionI8{}, attention());
      case Kind::attention_f16:
        return recorder.run(cuda::AttentionF16{}, attention());
      case Kind::quantize_heads:
        return recorder.run(
            cuda::QuantizeHeads{},
            {.rows = count(launch_.src), .src = f32(launch_.src), .dst = heads(launch_.heads)});
    }
  }

  std::optional<TileTuner::Layer> tunable() const {
    if (launch_.kind != Kind::linear_i8 || meets()) return std::nullopt;
    return TileTuner::Layer{linear(), tile_needs()};
  }

 private:
  const Slot& slot(SlotIndex i) const { return run_.plan->slots[static_cast<std::size_t>(i)]; }
  const DeviceSlot& placed(SlotIndex i) const {
    return run_.device_plan->slots[static_cast<std::size_t>(i)];
  }
  int columns(SlotIndex i) const { return static_cast<int>(slot(i).columns); }
  float* f32(SlotIndex i) const {
    return reinterpret_cast<float*>(run_.arena + placed(i).f32_offset);
  }
  cuda::RowsIn rows_in(SlotIndex i) const {
    if (i == kNoSlot) return {};
    return {.f32 = placed(i).f32 ? f32(i) : nullptr, .f16 = placed(i).f16 ? f16(i) : nullptr};
  }
  std::uint16_t* f16(SlotIndex i) const {
    return reinterpret_cast<std::uint16_t*>(run_.arena + placed(i).f16_offset);
  }
  std::int8_t* i8(SlotIndex i) const {
    return reinterpret_cast<std::int8_t*>(run_.arena + placed(i).i8_offset);
  }
  float* scale(SlotIndex i) const {
    return reinterpret_cast<float*>(run_.arena + placed(i).scale_offset);
  }
  const float* floats(engine::TensorIndex tensor) const {
    return run_.weights->data<float>(tensor);
  }

  cuda::RowCount count(SlotIndex i) const {
    if (slot(i).rows == Rows::tokens) return {run_.inputs.counts, static_cast<int>(bound_.tokens)};
    return {run_.inputs.counts + 1, static_cast<int>(bound_.sequences)};
  }

  bool meets() const { return launch_.quantized != kNoSlot && !(launch_.fixed_scale > 0); }

  /// `blocks`: of the grid, of which `resident` fit on the device at once.
  cuda::RowTeam team(Index blocks, Index resident) const {
    if (!meets()) return {};
    auto* words = reinterpret_cast<std::int32_t*>(run_.meeting + kFaultBytes +
                                                  index_ * meeting_bytes_of_launch(run_.capacity));
    std::int32_t* ticket = words;
    std::int32_t* absmax = ticket + 1;
    // A quarter of the device, as can_meet has it: then all blocks of the grid run at once even
    // beside other sessions.
    return {.absmax = reinterpret_cast<std::uint32_t*>(absmax),
            .arrived = absmax + run_.capacity.tokens,
            .ticket = 4 * blocks <= resident ? nullptr : ticket};
  }

  cuda::RowsOut out(const cuda::RowTeam& team = {}) const {
    cuda::RowsOut forms;
    if (launch_.dst != kNoSlot) {
      const bool is_conversion = launch_.dst == launch_.src;
      if (placed(launch_.dst).f32 && !is_conversion) forms.f32 = f32(launch_.dst);
      if (placed(launch_.dst).f16) forms.f16 = f16(launch_.dst);
    }
    if (launch_.quantized != kNoSlot) {
      forms.i8 = i8(launch_.quantized);
      forms.scale = scale(launch_.quantized);
      forms.fixed_scale = launch_.fixed_scale;
      forms.column_factor = floats(launch_.column_factor);
      forms.team = team;
    }
    return forms;
  }

  cuda::HeadsOut heads(SlotIndex i) const {
    const int count = static_cast<int>(slot(i).heads);
    return {.data = i8(i), .scale = scale(i), .heads = count, .head_dim = columns(i) / count};
  }

  TileNeeds tile_needs() const {
    const bool as_heads = launch_.heads != kNoSlot;
    return {.columns = columns(launch_.step->dst),
            .meets = meets(),
            .whole = as_heads ? heads(launch_.heads).head_dim : 1};
  }

  cuda::LinearArgs linear() const {
    using namespace engine::linear_tensor;
    const auto& tensors = launch_.step->source->tensors;
    const bool is_i8 = launch_.kind == Kind::linear_i8;
    const SlotIndex dst = launch_.step->dst;  // also where heads are written instead
    const cuda::RowCount rows = count(dst);
    const cuda::HeadsOut as_heads =
        launch_.heads == kNoSlot ? cuda::HeadsOut{} : heads(launch_.heads);
    cuda::LinearArgs args{
        .rows = rows,
        .columns = columns(dst),
        .k = columns(launch_.src),
        .src = is_i8 ? static_cast<const void*>(i8(launch_.src)) : f16(launch_.src),
        .src_scale = is_i8 ? scale(launch_.src) : nullptr,
        .weight = run_.weights->data<std::byte>(tensors[weight]),
        .weight_scale = is_i8 ? floats(tensors[weight_scale]) : nullptr,
        .bias = floats(tensors[bias]),
        .function = launch_.step->function,
        .residual = rows_in(launch_.src2),
        .dst = out(),
        .heads = as_heads,
        .tile = choose_tile(rows.most, tile_needs(), *run_.device)};
    if (is_i8 && !meets()) args.tile = run_.tuner->tile(shape_of(args), args.tile);
    const cuda::TileShape shape = cuda::tile_shape(args.tile);
    const Index blocks = div_up(rows.most, shape.rows) * div_up(args.columns, shape.columns);
    args.dst.team = team(blocks, resident_blocks(shape, *run_.device));
    return args;
  }

  /// Blocks of a tile and head, of which there are `tiles`: few tiles leave multiprocessors idle.
  int key_parts(int tiles) const { return tiles >= run_.device->multiprocessors ? 1 : 4; }

  cuda::AttentionArgs attention() const {
    const engine::Step& step = *launch_.step->source;
    const bool first_only = slot(launch_.dst).rows == Rows::sequences;
    const bool is_i8 = launch_.kind == Kind::attention_i8;
    const cuda::RowCount tiles =
        first_only ? cuda::RowCount{run_.inputs.counts + 1, static_cast<int>(bound_.sequences)}
                   : cuda::RowCount{run_.inputs.counts + 2, static_cast<int>(bound_.tiles())};
    const int multiprocessors = run_.device->multiprocessors;
    const int parts = is_i8 ? key_parts(tiles.most * step.heads) : 1;
    // One block on each multiprocessor is certain.
    return {.tiles = tiles,
            .tile = first_only ? run_.inputs.first_tiles : run_.inputs.tiles,
            .qkv = is_i8 ? static_cast<const void*>(i8(launch_.src)) : f16(launch_.src),
            .scale_qkv = is_i8 ? scale(launch_.src) : nullptr,
            .heads = step.heads,
            .head_dim = step.head_dim,
            .scale = step.real,
            .causal = step.causal,
            .key_parts = parts,
            .dst = out(team(Index{tiles.most} * step.heads * parts, multiprocessors))};
  }

  cuda::LookupTable table(engine::TensorIndex rows, engine::TensorIndex row_scale) const {
    if (rows == engine::kNone) return {};
    const Index count = run_.plan->program.tensors[static_cast<std::size_t>(rows)].dims[0];
    return {.data = run_.weights->data<std::byte>(rows),
            .scale = floats(row_scale),
            .rows = static_cast<int>(count)};
  }

  void read_embedding(cuda::Rows::Args& args) const {
    using namespace engine::embedding_tensor;
    const auto& tensors = launch_.step->source->tensors;
    args.source = cuda::Rows::Source::embedding;
    args.ids = run_.inputs.ids;
    args.positions = run_.inputs.positions;
    args.segments = run_.inputs.segments;
    args.word = table(tensors[word], tensors[word_scale]);
    args.position = table(tensors[position], tensors[position_scale]);
    args.segment = table(tensors[segment], tensors[segment_scale]);
    args.fault = reinterpret_cast<std::uint32_t*>(run_.meeting);
  }

  void read_norm(const PlanStep& step, cuda::Rows::Args& args) const {
    using namespace engine::layer_norm_tensor;
    args.norm = cuda::Rows::Norm::layer;
    args.weight = floats(step.source->tensors[weight]);
    args.bias = floats(step.source->tensors[bias]);
    args.epsilon = step.source->real;
  }

  cuda::Rows::Args rows() const {
    const SlotIndex result = launch_.dst != kNoSlot ? launch_.dst : launch_.quantized;
    cuda::Rows::Args args{.rows = count(result), .columns = columns(result), .dst = out()};
    if (launch_.src != kNoSlot) {
      args.src = rows_in(launch_.src);
      if (launch_.dst == launch_.src) args.src.f16 = nullptr;  // which is being made
      args.src_columns = columns(launch_.src);
    }
    if (launch_.step != nullptr) read_step(*launch_.step, args);
    if (launch_.norm != nullptr) read_norm(*launch_.norm, args);
    return args;
  }

  void read_step(const PlanStep& step, cuda::Rows::Args& args) const {
    switch (step.kind) {
      case StepKind::embedding:
        return read_embedding(args);
      case StepKind::layer_norm:
        return read_norm(step, args);
      case StepKind::activation:
        args.function = step.function;
        return;
      case StepKind::add:
        args.addend = rows_in(launch_.src2);
        return;
      case StepKind::l2_normalize:
        args.norm = cuda::Rows::Norm::l2;
        return;
      case StepKind::first_token:
        args.row_of = run_.inputs.offsets;
        return;
      case StepKind::mean_pool:
        args.source = cuda::Rows::Source::mean;
        args.offsets = run_.inputs.offsets;
        return;
      case StepKind::columns:
        args.first_column = step.source->first;
        return;
      default:  // other kinds of steps are other kinds of launches
        return;
    }
  }

  const DeviceRun& run_;
  const Launch& launch_;
  std::size_t index_;
  BatchSize bound_;
};

}  // namespace

std::size_t meeting_bytes(const DevicePlan& plan, BatchSize capacity) {
  return kFaultBytes + plan.launches.size() * meeting_bytes_of_launch(capacity);
}

std::optional<TileTuner::Layer> tunable_layer(const DeviceRun& run,
                                              std::size_t i,
                                              BatchSize bound) {
  return Arguments(run, i, bound).tunable();
}

void record_launch(const DeviceRun& run, std::size_t i, BatchSize bound, cuda::Recorder& recorder) {
  Arguments(run, i, bound).record(recorder);
}

}  // namespace rtai::exec
