#include "tools/serve/batcher.h"

#include <pthread.h>

#include <algorithm>
#include <new>

namespace rtai::serve {
namespace {

constexpr auto kHeartbeat = std::chrono::milliseconds(250);
constexpr double kSilenceAllowedSeconds = 1.5;

Clock::duration seconds(double value) {
  return std::chrono::duration_cast<Clock::duration>(std::chrono::duration<double>(value));
}

}  // namespace

/// A job in the queue, or with some of its texts in the batch that runs.
struct Batcher::Waiting {
  Job job;
  JobResult result;
  std::size_t next = 0;  // text to run
  bool begun = false;
};

/// Texts [begin, end) of a job.
struct Batcher::Piece {
  std::unique_ptr<Waiting> waiting;
  std::size_t begin = 0;
  std::size_t end = 0;

  std::size_t tokens() const {
    std::size_t sum = 0;
    for (std::size_t i = begin; i < end; ++i)
      sum += waiting->job.encodings[i].ids.size();
    return sum;
  }
};

Batcher::Batcher(const BatchOptions& options, Metrics& metrics)
    : options_(options), metrics_(metrics), seen_(Clock::now()), thread_([this] { work(); }) {}

Batcher::~Batcher() {
  stop();
}

void Batcher::stop() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  wake_.notify_all();
  if (thread_.joinable()) thread_.join();
}

/// What is known about the engines of a newer set begins with what trying them showed.
std::vector<CostModel>& Batcher::costs_of(const EngineSet& set) {
  if (!chooser_ || set.generation > generation_) {
    std::vector<CostModel> costs;  // all is made before any of it counts: memory may run out
    for (const auto& engine : set.engines)
      costs.push_back(engine->first_costs);
    chooser_ = std::make_unique<EngineChooser>(costs.size(), options_.promise_s);
    costs_ = std::move(costs);
    generation_ = set.generation;
  }
  return costs_;
}

double Batcher::expected_wait_s(Clock::time_point now) const {
  double wait = running_ ? std::max(0.0, seconds_between(now, running_until_)) : 0;
  if (queued_tokens_ > 0 && chooser_) wait += costs_[chooser_->current()].seconds(queued_tokens_);
  return wait;
}

std::optional<Refused> Batcher::submit(Job job) {
  const Clock::time_point now = Clock::now();
  std::size_t tokens = 0;
  for (const text::Encoding& encoding : job.encodings)
    tokens += encoding.ids.size();
  {
    const std::lock_guard lock(mutex_);
    costs_of(*job.set);
    chooser_->arrived(now, tokens);
    const double wait = expected_wait_s(now);
    const bool is_full =
        queued_texts_ > 0 && queued_texts_ + job.encodings.size() > options_.most_texts;
    if (is_full || wait > options_.most_wait_s) return Refused{Refused::Reason::queue, wait};
    if (job.deadline) {
      const double own = costs_[chooser_->current()].seconds(tokens);
      if (now + seconds(wait + (queue_.empty() ? 0 : own)) > *job.deadline)
        return Refused{Refused::Reason::deadline, wait};
    }
    auto waiting = std::make_unique<Waiting>();
    waiting->job = std::move(job);
    waiting->result.outputs.resize(waiting->job.encodings.size());
    queue_.push_back(std::move(waiting));
    queued_texts_ += queue_.back()->job.encodings.size();
    queued_tokens_ += tokens;
  }
  wake_.notify_one();
  return std::nullopt;
}

std::size_t Batcher::current_engine() const {
  const std::lock_guard lock(mutex_);
  return chooser_ ? chooser_->current() : 0;
}

double Batcher::silent_s(Clock::time_point now) const {
  const std::lock_guard lock(mutex_);
  if (running_) {
    // A batch may take several times what is expected of it before anyone worries.
    const double expected = std::max(0.0, seconds_between(seen_, running_until_));
    return std::max(0.0, seconds_between(seen_, now) - 4 * expected);
  }
  return seconds_between(seen_, now);
}

bool Batcher::is_alive(Clock::time_point now) const {
  return silent_s(now) < kSilenceAllowedSeconds;
}

Batcher::Load Batcher::load() const {
  const std::lock_guard lock(mutex_);
  return {queued_texts_, queued_tokens_, expected_wait_s(Clock::now())};
}

/// Moves jobs whose deadline has passed out of the queue.
void Batcher::take_expired(std::vector<std::unique_ptr<Waiting>>& expired, Clock::time_point now) {
  const auto is_late = [now](const std::unique_ptr<Waiting>& waiting) {
    return waiting->job.deadline && *waiting->job.deadline < now;
  };
  expired.reserve(static_cast<std::size_t>(std::ranges::count_if(queue_, is_late)));
  for (auto& waiting : queue_) {
    if (!is_late(waiting)) continue;
    for (std::size_t i = waiting->next; i < waiting->job.encodings.size(); ++i) {
      --queued_texts_;
      queued_tokens_ -= waiting->job.encodings[i].ids.size();
    }
    expired.push_back(std::move(waiting));
  }
  std::erase(queue_, nullptr);
}

std::size_t Batcher::batch_tokens(const CostModel& cost) const {
  if (options_.promise_s <= 0 || cost.slope() <= 0) return options_.most_tokens;
  // Long batches make those who come next wait: a quarter of the promise at most.
  const double room = std::max(0.0, options_.promise_s / 4 - cost.overhead()) / cost.slope();
  return std::clamp(static_cast<std::size_t>(room), std::size_t{1}, options_.most_tokens);
}

/// The front of the queue, as far as it has the same engine and fits. Memory can run out only
/// before anything was taken.
void Batcher::take_batch(Clock::time_point now, std::vector<Piece>& batch) {
  batch.reserve(queue_.size());
  const EngineSet& set = *queue_.front()->job.set;
  std::vector<CostModel>& costs = costs_of(set);
  std::size_t chosen = 0;
  if (set.generation == generation_) {
    const std::size_t before = chooser_->current();
    chosen = chooser_->choose(now, seconds_between(queue_.front()->job.arrival, now),
                              queued_tokens_, costs);
    if (chosen != before) ++metrics_.engine_shifts;
  }
  const auto engine_for = [chosen](const Waiting& waiting) {
    return waiting.begun ? waiting.result.engine : waiting.job.engine.value_or(chosen);
  };
  const std::size_t engine = engine_for(*queue_.front());
  const std::size_t budget = batch_tokens(costs[std::min(engine, costs.size() - 1)]);

  std::size_t tokens = 0;
  while (!queue_.empty() && queue_.front()->job.set.get() == &set &&
         engine_for(*queue_.front()) == engine) {
    std::unique_ptr<Waiting>& front = queue_.front();
    Piece piece{.waiting = nullptr, .begin = front->next, .end = front->next};
    const auto& encodings = front->job.encodings;
    while (piece.end < encodings.size() &&
           (tokens == 0 || tokens + encodings[piece.end].ids.size() <= budget)) {
      tokens += encodings[piece.end++].ids.size();
    }
    if (piece.end == piece.begin) break;  // full
    front->next = piece.end;
    front->result.engine = engine;
    if (!front->begun) front->result.queue_s = seconds_between(front->job.arrival, now);
    front->begun = true;
    queued_texts_ -= piece.end - piece.begin;
    piece.waiting = std::move(front);
    queue_.pop_front();
    batch.push_back(std::move(piece));
  }
  queued_tokens_ -= tokens;
  running_until_ = now + seconds(costs[std::min(engine, costs.size() - 1)].seconds(tokens));
}

void Batcher::learn(const EngineSet& set, std::size_t engine, std::size_t tokens, double spent) {
  const std::lock_guard lock(mutex_);
  if (set.generation == generation_) costs_[engine].add(tokens, spent);
}

void Batcher::run_batch(std::vector<Piece>& batch) {
  try {
    run_pieces(batch);
  } catch (const std::bad_alloc&) {
    for (Piece& piece : batch) {
      if (!piece.waiting) continue;  // was handed back before
      piece.waiting->result.end = JobResult::End::no_memory;
      finish(std::move(piece.waiting));
    }
  }
}

void Batcher::run_pieces(std::vector<Piece>& batch) {
  const std::shared_ptr<const EngineSet> set = batch.front().waiting->job.set;
  const std::size_t engine = batch.front().waiting->result.engine;
  const LoadedEngine& loaded = *set->engines[engine];
  std::vector<text::Encoding> encodings;  // borrowed from the jobs, which get them back
  std::size_t tokens = 0;
  for (const Piece& piece : batch) {
    tokens += piece.tokens();
    for (std::size_t i = piece.begin; i < piece.end; ++i)
      encodings.push_back(std::move(piece.waiting->job.encodings[i]));
  }
  const Clock::time_point start = Clock::now();
  Result<Outputs> outputs = loaded.predictor->run(encodings, silent_log());
  const double spent = seconds_between(start, Clock::now());
  metrics_.count_batch(loaded.name, encodings.size(), tokens, spent);
  learn(*set, engine, tokens, spent);

  std::size_t at = 0;
  for (Piece& piece : batch) {
    Waiting& waiting = *piece.waiting;
    const std::span<text::Encoding> own = std::span(encodings).subspan(at, piece.end - piece.begin);
    // What one request did wrong must not touch the others: each alone, then.
    Result<Outputs> alone = outputs ? Outputs() : loaded.predictor->run(own, silent_log());
    const bool is_done = outputs || alone;
    for (std::size_t i = 0; i < own.size(); ++i) {
      waiting.job.encodings[piece.begin + i] = std::move(own[i]);
      if (is_done)
        waiting.result.outputs[piece.begin + i] =
            std::move(outputs ? (*outputs)[at + i] : (*alone)[i]);
    }
    at += own.size();
    if (is_done && piece.end < waiting.job.encodings.size()) {
      const std::lock_guard lock(mutex_);
      queue_.push_back(std::move(piece.waiting));
      continue;
    }
    if (is_done) waiting.result.end = JobResult::End::done;
    finish(std::move(piece.waiting));
  }
}

/// The rest of a failed job leaves the counts of the queue too.
void Batcher::finish(std::unique_ptr<Waiting> waiting) {
  if (waiting->result.end != JobResult::End::done) {
    const std::lock_guard lock(mutex_);
    for (std::size_t i = waiting->next; i < waiting->job.encodings.size(); ++i) {
      --queued_texts_;
      queued_tokens_ -= waiting->job.encodings[i].ids.size();
    }
  }
  metrics_.queue_seconds.add(waiting->result.queue_s);
  hand_back(std::move(waiting));
}

/// Where there is no memory for the result, there may be some to say so; else the job is dropped,
/// and its client sees the connection close.
void Batcher::hand_back(std::unique_ptr<Waiting> waiting) noexcept {
  try {
    waiting->job.done(waiting->job, std::move(waiting->result));
  } catch (const std::bad_alloc&) {
    try {
      waiting->job.done(waiting->job, {.end = JobResult::End::no_memory});
    } catch (const std::bad_alloc&) {
    }
  }
}

void Batcher::work() {
  ::pthread_setname_np(::pthread_self(), "rtai-compute");
  while (true) {
    std::vector<std::unique_ptr<Waiting>> expired;
    std::unique_ptr<Waiting> starved;  // there was no memory to take it
    std::vector<Piece> batch;
    {
      std::unique_lock lock(mutex_);
      running_ = false;
      seen_ = Clock::now();
      wake_.wait_for(lock, kHeartbeat, [this] { return stopping_ || !queue_.empty(); });
      seen_ = Clock::now();
      if (stopping_) break;
      try {
        take_expired(expired, seen_);
        if (!queue_.empty()) take_batch(seen_, batch);
      } catch (const std::bad_alloc&) {  // as it was, the queue is not empty
        starved = std::move(queue_.front());
        queue_.pop_front();
      }
      running_ = !batch.empty();
    }
    for (auto& waiting : expired) {
      waiting->result.end = JobResult::End::expired;
      hand_back(std::move(waiting));
    }
    if (starved) {
      starved->result.end = JobResult::End::no_memory;
      finish(std::move(starved));
    }
    if (!batch.empty()) run_batch(batch);
  }
  for (auto& waiting : queue_) {
    waiting->result.end = JobResult::End::stopped;
    hand_back(std::move(waiting));
  }
  queue_.clear();
}

}  // namespace rtai::serve
