// A session runs one engine on one device: make it once, then run it again and again.
#pragma once

#include "runtime/base/result.h"
#include "runtime/base/tensor_view.h"
#include "runtime/engine/engine.h"

#include <chrono>
#include <filesystem>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace rtai::cuda {
class Backend;
}  // namespace rtai::cuda

namespace rtai {

struct SessionOptions {
  int threads = 0;              // 0: as many as usable_cores() says
  std::string target = {};      // an instruction set by name; empty: the best this machine has
  Index max_tokens = 512;       // of a batch; more are possible, at the price of an allocation
  Index max_sequences = 32;     // of a batch; likewise
  bool profile = false;         // measure every step
  std::optional<int> gpu = {};  // number of the GPU to run on; none: the CPU
  // Of a GPU with int8 layers: whether tiles are tried when a batch of a new size comes, and the
  // folder in which those that were found are kept. Empty: none; nothing: the user's cache folder
  // (docs/gpu.md). A folder that cannot be used is no error.
  bool tune_tiles = true;
  std::optional<std::filesystem::path> tile_cache = {};
};

/// Sequences laid end to end, without padding. Views into the caller's memory.
struct Batch {
  std::span<const std::int32_t> ids;       // [tokens]
  std::span<const std::int32_t> segments;  // [tokens], or empty: all zero
  std::span<const std::int32_t> offsets;   // [sequences + 1], from 0 to tokens, strictly ascending
  // Hidden states [tokens, columns] for programs that begin in the middle of a model.
  std::span<const float> hidden = {};
};

/// What one step of the plan cost, summed over runs; times are of thread 0.
struct StepProfile {
  std::string name;
  std::string kind;    // "linear_i8"
  std::string kernel;  // "linear_i8_avx512_vnni"
  DType dtype = DType::f32;
  double seconds = 0;     // one run's, the median
  double bytes = 0;       // of weights read in one run
  double operations = 0;  // of one run, a multiply-add being two
};

/// One caller at a time; several sessions may share an engine and run side by side.
class Session {
 public:
  /// Chooses kernels, fuses steps, lays out memory, starts threads.
  ///
  /// Errors: unsupported for a target this machine lacks; device if there is not enough memory, or
  /// no such GPU.
  static Result<Session> create(std::shared_ptr<const engine::Engine> engine,
                                const SessionOptions& options = {});

  /// The same on a device that the caller made, whatever options.gpu says.
  ///
  /// Errors: unsupported if its kernels cannot run the program; device.
  static Result<Session> create_on(std::unique_ptr<cuda::Backend> backend,
                                   std::shared_ptr<const engine::Engine> engine,
                                   const SessionOptions& options = {});

  Session(Session&&) noexcept;
  Session& operator=(Session&&) noexcept;
  ~Session();

  /// Runs the batch. Allocates nothing as long as the batch is within the sizes of the options or
  /// of an earlier run.
  ///
  /// Errors: invalid_input for ids or segments outside their tables, sequences that are empty or
  /// longer than the model's positions, offsets out of order; device if memory runs out.
  Result<void> run(const Batch& batch);

  /// Output `i` of the last run, [rows, columns]; valid until the next one.
  TensorView<const float> output(std::size_t i) const;

  const engine::Engine& engine() const;
  int threads() const;
  std::string_view target() const;
  /// Bytes of activations and scratch.
  Index memory_bytes() const;
  /// The kernels in use and why no better ones, for `rtai inspect`.
  std::vector<std::string> kernel_names() const;

  /// Milliseconds that the last run took on the GPU, by its own clock, copies of ids and results
  /// included; 0 on a CPU.
  double device_ms() const;

  /// With SessionOptions::profile: medians over the runs since the last call.
  std::vector<StepProfile> take_profile();

  class Impl;  // runtime/exec/internal/session_impl.h

 private:
  explicit Session(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace rtai
