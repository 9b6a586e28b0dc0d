#include "tools/machine.h"

#include "runtime/base/aligned_buffer.h"
#include "runtime/base/usable_cores.h"
#include "runtime/kernels/linear_f32.h"
#include "runtime/kernels/linear_i8.h"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <exception>
#include <functional>
#include <numeric>
#include <thread>
#include <vector>

namespace rtai::tools {
namespace {

/// Keeps the calling thread on the core that is number `t` of those it may use: two threads that
/// the system puts on one core would have the limits of one.
void stay_on_core(int t) {
  const std::vector<int> cores = allowed_cores();
  if (t < std::ssize(cores)) bind_to_core(::pthread_self(), cores[static_cast<std::size_t>(t)]);
}

/// Calls `work` on `threads` threads at once again and again for `time`; returns calls per second,
/// all threads together.
double calls_per_second_once(int threads,
                             const std::function<void(int)>& work,
                             std::chrono::milliseconds time) {
  std::vector<double> rates(static_cast<std::size_t>(threads));
  std::atomic<int> ready{0};
  std::atomic<int> expected{threads};
  const auto member = [&](int t) {
    stay_on_core(t);
    work(t);  // warm up
    ++ready;
    while (ready < expected)
      std::this_thread::yield();
    const auto start = std::chrono::steady_clock::now();
    std::chrono::duration<double> passed{};
    for (int calls = 1; passed < time; ++calls) {
      work(t);
      passed = std::chrono::steady_clock::now() - start;
      rates[static_cast<std::size_t>(t)] = calls / passed.count();
    }
  };
  {
    std::vector<std::jthread> team;
    try {
      for (int t = 0; t < threads; ++t)
        team.emplace_back(member, t);
    } catch (const std::exception&) {  // no more threads: what there is gets measured
      expected = static_cast<int>(team.size());
    }
  }
  return std::accumulate(rates.begin(), rates.end(), 0.0);
}

/// The best of several times: a limit is what there is while nothing else runs.
double calls_per_second(int threads, const std::function<void(int)>& work) {
  constexpr std::chrono::milliseconds kTime(25);
  double best = 0;
  for (int i = 0; i < 6; ++i)
    best = std::max(best, calls_per_second_once(threads, work, kTime));
  return best;
}

// A product that fits into the caches and keeps the multipliers busy: the peak of our own best
// kernel is the limit that matters, and needs no code for instruction sets outside runtime/cpu.
// Deep, so that little of the time goes into what is done with the sums; and no power of two, so
// that panels do not compete for the same places of L1.
constexpr Index kRows = 48;
constexpr Index kColumns = 64;
constexpr Index kDepth = 1088;
constexpr double kOperations = 2.0 * kRows * kColumns * kDepth;

struct Scratch {
  std::vector<std::uint8_t> src = std::vector<std::uint8_t>(kRows * kDepth + 64);
  AlignedBuffer weight = AlignedBuffer::make(kColumns * kDepth * 4 + 2048).value();
  std::vector<float> ones = std::vector<float>(std::max(kRows, kColumns), 1.0f);
  std::vector<std::int32_t> zeros = std::vector<std::int32_t>(kColumns);
  std::vector<float> dst = std::vector<float>(kRows * kColumns);
  std::vector<float> floats = std::vector<float>(kRows * kDepth);
};

}  // namespace

Peaks measure_peaks(int threads) {
  const Result<Target> target = select_target();
  Peaks peaks;
  std::vector<Scratch> scratch(static_cast<std::size_t>(threads));
  const Kernel<LinearI8>& i8 = select_kernel<LinearI8>(*target);
  peaks.int8_gops = 1e-9 * kOperations * calls_per_second(threads, [&](int t) {
                      Scratch& s = scratch[static_cast<std::size_t>(t)];
                      ExecContext context{};
                      i8.run({.src = s.src.data(),
                              .src_stride = kDepth,
                              .src_scale = s.ones.data(),
                              .flip = source_flip(i8.target),
                              .weight = reinterpret_cast<const std::int8_t*>(s.weight.data()),
                              .weight_scale = s.ones.data(),
                              .bias = nullptr,
                              .weight_sum = s.zeros.data(),
                              .residual = nullptr,
                              .residual_stride = 0,
                              .dst = s.dst.data(),
                              .dst_stride = kColumns,
                              .absmax = nullptr,
                              .function = Function::none,
                              .rows = kRows,
                              .columns = kColumns,
                              .k = kDepth},
                             context);
                    });
  const Kernel<LinearF32>& f32 = select_kernel<LinearF32>(*target);
  peaks.f32_gflops = 1e-9 * kOperations * calls_per_second(threads, [&](int t) {
                       Scratch& s = scratch[static_cast<std::size_t>(t)];
                       ExecContext context{};
                       f32.run({.src = s.floats.data(),
                                .src_stride = kDepth,
                                .weight = reinterpret_cast<const float*>(s.weight.data()),
                                .bias = nullptr,
                                .residual = nullptr,
                                .residual_stride = 0,
                                .dst = s.dst.data(),
                                .dst_stride = kColumns,
                                .absmax = nullptr,
                                .function = Function::none,
                                .rows = kRows,
                                .columns = kColumns,
                                .k = kDepth},
                               context);
                     });
  constexpr std::size_t kSetBytes = std::size_t{192} << 20;
  constexpr std::size_t kWordsAhead = 512;  // beyond the set, too: fetching cannot fault
  if (const Result<AlignedBuffer> set = AlignedBuffer::make(kSetBytes)) {
    std::fill_n(set->data(), kSetBytes, std::byte{1});
    const std::size_t part = kSetBytes / static_cast<std::size_t>(threads);
    std::vector<std::uint64_t> sums(static_cast<std::size_t>(threads));
    peaks.read_gb_per_s = 1e-9 * static_cast<double>(part) * calls_per_second(threads, [&](int t) {
                            const auto* words = reinterpret_cast<const std::uint64_t*>(
                                set->data() + static_cast<std::size_t>(t) * part);
                            std::uint64_t sum = 0;
                            for (std::size_t line = 0; line < part / 8; line += 8) {
                              __builtin_prefetch(words + line + kWordsAhead);
                              for (std::size_t i = 0; i < 8; ++i)
                                sum += words[line + i];
                            }
                            sums[static_cast<std::size_t>(t)] += sum;
                          });
  }
  return peaks;
}

double percent_of_peak(const StepProfile& step, const Peaks& peaks) {
  if (step.seconds <= 0 || (step.operations <= 0 && step.bytes <= 0)) return 0;
  const double peak = step.dtype == DType::i8 ? peaks.int8_gops : peaks.f32_gflops;
  const double compute = peak > 0 ? step.operations / (peak * 1e9) : 0;
  const double read = peaks.read_gb_per_s > 0 ? step.bytes / (peaks.read_gb_per_s * 1e9) : 0;
  return 100 * std::max(compute, read) / step.seconds;
}

Json machine_json(const BenchRun& run, const Workload& workload) {
  return {{"cpu", cpu_name()},
          {"target", run.target},
          {"threads", run.threads},
          {"gpu", workload.gpu ? Json(run.target) : Json(nullptr)}};
}

}  // namespace rtai::tools
