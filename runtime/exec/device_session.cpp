#include "runtime/exec/internal/device_session.h"

#include "runtime/base/checked.h"
#include "runtime/exec/internal/batch_check.h"
#include "runtime/exec/internal/device_executor.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <map>

namespace rtai::exec {
namespace {

/// Graphs are made for sizes in steps of at most a quarter, and at least a row of tiles.
Index round_tokens(Index tokens) {
  constexpr Index kSmallest = 64;
  const auto power = static_cast<Index>(std::bit_floor(static_cast<std::uint64_t>(tokens)));
  return round_up(tokens, std::max(kSmallest, power / 4));
}
Index round_sequences(Index sequences) {
  return static_cast<Index>(std::bit_ceil(static_cast<std::uint64_t>(sequences)));
}

template <class T>
T* write(const T* pointer) {
  return const_cast<T*>(pointer);  // NOLINT(cppcoreguidelines-pro-type-const-cast): ours
}

/// Lays the inputs out from `begin`, or from nowhere if that is null; returns the bytes they take.
std::size_t place_inputs(std::byte* begin, BatchSize capacity, DeviceInputs& inputs) {
  std::size_t bytes = 0;
  const auto place = [&]<class T>(const T*& pointer, Index count) {
    pointer = begin == nullptr ? nullptr : reinterpret_cast<const T*>(begin + bytes);
    bytes += round_up(static_cast<std::size_t>(count) * sizeof(T), std::size_t{256});
  };
  place(inputs.counts, 3);
  place(inputs.ids, capacity.tokens);
  place(inputs.positions, capacity.tokens);
  place(inputs.segments, capacity.tokens);
  place(inputs.offsets, capacity.sequences + 1);
  place(inputs.tiles, capacity.tiles());
  place(inputs.first_tiles, capacity.sequences);
  return bytes;
}

/// Results of a run in host memory: rows as on the device, then without their padding.
struct HostOutput {
  const Slot* slot = nullptr;
  const DeviceSlot* placed = nullptr;
  std::size_t host_offset = 0;  // in the session's host memory
  std::vector<float> rows = {};

  Index stride() const { return cuda::row_stride(static_cast<int>(slot->columns), 4); }
};

TileCache tile_cache(const SessionOptions& options, const cuda::Backend& backend) {
  return {options.tile_cache ? *options.tile_cache : user_cache_folder(), backend.info(),
          backend.kernels().linear_i8->name};
}

class DeviceSession final : public Session::Impl {
 public:
  DeviceSession(std::unique_ptr<cuda::Backend> backend,
                std::shared_ptr<const engine::Engine> engine,
                const SessionOptions& options)
      : backend_(std::move(backend)),
        engine_(std::move(engine)),
        plan_(make_plan(engine_->program)),
        limits_(limits_of(engine_->program)),
        profiles_(options.profile),
        tunes_(options.tune_tiles && backend_->has_clock()),
        tuner_(tile_cache(options, *backend_)) {}

  Result<void> prepare(BatchSize capacity) {
    RTAI_TRY(device_plan_, make_device_plan(plan_, backend_->info()));
    RTAI_TRY(weights_, DeviceWeights::upload(*backend_, *engine_, plan_));
    times_.resize(device_plan_.launches.size());
    for (const engine::Output& output : plan_.program.outputs) {
      const auto slot =
          static_cast<std::size_t>(plan_.value_slots[static_cast<std::size_t>(output.value)]);
      outputs_.push_back({.slot = &plan_.slots[slot], .placed = &device_plan_.slots[slot]});
    }
    return reserve(capacity);
  }

  Result<void> run(const Batch& batch) override {
    RTAI_TRY_VOID(check_batch(batch, limits_));
    const BatchSize size{batch.offsets.back(), std::ssize(batch.offsets) - 1};
    RTAI_TRY_VOID(reserve(size));
    stage(batch, size);
    RTAI_TRY(Graphs* const graphs, graphs_for(size));
    device_ms_ = 0;
    for (std::size_t i = 0; i < graphs->parts.size(); ++i) {
      RTAI_TRY(const double ms, backend_->run(*graphs->parts[i]));
      device_ms_ += ms;
      // The first part brings the inputs, the last one the results.
      if (profiles_ && i > 0 && i <= times_.size()) times_[i - 1].push_back(ms);
    }
    std::uint32_t fault = 0;
    std::memcpy(&fault, host_.data() + fault_offset_, sizeof(fault));
    if (fault != 0)
      return Error{ErrorCode::device, "an id, segment or position outside its table on the device"};
    unpack(size);
    last_ = size;
    return {};
  }

  TensorView<const float> output(std::size_t i) const override {
    const HostOutput& output = outputs_[i];
    return {output.rows.data(), Shape{rows_of(*output.slot, last_), output.slot->columns}};
  }

  const engine::Engine& engine() const override { return *engine_; }
  int threads() const override { return 1; }
  std::string_view target() const override { return backend_->info().name; }
  double device_ms() const override { return device_ms_; }
  std::vector<std::string> kernel_names() const override { return backend_->kernels().names(); }
  Index memory_bytes() const override {
    return weights_.bytes() + static_cast<Index>(arena_.size() + meeting_.size());
  }

  std::vector<StepProfile> take_profile() override {
    std::vector<StepProfile> profiles;
    if (!profiles_) return profiles;
    for (std::size_t i = 0; i < times_.size(); ++i) {
      StepProfile profile = describe(device_plan_.launches[i]);
      std::vector<double>& times = times_[i];
      if (!times.empty()) {
        const auto middle = times.begin() + std::ssize(times) / 2;
        std::nth_element(times.begin(), middle, times.end());
        profile.seconds = *middle * 1e-3;
      }
      times.clear();
      profiles.push_back(std::move(profile));
    }
    return profiles;
  }

 private:
  /// One graph for everything; or, to measure, one for the inputs, each launch, and the results.
  struct Graphs {
    std::vector<std::unique_ptr<cuda::Graph>> parts;
    std::int64_t last_use = 0;
  };
  static constexpr std::size_t kMostGraphs = 32;

  static Index rows_of(const Slot& slot, BatchSize size) {
    return slot.rows == Rows::tokens ? size.tokens : size.sequences;
  }

  /// Makes room for batches of this size. Graphs hold addresses, so they go when memory moves.
  Result<void> reserve(BatchSize size) {
    if (size.tokens <= capacity_.tokens && size.sequences <= capacity_.sequences) return {};
    const BatchSize wanted{std::max(round_tokens(size.tokens), capacity_.tokens),
                           std::max(round_sequences(size.sequences), capacity_.sequences)};
    graphs_.clear();
    capacity_ = {};
    RTAI_TRY(arena_, backend_->allocate(static_cast<std::size_t>(
                         lay_out(plan_, device_plan_, wanted.tokens, wanted.sequences))));
    RTAI_TRY(meeting_, backend_->allocate(meeting_bytes(device_plan_, wanted)));
    DeviceInputs none;
    input_bytes_ = place_inputs(nullptr, wanted, none);
    RTAI_TRY(inputs_, backend_->allocate(input_bytes_));
    std::size_t bytes = input_bytes_;
    const auto take = [&](std::size_t more) {
      const std::size_t at = bytes;
      bytes += round_up(more, std::size_t{256});
      return at;
    };
    fault_offset_ = take(sizeof(std::uint32_t));
    hidden_offset_ =
        take(static_cast<std::size_t>(wanted.tokens * hidden_stride()) * sizeof(float));
    for (HostOutput& output : outputs_) {
      const Index rows = rows_of(*output.slot, wanted);
      output.host_offset = take(static_cast<std::size_t>(rows * output.stride()) * sizeof(float));
      output.rows.resize(static_cast<std::size_t>(rows * output.slot->columns));
    }
    RTAI_TRY(host_, backend_->allocate_host(bytes));
    place_inputs(host_.data(), wanted, host_inputs_);
    run_ = {.plan = &plan_,
            .device_plan = &device_plan_,
            .weights = &weights_,
            .device = &backend_->info(),
            .capacity = wanted,
            .inputs = {},
            .arena = arena_.data(),
            .meeting = meeting_.data(),
            .tuner = &tuner_};
    place_inputs(inputs_.data(), wanted, run_.inputs);
    capacity_ = wanted;
    return {};
  }

  Index hidden_stride() const {
    return limits_.hidden == 0 ? 0 : cuda::row_stride(static_cast<int>(limits_.hidden), 4);
  }

  /// Writes the batch to host memory that the device reads.
  void stage(const Batch& batch, BatchSize size) {
    std::int32_t* positions = write(host_inputs_.positions);
    cuda::AttentionTile* tile = write(host_inputs_.tiles);
    for (Index s = 0; s < size.sequences; ++s) {
      const std::int32_t begin = batch.offsets[static_cast<std::size_t>(s)];
      const std::int32_t length = batch.offsets[static_cast<std::size_t>(s) + 1] - begin;
      for (std::int32_t t = 0; t < length; ++t)
        positions[begin + t] = t + static_cast<std::int32_t>(limits_.position_offset);
      for (std::int32_t q = 0; q < length; q += cuda::kAttentionQueries)
        *tile++ = {begin, length, q, std::min(cuda::kAttentionQueries, length - q), begin + q};
      write(host_inputs_.first_tiles)[s] = {begin, length, 0, 1, static_cast<std::int32_t>(s)};
    }
    std::int32_t* counts = write(host_inputs_.counts);
    counts[0] = static_cast<std::int32_t>(size.tokens);
    counts[1] = static_cast<std::int32_t>(size.sequences);
    counts[2] = static_cast<std::int32_t>(tile - host_inputs_.tiles);
    std::copy(batch.ids.begin(), batch.ids.end(), write(host_inputs_.ids));
    if (batch.segments.empty())
      std::fill_n(write(host_inputs_.segments), size.tokens, 0);
    else
      std::copy(batch.segments.begin(), batch.segments.end(), write(host_inputs_.segments));
    std::copy(batch.offsets.begin(), batch.offsets.end(), write(host_inputs_.offsets));
    auto* hidden = reinterpret_cast<float*>(host_.data() + hidden_offset_);
    for (Index r = 0; r < std::ssize(batch.hidden) / std::max<Index>(limits_.hidden, 1); ++r)
      std::copy_n(batch.hidden.data() + r * limits_.hidden, limits_.hidden,
                  hidden + r * hidden_stride());
  }

  void record_inputs(BatchSize bound, cuda::Recorder& recorder) const {
    recorder.clear(meeting_.data(), meeting_.size());
    recorder.copy(inputs_.data(), host_.data(), input_bytes_);
    for (std::size_t i = 0; i < plan_.program.inputs.size(); ++i) {
      if (plan_.value_slots[i] == kNoSlot) continue;
      const DeviceSlot& slot = device_plan_.slots[static_cast<std::size_t>(plan_.value_slots[i])];
      recorder.copy(arena_.data() + slot.f32_offset, host_.data() + hidden_offset_,
                    static_cast<std::size_t>(bound.tokens * hidden_stride()) * sizeof(float));
    }
  }

  void record_outputs(BatchSize bound, cuda::Recorder& recorder) const {
    for (const HostOutput& output : outputs_) {
      recorder.copy(
          host_.data() + output.host_offset, arena_.data() + output.placed->f32_offset,
          static_cast<std::size_t>(rows_of(*output.slot, bound) * output.stride()) * sizeof(float));
    }
    recorder.copy(host_.data() + fault_offset_, meeting_.data(), sizeof(std::uint32_t));
  }

  /// Inputs, then all launches, whose time is taken.
  void record_run(BatchSize bound, cuda::Recorder& recorder) const {
    record_inputs(bound, recorder);
    recorder.begin_timing();
    for (std::size_t i = 0; i < device_plan_.launches.size(); ++i)
      record_launch(run_, i, bound, recorder);
    recorder.end_timing();
  }

  Result<void> tune(BatchSize bound) {
    std::vector<TileTuner::Layer> layers;
    for (std::size_t i = 0; i < device_plan_.launches.size(); ++i) {
      if (auto layer = tunable_layer(run_, i, bound)) layers.push_back(*layer);
    }
    return tuner_.tune(*backend_, layers, [&]() -> Result<double> {
      RTAI_TRY(const std::unique_ptr<cuda::Graph> graph,
               backend_->record([&](cuda::Recorder& recorder) { record_run(bound, recorder); }));
      return time_graph(*backend_, *graph);
    });
  }

  Result<Graphs*> graphs_for(BatchSize size) {
    const BatchSize bound{std::min(round_tokens(size.tokens), capacity_.tokens),
                          std::min(round_sequences(size.sequences), capacity_.sequences)};
    ++runs_;
    if (const auto found = graphs_.find(bound); found != graphs_.end()) {
      found->second.last_use = runs_;
      return &found->second;
    }
    if (graphs_.size() == kMostGraphs) {
      graphs_.erase(std::min_element(graphs_.begin(), graphs_.end(), [](auto& a, auto& b) {
        return a.second.last_use < b.second.last_use;
      }));
    }
    Graphs made{.parts = {}, .last_use = runs_};
    const auto add = [&](const std::function<void(cuda::Recorder&)>& work) -> Result<void> {
      RTAI_TRY(std::unique_ptr<cuda::Graph> graph, backend_->record(work));
      made.parts.push_back(std::move(graph));
      return {};
    };
    if (tunes_) RTAI_TRY_VOID(tune(bound));
    const auto outputs = [this, bound](cuda::Recorder& recorder) {
      record_outputs(bound, recorder);
    };
    const std::size_t launches = device_plan_.launches.size();
    if (profiles_) {
      RTAI_TRY_VOID(
          add([this, bound](cuda::Recorder& recorder) { record_inputs(bound, recorder); }));
      for (std::size_t i = 0; i < launches; ++i)
        RTAI_TRY_VOID(add([this, i, bound](cuda::Recorder& recorder) {
          recorder.begin_timing();
          record_launch(run_, i, bound, recorder);
          recorder.end_timing();
        }));
      RTAI_TRY_VOID(add(outputs));
    } else {
      RTAI_TRY_VOID(add([=, this](cuda::Recorder& recorder) {
        record_run(bound, recorder);
        outputs(recorder);
      }));
    }
    return &graphs_.emplace(bound, std::move(made)).first->second;
  }

  void unpack(BatchSize size) {
    for (HostOutput& output : outputs_) {
      const auto* rows = reinterpret_cast<const float*>(host_.data() + output.host_offset);
      const Index columns = output.slot->columns;
      for (Index r = 0; r < rows_of(*output.slot, size); ++r)
        std::copy_n(rows + r * output.stride(), columns, output.rows.data() + r * columns);
    }
  }

  /// Weight bytes and operations of a launch in the last run.
  StepProfile describe(const Launch& launch) const {
    const cuda::Kernels& kernels = backend_->kernels();
    StepProfile profile{
        .name = launch.step == nullptr ? "convert" : launch.step->name,
        .kind = launch.step == nullptr ? "convert" : std::string(step_kind_name(launch.step->kind)),
        .kernel = {}};
    const bool is_i8 =
        launch.kind == Launch::Kind::linear_i8 || launch.kind == Launch::Kind::attention_i8;
    switch (launch.kind) {
      case Launch::Kind::linear_i8:
      case Launch::Kind::linear_f16: {
        const engine::TensorInfo& weight = plan_.program.tensors[static_cast<std::size_t>(
            launch.step->source->tensors[engine::linear_tensor::weight])];
        const Slot& dst = plan_.slots[static_cast<std::size_t>(launch.step->dst)];
        const auto weights = static_cast<double>(weight.dims[0] * weight.dims[1]);
        profile.dtype = is_i8 ? DType::i8 : DType::f16;
        profile.bytes = weights * (is_i8 ? 1 : 2);
        profile.operations = 2 * weights * static_cast<double>(rows_of(dst, last_));
        profile.kernel = is_i8 ? kernels.linear_i8->name : kernels.linear_f16->name;
        break;
      }
      case Launch::Kind::attention_i8:
      case Launch::Kind::attention_f16: {
        // Exact for one sequence; for several, of equal length.
        const Slot& dst = plan_.slots[static_cast<std::size_t>(launch.dst)];
        const auto tokens = static_cast<double>(last_.tokens);
        profile.dtype = is_i8 ? DType::i8 : DType::f16;
        profile.operations = 4 * static_cast<double>(rows_of(dst, last_)) * tokens /
                             static_cast<double>(std::max<Index>(last_.sequences, 1)) *
                             static_cast<double>(dst.columns);
        profile.kernel = is_i8 ? kernels.attention_i8->name : kernels.attention_f16->name;
        break;
      }
      case Launch::Kind::quantize_heads:
        profile.kernel = kernels.quantize_heads->name;
        break;
      case Launch::Kind::rows:
        profile.kernel = kernels.rows->name;
        break;
    }
    return profile;
  }

  // What is declared first is released last: memory needs its device.
  std::unique_ptr<cuda::Backend> backend_;
  std::shared_ptr<const engine::Engine> engine_;  // shared with other sessions of the same engine
  Plan plan_;
  InputLimits limits_;
  bool profiles_;
  bool tunes_;
  DevicePlan device_plan_;
  DeviceWeights weights_;
  std::vector<HostOutput> outputs_;
  BatchSize capacity_;
  cuda::Memory arena_;
  cuda::Memory meeting_;
  cuda::Memory inputs_;
  cuda::Memory host_;
  DeviceInputs host_inputs_;  // in host_, written before each run
  std::size_t input_bytes_ = 0;
  std::size_t fault_offset_ = 0;
  std::size_t hidden_offset_ = 0;
  DeviceRun run_;
  TileTuner tuner_;
  std::map<BatchSize, Graphs> graphs_;
  std::int64_t runs_ = 0;
  BatchSize last_;
  double device_ms_ = 0;
  std::vector<std::vector<double>> times_;  // by launch, ms
};

}  // namespace

Result<std::unique_ptr<Session::Impl>> make_device_session(
    std::unique_ptr<cuda::Backend> backend,
    std::shared_ptr<const engine::Engine> engine,
    const SessionOptions& options) {
  auto session = std::make_unique<DeviceSession>(std::move(backend), std::move(engine), options);
  RTAI_TRY_VOID(session->prepare({options.max_tokens, options.max_sequences}));
  return Result<std::unique_ptr<Session::Impl>>(std::move(session));
}

}  // namespace rtai::exec
