#include "tools/timing.h"

#include "tools/statistics.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <numeric>

namespace rtai::tools {
namespace {

/// Runs of one engine before the next has its turn, if they are short; turns that take long say
/// less, because the machine changes meanwhile. One more before them is not counted: the others had
/// the caches in between. The shortest stands for the turn.
constexpr int kMostRunsOfATurn = 4;
constexpr double kTurnMs = 20;
/// It need take no longer than this, and so much for each engine; of large models there are fewer
/// turns.
constexpr double kEnoughSeconds = 10;
constexpr double kEnoughSecondsEach = 1.5;
constexpr int kLeastTurns = 8;
/// Where lengths vary, turns meet at least so many batches.
constexpr int kLeastBatches = 16;
/// Relative error of comparable times that is good enough; until then, times as many runs as asked
/// for are made at most.
constexpr double kCertainty = 0.004;
constexpr int kMostPatience = 4;

}  // namespace

LatencySummary summarize(std::vector<double> samples) {
  std::sort(samples.begin(), samples.end());
  LatencySummary summary;
  summary.min = samples.front();
  summary.max = samples.back();
  summary.mean =
      std::accumulate(samples.begin(), samples.end(), 0.0) / static_cast<double>(samples.size());
  summary.p50 = percentile_of(samples, 0.50);
  summary.p90 = percentile_of(samples, 0.90);
  summary.p95 = percentile_of(samples, 0.95);
  summary.p99 = percentile_of(samples, 0.99);
  summary.p999 = percentile_of(samples, 0.999);
  double squares = 0;
  for (const double sample : samples)
    squares += (sample - summary.mean) * (sample - summary.mean);
  summary.stddev = std::sqrt(squares / static_cast<double>(samples.size()));
  for (double& sample : samples)
    sample = std::fabs(sample - summary.p50);
  summary.mad = median_of(std::move(samples));
  return summary;
}

Result<BenchSession> BenchSession::create(std::shared_ptr<const engine::Engine> engine,
                                          const Workload& workload,
                                          bool profile) {
  std::vector<WorkloadTokens> tokens;
  Index most_tokens = 0;
  for (const int first : batches_of(workload)) {
    RTAI_TRY(WorkloadTokens one, make_tokens(engine->program, workload, first));
    most_tokens = std::max(most_tokens, std::ssize(one.ids));
    tokens.push_back(std::move(one));
  }
  RTAI_TRY(Session session, Session::create(std::move(engine), {.threads = workload.threads,
                                                                .target = workload.target,
                                                                .max_tokens = most_tokens,
                                                                .max_sequences = workload.batch,
                                                                .profile = profile,
                                                                .gpu = workload.gpu}));
  BenchSession bench(std::move(session), std::move(tokens));
  RTAI_TRY(const Sample first, bench.run_once());
  bench.first_run_ms_ = first.ms;
  return bench;
}

Result<BenchSession::Sample> BenchSession::run_once() {
  const WorkloadTokens& tokens = batches_[next_];
  const Batch batch{.ids = tokens.ids,
                    .segments = tokens.segments,
                    .offsets = tokens.offsets,
                    .hidden = tokens.hidden};
  const auto start = std::chrono::steady_clock::now();
  RTAI_TRY_VOID(session_.run(batch));
  const std::chrono::duration<double, std::milli> time = std::chrono::steady_clock::now() - start;
  return Sample{time.count(), session_.device_ms()};
}

Result<void> BenchSession::measure(int count, bool keep) {
  for (int i = 0; i < count; ++i) {
    RTAI_TRY(const Sample sample, run_once());
    next_ = (next_ + 1) % batches_.size();
    last_ms_ = sample.ms;
    if (keep) this->keep(sample);
  }
  if (!keep) session_.take_profile();
  return {};
}

Result<double> BenchSession::measure_turn(int count) {
  RTAI_TRY_VOID(run_once());
  session_.take_profile();
  for (int i = 0; i < count; ++i) {
    RTAI_TRY(const Sample sample, run_once());
    keep(sample);
  }
  next_ = (next_ + 1) % batches_.size();
  return std::ranges::min(samples().last(static_cast<std::size_t>(count)));
}

void BenchSession::keep(const Sample& sample) {
  samples_.push_back(sample.ms);
  if (sample.device_ms > 0) device_samples_.push_back(sample.device_ms);
  total_ms_ += sample.ms;
}

void BenchSession::drop_first(int count) {
  samples_.erase(samples_.begin(), samples_.begin() + count);
  if (!device_samples_.empty())
    device_samples_.erase(device_samples_.begin(), device_samples_.begin() + count);
}

BenchRun BenchSession::finish() {
  BenchRun run;
  run.profile = session_.take_profile();
  run.latency = summarize(samples_);
  run.runs_per_s = 1e3 / run.latency.mean;
  run.samples = std::move(samples_);
  if (!device_samples_.empty()) run.device_latency = summarize(std::move(device_samples_));
  run.first_run_ms = first_run_ms_;
  run.threads = session_.threads();
  run.target = std::string(session_.target());
  for (const WorkloadTokens& tokens : batches_)
    run.tokens += static_cast<double>(tokens.ids.size()) / static_cast<double>(batches_.size());
  return run;
}

Result<std::vector<double>> time_tokenization(const text::Tokenizer& tokenizer,
                                              const Workload& workload,
                                              int warmup,
                                              int count) {
  const std::vector<Sample>& texts = *workload.texts;
  const std::vector<int> batches = batches_of(workload);
  std::vector<double> samples;
  for (int run = -warmup; run < count; ++run) {
    const int first = batches[static_cast<std::size_t>(run + warmup) % batches.size()];
    const auto start = std::chrono::steady_clock::now();
    for (int s = first; s < first + workload.batch; ++s)
      RTAI_TRY_VOID(encode(texts[static_cast<std::size_t>(s) % texts.size()], &tokenizer));
    const std::chrono::duration<double, std::milli> time = std::chrono::steady_clock::now() - start;
    if (run >= 0) samples.push_back(time.count());
  }
  return samples;
}

Result<std::vector<TurnTimes>> bench_in_turns(
    std::span<const std::shared_ptr<const engine::Engine>> engines,
    const Workload& workload,
    int iterations) {
  std::vector<BenchSession> sessions;
  double slowest_ms = 0;
  for (const auto& engine : engines) {
    RTAI_TRY(BenchSession session, BenchSession::create(engine, workload, false));
    RTAI_TRY_VOID(session.measure(2, false));
    slowest_ms = std::max(slowest_ms, session.last_ms());
    sessions.push_back(std::move(session));
  }
  const int runs = static_cast<int>(std::clamp<double>(kTurnMs / slowest_ms, 1, kMostRunsOfATurn));
  const std::chrono::duration<double> enough(
      kEnoughSeconds + kEnoughSecondsEach * static_cast<double>(sessions.size()));
  const auto start = std::chrono::steady_clock::now();
  const int least_turns =
      std::max(kLeastTurns, std::min(kLeastBatches, sessions.front().batches()));
  std::vector<std::vector<double>> turns(sessions.size());
  const auto is_enough = [&] {
    const int count = sessions.back().count();
    if (std::ssize(turns.back()) < least_turns) return false;
    return std::chrono::steady_clock::now() - start >= enough ||
           count >= kMostPatience * iterations ||
           (count >= iterations && separate_turns(turns).uncertainty <= kCertainty);
  };
  do {
    for (std::size_t i = 0; i < sessions.size(); ++i) {
      RTAI_TRY(const double shortest_ms, sessions[i].measure_turn(runs));
      turns[i].push_back(shortest_ms);
    }
  } while (!is_enough());
  const TurnLevels levels = separate_turns(turns);
  std::vector<TurnTimes> times;
  for (std::size_t i = 0; i < sessions.size(); ++i) {
    BenchRun run = sessions[i].finish();
    times.push_back(
        {.latency = run.latency, .samples = std::move(run.samples), .comparable_ms = levels.ms[i]});
  }
  return times;
}

Result<BenchRun> bench_engine(const std::shared_ptr<const engine::Engine>& engine,
                              const Workload& workload,
                              const BenchOptions& options) {
  RTAI_TRY(BenchSession bench, BenchSession::create(engine, workload, options.profile));
  RTAI_TRY_VOID(bench.measure(options.warmup, false));
  RTAI_TRY_VOID(bench.measure(options.iterations, true));
  while (bench.total_ms() < options.duration_s * 1e3)
    RTAI_TRY_VOID(bench.measure(10, true));
  return bench.finish();
}

}  // namespace rtai::tools
