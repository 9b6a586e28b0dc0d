// Keeps the engines that serve, and replaces them by newer ones without a moment in between.
#pragma once

#include "tools/serve/engines.h"
#include "tools/serve/metrics.h"

#include <condition_variable>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

namespace rtai::serve {

/// Says something to whoever runs the server; from any thread, one line a call.
using Say = std::function<void(const std::string& line)>;

class Reloader {
 public:
  /// `set` was loaded with `options`.
  Reloader(EngineOptions options, std::shared_ptr<const EngineSet> set, Metrics& metrics, Say say);
  ~Reloader();

  /// The set that new requests are read with; requests that have it keep it alive.
  std::shared_ptr<const EngineSet> current() const;

  /// Loads all engines again, on a thread of its own; those that serve stay if that fails. From any
  /// thread.
  void reload();

  /// Reloads when a file is another one than a while ago, once it no longer changes.
  void look_at_files();

 private:
  void work();
  void load_anew(std::uint64_t generation);
  std::vector<FileStamp> stamps() const;

  EngineOptions options_;
  Metrics& metrics_;
  Say say_;
  mutable std::mutex mutex_;
  std::condition_variable wake_;
  std::shared_ptr<const EngineSet> set_;
  bool wanted_ = false;
  bool stopping_ = false;
  // Of the caller of look_at_files alone.
  std::vector<FileStamp> last_seen_;
  std::vector<FileStamp> last_tried_;
  std::thread thread_;
};

}  // namespace rtai::serve
