#include "runtime/exec/cpu_executor.h"

#include "runtime/base/checked.h"

#include <algorithm>
#include <chrono>
#include <cstring>

namespace rtai::exec {
namespace {

struct IndexRange {
  Index begin = 0;
  Index end = 0;
  Index size() const { return end - begin; }
};

/// Part `part` of `count` of [0, total), sizes differing by at most one unit.
IndexRange share(Index total, int part, int count, Index unit = 1) {
  const Index units = div_up(total, unit);
  const Index begin = units * part / count * unit;
  const Index end = units * (part + 1) / count * unit;
  return {std::min(begin, total), std::min(end, total)};
}

/// What a thread does of one step.
struct Work {
  IndexRange rows;
  Index block_begin = 0;  // row that stands first in the block
  std::byte* block = nullptr;
  std::byte* scratch = nullptr;
  int part = 0;  // of the columns or heads
  int parts = 1;
  bool column_mode = false;  // threads share the columns of each step
  const PlanStep* next_linear = nullptr;  // what this thread multiplies after the step at hand
};

/// Runs steps for one thread. Its methods turn slots into pointers and parts of steps into Args.
class Worker {
 public:
  Worker(const RunState& state, const Work& work) : state_(state), work_(work) {}

  void run(const PlanStep& step) const {
    switch (step.kind) {
      case StepKind::embedding:
        return embedding(step);
      case StepKind::quantize:
        return quantize(step);
      case StepKind::linear_i8:
        return linear_i8(step);
      case StepKind::linear_f32:
        return linear_f32(step);
      case StepKind::layer_norm:
        return layer_norm(step);
      case StepKind::attention:
        return attention(step);
      case StepKind::quantize_heads:
        return quantize_heads(step);
      case StepKind::attention_i8:
        return attention_i8(step);
      case StepKind::activation:
        return activation(step);
      case StepKind::add:
        return add(step);
      case StepKind::l2_normalize:
        return l2_normalize(step);
      case StepKind::first_token:
        return first_token(step);
      case StepKind::mean_pool:
        return mean_pool(step);
      case StepKind::columns:
        return columns(step);
    }
  }

 private:
  const Slot& slot(SlotIndex i) const { return state_.plan->slots[static_cast<std::size_t>(i)]; }
  const engine::TensorInfo& tensor(engine::TensorIndex i) const {
    return state_.engine->program.tensors[static_cast<std::size_t>(i)];
  }
  template <class T>
  const T* data(engine::TensorIndex i) const {
    return state_.engine->data<T>(i).data();
  }

  std::byte* base(const Slot& s) const {
    return (s.block ? work_.block : state_.shared) + s.offset;
  }
  /// Row `row` of a slot of floats.
  float* row(SlotIndex i, Index r) const {
    const Slot& s = slot(i);
    return reinterpret_cast<float*>(base(s)) + (r - (s.block ? work_.block_begin : 0)) * s.columns;
  }
  float* first_row(SlotIndex i) const { return row(i, work_.rows.begin); }
  QuantizedRows quantized(SlotIndex i,
                          float fixed_scale = 0,
                          engine::TensorIndex column_factor = engine::kNone) const {
    return quantized_rows(i, work_.rows.begin, fixed_scale, column_factor);
  }
  QuantizedRows quantized_rows(SlotIndex i,
                               Index r,
                               float fixed_scale,
                               engine::TensorIndex column_factor) const {
    const Slot& s = slot(i);
    std::byte* memory = s.block ? work_.block : state_.shared;
    r -= s.block ? work_.block_begin : 0;
    return {.data = reinterpret_cast<std::uint8_t*>(memory + s.offset) + r * s.row_bytes(),
            .stride = s.row_bytes(),
            .scale = reinterpret_cast<float*>(memory + s.scale_offset) + r,
            .fixed_scale = fixed_scale,
            .flip = source_flip(state_.source_target),
            .column_factor = column_factor == engine::kNone ? nullptr : data<float>(column_factor)};
  }
  /// Where a step that makes integers at a fixed scale stores columns [columns.begin, columns.end) of
  /// rows from `first` on. What it leaves to its caller is done: scales, zeros behind the last
  /// column.
  QuantizedRows integers_of(const PlanStep& step,
                            Index first,
                            Index rows,
                            const IndexRange& columns) const {
    QuantizedRows dst = quantized_rows(step.quantized, first, step.fixed_scale, step.column_factor);
    const Index width = slot(step.quantized).columns;
    if (columns.begin == 0) std::fill_n(dst.scale, rows, step.fixed_scale);
    if (columns.end == width) {
      for (Index r = 0; r < rows; ++r)
        std::fill(dst.data + r * dst.stride + width, dst.data + (r + 1) * dst.stride, dst.flip);
    }
    dst.data += columns.begin;
    if (dst.column_factor != nullptr) dst.column_factor += columns.begin;
    return dst;
  }
  /// Heads of row `r` and what follows.
  QuantizedHeads quantized_heads(SlotIndex i, Index r) const {
    const Slot& s = slot(i);
    std::byte* memory = s.block ? work_.block : state_.shared;
    r -= s.block ? work_.block_begin : 0;
    return {.data = reinterpret_cast<std::int8_t*>(memory + s.offset) + r * s.row_bytes(),
            .scale = reinterpret_cast<float*>(memory + s.scale_offset) + r * s.heads,
            .heads = s.heads};
  }
  /// Rows of a step that is not split by columns: in column mode each thread takes some.
  Worker by_rows() const {
    if (work_.parts == 1) return *this;
    Work mine = work_;
    const IndexRange part = share(work_.rows.size(), work_.part, work_.parts);
    mine.rows = {work_.rows.begin + part.begin, work_.rows.begin + part.end};
    mine.parts = 1;
    return {state_, mine};
  }

  LookupTable table(engine::TensorIndex rows, engine::TensorIndex scale) const {
    if (rows == engine::kNone) return {};
    return {.data = state_.engine->data<std::byte>(rows).data(),
            .scale = scale == engine::kNone ? nullptr : data<float>(scale)};
  }

  void embedding(const PlanStep& step) const {
    if (work_.parts > 1) return by_rows().embedding(step);
    using namespace engine::embedding_tensor;
    const auto& tensors = step.source->tensors;
    const Embedding::Args args{.ids = state_.ids + work_.rows.begin,
                               .positions = state_.positions + work_.rows.begin,
                               .segments = state_.segments + work_.rows.begin,
                               .word = table(tensors[word], tensors[word_scale]),
                               .position = table(tensors[position], tensors[position_scale]),
                               .segment = table(tensors[segment], tensors[segment_scale]),
                               .dst = first_row(step.dst),
                               .tokens = work_.rows.size(),
                               .hidden = slot(step.dst).columns};
    call(*state_.kernels->embedding, args);
  }

  void quantize(const PlanStep& step) const {
    if (work_.parts > 1) return by_rows().quantize(step);
    const Slot& src = slot(step.src);
    // In column mode no thread knows a whole row's largest magnitude.
    const bool known = step.absmax != kNoSlot && !work_.column_mode;
    const QuantizeRows::Args args{.src = first_row(step.src),
                                  .src_stride = src.columns,
                                  .absmax = known ? first_row(step.absmax) : nullptr,
                                  .dst = quantized(step.dst, step.fixed_scale, step.column_factor),
                                  .rows = work_.rows.size(),
                                  .columns = src.columns};
    call(*state_.kernels->quantize_rows, args);
  }

  void quantize_heads(const PlanStep& step) const {
    if (work_.parts > 1) return by_rows().quantize_heads(step);
    const QuantizeHeads::Args args{.src = first_row(step.src),
                                   .src_stride = slot(step.src).columns,
                                   .dst = quantized_heads(step.dst, work_.rows.begin),
                                   .rows = work_.rows.size(),
                                   .head_dim = step.source->head_dim};
    call(*state_.kernels->quantize_heads, args);
  }

  /// The fields that both linear ops share, for this thread's columns.
  template <class Args>
  void fill_linear(const PlanStep& step, const IndexRange& part, Args& args) const {
    using namespace engine::linear_tensor;
    const auto& tensors = step.source->tensors;
    args.bias = tensors[bias] == engine::kNone ? nullptr : data<float>(tensors[bias]) + part.begin;
    args.residual = step.src2 == kNoSlot ? nullptr : first_row(step.src2) + part.begin;
    args.residual_stride = slot(step.dst).columns;
    if (step.quantized != kNoSlot) {
      args.quantized = integers_of(step, work_.rows.begin, work_.rows.size(), part);
    } else {
      args.dst = first_row(step.dst) + part.begin;
      args.dst_stride = slot(step.dst).columns;
    }
    if (step.absmax != kNoSlot && !work_.column_mode) {
      args.absmax = first_row(step.absmax);
      std::fill_n(args.absmax, work_.rows.size(), 0.0f);
    }
    args.function = step.function;
    args.rows = work_.rows.size();
    args.columns = part.size();
    args.k = tensor(tensors[weight]).dims[1];
    if (work_.next_linear != nullptr) args.next_weight = my_weights(*work_.next_linear);
  }

  /// The panels of this thread's columns.
  const std::byte* my_weights(const PlanStep& step) const {
    const engine::TensorIndex weight = step.source->tensors[engine::linear_tensor::weight];
    const engine::TensorInfo& info = tensor(weight);
    const Index k = info.dims[1];
    const Index column_bytes = info.dtype == DType::i8     ? round_up<Index>(k, 4)
                               : info.dtype == DType::bf16 ? round_up<Index>(k, 2) * 2
                                                           : k * 4;
    return data<std::byte>(weight) + my_columns(step).begin * column_bytes;
  }

  /// Whole tiles of 64 columns where there are enough of them, else panels of 16.
  IndexRange my_columns(const PlanStep& step) const {
    const Index columns = slot(step.dst).columns;
    return share(columns, work_.part, work_.parts, columns >= 64 * work_.parts ? 64 : 16);
  }

  void linear_i8(const PlanStep& step) const {
    using namespace engine::linear_tensor;
    const IndexRange part = my_columns(step);
    if (part.size() == 0) return;
    const auto& tensors = step.source->tensors;
    const QuantizedRows src = quantized(step.src);
    LinearI8::Args args{};
    fill_linear(step, part, args);
    args.src = src.data;
    args.src_stride = src.stride;
    args.src_scale = src.scale;
    args.flip = src.flip;
    args.weight = reinterpret_cast<const std::int8_t*>(my_weights(step));
    args.weight_scale = data<float>(tensors[weight_scale]) + part.begin;
    args.weight_sum = data<std::int32_t>(tensors[weight_sum]) + part.begin;
    call(*state_.kernels->linear_i8, args);
  }

  void linear_f32(const PlanStep& step) const {
    using namespace engine::linear_tensor;
    const IndexRange part = my_columns(step);
    if (part.size() == 0) return;
    LinearF32::Args args{};
    fill_linear(step, part, args);
    args.src = first_row(step.src);
    args.src_stride = slot(step.src).columns;
    const std::byte* weights = my_weights(step);
    if (tensor(step.source->tensors[weight]).dtype == DType::bf16)
      args.weight_bf16 = reinterpret_cast<const std::uint16_t*>(weights);
    else
      args.weight = reinterpret_cast<const float*>(weights);
    call(*state_.kernels->linear_f32, args);
  }

  void layer_norm(const PlanStep& step) const {
    if (work_.parts > 1) return by_rows().layer_norm(step);
    using namespace engine::layer_norm_tensor;
    const Index hidden = slot(step.dst).columns;
    LayerNorm::Args args{.src = first_row(step.src),
                         .src_stride = hidden,
                         .weight = data<float>(step.source->tensors[weight]),
                         .bias = data<float>(step.source->tensors[bias]),
                         .dst = first_row(step.dst),
                         .dst_stride = hidden,
                         .quantized = {},
                         .rows = work_.rows.size(),
                         .hidden = hidden,
                         .epsilon = step.source->real};
    if (step.quantized != kNoSlot) {
      args.quantized = quantized(step.quantized, step.fixed_scale, step.column_factor);
    }
    call(*state_.kernels->layer_norm, args);
  }

  void attention(const PlanStep& step) const {
    using namespace engine::attention_tensor;
    const Index head_dim = step.source->head_dim;
    const Index width = step.source->heads * head_dim;
    const Index distances = engine::relative_distances(state_.engine->program, *step.source);
    const auto table = [&](std::size_t slot, Index table_row) {
      const engine::TensorIndex index = step.source->tensors[slot];
      return index == engine::kNone ? nullptr : data<float>(index) + table_row * distances;
    };
    for_queries(step, [&](const Queries& queries) {
      const Index column = queries.heads.begin * head_dim;
      const float* first_token_row = row(step.src, queries.first_token);
      const Attention::Args args{.query = row(step.src, queries.rows.begin) + column,
                                 .key = first_token_row + width + column,
                                 .value = first_token_row + 2 * width + column,
                                 .qkv_stride = 3 * width,
                                 .dst = row(step.dst, queries.dst) + column,
                                 .dst_stride = width,
                                 .queries = queries.rows.size(),
                                 .first_query = queries.rows.begin - queries.first_token,
                                 .tokens = queries.tokens,
                                 .heads = queries.heads.size(),
                                 .head_dim = head_dim,
                                 .scale = step.source->real,
                                 .causal = step.source->causal,
                                 .bias = table(bias, queries.heads.begin),
                                 .relative_key = table(relative_key, column),
                                 .relative_query = table(relative_query, column),
                                 .span = distances == 0 ? 0 : distances / 2 + 1};
      call(*state_.kernels->attention, args);
    });
  }

  void attention_i8(const PlanStep& step) const {
    const Index head_dim = step.source->head_dim;
    const Index width = step.source->heads * head_dim;
    for_queries(step, [&](const Queries& queries) {
      const QuantizedHeads qkv = quantized_heads(step.src, queries.first_token);
      AttentionI8::Args args{
          .qkv = qkv.data,
          .scale_qkv = qkv.scale,
          .heads_in_row = step.source->heads,
          .first_head = queries.heads.begin,
          .dst = nullptr,
          .dst_stride = width,
          .queries = queries.rows.size(),
          .first_query = queries.rows.begin - queries.first_token,
          .tokens = queries.tokens,
          .heads = queries.heads.size(),
          .head_dim = head_dim,
          .scale = step.source->real,
          .causal = step.source->causal};
      const IndexRange columns = {queries.heads.begin * head_dim, queries.heads.end * head_dim};
      if (step.quantized != kNoSlot)
        args.quantized = integers_of(step, queries.dst, queries.rows.size(), columns);
      else
        args.dst = row(step.dst, queries.dst) + columns.begin;
      call(*state_.kernels->attention_i8, args);
    });
  }

  /// This thread's part of the attention of one sequence.
  struct Queries {
    Index dst;  // the first row of the result
    IndexRange rows;
    IndexRange heads;
    Index first_token;  // the row of the sequence's first token
    Index tokens;
  };

  /// Calls body(queries) for every sequence that reaches into our rows; where rows are sequences,
  /// for the first token of each.
  template <class F>
  void for_queries(const PlanStep& step, F&& body) const {
    const IndexRange heads = share(step.source->heads, work_.part, work_.parts);
    if (heads.size() == 0 || work_.rows.size() == 0) return;
    const auto* offsets = state_.offsets.data();
    if (slot(step.dst).rows == Rows::sequences) {
      for (Index s = work_.rows.begin; s < work_.rows.end; ++s)
        body(Queries{.dst = s,
                     .rows = {offsets[s], offsets[s] + 1},
                     .heads = heads,
                     .first_token = offsets[s],
                     .tokens = offsets[s + 1] - offsets[s]});
      return;
    }
    const auto* sequence = std::upper_bound(offsets, offsets + state_.offsets.size(),
                                            static_cast<std::int32_t>(work_.rows.begin)) -
                           1;
    for (; *sequence < work_.rows.end; ++sequence) {
      const IndexRange rows = {std::max<Index>(sequence[0], work_.rows.begin),
                               std::min<Index>(sequence[1], work_.rows.end)};
      body(Queries{.dst = rows.begin,
                   .rows = rows,
                   .heads = heads,
                   .first_token = sequence[0],
                   .tokens = sequence[1] - sequence[0]});
    }
  }

  void activation(const PlanStep& step) const {
    if (work_.parts > 1) return by_rows().activation(step);
    const Activation::Args args{.src = first_row(step.src),
                                .dst = first_row(step.dst),
                                .function = step.function,
                                .elements = work_.rows.size() * slot(step.dst).columns};
    call(*state_.kernels->activation, args);
  }

  void add(const PlanStep& step) const {
    if (work_.parts > 1) return by_rows().add(step);
    const Add::Args args{.a = first_row(step.src),
                         .b = first_row(step.src2),
                         .dst = first_row(step.dst),
                         .elements = work_.rows.size() * slot(step.dst).columns};
    call(*state_.kernels->add, args);
  }

  void l2_normalize(const PlanStep& step) const {
    if (work_.parts > 1) return by_rows().l2_normalize(step);
    const L2Normalize::Args args{.src = first_row(step.src),
                                 .dst = first_row(step.dst),
                                 .rows = work_.rows.size(),
                                 .hidden = slot(step.dst).columns};
    call(*state_.kernels->l2_normalize, args);
  }

  void first_token(const PlanStep& step) const {
    if (work_.parts > 1) return by_rows().first_token(step);
    const auto bytes = static_cast<std::size_t>(slot(step.dst).row_bytes());
    for (Index s = work_.rows.begin; s < work_.rows.end; ++s) {
      std::memcpy(row(step.dst, s), row(step.src, state_.offsets[static_cast<std::size_t>(s)]),
                  bytes);
    }
  }

  void mean_pool(const PlanStep& step) const {
    if (work_.parts > 1) return by_rows().mean_pool(step);
    for (Index s = work_.rows.begin; s < work_.rows.end; ++s) {
      const Index begin = state_.offsets[static_cast<std::size_t>(s)];
      const Index end = state_.offsets[static_cast<std::size_t>(s) + 1];
      const MeanPool::Args args{.src = row(step.src, begin),
                                .dst = row(step.dst, s),
                                .rows = end - begin,
                                .hidden = slot(step.dst).columns};
      call(*state_.kernels->mean_pool, args);
    }
  }

  void columns(const PlanStep& step) const {
    if (work_.parts > 1) return by_rows().columns(step);
    const auto bytes = static_cast<std::size_t>(slot(step.dst).row_bytes());
    for (Index r = work_.rows.begin; r < work_.rows.end; ++r) {
      std::memcpy(row(step.dst, r), row(step.src, r) + step.source->first, bytes);
    }
  }

  template <class Op>
  void call(const Kernel<Op>& kernel, const typename Op::Args& args) const {
    ExecContext context{.scratch = work_.scratch};
    kernel.run(args, context);
  }

  const RunState& state_;
  Work work_;
};

/// Below this many rows for each thread, threads share columns instead: each weight is then read by
/// one of them, but they meet after every step, and what is taken from one delays both. Weights that
/// stay in a cache may be read by both (MiniLM, 16 tokens, Zen 4: 2 % less time, 6 % on a busy
/// machine), as long as there are rows for a tile.
Index few_rows(const RunState& state) {
  constexpr Index kCachedBytes = Index{16} << 20;
  if (state.plan->weight_bytes > kCachedBytes) return 24;
  return state.source_target == Target::amx ? 16 : 8;
}

struct Job {
  Team* team;
  RunState* state;
};

/// One member's walk through the plan.
class Member {
 public:
  Member(Team& team, RunState& state, int index)
      : team_(team),
        state_(state),
        index_(index),
        count_(team.size()),
        few_rows_(few_rows(state)) {}

  void run() {
    const auto& segments = state_.plan->segments;
    for (std::size_t g = 0; g < segments.size(); ++g) {
      const Segment& segment = segments[g];
      const Index rows = segment.rows == Rows::tokens ? state_.tokens : state_.sequences;
      const bool by_columns = count_ > 1 && rows < few_rows_ * count_ && rows <= kBlockRows;
      // Rows of other threads are needed, or threads owned other rows so far.
      const bool meets = g > 0 && (!segment.row_local || by_columns != was_by_columns_ ||
                                   segment.rows != segments[g - 1].rows);
      if (meets && !just_met_) meet();
      if (by_columns)
        run_by_columns(segment, rows);
      else
        run_by_rows(segment, rows);
      was_by_columns_ = by_columns;
    }
  }

 private:
  std::byte* block_of(int member) const { return state_.blocks + member * state_.block_bytes; }

  Work work_on(IndexRange rows) const {
    return {.rows = rows,
            .block_begin = rows.begin,
            .block = block_of(index_),
            .scratch = state_.scratch + index_ * state_.scratch_bytes};
  }

  void meet() {
    team_.barrier();
    just_met_ = true;
  }

  void run_by_rows(const Segment& segment, Index rows) {
    just_met_ = false;
    const IndexRange mine = share(rows, index_, count_);
    if (!segment.row_local) return run_steps(segment, work_on(mine), false);
    // Blocks of equal height: 130 rows are better 44 + 43 + 43 than 64 + 64 + 2.
    const auto blocks = static_cast<int>(div_up(mine.size(), kBlockRows));
    for (int b = 0; b < blocks; ++b) {
      const IndexRange block = share(mine.size(), b, blocks);
      run_steps(segment, work_on({mine.begin + block.begin, mine.begin + block.end}),
                b + 1 < blocks);
    }
  }

  void run_by_columns(const Segment& segment, Index rows) {
    Work work = work_on({0, rows});
    work.block = block_of(0);
    work.part = index_;
    work.parts = count_;
    work.column_mode = true;
    for (int i = segment.begin; i < segment.end; ++i) {
      work.next_linear = linear_after(i, segment, false);
      run_step(i, work);
      meet();
    }
  }

  /// again: the segment's steps follow once more, for other rows.
  void run_steps(const Segment& segment, Work work, bool again) {
    if (work.rows.size() == 0) return;
    for (int i = segment.begin; i < segment.end; ++i) {
      work.next_linear = linear_after(i, segment, again);
      run_step(i, work);
    }
  }

  const PlanStep& step_at(int i) const {
    return state_.plan->steps[static_cast<std::size_t>(i)];
  }

  const PlanStep* linear_after(int i, const Segment& segment, bool again) const {
    int next = step_at(i).next_linear;
    const PlanStep& first = step_at(segment.begin);
    const int first_linear = is_linear(first.kind) ? segment.begin : first.next_linear;
    if (again && (next < 0 || next >= segment.end) && first_linear < segment.end)
      next = first_linear;
    return next < 0 ? nullptr : &step_at(next);
  }

  void run_step(int i, const Work& work) {
    const PlanStep& step = step_at(i);
    if (index_ != 0 || state_.step_times.empty()) return Worker(state_, work).run(step);
    const auto start = std::chrono::steady_clock::now();
    Worker(state_, work).run(step);
    const auto time = std::chrono::steady_clock::now() - start;
    state_.step_times[static_cast<std::size_t>(i)] += time.count();
  }

  Team& team_;
  RunState& state_;
  int index_;
  int count_;
  Index few_rows_;
  bool was_by_columns_ = false;
  bool just_met_ = false;
};

void run_member(void* data, int member) noexcept {
  const auto* job = static_cast<Job*>(data);
  Member(*job->team, *job->state, member).run();
}

}  // namespace

void execute(Team& team, RunState& state) noexcept {
  Job job{&team, &state};
  team.run(&run_member, &job);
}

Index scratch_bytes(const engine::Program& program, Index longest) {
  std::size_t most = 0;
  for (const engine::Step& step : program.steps) {
    if (step.op == engine::OpKind::linear) {
      const auto weight = static_cast<std::size_t>(step.tensors[engine::linear_tensor::weight]);
      const engine::TensorInfo& matrix = program.tensors[weight];
      if (matrix.dtype == DType::bf16)
        most = std::max(most, LinearF32::scratch_bytes(matrix.dims[1]));
    }
    if (!engine::is_attention(step)) continue;
    most = std::max(most,
                    engine::is_int8_attention(step)
                        ? AttentionI8::scratch_bytes(longest, step.head_dim)
                        : Attention::scratch_bytes(longest, step.head_dim,
                                                   step.op == engine::OpKind::relative_attention));
  }
  return round_up<Index>(static_cast<Index>(most), 4096);
}

}  // namespace rtai::exec
