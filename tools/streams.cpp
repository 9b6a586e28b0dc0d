#include "tools/streams.h"

#include "runtime/base/usable_cores.h"

#include <fmt/format.h>

#include <atomic>
#include <system_error>
#include <thread>

namespace rtai::tools {
namespace {

/// Where streams wait for each other without getting idle.
class Meeting {
 public:
  explicit Meeting(std::size_t streams) : streams_(streams) {}

  /// Runs that do not count keep the machine busy until all streams have begun, and after the
  /// counted ones until all are done.
  Result<void> measure(BenchSession& session, int count, bool keep) {
    Result<void> outcome = wait(begun_, session);
    if (outcome) outcome = session.measure(count, keep);
    if (outcome) outcome = wait(done_, session);
    if (!outcome) dissolve();
    return outcome;
  }

  /// Nobody waits any more.
  void dissolve() {
    begun_.store(streams_);
    done_.store(streams_);
  }

 private:
  Result<void> wait(std::atomic<std::size_t>& arrived, BenchSession& session) {
    arrived.fetch_add(1);
    while (arrived.load() < streams_)
      RTAI_TRY_VOID(session.measure(1, false));
    return {};
  }

  std::size_t streams_;
  std::atomic<std::size_t> begun_{0};
  std::atomic<std::size_t> done_{0};
};

}  // namespace

Result<int> threads_of_a_stream(const Workload& workload) {
  if (workload.streams == 1) return workload.threads;
  if (workload.gpu) {
    return unsupported(fmt::format("--streams {}: expected --device cpu, found {}",
                                   workload.streams, workload.device));
  }
  const int threads = workload.threads > 0 ? workload.threads : usable_cores();
  if (workload.streams > threads) {
    return invalid_input(fmt::format("--streams {}: expected at most one a thread, found {} {}",
                                     workload.streams, threads,
                                     workload.threads > 0 ? "threads" : "usable cores"));
  }
  return threads / workload.streams;
}

Result<Streams> Streams::create(const std::shared_ptr<const engine::Engine>& engine,
                                const Workload& workload,
                                bool profile) {
  Workload share = workload;
  RTAI_TRY(share.threads, threads_of_a_stream(workload));
  std::vector<BenchSession> sessions;
  for (int i = 0; i < workload.streams; ++i) {
    RTAI_TRY(BenchSession session, BenchSession::create(engine, share, profile));
    sessions.push_back(std::move(session));
  }
  return Streams(std::move(sessions));
}

Result<void> Streams::measure(int count, bool keep) {
  if (sessions_.size() == 1) return sessions_.front().measure(count, keep);
  Meeting meeting(sessions_.size());
  std::vector<Result<void>> outcomes(sessions_.size());
  const auto run = [&](std::size_t i) { outcomes[i] = meeting.measure(sessions_[i], count, keep); };
  {
    std::vector<std::jthread> others;
    try {
      for (std::size_t i = 1; i < sessions_.size(); ++i)
        others.emplace_back(run, i);
    } catch (const std::system_error&) {
      meeting.dissolve();
      return Error{ErrorCode::device, fmt::format("expected {} threads for streams, the system "
                                                  "gives {}",
                                                  sessions_.size(), others.size() + 1)};
    }
    run(0);
  }
  for (Result<void>& outcome : outcomes)
    RTAI_TRY_VOID(std::move(outcome));
  return {};
}

void Streams::drop_first(int count) {
  for (BenchSession& session : sessions_)
    session.drop_first(count);
}

std::vector<double> Streams::last(int count) const {
  std::vector<double> samples;
  for (int i = this->count() - count; i < this->count(); ++i) {
    for (const BenchSession& session : sessions_)
      samples.push_back(session.samples()[static_cast<std::size_t>(i)]);
  }
  return samples;
}

double Streams::first_runs_ms() const {
  double sum = 0;
  for (const BenchSession& session : sessions_)
    sum += session.first_run_ms();
  return sum;
}

BenchRun Streams::finish() {
  std::vector<double> all = samples();
  BenchRun run = sessions_.front().finish();
  for (std::size_t i = 1; i < sessions_.size(); ++i) {
    const BenchRun other = sessions_[i].finish();
    run.threads += other.threads;
    run.runs_per_s += other.runs_per_s;
  }
  run.latency = summarize(all);
  run.samples = std::move(all);
  return run;
}

}  // namespace rtai::tools
