#include "runtime/exec/session.h"

#include "runtime/base/aligned_buffer.h"
#include "runtime/base/checked.h"
#include "runtime/base/usable_cores.h"
#include "runtime/exec/cpu_executor.h"
#include "runtime/exec/internal/batch_check.h"
#include "runtime/exec/internal/device_session.h"
#include "runtime/exec/internal/session_impl.h"
#include "runtime/exec/plan.h"
#include "runtime/exec/team.h"

#include <algorithm>

namespace rtai {
namespace {

class CpuSession final : public Session::Impl {
 public:
  CpuSession(std::shared_ptr<const engine::Engine> engine,
             Target target,
             std::unique_ptr<Team> team,
             const SessionOptions& options)
      : engine_(std::move(engine)),
        target_(target),
        kernels_(target),
        plan_(exec::make_plan(engine_->program)),
        limits_(exec::limits_of(engine_->program)),
        team_(std::move(team)) {
    if (options.profile) step_times_.resize(plan_.steps.size());
    profile_.resize(step_times_.size());
  }

  Result<void> reserve(Index tokens, Index sequences, Index longest) {
    longest = std::min(longest, limits_.longest);
    if (tokens <= tokens_ && sequences <= sequences_ && longest <= longest_) return {};
    tokens = std::max(tokens, tokens_);
    sequences = std::max(sequences, sequences_);
    longest = std::max(longest, longest_);
    // If there is not enough memory for this layout, the next run begins with one of its own.
    tokens_ = sequences_ = longest_ = 0;
    const exec::Layout layout = exec::lay_out(plan_, tokens, sequences);
    block_bytes_ = round_up<Index>(layout.block_bytes, 4096);
    scratch_bytes_ = exec::scratch_bytes(engine_->program, longest);
    const Index shared = round_up<Index>(layout.shared_bytes, 4096);
    const Index positions = round_up<Index>(tokens * static_cast<Index>(sizeof(std::int32_t)), 64);
    const Index total = shared + 2 * positions + team_->size() * (block_bytes_ + scratch_bytes_);
    RTAI_TRY(memory_, AlignedBuffer::make(static_cast<std::size_t>(total)));
    shared_ = memory_.data();
    blocks_ = shared_ + shared;
    scratch_ = blocks_ + team_->size() * block_bytes_;
    positions_ = reinterpret_cast<std::int32_t*>(scratch_ + team_->size() * scratch_bytes_);
    zeros_ = positions_ + positions / static_cast<Index>(sizeof(std::int32_t));
    tokens_ = tokens;
    sequences_ = sequences;
    longest_ = longest;
    return {};
  }

  Result<void> run(const Batch& batch) override {
    RTAI_TRY(const Index longest, exec::check_batch(batch, limits_));
    const Index tokens = batch.offsets.back();
    const Index sequences = std::ssize(batch.offsets) - 1;
    RTAI_TRY_VOID(reserve(tokens, sequences, longest));
    for (Index s = 0; s < sequences; ++s) {
      const Index begin = batch.offsets[static_cast<std::size_t>(s)];
      const Index end = batch.offsets[static_cast<std::size_t>(s) + 1];
      for (Index t = begin; t < end; ++t) {
        positions_[t] = static_cast<std::int32_t>(t - begin + limits_.position_offset);
      }
    }
    copy_hidden(batch);
    std::fill(step_times_.begin(), step_times_.end(), 0);
    exec::RunState state{.engine = engine_.get(),
                         .plan = &plan_,
                         .kernels = &kernels_,
                         .source_target = kernels_.linear_i8->target,
                         .ids = batch.ids.data(),
                         .segments = batch.segments.empty() ? zeros_ : batch.segments.data(),
                         .positions = positions_,
                         .offsets = batch.offsets,
                         .tokens = tokens,
                         .sequences = sequences,
                         .shared = shared_,
                         .blocks = blocks_,
                         .block_bytes = block_bytes_,
                         .scratch = scratch_,
                         .scratch_bytes = scratch_bytes_,
                         .step_times = step_times_};
    exec::execute(*team_, state);
    last_tokens_ = tokens;
    last_sequences_ = sequences;
    for (std::size_t i = 0; i < step_times_.size(); ++i)
      profile_[i].push_back(step_times_[i]);
    return {};
  }

  TensorView<const float> output(std::size_t i) const override {
    const exec::SlotIndex index =
        plan_.value_slots[static_cast<std::size_t>(plan_.program.outputs[i].value)];
    const exec::Slot& slot = plan_.slots[static_cast<std::size_t>(index)];
    const Index rows = slot.rows == engine::Rows::tokens ? last_tokens_ : last_sequences_;
    return {reinterpret_cast<const float*>(shared_ + slot.offset), Shape{rows, slot.columns}};
  }

  const engine::Engine& engine() const override { return *engine_; }
  int threads() const override { return team_->size(); }
  std::string_view target() const override { return target_name(target_); }
  double device_ms() const override { return 0; }
  Index memory_bytes() const override { return static_cast<Index>(memory_.size()); }

  std::vector<std::string> kernel_names() const override {
    std::vector<std::string> names;
    for (const std::string_view name :
         {kernels_.linear_i8->name, kernels_.linear_f32->name, kernels_.quantize_rows->name,
          kernels_.layer_norm->name, kernels_.attention->name, kernels_.quantize_heads->name,
          kernels_.attention_i8->name, kernels_.embedding->name}) {
      names.emplace_back(name);
    }
    return names;
  }

  std::vector<StepProfile> take_profile() override {
    std::vector<StepProfile> profiles;
    for (std::size_t i = 0; i < profile_.size(); ++i) {
      StepProfile profile = describe(plan_.steps[i]);
      std::vector<std::int64_t>& times = profile_[i];
      if (!times.empty()) {
        const auto middle = times.begin() + std::ssize(times) / 2;
        std::nth_element(times.begin(), middle, times.end());
        profile.seconds = static_cast<double>(*middle) * 1e-9;
      }
      times.clear();
      profiles.push_back(std::move(profile));
    }
    return profiles;
  }

 private:
  void copy_hidden(const Batch& batch) {
    for (std::size_t i = 0; i < engine_->program.inputs.size(); ++i) {
      if (engine_->program.values[i].dtype != DType::f32) continue;
      const exec::Slot& slot = plan_.slots[static_cast<std::size_t>(plan_.value_slots[i])];
      std::copy(batch.hidden.begin(), batch.hidden.end(),
                reinterpret_cast<float*>(shared_ + slot.offset));
    }
  }

  /// Weight bytes and operations of a step in the last run.
  StepProfile describe(const exec::PlanStep& step) const {
    StepProfile profile{
        .name = step.name, .kind = std::string(exec::step_kind_name(step.kind)), .kernel = {}};
    const auto rows_of = [&](const exec::Slot& slot) {
      return static_cast<double>(slot.rows == engine::Rows::tokens ? last_tokens_
                                                                   : last_sequences_);
    };
    const exec::Slot& dst = plan_.slots[static_cast<std::size_t>(step.dst)];
    switch (step.kind) {
      case exec::StepKind::linear_i8:
      case exec::StepKind::linear_f32: {
        const auto weight =
            static_cast<std::size_t>(step.source->tensors[engine::linear_tensor::weight]);
        const engine::TensorInfo& tensor = engine_->program.tensors[weight];
        profile.dtype = tensor.dtype;
        profile.bytes = static_cast<double>(tensor.bytes);
        profile.operations =
            2.0 * rows_of(dst) * static_cast<double>(tensor.dims[0] * tensor.dims[1]);
        profile.kernel = step.kind == exec::StepKind::linear_i8 ? kernels_.linear_i8->name
                                                                : kernels_.linear_f32->name;
        break;
      }
      case exec::StepKind::attention:
      case exec::StepKind::attention_i8:
        // Exact for one sequence; for several, of equal length.
        profile.operations = 4.0 * rows_of(dst) * rows_of(dst) /
                             static_cast<double>(last_sequences_) *
                             static_cast<double>(dst.columns);
        profile.kernel = step.kind == exec::StepKind::attention ? kernels_.attention->name
                                                                : kernels_.attention_i8->name;
        if (step.kind == exec::StepKind::attention_i8) profile.dtype = DType::i8;
        break;
      case exec::StepKind::quantize_heads:
        profile.kernel = kernels_.quantize_heads->name;
        break;
      case exec::StepKind::layer_norm:
        profile.kernel = kernels_.layer_norm->name;
        break;
      case exec::StepKind::quantize:
        profile.kernel = kernels_.quantize_rows->name;
        break;
      default:
        break;
    }
    return profile;
  }

  std::shared_ptr<const engine::Engine> engine_;  // shared with other sessions of the same engine
  Target target_;
  exec::Kernels kernels_;
  exec::Plan plan_;
  exec::InputLimits limits_;
  std::unique_ptr<Team> team_;
  AlignedBuffer memory_;
  std::byte* shared_ = nullptr;
  std::byte* blocks_ = nullptr;
  std::byte* scratch_ = nullptr;
  std::int32_t* positions_ = nullptr;
  std::int32_t* zeros_ = nullptr;  // segments where the caller gives none
  Index block_bytes_ = 0;
  Index scratch_bytes_ = 0;
  Index tokens_ = 0;
  Index sequences_ = 0;
  Index longest_ = 0;
  Index last_tokens_ = 0;
  Index last_sequences_ = 0;
  std::vector<std::int64_t> step_times_;
  std::vector<std::vector<std::int64_t>> profile_;
};

}  // namespace

Session::Session(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Session::Session(Session&&) noexcept = default;
Session& Session::operator=(Session&&) noexcept = default;
Session::~Session() = default;

Result<Session> Session::create(std::shared_ptr<const engine::Engine> engine,
                                const SessionOptions& options) {
  if (options.gpu) {
    RTAI_TRY(std::unique_ptr<cuda::Backend> backend, cuda::make_backend(*options.gpu));
    return create_on(std::move(backend), std::move(engine), options);
  }
  RTAI_TRY(const Target target, select_target(options.target));
  RTAI_TRY(std::unique_ptr<Team> team,
           Team::start(options.threads > 0 ? options.threads : usable_cores()));
  auto impl = std::make_unique<CpuSession>(std::move(engine), target, std::move(team), options);
  RTAI_TRY_VOID(impl->reserve(options.max_tokens, options.max_sequences, options.max_tokens));
  return Session(std::move(impl));
}

Result<Session> Session::create_on(std::unique_ptr<cuda::Backend> backend,
                                   std::shared_ptr<const engine::Engine> engine,
                                   const SessionOptions& options) {
  RTAI_TRY(std::unique_ptr<Impl> impl,
           exec::make_device_session(std::move(backend), std::move(engine), options));
  return Session(std::move(impl));
}

Result<void> Session::run(const Batch& batch) {
  return impl_->run(batch);
}
TensorView<const float> Session::output(std::size_t i) const {
  return impl_->output(i);
}
const engine::Engine& Session::engine() const {
  return impl_->engine();
}
int Session::threads() const {
  return impl_->threads();
}
std::string_view Session::target() const {
  return impl_->target();
}
Index Session::memory_bytes() const {
  return impl_->memory_bytes();
}
std::vector<std::string> Session::kernel_names() const {
  return impl_->kernel_names();
}
double Session::device_ms() const {
  return impl_->device_ms();
}
std::vector<StepProfile> Session::take_profile() {
  return impl_->take_profile();
}

}  // namespace rtai
