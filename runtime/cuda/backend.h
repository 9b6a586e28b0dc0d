// A device that runs GPU kernels, as the executor sees it: no CUDA in sight. There are two: a GPU
// (gpu_backend.cpp), and in tests the emulation (emulation/backend.h).
#pragma once

#include "runtime/base/result.h"
#include "runtime/cuda/kernel.h"

#include <cstddef>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

namespace rtai::cuda {

struct DeviceInfo {
  std::string name;    // "NVIDIA H100 80GB HBM3"
  int capability = 0;  // 90 for 9.0
  std::size_t memory_bytes = 0;
  int multiprocessors = 0;
  int shared_bytes_per_multiprocessor = 0;
  std::string driver;  // the CUDA version it supports: "13.0"
};

/// Puts work on the device, in order.
class Recorder {
 public:
  Recorder(const Kernels& kernels, Stream stream) : kernels_(kernels), stream_(stream) {}
  virtual ~Recorder() = default;

  void run(LinearI8, const LinearArgs& args) { kernels_.linear_i8->run(args, stream_); }
  void run(LinearF16, const LinearArgs& args) { kernels_.linear_f16->run(args, stream_); }
  void run(AttentionI8, const AttentionArgs& args) { kernels_.attention_i8->run(args, stream_); }
  void run(AttentionF16, const AttentionArgs& args) { kernels_.attention_f16->run(args, stream_); }
  void run(QuantizeHeads, const QuantizeHeads::Args& args) {
    kernels_.quantize_heads->run(args, stream_);
  }
  void run(Rows, const Rows::Args& args) { kernels_.rows->run(args, stream_); }
  /// To, from or on the device.
  virtual void copy(void* dst, const void* src, std::size_t bytes) = 0;
  /// To zeros.
  virtual void clear(void* dst, std::size_t bytes) = 0;
  // Backend::run gives the time between these, if they are called, and else of everything.
  virtual void begin_timing() {}
  virtual void end_timing() {}

 protected:
  Stream stream() const { return stream_; }

 private:
  const Kernels& kernels_;
  Stream stream_;
};

/// Work that was recorded once and runs as often as wanted.
class Graph {
 public:
  virtual ~Graph() = default;
};

/// Memory of a device, or memory of the host that a device can copy from and to.
class Memory {
 public:
  using Free = void (*)(void* data);

  Memory() = default;
  Memory(void* data, std::size_t bytes, Free free)
      : data_(static_cast<std::byte*>(data), free), bytes_(bytes) {}

  std::byte* data() const { return data_.get(); }
  std::size_t size() const { return bytes_; }

 private:
  std::unique_ptr<std::byte, Free> data_{nullptr, [](void*) {}};
  std::size_t bytes_ = 0;
};

class Backend {
 public:
  virtual ~Backend() = default;

  virtual const DeviceInfo& info() const = 0;
  virtual const Kernels& kernels() const = 0;
  /// Whether times that run() gives say something.
  virtual bool has_clock() const = 0;
  /// Errors: device if there is not enough memory.
  virtual Result<Memory> allocate(std::size_t bytes) = 0;
  virtual Result<Memory> allocate_host(std::size_t bytes) = 0;
  /// Copies to the device and waits. Errors: device.
  virtual Result<void> upload(void* dst, std::span<const std::byte> src) = 0;
  /// Errors: device if the device refuses.
  virtual Result<std::unique_ptr<Graph>> record(const std::function<void(Recorder&)>& work) = 0;
  /// Runs and waits; milliseconds on the device, by its own clock (Recorder::begin_timing). Errors:
  /// device.
  virtual Result<double> run(Graph& graph) = 0;
};

/// All GPUs, in the order of their numbers.
/// Errors: device with the reason when there is none to use: no driver, or a build without CUDA.
Result<std::vector<DeviceInfo>> devices();

/// Errors: device if there is no such GPU, or it is too old.
Result<std::unique_ptr<Backend>> make_backend(int index);

}  // namespace rtai::cuda
