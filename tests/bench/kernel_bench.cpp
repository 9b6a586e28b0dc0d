// Measures every kernel alone, on one thread, over shapes of models.
//
// usage: kernel_bench [part of a kernel's name]...   (all kernels if none is given)
//
// The time is the shortest of many runs: what the kernel can do when nothing disturbs it. Operands
// are warm unless the line says "streamed": then the weights of 85 MB of layers take turns.
#include "runtime/base/aligned_buffer.h"
#include "runtime/base/checked.h"
#include "runtime/kernels/attention.h"
#include "runtime/kernels/attention_i8.h"
#include "runtime/kernels/embedding.h"
#include "runtime/kernels/layer_norm.h"
#include "runtime/kernels/linear_f32.h"
#include "runtime/kernels/linear_i8.h"
#include "runtime/kernels/quantize_rows.h"
#include "runtime/kernels/rowwise.h"
#include "tests/bench/peak.h"
#include "tests/support/random.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <span>
#include <string>
#include <vector>

namespace rtai::test {
namespace {

constexpr std::chrono::milliseconds kTimePerLine{150};
constexpr int kFewestRuns = 5;

/// Shortest time of one call, in nanoseconds.
template <class F>
double shortest_run(F&& call) {
  using Clock = std::chrono::steady_clock;
  double best = 1e30;
  const auto end = Clock::now() + kTimePerLine;
  for (int runs = 0; runs < kFewestRuns || Clock::now() < end; ++runs) {
    const auto start = Clock::now();
    call();
    const std::chrono::duration<double, std::nano> time = Clock::now() - start;
    best = std::min(best, time.count());
  }
  return best;
}

/// Memory for operands of T, filled with random values.
template <class T>
class Operand {
 public:
  Operand(Index elements, Random& random, float low = -1.0f, float high = 1.0f)
      : buffer_(AlignedBuffer::make(static_cast<std::size_t>(elements) * sizeof(T)).value()) {
    for (Index i = 0; i < elements; ++i)
      data()[i] = static_cast<T>(random.real(low, high));
  }
  T* data() const { return reinterpret_cast<T*>(buffer_.data()); }

 private:
  AlignedBuffer buffer_;
};

class Bench {
 public:
  Bench(std::span<char*> filters, const Peak& peak)
      : filters_(filters.begin(), filters.end()), peak_(peak) {}

  /// Calls `measure(kernel)` for every kernel of Op that runs here and was asked for.
  template <class Op, class F>
  void for_kernels(F&& measure) const {
    for (const Kernel<Op>* kernel : implementations<Op>()) {
      if (is_available(kernel->target) && is_wanted(kernel->name)) measure(*kernel);
    }
  }

  void print(std::string_view name,
             std::string_view shape,
             double ns,
             double operations,
             double peak) const {
    const double rate = operations / ns;
    fmt::print("{:26} {:44} {:9.2f} us {:8.2f} Gop/s", name, shape, ns / 1000, rate);
    if (peak > 0) fmt::print(" {:5.1f} %", 100 * rate / peak);
    fmt::print("\n");
  }
  const Peak& peak() const { return peak_; }

 private:
  bool is_wanted(std::string_view name) const {
    return filters_.empty() || std::ranges::any_of(filters_, [name](const std::string& filter) {
             return name.find(filter) != std::string_view::npos;
           });
  }

  std::vector<std::string> filters_;
  Peak peak_;
};

struct LinearShape {
  Index rows;
  Index columns;
  Index k;
  Function function = Function::none;
  bool residual = false;
  bool streamed = false;

  std::string text() const {
    return fmt::format(
        "{} x {} x {}{}{}{}", rows, columns, k,
        function == Function::none ? "" : fmt::format(" {}", function_name(function)),
        residual ? " residual" : "", streamed ? " streamed" : "");
  }
  double operations() const { return 2.0 * static_cast<double>(rows * columns * k); }
};

constexpr Index kStreamedBytes = Index{85} << 20;

void bench_linear_i8(const Bench& bench, const LinearShape& s, Random& random) {
  const Index weight_bytes = round_up<Index>(s.columns, 16) * round_up<Index>(s.k, 4);
  const Index copies = s.streamed ? kStreamedBytes / weight_bytes : 1;
  const Index stride = round_up<Index>(s.k, 64);
  const Operand<std::uint8_t> src(s.rows * stride, random, 1.0f, 255.0f);
  const Operand<std::int8_t> weight(copies * weight_bytes + 1024, random, -127.0f, 127.0f);
  const Operand<float> scale(std::max(s.rows, s.columns), random, 1e-4f, 2e-4f);
  const Operand<float> bias(s.columns, random);
  const Operand<std::int32_t> sum(s.columns, random);
  const Operand<float> residual(s.rows * s.columns, random);
  const Operand<float> dst(s.rows * s.columns, random);
  const Operand<float> absmax(s.rows, random);
  bench.for_kernels<LinearI8>([&](const Kernel<LinearI8>& kernel) {
    LinearI8::Args args{.src = src.data(),
                        .src_stride = stride,
                        .src_scale = scale.data(),
                        .flip = source_flip(kernel.target),
                        .weight = weight.data(),
                        .weight_scale = scale.data(),
                        .bias = bias.data(),
                        .weight_sum = sum.data(),
                        .residual = s.residual ? residual.data() : nullptr,
                        .residual_stride = s.columns,
                        .dst = dst.data(),
                        .dst_stride = s.columns,
                        .absmax = s.function == Function::none ? nullptr : absmax.data(),
                        .function = s.function,
                        .rows = s.rows,
                        .columns = s.columns,
                        .k = s.k};
    if (kernel.target == Target::ref && s.operations() > 1e8) return;
    ExecContext context;
    Index copy = 0;
    const double ns = shortest_run([&] {
      args.weight = weight.data() + copy * weight_bytes;
      copy = copy + 1 == copies ? 0 : copy + 1;
      kernel.run(args, context);
    });
    bench.print(kernel.name, s.text(), ns, s.operations(), bench.peak().int8);
  });
}

/// is_narrow: weights of 16 bits.
void bench_linear_f32(const Bench& bench, const LinearShape& s, Random& random, bool is_narrow) {
  const Operand<float> src(s.rows * s.k, random);
  const Index weights =
      round_up<Index>(s.columns, 16) * (is_narrow ? round_up<Index>(s.k, 2) : s.k);
  const Index copies = s.streamed ? div_up<Index>(kStreamedBytes, weights * 4) : 1;
  const Operand<float> weight(copies * weights, random);
  std::vector<std::uint16_t> narrow;
  for (Index i = 0; is_narrow && i < copies * weights; ++i)
    narrow.push_back(f32_to_bf16(weight.data()[i]));
  const Operand<float> bias(s.columns, random);
  const Operand<float> dst(s.rows * s.columns, random);
  const auto scratch = AlignedBuffer::make(LinearF32::scratch_bytes(s.k)).value();
  bench.for_kernels<LinearF32>([&](const Kernel<LinearF32>& kernel) {
    LinearF32::Args args{.src = src.data(),
                         .src_stride = s.k,
                         .weight = weight.data(),
                         .bias = bias.data(),
                         .residual = nullptr,
                         .residual_stride = 0,
                         .dst = dst.data(),
                         .dst_stride = s.columns,
                         .absmax = nullptr,
                         .function = s.function,
                         .rows = s.rows,
                         .columns = s.columns,
                         .k = s.k};
    if (kernel.target == Target::ref && s.operations() > 1e8) return;
    ExecContext context{.scratch = scratch.data()};
    Index copy = 0;
    const double ns = shortest_run([&] {
      if (is_narrow)
        args.weight_bf16 = narrow.data() + copy * weights;
      else
        args.weight = weight.data() + copy * weights;
      copy = copy + 1 == copies ? 0 : copy + 1;
      kernel.run(args, context);
    });
    bench.print(kernel.name, s.text() + (is_narrow ? " bf16" : ""), ns, s.operations(),
                bench.peak().f32);
  });
}

void bench_attention(
    const Bench& bench, Index tokens, Index heads, Index head_dim, Random& random) {
  const Index width = heads * head_dim;
  const Operand<float> qkv(tokens * 3 * width, random);
  const Operand<float> dst(tokens * width, random);
  const auto scratch = AlignedBuffer::make(Attention::scratch_bytes(tokens, head_dim)).value();
  bench.for_kernels<Attention>([&](const Kernel<Attention>& kernel) {
    const Attention::Args args{.query = qkv.data(),
                               .key = qkv.data() + width,
                               .value = qkv.data() + 2 * width,
                               .qkv_stride = 3 * width,
                               .dst = dst.data(),
                               .dst_stride = width,
                               .queries = tokens,
                               .first_query = 0,
                               .tokens = tokens,
                               .heads = heads,
                               .head_dim = head_dim,
                               .scale = 1.0f / std::sqrt(static_cast<float>(head_dim)),
                               .causal = false};
    ExecContext context{.scratch = scratch.data()};
    const double ns = shortest_run([&] { kernel.run(args, context); });
    bench.print(kernel.name, fmt::format("{} tokens, {} heads x {}", tokens, heads, head_dim), ns,
                4.0 * static_cast<double>(tokens * tokens * width), bench.peak().f32);
  });
}

/// queries: the last ones; fewer than tokens when threads share a sequence.
void bench_attention_i8(
    const Bench& bench, Index queries, Index tokens, Index heads, Index head_dim, Random& random) {
  const Index width = heads * head_dim;
  const Operand<float> qkv(tokens * 3 * width, random);
  const Operand<std::int8_t> bytes(tokens * 3 * heads * padded_head(head_dim), random, -127.0f,
                                   127.0f);
  const Operand<float> scale(tokens * 3 * heads, random, 0.01f, 0.02f);
  const Operand<float> dst(tokens * width, random);
  const auto scratch = AlignedBuffer::make(AttentionI8::scratch_bytes(tokens, head_dim)).value();
  ExecContext context{.scratch = scratch.data()};
  const std::string shape =
      fmt::format("{} of {} tokens, {} heads x {}", queries, tokens, heads, head_dim);
  bench.for_kernels<QuantizeHeads>([&](const Kernel<QuantizeHeads>& kernel) {
    const QuantizeHeads::Args args{
        .src = qkv.data(),
        .src_stride = 3 * width,
        .dst = {.data = bytes.data(), .scale = scale.data(), .heads = 3 * heads},
        .rows = queries,
        .head_dim = head_dim};
    const double ns = shortest_run([&] { kernel.run(args, context); });
    bench.print(kernel.name, shape, ns, static_cast<double>(queries * 3 * width), 0);
  });
  bench.for_kernels<AttentionI8>([&](const Kernel<AttentionI8>& kernel) {
    const AttentionI8::Args args{.qkv = bytes.data(),
                                 .scale_qkv = scale.data(),
                                 .heads_in_row = heads,
                                 .first_head = 0,
                                 .dst = dst.data(),
                                 .dst_stride = width,
                                 .queries = queries,
                                 .first_query = tokens - queries,
                                 .tokens = tokens,
                                 .heads = heads,
                                 .head_dim = head_dim,
                                 .scale = 1.0f / std::sqrt(static_cast<float>(head_dim)),
                                 .causal = false};
    const double ns = shortest_run([&] { kernel.run(args, context); });
    bench.print(kernel.name, shape, ns, 4.0 * static_cast<double>(queries * tokens * width),
                bench.peak().int8);
  });
}

void bench_rows(const Bench& bench, Index rows, Index hidden, Random& random) {
  const Operand<float> src(rows * hidden, random, -3.0f, 3.0f);
  const Operand<float> dst(rows * hidden, random);
  const Operand<float> weight(hidden, random);
  const Operand<float> scale(rows, random);
  const Index stride = round_up<Index>(hidden, 64);
  const Operand<std::uint8_t> bytes(rows * stride, random);
  const Operand<std::int8_t> table(1000 * hidden, random, -127.0f, 127.0f);
  const Operand<float> table_scale(1000, random);
  const Operand<std::int32_t> ids(rows, random, 0.0f, 999.0f);
  const QuantizedRows quantized{
      .data = bytes.data(), .stride = stride, .scale = scale.data(), .flip = 0x80};
  const std::string shape = fmt::format("{} x {}", rows, hidden);
  const auto elements = static_cast<double>(rows * hidden);
  ExecContext context;
  const auto measure = [&]<class Op>(const typename Op::Args& args, std::string_view note) {
    bench.for_kernels<Op>([&](const Kernel<Op>& kernel) {
      const double ns = shortest_run([&] { kernel.run(args, context); });
      bench.print(kernel.name, shape + std::string(note), ns, elements, 0);
    });
  };
  measure.template operator()<QuantizeRows>({.src = src.data(),
                                             .src_stride = hidden,
                                             .absmax = nullptr,
                                             .dst = quantized,
                                             .rows = rows,
                                             .columns = hidden},
                                            "");
  LayerNorm::Args norm{.src = src.data(),
                       .src_stride = hidden,
                       .weight = weight.data(),
                       .bias = weight.data(),
                       .dst = dst.data(),
                       .dst_stride = hidden,
                       .quantized = quantized,
                       .rows = rows,
                       .hidden = hidden,
                       .epsilon = 1e-12f};
  measure.template operator()<LayerNorm>(norm, " quantized");
  for (const Function function : {Function::gelu, Function::gelu_tanh, Function::tanh}) {
    measure.template operator()<Activation>(
        {.src = src.data(), .dst = dst.data(), .function = function, .elements = rows * hidden},
        fmt::format(" {}", function_name(function)));
  }
  const LookupTable i8_table{.data = table.data(), .scale = table_scale.data()};
  measure.template operator()<Embedding>({.ids = ids.data(),
                                          .positions = ids.data(),
                                          .segments = ids.data(),
                                          .word = i8_table,
                                          .position = i8_table,
                                          .segment = i8_table,
                                          .dst = dst.data(),
                                          .tokens = rows,
                                          .hidden = hidden},
                                         " i8 tables");
  measure.template operator()<Add>(
      {.a = src.data(), .b = src.data(), .dst = dst.data(), .elements = rows * hidden}, "");
  measure.template operator()<MeanPool>(
      {.src = src.data(), .dst = dst.data(), .rows = rows, .hidden = hidden}, "");
  measure.template operator()<L2Normalize>(
      {.src = src.data(), .dst = dst.data(), .rows = rows, .hidden = hidden}, "");
}

void run(std::span<char*> filters) {
  const Peak peak = measure_peak();
  const Bench bench(filters, peak);
  Random random(1);
  fmt::print("{}; peak of one core in Gop/s: int8 {:.0f}, f32 {:.0f}, bf16 {:.0f}\n", cpu_name(),
             peak.int8, peak.f32, peak.bf16);
  for (const Index rows : {1, 8, 16, 32, 64, 128}) {
    bench_linear_i8(bench, {.rows = rows, .columns = 1152, .k = 384}, random);
    bench_linear_i8(bench, {.rows = rows, .columns = 1536, .k = 384, .function = Function::gelu},
                    random);
    bench_linear_i8(bench, {.rows = rows, .columns = 384, .k = 1536, .residual = true}, random);
    bench_linear_i8(bench, {.rows = rows, .columns = 2304, .k = 768}, random);
    bench_linear_i8(bench, {.rows = rows, .columns = 3072, .k = 768, .function = Function::gelu},
                    random);
    bench_linear_i8(bench, {.rows = rows, .columns = 768, .k = 3072, .residual = true}, random);
  }
  for (const Index rows : {1, 8, 16, 32, 64}) {
    for (const auto& [columns, k] : {std::pair{2304, 768}, {3072, 768}, {768, 3072}}) {
      bench_linear_i8(bench, {.rows = rows, .columns = columns, .k = k, .streamed = true}, random);
    }
  }
  for (const Index rows : {1, 16, 64, 128}) {
    for (const bool is_narrow : {false, true}) {
      const auto run = [&](const LinearShape& shape) {
        bench_linear_f32(bench, shape, random, is_narrow);
      };
      run({.rows = rows, .columns = 1152, .k = 384});
      run({.rows = rows, .columns = 768, .k = 3072});
      run({.rows = rows, .columns = 2304, .k = 768, .streamed = true});
      run({.rows = rows, .columns = 768, .k = 3072, .streamed = true});
    }
  }
  for (const Index tokens : {16, 32, 128, 384, 512}) {
    bench_attention(bench, tokens, 12, 32, random);
    bench_attention(bench, tokens, 12, 64, random);
    bench_attention_i8(bench, tokens / 2, tokens, 12, 32, random);
    bench_attention_i8(bench, tokens / 2, tokens, 12, 64, random);
  }
  bench_rows(bench, 64, 384, random);
  bench_rows(bench, 64, 768, random);
}

}  // namespace
}  // namespace rtai::test

int main(int argc, char** argv) {
  rtai::test::run(std::span(argv + 1, static_cast<std::size_t>(argc - 1)));
}
