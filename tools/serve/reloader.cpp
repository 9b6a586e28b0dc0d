#include "tools/serve/reloader.h"

#include <fmt/format.h>

#include <new>

namespace rtai::serve {
namespace {

Result<std::shared_ptr<const EngineSet>> try_load(const EngineOptions& options,
                                                  std::uint64_t generation) {
  try {
    return load_engines(options, generation, silent_log());
  } catch (const std::bad_alloc&) {
    return Error{ErrorCode::device, "out of memory"};
  }
}

}  // namespace

Reloader::Reloader(EngineOptions options,
                   std::shared_ptr<const EngineSet> set,
                   Metrics& metrics,
                   Say say)
    : options_(std::move(options)), metrics_(metrics), say_(std::move(say)), set_(std::move(set)) {
  for (const auto& engine : set_->engines)
    last_tried_.push_back(engine->stamp);
  last_seen_ = last_tried_;
  thread_ = std::thread([this] { work(); });
}

Reloader::~Reloader() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  wake_.notify_all();
  thread_.join();
}

std::shared_ptr<const EngineSet> Reloader::current() const {
  const std::lock_guard lock(mutex_);
  return set_;
}

void Reloader::reload() {
  {
    const std::lock_guard lock(mutex_);
    wanted_ = true;
  }
  wake_.notify_all();
}

std::vector<FileStamp> Reloader::stamps() const {
  std::vector<FileStamp> stamps;
  for (const std::string& path : options_.paths)
    stamps.push_back(stamp_of(path));
  return stamps;
}

void Reloader::look_at_files() {
  std::vector<FileStamp> now = stamps();
  const bool is_quiet = now == last_seen_;
  last_seen_ = now;
  if (!is_quiet || now == last_tried_) return;
  last_tried_ = std::move(now);
  reload();
}

void Reloader::work() {
  while (true) {
    std::uint64_t generation = 0;
    {
      std::unique_lock lock(mutex_);
      wake_.wait(lock, [this] { return wanted_ || stopping_; });
      if (stopping_) return;
      wanted_ = false;
      generation = set_->generation + 1;
    }
    try {
      load_anew(generation);
    } catch (const std::bad_alloc&) {  // nor for words
      ++metrics_.reloads_failed;
    }
  }
}

void Reloader::load_anew(std::uint64_t generation) {
  Result<std::shared_ptr<const EngineSet>> loaded = try_load(options_, generation);
  if (!loaded) {
    say_(fmt::format("reload failed, the engines that serve stay: {}", loaded.error().message()));
    ++metrics_.reloads_failed;
    return;
  }
  std::shared_ptr<const EngineSet> old = *std::move(loaded);
  say_(fmt::format("reloaded: {} {}", old->first().name, old->first().digest));
  const std::lock_guard lock(mutex_);
  set_.swap(old);  // the old one goes when the last request that was read with it is answered
  ++metrics_.reloads_done;
}

}  // namespace rtai::serve
