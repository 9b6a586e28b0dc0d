#include "tools/serve/batcher.h"

#include "libopt/lower/lower.h"
#include "tests/support/models.h"

#include <catch2/catch.hpp>

#include <algorithm>
#include <array>
#include <atomic>
#include <condition_variable>
#include <deque>
#include <mutex>
#include <thread>

using namespace rtai;
using namespace rtai::serve;

namespace {

constexpr int kLanes = 2;

tools::Predictor predictor_of(const std::shared_ptr<const engine::Engine>& engine, int threads) {
  return tools::Predictor::create(engine, {.threads = threads}).value();
}

/// Models of different numbers have different weights.
std::shared_ptr<const EngineSet> tiny_set(std::size_t model = 0, double seconds_per_token = 1e-9) {
  auto loaded = std::make_shared<LoadedEngine>();
  loaded->name = "tiny";
  loaded->engine = std::make_shared<const engine::Engine>(
      lower(testing::make_model({.seed = 1 + model})).value());
  loaded->whole = predictor_of(loaded->engine, kLanes);
  for (int lane = 0; lane < kLanes; ++lane)
    loaded->lanes.push_back(predictor_of(loaded->engine, 1));
  for (const std::size_t tokens : {8u, 64u})
    loaded->first_costs.add(tokens, seconds_per_token * static_cast<double>(tokens));
  auto set = std::make_shared<EngineSet>();
  set->model_name = model == 0 ? "first" : "second";
  set->model = model;
  set->engines.push_back(std::move(loaded));
  return set;
}

text::Encoding text_of(int number) {
  text::Encoding encoding;
  for (int i = 0; i < 3 + number % 7; ++i)
    encoding.ids.push_back((number * 13 + i * 5) % 100);
  encoding.segments.assign(encoding.ids.size(), 0);
  return encoding;
}

/// Takes results from the threads that compute.
class Results {
 public:
  explicit Results(std::size_t jobs) : results_(jobs), ends_(jobs) {}

  std::function<void(Job&, JobResult)> taker(std::size_t job) {
    return [this, job](Job&, JobResult result) {
      const std::lock_guard lock(mutex_);
      results_[job] = std::move(result);
      order_.push_back(job);
      ++ends_[job];
      ++ended_;
      wake_.notify_all();
    };
  }
  /// False if some job has not ended after a minute.
  bool wait() {
    std::unique_lock lock(mutex_);
    return wake_.wait_for(lock, std::chrono::minutes(1),
                          [this] { return ended_ >= results_.size(); });
  }
  const JobResult& operator[](std::size_t job) const { return results_[job]; }
  /// The place of a job among those that ended.
  std::ptrdiff_t place(std::size_t job) const {
    return std::ranges::find(order_, job) - order_.begin();
  }
  bool ended_once() const {
    return std::ranges::all_of(ends_, [](int ends) { return ends == 1; });
  }

 private:
  std::mutex mutex_;
  std::condition_variable wake_;
  std::vector<JobResult> results_;
  std::vector<int> ends_;
  std::vector<std::size_t> order_;
  std::size_t ended_ = 0;
};

Job job_of(const std::shared_ptr<const EngineSet>& set,
           int texts,
           Results& results,
           std::size_t i) {
  Job job{.set = set, .encodings = {}, .arrival = Clock::now(), .done = results.taker(i)};
  for (int text = 0; text < texts; ++text)
    job.encodings.push_back(text_of(static_cast<int>(i) + text));
  return job;
}

/// Work in a list.
class WorkList final : public EventLoop {
 public:
  void post(std::function<void()> work) {
    {
      const std::lock_guard lock(mutex_);
      list_.push_back(std::move(work));
    }
    come_.notify_one();
  }
  void serve(Clock::duration patience) override {
    std::unique_lock lock(mutex_);
    if (!come_.wait_for(lock, patience, [this] { return !list_.empty(); })) return;
    const std::function<void()> work = std::move(list_.front());
    list_.pop_front();
    lock.unlock();
    work();
  }
  void wake() noexcept override {
    post([] {});
  }
  void call_help() noexcept override { ++calls; }

  std::atomic<int> calls{0};

 private:
  std::mutex mutex_;
  std::condition_variable come_;
  std::deque<std::function<void()>> list_;
};

}  // namespace

TEST_CASE("where far more comes than can be answered a job waits no longer than one takes") {
  constexpr std::size_t kJobs = 130;
  const auto set = tiny_set(0, 1e-3);
  Metrics metrics;
  Results results(kJobs);
  Batcher batcher({.most_wait_s = 0.1}, kLanes, 1, metrics);  // not started: what waits stays
  std::size_t next = 0;
  const auto submit = [&](std::optional<Clock::time_point> deadline = {}) {
    Job job = job_of(set, 1, results, next++);
    job.deadline = deadline;
    return batcher.submit(std::move(job));
  };
  for (int i = 0; i < 8; ++i)
    CHECK_FALSE(submit());
  const double wait = batcher.load().expected_wait_s;
  REQUIRE(wait > 0.03);
  REQUIRE(wait < 0.08);
  CHECK_FALSE(batcher.refusal(*set));
  for (int i = 0; i < 110; ++i) {  // they come, though nobody can answer them in time
    const auto refused = submit(Clock::now());
    REQUIRE(refused);
    if (i < 10) CHECK(refused->reason == Refused::Reason::deadline);  // not yet too much
  }
  CHECK(batcher.refusal(*set).value().reason == Refused::Reason::queue);
  CHECK(submit().value().reason == Refused::Reason::queue);
  std::this_thread::sleep_for(std::chrono::milliseconds(600));
  CHECK_FALSE(batcher.refusal(*set));
  CHECK_FALSE(submit());
}

TEST_CASE("threads that compute serve a loop between batches, and take what was submitted there") {
  const auto set = tiny_set();
  constexpr std::size_t kJobs = 300;
  Metrics metrics;
  Results results(kJobs);
  WorkList loop;
  Batcher batcher({.most_tokens = 64, .most_texts = 100'000, .most_wait_s = 1e3}, kLanes, 1,
                  metrics);
  batcher.start(&loop);
  std::atomic<int> refused{0};
  for (std::size_t j = 0; j < kJobs; ++j) {
    loop.post([&, j] {
      if (batcher.submit(job_of(set, j % 50 == 0 ? 100 : 1, results, j))) ++refused;
    });
    if (j % 100 == 99) std::this_thread::sleep_for(std::chrono::milliseconds(20));  // all rest
  }
  CHECK(results.wait());
  CHECK(results.ended_once());
  CHECK(refused == 0);
  batcher.stop();
}

TEST_CASE("somebody else is called to the loop if all threads compute for long") {
  const double seconds_per_token = GENERATE(1e-9, 1.0);
  Metrics metrics;
  Results results(1);
  WorkList loop;
  Batcher batcher({.most_wait_s = 1e3}, 1, 1, metrics);
  batcher.start(&loop);
  CHECK_FALSE(batcher.is_busy());
  const auto set = tiny_set(0, seconds_per_token);
  loop.post([&] { batcher.submit(job_of(set, 1, results, 0)); });
  CHECK(results.wait());
  CHECK(loop.calls == (seconds_per_token == 1.0 ? 1 : 0));
  batcher.stop();
}

TEST_CASE("a request of many texts is answered by all lanes, in its order and as each text alone") {
  const auto set = tiny_set();
  constexpr int kTexts = 200;
  constexpr std::size_t kJobs = 20;
  Metrics metrics;
  Batcher batcher({.most_tokens = 64, .most_texts = 100'000, .most_wait_s = 1e3}, kLanes, 1,
                  metrics);
  batcher.start();
  Results results(kJobs);
  for (std::size_t j = 0; j < kJobs; ++j) {
    Job job{.set = set, .encodings = {}, .arrival = Clock::now(), .done = results.taker(j)};
    for (int i = 0; i < (j % 2 == 0 ? kTexts : 1); ++i)
      job.encodings.push_back(text_of(static_cast<int>(j) + i));
    REQUIRE_FALSE(batcher.submit(std::move(job)));
  }
  REQUIRE(results.wait());
  CHECK(results.ended_once());
  CHECK(batcher.load().texts == 0);
  CHECK(batcher.load().tokens == 0);
  tools::Predictor alone = predictor_of(set->first().engine, 1);
  for (std::size_t j = 0; j < kJobs; ++j) {
    REQUIRE(results[j].end == JobResult::End::done);
    for (std::size_t i = 0; i < results[j].outputs.size(); ++i) {
      const text::Encoding encoding = text_of(static_cast<int>(j + i));
      const Outputs expected = alone.run(std::span(&encoding, 1), silent_log()).value();
      CHECK(results[j].outputs[i].front().values == expected.front().front().values);
    }
  }
}

TEST_CASE("what one request did wrong ends it, with what of it waits; the others are answered") {
  const auto set = tiny_set();
  Metrics metrics;
  Batcher batcher({.most_tokens = 32, .most_texts = 100'000, .most_wait_s = 1e3}, kLanes, 1,
                  metrics);
  batcher.start();
  constexpr std::size_t kJobs = 12;
  Results results(kJobs);
  for (std::size_t j = 0; j < kJobs; ++j) {
    Job job{.set = set, .encodings = {}, .arrival = Clock::now(), .done = results.taker(j)};
    for (int i = 0; i < 50; ++i)
      job.encodings.push_back(text_of(i));
    if (j % 3 == 0) job.encodings[20].ids.front() = 1'000'000;  // no such word
    REQUIRE_FALSE(batcher.submit(std::move(job)));
  }
  REQUIRE(results.wait());
  CHECK(results.ended_once());
  for (std::size_t j = 0; j < kJobs; ++j)
    CHECK(results[j].end == (j % 3 == 0 ? JobResult::End::failed : JobResult::End::done));
  CHECK(batcher.load().texts == 0);
  CHECK(batcher.load().tokens == 0);
}

TEST_CASE("jobs that wait when the batcher stops end as stopped, each once") {
  const auto set = tiny_set();
  constexpr std::size_t kJobs = 40;
  Results results(kJobs);
  Metrics metrics;
  Batcher batcher({.most_tokens = 16, .most_texts = 1'000'000, .most_wait_s = 1e6}, kLanes, 1,
                  metrics);
  batcher.start();
  for (std::size_t j = 0; j < kJobs; ++j) {
    Job job{.set = set, .encodings = {}, .arrival = Clock::now(), .done = results.taker(j)};
    for (int i = 0; i < 500; ++i)
      job.encodings.push_back(text_of(i));
    REQUIRE_FALSE(batcher.submit(std::move(job)));
  }
  batcher.stop();
  REQUIRE(results.wait());
  CHECK(results.ended_once());
  CHECK(results[kJobs - 1].end == JobResult::End::stopped);
}

TEST_CASE("a job whose deadline passes while it waits ends as expired, also when part of it ran") {
  const auto set = tiny_set();
  Metrics metrics;
  Batcher batcher({.most_tokens = 16, .most_texts = 1'000'000, .most_wait_s = 1e6}, kLanes, 1,
                  metrics);
  batcher.start();
  Results results(3);
  for (std::size_t j = 0; j < 3; ++j) {
    const bool hurries = j > 0;
    Job job{.set = set, .encodings = {}, .arrival = Clock::now(), .done = results.taker(j)};
    for (int i = 0; i < (hurries ? 20'000 : 10); ++i)
      job.encodings.push_back(text_of(i));
    // A nanosecond a token is promised (tiny_set), more is taken.
    if (hurries) job.deadline = Clock::now() + std::chrono::milliseconds(20);
    REQUIRE_FALSE(batcher.submit(std::move(job)));
  }
  REQUIRE(results.wait());
  CHECK(results.ended_once());
  CHECK(results[0].end == JobResult::End::done);
  CHECK(results[2].end == JobResult::End::expired);
  CHECK(batcher.load().texts == 0);
  CHECK(batcher.load().tokens == 0);
}

TEST_CASE("models side by side: each job is answered by its own, as each text alone") {
  const std::array sets = {tiny_set(0), tiny_set(1)};
  Metrics metrics(sets.size());
  Batcher batcher({.most_tokens = 64, .most_texts = 100'000, .most_wait_s = 1e3}, kLanes,
                  sets.size(), metrics);
  batcher.start();
  constexpr std::size_t kJobs = 60;
  Results results(kJobs);
  for (std::size_t j = 0; j < kJobs; ++j)
    REQUIRE_FALSE(batcher.submit(job_of(sets[j % 2], j % 7 == 0 ? 90 : 1, results, j)));
  REQUIRE(results.wait());
  CHECK(results.ended_once());
  CHECK(batcher.load().texts == 0);
  CHECK(batcher.load().tokens == 0);
  std::array alone = {predictor_of(sets[0]->first().engine, 1),
                      predictor_of(sets[1]->first().engine, 1)};
  for (std::size_t j = 0; j < kJobs; ++j) {
    REQUIRE(results[j].end == JobResult::End::done);
    for (std::size_t i = 0; i < results[j].outputs.size(); ++i) {
      const text::Encoding encoding = text_of(static_cast<int>(j + i));
      const std::span<const text::Encoding> text(&encoding, 1);
      const auto values = alone[j % 2].run(text, silent_log()).value().front().front().values;
      const auto others = alone[1 - j % 2].run(text, silent_log()).value().front().front().values;
      CHECK(results[j].outputs[i].front().values == values);
      CHECK(values != others);
    }
  }
}

TEST_CASE("texts of a model run together though jobs of others are between them") {
  const std::array sets = {tiny_set(0), tiny_set(1)};
  Metrics metrics(sets.size());
  Batcher batcher({.most_tokens = 1'000'000, .most_texts = 1'000'000, .most_wait_s = 1e6}, kLanes,
                  sets.size(), metrics);
  batcher.start();
  constexpr std::size_t kSmall = 100;
  Results results(1 + kSmall);
  // All lanes are busy with this while the others come.
  REQUIRE_FALSE(batcher.submit(job_of(sets[0], 40'000, results, kSmall)));
  for (std::size_t j = 0; j < kSmall; ++j)
    REQUIRE_FALSE(batcher.submit(job_of(sets[j % 2], 1, results, j)));
  REQUIRE(results.wait());
  const std::string text = metrics.engine_text();
  const std::string name = "rtai_engine_batches_total{model=\"second\",engine=\"tiny\"} ";
  const std::size_t place = text.find(name);
  REQUIRE(place != std::string::npos);
  CHECK(std::stoul(text.substr(place + name.size())) < kSmall / 4);  // one each: half of them
}

TEST_CASE("no model has to wait until another has nothing more to do") {
  const std::array sets = {tiny_set(0), tiny_set(1)};
  Metrics metrics(sets.size());
  constexpr std::size_t kBatch = 64;
  Batcher batcher({.most_tokens = kBatch, .most_texts = 1'000'000, .most_wait_s = 1e6}, kLanes,
                  sets.size(), metrics);
  batcher.start();
  constexpr std::size_t kJobs = 3000, kOther = 500, kMany = kJobs;
  Results results(kJobs + 1);
  REQUIRE_FALSE(batcher.submit(job_of(sets[0], 20'000, results, kMany)));
  for (std::size_t j = 0; j < kJobs; ++j)
    REQUIRE_FALSE(batcher.submit(job_of(sets[j == kOther ? 1 : 0], 1, results, j)));
  REQUIRE(results.wait());
  CHECK(results.place(kOther) < results.place(kMany));
  CHECK(results.place(kOther) < results.place(kJobs - 1));
  // Of those before it, only what another lane was at may end later.
  std::size_t later = 0;
  for (std::size_t j = 0; j < kOther; ++j)
    later += results.place(j) > results.place(kOther) ? 1 : 0;
  CHECK(later <= (kLanes - 1) * kBatch);
}
