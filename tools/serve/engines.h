// Engines of one model, loaded, checked and tried before anyone relies on them.
#pragma once

#include "tools/model.h"
#include "tools/predictor.h"
#include "tools/serve/cost.h"
#include "tools/serve/input_limits.h"

#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace rtai::serve {

/// What a file looked like when it was read: another stamp means that it was replaced or written
/// to.
struct FileStamp {
  std::uint64_t device = 0;
  std::uint64_t inode = 0;
  std::uint64_t bytes = 0;
  std::int64_t changed_ns = 0;

  friend bool operator==(const FileStamp&, const FileStamp&) = default;
};
FileStamp stamp_of(const std::filesystem::path& path);

/// May be part of a name in headers, paths and labels: letters and digits of ASCII, '.', '-', '_'.
bool is_plain(char c);

struct LoadedEngine {
  std::string name;    // the file's name without its ending
  std::string digest;  // of the file: 16 hexadecimal digits
  FileStamp stamp;
  tools::Model model;
  InputLimits limits;
  CostModel first_costs;                         // from trying it
  std::shared_ptr<const engine::Engine> engine;  // shared by what runs it
  // Used by the threads that compute: `whole` by one of them while the others rest, a lane by its
  // own.
  mutable std::optional<tools::Predictor> whole;  // all threads, for one text
  mutable std::vector<tools::Predictor> lanes;    // lane_count(threads), which share the threads

  const engine::Program& program() const { return engine->program; }
};

/// All that serve one model, the most accurate first. Requests hold the set they were read with.
struct EngineSet {
  std::string model_name;
  std::size_t model = 0;  // its number among those of the server, from 0
  std::vector<std::shared_ptr<const LoadedEngine>> engines;
  std::uint64_t generation = 0;

  const LoadedEngine& first() const { return *engines.front(); }
};
using SharedSet = std::shared_ptr<const EngineSet>;  // with the requests that were read with it

struct EngineOptions {
  std::string model_name;  // empty: the first engine's
  std::size_t model = 0;   // its number among those of the server
  std::vector<std::string> paths;
  int threads = 0;  // 0: usable_cores()
  std::string target;
};

/// How many batches run side by side.
std::size_t lane_count(int threads);

/// Threads that should only read and write beside those that compute: where those are few, one more
/// takes their cores from them in the middle of a batch.
int io_threads_beside(int threads);

/// Loads every engine into memory of its own, so that a file that is overwritten while it serves
/// does no harm; checks all digests; and runs each on short and long texts.
///
/// Errors: those of loading; invalid_input if they are not engines of one model (task, labels,
/// tokenizer, outputs) or if one gives numbers that are not finite.
Result<std::shared_ptr<const EngineSet>> load_engines(const EngineOptions& options,
                                                      std::uint64_t generation,
                                                      Log& log);

}  // namespace rtai::serve
