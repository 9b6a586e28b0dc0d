#include "tools/serve/batcher.h"

#include <pthread.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <new>
#include <utility>

namespace rtai::serve {
namespace {

constexpr auto kHeartbeat = std::chrono::milliseconds(250);
constexpr double kSilenceAllowedSeconds = 1.5;
// All threads together answer one text soonest; where others come meanwhile, who waits for whom
// costs more than that wins.
constexpr double kFewMeetings = 0.25;
constexpr double kArrivalsRemembered = 32;

Clock::duration seconds(double value) {
  return std::chrono::duration_cast<Clock::duration>(std::chrono::duration<double>(value));
}

}  // namespace

/// A job some of whose texts are in the queue or in a batch that runs.
struct Batcher::Waiting {
  Job job;
  JobResult result;
  std::size_t next = 0;    // text to run; those from here on are in the queue
  std::size_t pieces = 0;  // in batches that run
  bool begun = false;
  std::optional<JobResult::End> failure = {};  // then the rest is not run

  /// `chosen`: for jobs that have none yet.
  std::size_t engine(std::size_t chosen) const {
    return begun ? result.engine : job.engine.value_or(chosen);
  }
};

/// Texts [begin, end) of a job.
struct Batcher::Piece {
  std::shared_ptr<Waiting> waiting;  // null once it was handed back
  std::size_t begin = 0;
  std::size_t end = 0;

  std::size_t tokens() const {
    std::size_t sum = 0;
    for (std::size_t i = begin; i < end; ++i)
      sum += waiting->job.encodings[i].ids.size();
    return sum;
  }
};

/// What a lane runs at once, on one engine of a set.
struct Batcher::Batch {
  std::shared_ptr<const EngineSet> set;  // shared with the jobs
  std::size_t engine = 0;
  bool is_whole = false;  // all threads run it
  std::vector<Piece> pieces;
};

/// What a lane found in the queue.
struct Batcher::Turn {
  Batch batch;
  std::vector<std::shared_ptr<Waiting>> expired;
  std::shared_ptr<Waiting> starved;  // there was no memory to take it
};

/// What is known about the engines of a newer set begins with what trying them showed.
void Batcher::ModelState::meet(const EngineSet& set, double promise_s) {
  if (chooser && set.generation <= generation) return;
  std::vector<CostModel> first_costs;  // all is made before any of it counts: memory may run out
  for (const auto& engine : set.engines)
    first_costs.push_back(engine->first_costs);
  chooser = EngineChooser(first_costs.size(), promise_s);
  costs = std::move(first_costs);
  generation = set.generation;
}

/// What these tokens take with the engine that is chosen.
double Batcher::ModelState::seconds(std::size_t tokens) const {
  return tokens > 0 && chooser ? costs[chooser->current()].seconds(tokens) : 0;
}

/// The part of the time that answering what arrives takes.
double Batcher::ModelState::load(Clock::time_point now) const {
  if (!chooser) return 0;
  return chooser->arriving_tokens_per_s(now) * costs[chooser->current()].slope();
}

Batcher::Batcher(const BatchOptions& options,
                 std::size_t lanes,
                 std::size_t models,
                 Metrics& metrics)
    : options_(options), metrics_(metrics), models_(models), lanes_(lanes) {}

Batcher::~Batcher() {
  stop();
}

void Batcher::start(EventLoop* loop) {
  loop_ = loop;
  for (Lane& lane : lanes_)
    lane.seen = Clock::now();
  try {
    for (std::size_t i = 0; i < lanes_.size(); ++i)
      lanes_[i].thread = std::thread([this, i] { work(i); });
  } catch (...) {  // the system gives no more threads
    stop();
    throw;
  }
}

void Batcher::stop() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  wake_.notify_all();
  for (Lane& lane : lanes_) {
    if (lane.thread.joinable()) lane.thread.join();
  }
  for (const auto& waiting : queue_) {
    waiting->failure = JobResult::End::stopped;
    hand_back(*waiting);
  }
  queue_.clear();
}

Batcher::ModelState& Batcher::state_of(const EngineSet& set) {
  ModelState& model = models_[set.model];
  model.meet(set, options_.promise_s);
  return model;
}

std::size_t Batcher::queued_tokens() const {
  std::size_t tokens = 0;
  for (const ModelState& model : models_)
    tokens += model.queued_tokens;
  return tokens;
}

std::size_t Batcher::resting_lanes() const {
  return static_cast<std::size_t>(std::ranges::count(lanes_, false, &Lane::is_running));
}

double Batcher::expected_wait_s(Clock::time_point now) const {
  double wait = std::numeric_limits<double>::infinity();  // until the first lane is free
  for (const Lane& lane : lanes_) {
    if (whole_runs_ && !lane.is_running) continue;
    const double left = seconds_between(now, lane.running_until);
    wait = std::min(wait, lane.is_running ? std::max(0.0, left) : 0);
  }
  for (const ModelState& model : models_)
    wait += model.seconds(model.queued_tokens);
  return wait;
}

double Batcher::load_memory_s() const {
  constexpr double kLeast = 0.2;  // beside which the clients that one batch has answered are few
  return std::max(kLeast, 2 * options_.most_wait_s);
}

/// The part of the time that answering what came lately would take, whether it was taken or not.
double Batcher::offered_load(Clock::time_point now) const {
  const double memory = load_memory_s();
  return recent_work_s_ * std::exp(-seconds_between(last_arrival_, now) / memory) / memory;
}

void Batcher::arrived(ModelState& model, std::size_t tokens, Clock::time_point now) {
  model.chooser->arrived(now, tokens);
  const double slope = model.costs[model.chooser->current()].slope();
  recent_work_s_ = offered_load(now) * load_memory_s() + slope * static_cast<double>(tokens);
  last_arrival_ = now;
}

/// A burst may wait for as long as the options say. Where far more comes than can be answered a
/// long queue makes answers late and few more of them: then a job waits for no longer than one
/// takes (after B. Maurer, "Fail at Scale", ACM Queue 13(8), 2015, which goes by how long the queue
/// has not been empty; clients that each wait for their answer would seem too much by that).
double Batcher::most_wait_s(const ModelState& model, Clock::time_point now) const {
  constexpr double kFarTooMuch = 1.5;
  if (offered_load(now) < kFarTooMuch) return options_.most_wait_s;
  const double tokens = model.tokens_of_job * static_cast<double>(lanes_.size());
  return std::min(options_.most_wait_s, model.seconds(static_cast<std::size_t>(tokens)));
}

std::optional<Refused> Batcher::refusal(const EngineSet& set) {
  const Clock::time_point now = Clock::now();
  const std::lock_guard lock(mutex_);
  ModelState& model = state_of(set);
  const double wait = expected_wait_s(now);
  if (wait <= most_wait_s(model, now)) return std::nullopt;
  arrived(model, static_cast<std::size_t>(model.tokens_of_job), now);
  return Refused{Refused::Reason::queue, wait};
}

std::optional<Refused> Batcher::submit(Job job) {
  const Clock::time_point now = Clock::now();
  std::size_t tokens = 0;
  for (const text::Encoding& encoding : job.encodings)
    tokens += encoding.ids.size();
  {
    const std::lock_guard lock(mutex_);
    const bool meets_others = !queue_.empty() || resting_lanes() < lanes_.size();
    meetings_ += ((meets_others ? 1.0 : 0.0) - meetings_) / kArrivalsRemembered;
    ModelState& model = state_of(*job.set);
    arrived(model, tokens, now);
    const auto own_tokens = static_cast<double>(tokens);
    if (model.tokens_of_job == 0) model.tokens_of_job = own_tokens;
    model.tokens_of_job += (own_tokens - model.tokens_of_job) / kArrivalsRemembered;
    const double wait = expected_wait_s(now);
    const bool is_full =
        queued_texts_ > 0 && queued_texts_ + job.encodings.size() > options_.most_texts;
    if (is_full || wait > most_wait_s(model, now)) return Refused{Refused::Reason::queue, wait};
    if (job.deadline) {
      const double own = model.seconds(tokens);
      if (now + seconds(wait + (queue_.empty() ? 0 : own)) > *job.deadline)
        return Refused{Refused::Reason::deadline, wait};
    }
    auto waiting = std::make_shared<Waiting>();
    waiting->job = std::move(job);
    waiting->result.outputs.resize(waiting->job.encodings.size());
    queue_.push_back(std::move(waiting));
    queued_texts_ += queue_.back()->job.encodings.size();
    model.queued_tokens += tokens;
  }
  if (!loop_) wake_.notify_one();  // else whoever serves the loop looks for work next
  return std::nullopt;
}

std::size_t Batcher::current_engine(std::size_t model) const {
  const std::lock_guard lock(mutex_);
  return models_[model].chooser ? models_[model].chooser->current() : 0;
}

double Batcher::silent_s(Clock::time_point now) const {
  const std::lock_guard lock(mutex_);
  double longest = 0;
  for (const Lane& lane : lanes_) {
    // A batch may take several times what is expected of it before anyone worries.
    const double expected =
        lane.is_running ? std::max(0.0, seconds_between(lane.seen, lane.running_until)) : 0;
    longest = std::max(longest, seconds_between(lane.seen, now) - 4 * expected);
  }
  return longest;
}

bool Batcher::is_busy() const {
  const std::lock_guard lock(mutex_);
  return resting_lanes() == 0;
}

bool Batcher::is_alive(Clock::time_point now) const {
  return silent_s(now) < kSilenceAllowedSeconds;
}

Batcher::Load Batcher::load() const {
  const std::lock_guard lock(mutex_);
  return {queued_texts_, queued_tokens(), expected_wait_s(Clock::now())};
}

/// The texts of a job that wait will not be run: they leave the counts, and the job must leave the
/// queue.
void Batcher::give_up(Waiting& waiting, JobResult::End end) {
  waiting.failure = end;
  std::size_t& queued_tokens = models_[waiting.job.set->model].queued_tokens;
  for (; waiting.next < waiting.job.encodings.size(); ++waiting.next) {
    --queued_texts_;
    queued_tokens -= waiting.job.encodings[waiting.next].ids.size();
  }
}

/// Takes jobs whose deadline has passed out of the queue; those of which nothing runs have ended.
void Batcher::take_expired(std::vector<std::shared_ptr<Waiting>>& expired, Clock::time_point now) {
  const auto is_late = [now](const std::shared_ptr<Waiting>& waiting) {
    return waiting->job.deadline && *waiting->job.deadline < now;
  };
  expired.reserve(static_cast<std::size_t>(std::ranges::count_if(queue_, is_late)));
  for (auto& waiting : queue_) {
    if (!is_late(waiting)) continue;
    give_up(*waiting, JobResult::End::expired);
    if (waiting->pieces == 0) expired.push_back(waiting);
    waiting = nullptr;
  }
  std::erase(queue_, nullptr);
}

std::size_t Batcher::batch_tokens(const CostModel& cost) const {
  if (options_.promise_s <= 0 || cost.slope() <= 0) return options_.most_tokens;
  // Long batches make those who come next wait: a quarter of the promise at most.
  const double per_token = cost.slope() * static_cast<double>(lanes_.size());
  const double room = std::max(0.0, options_.promise_s / 4 - cost.overhead()) / per_token;
  return std::clamp(static_cast<std::size_t>(room), std::size_t{1}, options_.most_tokens);
}

/// Tokens of a lane beside which what a batch costs whatever its size (weights are read once for
/// all of it) is a fifth of its time.
std::size_t Batcher::few_tokens(const CostModel& cost) const {
  constexpr double kMost = 128;
  const double per_token = cost.slope() * static_cast<double>(lanes_.size());
  return static_cast<std::size_t>(
      std::min(kMost, 4 * cost.overhead() / std::max(per_token, 1e-12)));
}

/// The engine for a batch of this model, which the front of the queue is of.
std::size_t Batcher::choose_engine(ModelState& model, Clock::time_point now) {
  OtherWork others;
  for (const ModelState& other : models_) {
    if (&other == &model) continue;
    others.queued_s += other.seconds(other.queued_tokens);
    others.load += other.load(now);
  }
  const std::size_t before = model.chooser->current();
  const std::size_t chosen =
      model.chooser->choose(now, seconds_between(queue_.front()->job.arrival, now),
                            model.queued_tokens, model.costs, others);
  if (chosen != before) ++metrics_.engine_shifts;
  return chosen;
}

/// Takes the front of the queue and what is behind it of the same model, as far as it has the same
/// engine and fits; the number of tokens. Jobs of other models keep their places: what is taken
/// from behind them makes them wait no longer than a batch that is full.
std::size_t Batcher::take_texts(Clock::time_point now,
                                std::size_t chosen,
                                std::size_t budget,
                                Batch& batch) {
  std::size_t tokens = 0;
  for (auto place = queue_.begin(); place != queue_.end();) {
    Waiting& waiting = **place;
    if (waiting.job.set->model != batch.set->model) {
      ++place;
      continue;
    }
    if (waiting.job.set != batch.set || waiting.engine(chosen) != batch.engine) break;
    Piece piece{.waiting = *place, .begin = waiting.next, .end = waiting.next};
    const auto& encodings = waiting.job.encodings;
    while (piece.end < encodings.size() &&
           (tokens == 0 || tokens + encodings[piece.end].ids.size() <= budget)) {
      tokens += encodings[piece.end++].ids.size();
    }
    if (piece.end == piece.begin) break;  // full
    waiting.next = piece.end;
    waiting.result.engine = batch.engine;
    if (!waiting.begun) waiting.result.queue_s = seconds_between(waiting.job.arrival, now);
    waiting.begun = true;
    ++waiting.pieces;
    queued_texts_ -= piece.end - piece.begin;
    const bool is_rest = piece.end < encodings.size();
    if (is_rest)
      std::rotate(place, place + 1, queue_.end());
    else
      place = queue_.erase(place);
    batch.pieces.push_back(std::move(piece));
    if (is_rest) break;
  }
  return tokens;
}

/// The part of one lane of what waits, or all threads for a text that is alone. Memory can run out
/// only before anything was taken.
void Batcher::take_batch(Clock::time_point now, std::size_t lane, Batch& batch) {
  batch.pieces.reserve(queue_.size());
  batch.set = queue_.front()->job.set;
  ModelState& model = state_of(*batch.set);
  const bool is_newest = batch.set->generation == model.generation;
  const std::size_t chosen = is_newest ? choose_engine(model, now) : 0;
  batch.engine = queue_.front()->engine(chosen);
  const CostModel& cost = model.costs[std::min(batch.engine, model.costs.size() - 1)];
  const std::size_t resting = resting_lanes();
  batch.is_whole = resting == lanes_.size() && queued_texts_ == 1 && meetings_ < kFewMeetings;
  // While others run something is left for whoever is free next: answers that go out all at once
  // would leave the lanes without work until their clients ask again.
  const std::size_t part = resting == lanes_.size()
                               ? (queued_tokens() + resting - 1) / resting
                               : std::max(queued_tokens() / 3, few_tokens(cost));
  const std::size_t tokens = take_texts(now, chosen, std::min(batch_tokens(cost), part), batch);
  model.queued_tokens -= tokens;
  whole_runs_ = batch.is_whole;
  const std::size_t as_if = batch.is_whole ? tokens : tokens * lanes_.size();
  lanes_[lane].running_until = now + seconds(cost.seconds(as_if));
  lanes_[lane].is_running = true;
}

/// A batch of one of n lanes takes as long as n times its tokens would with all threads.
void Batcher::learn(const Batch& batch, std::size_t tokens, double spent) {
  const std::lock_guard lock(mutex_);
  ModelState& model = models_[batch.set->model];
  if (batch.set->generation != model.generation) return;
  model.costs[batch.engine].add(batch.is_whole ? tokens : tokens * lanes_.size(), spent);
}

void Batcher::run_batch(std::size_t lane, Batch& batch) {
  try {
    run_pieces(lane, batch);
  } catch (const std::bad_alloc&) {
    for (Piece& piece : batch.pieces) {
      if (piece.waiting) finish(std::exchange(piece.waiting, nullptr), JobResult::End::no_memory);
    }
  }
}

void Batcher::run_pieces(std::size_t lane, Batch& batch) {
  const LoadedEngine& loaded = *batch.set->engines[batch.engine];
  tools::Predictor& predictor = batch.is_whole ? *loaded.whole : loaded.lanes[lane];
  std::vector<text::Encoding> encodings;  // borrowed from the jobs, which get them back
  std::size_t tokens = 0;
  for (const Piece& piece : batch.pieces) {
    tokens += piece.tokens();
    for (std::size_t i = piece.begin; i < piece.end; ++i)
      encodings.push_back(std::move(piece.waiting->job.encodings[i]));
  }
  const Clock::time_point start = Clock::now();
  Result<Outputs> outputs = predictor.run(encodings, silent_log());
  const double spent = seconds_between(start, Clock::now());
  metrics_.count_batch(batch.set->model_name, loaded.name, encodings.size(), tokens, spent);
  learn(batch, tokens, spent);

  std::size_t at = 0;
  for (Piece& piece : batch.pieces) {
    Waiting& waiting = *piece.waiting;
    const std::span<text::Encoding> own = std::span(encodings).subspan(at, piece.end - piece.begin);
    // What one request did wrong must not touch the others: each alone, then.
    Result<Outputs> alone = outputs ? Outputs() : predictor.run(own, silent_log());
    const bool is_done = outputs || alone;
    for (std::size_t i = 0; i < own.size(); ++i) {
      waiting.job.encodings[piece.begin + i] = std::move(own[i]);
      if (is_done)
        waiting.result.outputs[piece.begin + i] =
            std::move(outputs ? (*outputs)[at + i] : (*alone)[i]);
    }
    at += own.size();
    finish(std::exchange(piece.waiting, nullptr),
           is_done ? JobResult::End::done : JobResult::End::failed);
  }
}

/// A piece of a job has ended, and with the last one the job.
void Batcher::finish(const std::shared_ptr<Waiting>& waiting, JobResult::End end) {
  {
    const std::lock_guard lock(mutex_);
    --waiting->pieces;
    if (end != JobResult::End::done && !waiting->failure) {
      give_up(*waiting, end);
      std::erase(queue_, waiting);
    }
    if (waiting->pieces > 0 || waiting->next < waiting->job.encodings.size()) return;
  }
  metrics_.queue_seconds.add(waiting->result.queue_s);
  hand_back(*waiting);
}

/// Where there is no memory for the result, there may be some to say so; else the job is dropped,
/// and its client sees the connection close.
void Batcher::hand_back(Waiting& waiting) noexcept {
  waiting.result.end = waiting.failure.value_or(JobResult::End::done);
  try {
    waiting.job.done(waiting.job, std::move(waiting.result));
  } catch (const std::bad_alloc&) {
    try {
      waiting.job.done(waiting.job, {.end = JobResult::End::no_memory});
    } catch (const std::bad_alloc&) {
    }
  }
}

void Batcher::wait_for_work(std::unique_lock<std::mutex>& lock) {
  const auto has_work = [this] { return stopping_ || may_begin(); };
  if (!loop_) {
    wake_.wait_for(lock, kHeartbeat, has_work);
  } else if (!has_work()) {
    lock.unlock();
    loop_->serve(kHeartbeat);
    lock.lock();
  }
}

/// A lane has taken its part: whoever rests may take more, and if nobody does the loop must not
/// wait for a long batch.
void Batcher::tell_about_work() {
  constexpr auto kLong = std::chrono::milliseconds(10);
  const auto is_long = [soon = Clock::now() + kLong](const Lane& lane) {
    return lane.running_until > soon;
  };
  if (may_begin()) {
    if (!loop_) {
      wake_.notify_one();
    } else if (resting_lanes() > 0) {
      loop_->wake();
    }
  }
  if (loop_ && resting_lanes() == 0 && std::ranges::all_of(lanes_, is_long)) loop_->call_help();
}

/// Waits for work and takes the part of this lane. False: the thread should end.
bool Batcher::take_turn(std::size_t number, Turn& turn) {
  Lane& lane = lanes_[number];
  if (loop_) loop_->serve(Clock::duration::zero());  // the answers of the batch before, among it
  std::unique_lock lock(mutex_);
  lane.seen = Clock::now();
  wait_for_work(lock);
  lane.seen = Clock::now();
  if (stopping_ || !may_begin()) return !stopping_;
  try {
    take_expired(turn.expired, lane.seen);
    if (!queue_.empty()) take_batch(lane.seen, number, turn.batch);
  } catch (const std::bad_alloc&) {  // as it was, the queue is not empty
    std::shared_ptr<Waiting> starved = std::move(queue_.front());
    queue_.pop_front();
    give_up(*starved, JobResult::End::no_memory);
    if (starved->pieces == 0) turn.starved = std::move(starved);
  }
  tell_about_work();
  return true;
}

void Batcher::work(std::size_t lane) {
  ::pthread_setname_np(::pthread_self(), "rtai-compute");
  while (true) {
    Turn turn;
    if (!take_turn(lane, turn)) return;
    for (const auto& waiting : turn.expired)
      hand_back(*waiting);
    if (turn.starved) hand_back(*turn.starved);
    if (turn.batch.pieces.empty()) continue;
    run_batch(lane, turn.batch);
    const std::lock_guard lock(mutex_);
    lanes_[lane].is_running = false;
    if (turn.batch.is_whole) whole_runs_ = false;
  }
}

}  // namespace rtai::serve
