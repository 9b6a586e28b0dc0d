// The queue and the threads that compute: what waits is run together, as much as fits one batch.
#pragma once

#include "tools/serve/chooser.h"
#include "tools/serve/engines.h"
#include "tools/serve/event_loop.h"
#include "tools/serve/http_message.h"
#include "tools/serve/metrics.h"
#include "tools/serve/tensors.h"

#include <condition_variable>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <thread>
#include <vector>

namespace rtai::serve {

struct BatchOptions {
  std::size_t most_tokens = 1024;  // of a batch, unless one text alone is longer
  std::size_t most_texts = 1024;   // in the queue
  double most_wait_s = 0.1;        // expected: what would wait longer is refused
  double promise_s = 0;            // latency to keep by choosing among engines; 0: none
};

/// How a job ended.
struct JobResult {
  enum class End : std::uint8_t { done, expired, failed, no_memory, stopped };
  End end = End::failed;
  std::size_t engine = 0;  // of the set
  Outputs outputs = {};
  double queue_s = 0;  // until its first text began
};

/// The texts of one request.
struct Job {
  std::shared_ptr<const EngineSet> set;  // shared with other requests and the batcher
  std::vector<text::Encoding> encodings;
  std::optional<std::size_t> engine = {};  // asked for by the client
  Clock::time_point arrival;
  std::optional<Clock::time_point> deadline = {};
  /// Called once, on a computing thread: it should only hand the result on.
  std::function<void(Job&, JobResult)> done = {};
};

/// Why a job was not taken, and when it may be tried again.
struct Refused {
  enum class Reason : std::uint8_t { queue, deadline } reason{};
  double wait_s = 0;
};

/// Jobs are served in order of arrival, whatever their model; one with more texts than a batch
/// holds takes turns with the others, and a batch takes later jobs of its model along. Work begins
/// as soon as there is any and waits for nothing. Where requests come one at a time each has all
/// threads; else lanes share what waits, each with threads and batches of its own. Lanes do not
/// wait for each other: what else the machine does stops one of them, not all. Answers do not
/// depend on what else is in a batch. Where memory runs out the job that needed it ends, the others
/// and the threads go on.
class Batcher {
 public:
  /// `lanes`: as every engine has them. `models`: how many there are sets of.
  Batcher(const BatchOptions& options, std::size_t lanes, std::size_t models, Metrics& metrics);
  ~Batcher();

  /// Starts the threads, once. Between batches they serve `loop`, which outlives stop(), and jobs
  /// are submitted by whoever serves it; without one they sleep.
  void start(EventLoop* loop = nullptr);

  /// Why a job for these engines would not be taken now, whatever it is: known before anyone has
  /// read it. It has come, whether it is taken or not.
  std::optional<Refused> refusal(const EngineSet& set);

  /// Queues a job. From any thread.
  std::optional<Refused> submit(Job job);

  /// Ends the threads after the batches they are at; jobs that wait end as `stopped`.
  void stop();

  /// The engine of a model's set that new work would go to.
  std::size_t current_engine(std::size_t model) const;

  /// No thread is between batches.
  bool is_busy() const;
  /// False when a computing thread has not been seen for longer than its work explains.
  bool is_alive(Clock::time_point now) const;
  /// Seconds for which one of them has not been seen.
  double silent_s(Clock::time_point now) const;

  struct Load {
    std::size_t texts = 0;
    std::size_t tokens = 0;
    double expected_wait_s = 0;
  };
  Load load() const;

 private:
  struct Waiting;
  struct Piece;
  struct Batch;
  struct Turn;

  /// What is known of a model: how long its engines take, how much comes, how much waits.
  struct ModelState {
    std::uint64_t generation = 0;               // of the set that costs and chooser are of
    std::vector<CostModel> costs;               // by engine, as if all threads ran each batch
    std::optional<EngineChooser> chooser = {};  // none until a job came
    std::size_t queued_tokens = 0;
    double tokens_of_job = 0;  // the mean of recent ones

    void meet(const EngineSet& set, double promise_s);
    double seconds(std::size_t tokens) const;
    double load(Clock::time_point now) const;
  };

  /// A thread that computes.
  struct Lane {
    bool is_running = false;
    Clock::time_point seen;           // when it was last between batches
    Clock::time_point running_until;  // when the batch that runs should end
    std::thread thread;
  };

  void work(std::size_t lane);
  void wait_for_work(std::unique_lock<std::mutex>& lock);
  void tell_about_work();
  bool take_turn(std::size_t lane, Turn& turn);
  bool may_begin() const { return !queue_.empty() && !whole_runs_; }
  std::size_t resting_lanes() const;
  double expected_wait_s(Clock::time_point now) const;
  double load_memory_s() const;
  double offered_load(Clock::time_point now) const;
  void arrived(ModelState& model, std::size_t tokens, Clock::time_point now);
  double most_wait_s(const ModelState& model, Clock::time_point now) const;
  void take_expired(std::vector<std::shared_ptr<Waiting>>& expired, Clock::time_point now);
  std::size_t take_texts(Clock::time_point now,
                         std::size_t chosen,
                         std::size_t budget,
                         Batch& batch);
  void take_batch(Clock::time_point now, std::size_t lane, Batch& batch);
  void run_batch(std::size_t lane, Batch& batch);
  void run_pieces(std::size_t lane, Batch& batch);
  void learn(const Batch& batch, std::size_t tokens, double seconds);
  ModelState& state_of(const EngineSet& set);
  std::size_t queued_tokens() const;
  std::size_t choose_engine(ModelState& model, Clock::time_point now);
  std::size_t batch_tokens(const CostModel& cost) const;
  std::size_t few_tokens(const CostModel& cost) const;
  void give_up(Waiting& waiting, JobResult::End end);
  void finish(const std::shared_ptr<Waiting>& waiting, JobResult::End end);
  void hand_back(Waiting& waiting) noexcept;

  BatchOptions options_;
  Metrics& metrics_;
  EventLoop* loop_ = nullptr;
  mutable std::mutex mutex_;
  std::condition_variable wake_;
  std::deque<std::shared_ptr<Waiting>> queue_;  // shared with the batches that have texts of theirs
  std::size_t queued_texts_ = 0;
  std::vector<ModelState> models_;
  double recent_work_s_ = 0;  // that came, decayed to last_arrival_
  Clock::time_point last_arrival_{};
  double meetings_ = 0;  // share of recent jobs that came while others were here
  bool stopping_ = false;
  bool whole_runs_ = false;  // one text has all threads
  std::vector<Lane> lanes_;
};

}  // namespace rtai::serve
