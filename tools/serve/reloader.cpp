#include "tools/serve/reloader.h"

#include <fmt/format.h>

#include <algorithm>
#include <new>

namespace rtai::serve {
namespace {

Result<SharedSet> try_load(const EngineOptions& options, std::uint64_t generation) {
  try {
    return load_engines(options, generation, silent_log());
  } catch (const std::bad_alloc&) {
    return Error{ErrorCode::device, "out of memory"};
  }
}

std::vector<FileStamp> stamps_of(const EngineOptions& options) {
  std::vector<FileStamp> stamps;
  for (const std::string& path : options.paths)
    stamps.push_back(stamp_of(path));
  return stamps;
}

}  // namespace

Reloader::Reloader(std::vector<ServedModel> models, Metrics& metrics, Say say)
    : metrics_(metrics), say_(std::move(say)) {
  for (ServedModel& served : models) {
    Model& model = models_.emplace_back();
    for (const auto& engine : served.set->engines)
      model.last_tried.push_back(engine->stamp);
    model.last_seen = model.last_tried;
    model.options = std::move(served.options);
    model.set = std::move(served.set);
  }
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

std::vector<SharedSet> Reloader::current() const {
  const std::lock_guard lock(mutex_);
  std::vector<SharedSet> sets;
  for (const Model& model : models_)
    sets.push_back(model.set);
  return sets;
}

SharedSet Reloader::first() const {
  const std::lock_guard lock(mutex_);
  return models_.front().set;
}

SharedSet Reloader::called(std::string_view name) const {
  const std::lock_guard lock(mutex_);
  const auto found = std::ranges::find_if(
      models_, [name](const Model& model) { return model.set->model_name == name; });
  return found == models_.end() ? nullptr : found->set;
}

void Reloader::reload() {
  for (Model& model : models_)
    want(model);
}

void Reloader::want(Model& model) {
  {
    const std::lock_guard lock(mutex_);
    model.wanted = true;
  }
  wake_.notify_all();
}

void Reloader::look_at_files() {
  for (Model& model : models_) {
    std::vector<FileStamp> now = stamps_of(model.options);
    const bool is_quiet = now == model.last_seen;
    model.last_seen = now;
    if (!is_quiet || now == model.last_tried) continue;
    model.last_tried = std::move(now);
    want(model);
  }
}

/// One model at a time: loading takes memory and time from those that serve.
void Reloader::work() {
  while (true) {
    {
      std::unique_lock lock(mutex_);
      wake_.wait(lock, [this] {
        return stopping_ || std::ranges::any_of(models_, [](const Model& m) { return m.wanted; });
      });
    }
    for (Model& model : models_) {
      if (!load_if_wanted(model)) return;
    }
  }
}

/// False: the thread should end.
bool Reloader::load_if_wanted(Model& model) {
  std::uint64_t generation = 0;
  {
    const std::lock_guard lock(mutex_);
    if (stopping_ || !model.wanted) return !stopping_;
    model.wanted = false;
    generation = model.set->generation + 1;
  }
  try {
    load_anew(model, generation);
  } catch (const std::bad_alloc&) {  // nor for words
    ++metrics_.reloads_failed;
  }
  return true;
}

void Reloader::load_anew(Model& model, std::uint64_t generation) {
  Result<SharedSet> loaded = try_load(model.options, generation);
  if (!loaded) {
    say_(fmt::format("reload failed, the engines that serve stay: {}", loaded.error().message()));
    ++metrics_.reloads_failed;
    return;
  }
  SharedSet old = *std::move(loaded);
  const std::string whose = models_.size() > 1 ? old->model_name + ": " : "";
  say_(fmt::format("reloaded: {}{} {}", whose, old->first().name, old->first().digest));
  const std::lock_guard lock(mutex_);
  model.set.swap(old);  // the old one goes when the last request that was read with it is answered
  ++metrics_.reloads_done;
}

}  // namespace rtai::serve
