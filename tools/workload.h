// The workload flags: what a model is measured on.
#pragma once

#include "runtime/engine/engine.h"
#include "runtime/text/tokenizer.h"
#include "tools/cli.h"
#include "tools/sample.h"

#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace rtai::tools {

struct Workload {
  int batch = 1;
  int seq = 128;             // tokens of every sequence, when `lengths` is empty
  std::vector<int> lengths;  // token counts to draw sequences from, in turn
  // Whose lengths those are, shared by all workloads of a sweep; null: nobody's.
  std::shared_ptr<const std::vector<Sample>> texts;
  int threads = 0;  // 0: usable cores
  int streams = 1;  // sessions that run at once and share the threads
  std::string device = "cpu";
  std::optional<int> gpu;  // its number, where device is one
  std::string target;      // empty: the best
  std::uint64_t seed = 0;
};

/// Flags that a command with a workload has; resolve() gives the workload.
struct WorkloadFlags {
  Workload workload;
  std::string lengths_file;

  void add_to(CLI::App& command);
  /// With a tokenizer, --lengths may name a file of texts.
  ///
  /// Errors: those of reading --lengths; device for a device that is not there.
  Result<Workload> resolve(const GlobalFlags& flags,
                           const text::Tokenizer* tokenizer = nullptr) const;
};

/// Random but valid tokens for one run of the workload.
struct WorkloadTokens {
  std::vector<std::int32_t> ids;
  std::vector<std::int32_t> segments;
  std::vector<std::int32_t> offsets;
  std::vector<float> hidden;  // for programs that begin in the middle
};

/// The first sequence of each batch, in the order of running. Of more than 64 batches, as many from
/// the smallest to the largest. Small and large ones alternate, so that any few that follow one
/// another stand for all: a window of runs tells of the machine, not of the lengths in it.
std::vector<int> batches_of(const Workload& workload);

/// "batch 1, 128 tokens, 2 threads": of lengths, what those of batches_of() have on average.
std::string workload_text(const Workload& workload);

/// `first` is the number of the first sequence, which decides its length and its tokens.
///
/// Errors: invalid_input if the sequences are longer than the model allows.
Result<WorkloadTokens> make_tokens(const engine::Program& program,
                                   const Workload& workload,
                                   int first = 0);

}  // namespace rtai::tools
