#include "runtime/exec/session.h"

#include "runtime/base/aligned_buffer.h"
#include "runtime/base/checked.h"
#include "runtime/base/usable_cores.h"
#include "runtime/exec/cpu_executor.h"
#include "runtime/exec/plan.h"
#include "runtime/exec/team.h"

#include <algorithm>
#include <cmath>

namespace rtai {
namespace {

using engine::kNone;
using engine::OpKind;

/// What the program's embeddings allow.
struct InputLimits {
  Index vocabulary = 0;  // 0: no ids are read
  Index segments = 0;    // 0: no segments are read
  Index longest = 0;     // tokens of a sequence
  Index position_offset = 0;
  Index hidden = 0;  // columns of a hidden-state input, 0: none
};

InputLimits limits_of(const engine::Program& program) {
  InputLimits limits;
  limits.longest = engine::longest_sequence(program);
  for (const engine::Step& step : program.steps) {
    if (step.op != OpKind::embedding) continue;
    const auto rows = [&](std::size_t slot) {
      const engine::TensorIndex tensor = step.tensors[slot];
      return tensor == kNone ? Index{0} : program.tensors[static_cast<std::size_t>(tensor)].dims[0];
    };
    limits.vocabulary = rows(engine::embedding_tensor::word);
    limits.segments = rows(engine::embedding_tensor::segment);
    limits.position_offset = step.first;
  }
  for (std::size_t i = 0; i < program.inputs.size(); ++i) {
    if (program.values[i].dtype == DType::f32) limits.hidden = program.values[i].columns;
  }
  return limits;
}

Error bad_input(std::string message) {
  return {ErrorCode::invalid_input, std::move(message)};
}

Result<void> check_indices(std::span<const std::int32_t> indices,
                           Index tokens,
                           Index rows,
                           std::string_view what) {
  if (std::ssize(indices) != tokens) {
    return bad_input(std::to_string(tokens) + " " + std::string(what) + " expected, found " +
                     std::to_string(indices.size()));
  }
  for (const std::int32_t index : indices) {
    if (index >= 0 && index < rows) continue;
    return bad_input(std::string(what) + ": " + std::to_string(index) + " is outside [0, " +
                     std::to_string(rows) + ")");
  }
  return {};
}

}  // namespace

class Session::Impl {
 public:
  Impl(std::shared_ptr<const engine::Engine> engine, Target target, const SessionOptions& options)
      : engine_(std::move(engine)),
        target_(target),
        kernels_(target),
        plan_(exec::make_plan(engine_->program)),
        limits_(limits_of(engine_->program)),
        team_(options.threads > 0 ? options.threads : usable_cores()) {
    if (options.profile) step_times_.resize(plan_.steps.size());
    profile_.resize(step_times_.size());
  }

  Result<void> reserve(Index tokens, Index sequences, Index longest) {
    longest = std::min(longest, limits_.longest);
    if (tokens <= tokens_ && sequences <= sequences_ && longest <= longest_) return {};
    tokens = std::max(tokens, tokens_);
    sequences = std::max(sequences, sequences_);
    longest = std::max(longest, longest_);
    const exec::Layout layout = exec::lay_out(plan_, tokens, sequences);
    block_bytes_ = round_up<Index>(layout.block_bytes, 4096);
    scratch_bytes_ = exec::scratch_bytes(engine_->program, longest);
    const Index shared = round_up<Index>(layout.shared_bytes, 4096);
    const Index positions = round_up<Index>(tokens * static_cast<Index>(sizeof(std::int32_t)), 64);
    const Index total = shared + 2 * positions + team_.size() * (block_bytes_ + scratch_bytes_);
    RTAI_TRY(memory_, AlignedBuffer::make(static_cast<std::size_t>(total)));
    shared_ = memory_.data();
    blocks_ = shared_ + shared;
    scratch_ = blocks_ + team_.size() * block_bytes_;
    positions_ = reinterpret_cast<std::int32_t*>(scratch_ + team_.size() * scratch_bytes_);
    zeros_ = positions_ + positions / static_cast<Index>(sizeof(std::int32_t));
    tokens_ = tokens;
    sequences_ = sequences;
    longest_ = longest;
    return {};
  }

  Result<void> run(const Batch& batch) {
    RTAI_TRY(const Index longest, check(batch));
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
    exec::execute(team_, state);
    last_tokens_ = tokens;
    last_sequences_ = sequences;
    for (std::size_t i = 0; i < step_times_.size(); ++i)
      profile_[i].push_back(step_times_[i]);
    return {};
  }

  TensorView<const float> output(std::size_t i) const {
    const exec::SlotIndex index =
        plan_.value_slots[static_cast<std::size_t>(plan_.program.outputs[i].value)];
    const exec::Slot& slot = plan_.slots[static_cast<std::size_t>(index)];
    const Index rows = slot.rows == engine::Rows::tokens ? last_tokens_ : last_sequences_;
    return {reinterpret_cast<const float*>(shared_ + slot.offset), Shape{rows, slot.columns}};
  }

  const engine::Engine& engine() const { return *engine_; }
  int threads() const { return team_.size(); }
  Target target() const { return target_; }
  Index memory_bytes() const { return static_cast<Index>(memory_.size()); }

  std::vector<std::string> kernel_names() const {
    std::vector<std::string> names;
    for (const std::string_view name :
         {kernels_.linear_i8->name, kernels_.linear_f32->name, kernels_.quantize_rows->name,
          kernels_.layer_norm->name, kernels_.attention->name, kernels_.quantize_heads->name,
          kernels_.attention_i8->name, kernels_.embedding->name}) {
      names.emplace_back(name);
    }
    return names;
  }

  std::vector<StepProfile> take_profile() {
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
  /// The longest sequence of the batch. Errors: as Session::run.
  Result<Index> check(const Batch& batch) const {
    if (batch.offsets.size() < 2 || batch.offsets.front() != 0)
      return bad_input("a batch without sequences");
    Index longest = 0;
    for (std::size_t s = 1; s < batch.offsets.size(); ++s) {
      const Index length = Index{batch.offsets[s]} - batch.offsets[s - 1];
      if (length < 1) return bad_input("sequence " + std::to_string(s - 1) + " is empty");
      longest = std::max(longest, length);
    }
    if (longest > limits_.longest) {
      return bad_input("a sequence of " + std::to_string(longest) + " tokens; the model has " +
                       std::to_string(limits_.longest) + " positions");
    }
    const Index tokens = batch.offsets.back();
    if (limits_.vocabulary > 0)
      RTAI_TRY_VOID(check_indices(batch.ids, tokens, limits_.vocabulary, "ids"));
    if (limits_.segments > 0 && !batch.segments.empty()) {
      RTAI_TRY_VOID(check_indices(batch.segments, tokens, limits_.segments, "segments"));
    }
    if (std::ssize(batch.hidden) != tokens * limits_.hidden)
      return bad_input("hidden states of another size");
    return longest;
  }

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
  InputLimits limits_;
  Team team_;
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

Session::Session(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Session::Session(Session&&) noexcept = default;
Session& Session::operator=(Session&&) noexcept = default;
Session::~Session() = default;

Result<Session> Session::create(std::shared_ptr<const engine::Engine> engine,
                                const SessionOptions& options) {
  RTAI_TRY(const Target target, select_target(options.target));
  auto impl = std::make_unique<Impl>(std::move(engine), target, options);
  RTAI_TRY_VOID(impl->reserve(options.max_tokens, options.max_sequences, options.max_tokens));
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
  return target_name(impl_->target());
}
Index Session::memory_bytes() const {
  return impl_->memory_bytes();
}
std::vector<std::string> Session::kernel_names() const {
  return impl_->kernel_names();
}
std::vector<StepProfile> Session::take_profile() {
  return impl_->take_profile();
}

}  // namespace rtai
