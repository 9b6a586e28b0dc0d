// Keeps the engines that serve, and replaces them by newer ones without a moment in between.
#pragma once

#include "tools/serve/engines.h"
#include "tools/serve/metrics.h"

#include <condition_variable>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

namespace rtai::serve {

/// Says something to whoever runs the server; from any thread, one line a call.
using Say = std::function<void(const std::string& line)>;

/// A model of the server: what it is loaded from, and what that gave.
struct ServedModel {
  EngineOptions options;
  SharedSet set;
};

class Reloader {
 public:
  /// At least one model, each with its number and a name of its own.
  Reloader(std::vector<ServedModel> models, Metrics& metrics, Say say);
  ~Reloader();

  /// The set of each model that new requests are read with; requests that have it keep it alive.
  std::vector<SharedSet> current() const;
  /// That of the first model.
  SharedSet first() const;
  /// That of the model called `name`; null if there is none.
  SharedSet called(std::string_view name) const;

  /// Loads all engines again, on a thread of its own, one model after the other; those that serve
  /// stay if that fails. From any thread.
  void reload();

  /// Reloads a model when a file of it is another one than a while ago, once it no longer changes.
  void look_at_files();

 private:
  struct Model {
    EngineOptions options;
    SharedSet set;
    bool wanted = false;
    // Of the caller of look_at_files alone.
    std::vector<FileStamp> last_seen;
    std::vector<FileStamp> last_tried;
  };

  void work();
  void want(Model& model);
  bool load_if_wanted(Model& model);
  void load_anew(Model& model, std::uint64_t generation);

  Metrics& metrics_;
  Say say_;
  mutable std::mutex mutex_;
  std::condition_variable wake_;
  std::vector<Model> models_;
  bool stopping_ = false;
  std::thread thread_;
};

}  // namespace rtai::serve
