#include "runtime/cuda/emulation/backend.h"

#include "runtime/cuda/emulation/grid.h"

#include <cstring>
#include <new>

namespace rtai::cuda::host {
namespace {

constexpr std::align_val_t kAlignment{256};

class HostRecorder final : public Recorder {
 public:
  using Recorder::Recorder;
  void copy(void* dst, const void* src, std::size_t bytes) override {
    std::memcpy(dst, src, bytes);
  }
  void clear(void* dst, std::size_t bytes) override { std::memset(dst, 0, bytes); }
};

/// Recorded work is done again: launches run at once here.
struct HostGraph final : Graph {
  std::function<void(Recorder&)> work;
};

class HostBackend final : public Backend {
 public:
  explicit HostBackend(int multiprocessors)
      : info_{.name = "emulation",
              .capability = kLowestCapability,
              .memory_bytes = std::size_t{1} << 34,
              .multiprocessors = multiprocessors,
              .shared_bytes_per_multiprocessor = 164 * 1024,
              .driver = "none"},
        kernels_(select_kernels(info_.capability)) {}

  const DeviceInfo& info() const override { return info_; }
  const Kernels& kernels() const override { return kernels_; }
  bool has_clock() const override { return false; }

  Result<Memory> allocate(std::size_t bytes) override {
    void* data = ::operator new(bytes, kAlignment, std::nothrow);
    if (data == nullptr) return Error{ErrorCode::device, "out of memory"};
    std::memset(data, 0xff, bytes);  // what nobody has written is not a number
    return Memory(data, bytes, [](void* memory) { ::operator delete(memory, kAlignment); });
  }
  Result<Memory> allocate_host(std::size_t bytes) override { return allocate(bytes); }

  Result<void> upload(void* dst, std::span<const std::byte> src) override {
    std::memcpy(dst, src.data(), src.size());
    return {};
  }

  Result<std::unique_ptr<Graph>> record(const std::function<void(Recorder&)>& work) override {
    auto graph = std::make_unique<HostGraph>();
    graph->work = work;
    return graph;
  }

  Result<double> run(Graph& graph) override {
    HostRecorder recorder(kernels_, nullptr);
    static_cast<HostGraph&>(graph).work(recorder);
    if (const auto faults = take_faults(); !faults.empty())
      return Error{ErrorCode::device, faults.front()};
    return 0.0;
  }

 private:
  DeviceInfo info_;
  Kernels kernels_;
};

}  // namespace

std::unique_ptr<Backend> make_backend(int multiprocessors) {
  return std::make_unique<HostBackend>(multiprocessors);
}

}  // namespace rtai::cuda::host
