#include "tools/bench.h"

#include "tools/model.h"

#include <fmt/format.h>
#include <sys/resource.h>

#include <algorithm>
#include <chrono>
#include <numeric>

namespace rtai::tools {
namespace {

constexpr int kRunsOfARound = 5;

double ms_since(std::chrono::steady_clock::time_point start) {
  return std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - start)
      .count();
}

/// One model under measurement.
struct Contestant {
  Streams session;
  double create_ms = 0;
  std::vector<double> rounds = {};  // ms, the median of each round
};

/// Rounds of the same number of runs for everyone.
class Rounds {
 public:
  Rounds(std::vector<Contestant> contestants, const BenchOptions& options, Log& log)
      : contestants_(std::move(contestants)), options_(options), log_(log) {}

  Result<void> measure() {
    while (!is_enough()) {
      RTAI_TRY_VOID(one_round());
      show_progress(1.0);
    }
    const std::size_t enough = sizes_.size();
    const std::size_t most = 3 * enough;
    while (!are_stable() && sizes_.size() < most) {
      for (std::size_t i = 0; i < std::max<std::size_t>(1, enough / 3); ++i)
        RTAI_TRY_VOID(one_round());
      show_progress(static_cast<double>(most) / static_cast<double>(enough));
    }
    log_.progress("measuring", 0, 0);
    drop_first(sizes_.size() - enough);
    return {};
  }

  std::vector<Contestant>& contestants() { return contestants_; }
  int discarded() const { return discarded_; }

 private:
  bool is_enough() const {
    const auto total = [](double sum, const Contestant& c) { return sum + c.session.total_ms(); };
    const double ms = std::accumulate(contestants_.begin(), contestants_.end(), 0.0, total);
    return contestants_.front().session.count() >= options_.iterations &&
           ms >= options_.duration_s * 1e3 * static_cast<double>(contestants_.size());
  }

  /// Everyone once; another one begins each time.
  Result<void> one_round() {
    const int left = options_.iterations - contestants_.front().session.count();
    const int runs = left > 0 ? std::min(left, kRunsOfARound) : kRunsOfARound;
    for (std::size_t i = 0; i < contestants_.size(); ++i) {
      Contestant& contestant = contestants_[(i + sizes_.size()) % contestants_.size()];
      RTAI_TRY_VOID(contestant.session.measure(runs, true));
      contestant.rounds.push_back(median_of(contestant.session.last(runs)));
    }
    sizes_.push_back(runs);
    return {};
  }

  /// Too few samples to tell are no reason to go on.
  bool are_stable() const {
    return std::ranges::all_of(contestants_, [&](const Contestant& c) {
      return judge_stability(c.session.samples()).is_stable.value_or(true);
    });
  }

  void drop_first(std::size_t rounds) {
    discarded_ =
        std::accumulate(sizes_.begin(), sizes_.begin() + static_cast<std::ptrdiff_t>(rounds), 0);
    for (Contestant& contestant : contestants_) {
      contestant.session.drop_first(discarded_);
      contestant.rounds.erase(contestant.rounds.begin(),
                              contestant.rounds.begin() + static_cast<std::ptrdiff_t>(rounds));
    }
  }

  void show_progress(double total) {
    const double runs =
        static_cast<double>(contestants_.front().session.count()) / options_.iterations;
    log_.progress("measuring", std::min(runs, total), total);
  }

  std::vector<Contestant> contestants_;
  const BenchOptions& options_;
  Log& log_;
  std::vector<int> sizes_;  // runs of each round
  int discarded_ = 0;
};

std::uint64_t peak_rss_bytes() {
  rusage usage{};
  ::getrusage(RUSAGE_SELF, &usage);
  return static_cast<std::uint64_t>(usage.ru_maxrss) * 1024;
}

}  // namespace

Result<LoadedModel> load_for_bench(const std::string& name, EngineMemory memory, Log& log) {
  const auto start = std::chrono::steady_clock::now();
  RTAI_TRY(Model model, load_model(name, log, memory));
  RTAI_TRY(auto engine, make_engine(model));
  return LoadedModel{.name = name,
                     .dtype = model.dtype(),
                     .bytes = engine->file_bytes != 0 ? engine->file_bytes : model.bytes,
                     .load_ms = ms_since(start),
                     .engine = std::move(engine),
                     .tokenizer = std::move(model.tokenizer)};
}

Result<std::vector<BenchResult>> bench_models(const std::vector<LoadedModel>& models,
                                              const Workload& workload,
                                              const BenchOptions& options,
                                              Log& log) {
  std::vector<Contestant> contestants;
  for (const LoadedModel& model : models) {
    const auto start = std::chrono::steady_clock::now();
    RTAI_TRY(Streams session,
             Streams::create(model.engine, workload, options.profile).in(model.name));
    const double create_ms = ms_since(start) - session.first_runs_ms();
    RTAI_TRY_VOID(session.measure(options.warmup, false));
    contestants.push_back({.session = std::move(session), .create_ms = create_ms});
  }
  Rounds rounds(std::move(contestants), options, log);
  RTAI_TRY_VOID(rounds.measure());

  const std::string text = workload_text(workload);
  std::vector<BenchResult> results;
  for (std::size_t i = 0; i < models.size(); ++i) {
    Contestant& contestant = rounds.contestants()[i];
    BenchResult result;
    result.model = models[i].name;
    result.dtype = models[i].dtype;
    result.bytes = models[i].bytes;
    result.load_ms = models[i].load_ms + contestant.create_ms;
    result.workload = workload;
    result.workload_text = text;
    result.run = contestant.session.finish();
    result.stability = judge_stability(result.run.samples);
    result.discarded = rounds.discarded() * workload.streams;
    result.peak_rss_bytes = peak_rss_bytes();
    if (workload.texts && models[i].tokenizer) {
      RTAI_TRY(std::vector<double> samples,
               time_tokenization(*models[i].tokenizer, workload, options.warmup,
                                 static_cast<int>(result.run.samples.size()))
                   .in(models[i].name));
      result.tokenization = summarize(std::move(samples));
    }
    if (i > 0)
      result.against_first =
          compare_rounds(rounds.contestants()[0].rounds, contestant.rounds, workload.seed);
    results.push_back(std::move(result));
  }
  return results;
}

}  // namespace rtai::tools
