// The backend of a GPU, on the CUDA runtime.
#include "runtime/cuda/backend.h"
#include "runtime/cuda/raii.h"

namespace rtai::cuda {
namespace {

Result<DeviceInfo> describe(int index) {
  cudaDeviceProp properties{};
  RTAI_CUDA_CHECK(cudaGetDeviceProperties, &properties, index);
  int driver = 0;
  RTAI_CUDA_CHECK(cudaDriverGetVersion, &driver);
  return DeviceInfo{
      .name = properties.name,
      .capability = properties.major * 10 + properties.minor,
      .memory_bytes = properties.totalGlobalMem,
      .multiprocessors = properties.multiProcessorCount,
      .shared_bytes_per_multiprocessor = static_cast<int>(properties.sharedMemPerMultiprocessor),
      .driver = std::to_string(driver / 1000) + "." + std::to_string(driver % 1000 / 10)};
}

class GpuRecorder final : public Recorder {
 public:
  GpuRecorder(const Kernels& kernels, Stream stream, cudaEvent_t begin, cudaEvent_t end)
      : Recorder(kernels, stream), begin_(begin), end_(end) {}

  void copy(void* dst, const void* src, std::size_t bytes) override {
    keep_first(cudaMemcpyAsync(dst, src, bytes, cudaMemcpyDefault, handle()));
  }
  void clear(void* dst, std::size_t bytes) override {
    keep_first(cudaMemsetAsync(dst, 0, bytes, handle()));
  }
  void begin_timing() override { note(begin_); }
  void end_timing() override {
    note(end_);
    is_timed_ = true;
  }
  cudaError_t status() const { return status_; }
  bool is_timed() const { return is_timed_; }

 private:
  /// As a node of the graph.
  void note(cudaEvent_t event) {
    keep_first(cudaEventRecordWithFlags(event, handle(), cudaEventRecordExternal));
  }
  cudaStream_t handle() const { return static_cast<cudaStream_t>(stream()); }
  void keep_first(cudaError_t status) {
    if (status_ == cudaSuccess) status_ = status;
  }

  cudaEvent_t begin_;
  cudaEvent_t end_;
  bool is_timed_ = false;
  cudaError_t status_ = cudaSuccess;
};

struct GpuGraph final : Graph {
  CudaEvent begin;
  CudaEvent end;
  bool is_timed = false;  // within, by the two events
  CudaGraphExec executable;
};

class GpuBackend final : public Backend {
 public:
  static Result<std::unique_ptr<Backend>> make(int index) {
    auto backend = std::make_unique<GpuBackend>();
    RTAI_TRY(backend->info_, describe(index));
    if (backend->info_.capability < kLowestCapability) {
      return Error{ErrorCode::device, backend->info_.name +
                                          ": compute capability 8.0 needed, found " +
                                          std::to_string(backend->info_.capability / 10) + "." +
                                          std::to_string(backend->info_.capability % 10)};
    }
    backend->index_ = index;
    backend->kernels_ = gpu::select_kernels(backend->info_.capability);
    RTAI_CUDA_CHECK(cudaSetDevice, index);
    RTAI_CUDA_CHECK(cudaStreamCreateWithFlags, backend->stream_.out(), cudaStreamNonBlocking);
    return backend;
  }

  const DeviceInfo& info() const override { return info_; }
  const Kernels& kernels() const override { return kernels_; }
  bool has_clock() const override { return true; }

  Result<Memory> allocate(std::size_t bytes) override {
    RTAI_CUDA_CHECK(cudaSetDevice, index_);
    void* data = nullptr;
    RTAI_CUDA_CHECK(cudaMalloc, &data, bytes);
    return Memory(data, bytes, [](void* memory) { cudaFree(memory); });
  }
  Result<Memory> allocate_host(std::size_t bytes) override {
    RTAI_CUDA_CHECK(cudaSetDevice, index_);
    void* data = nullptr;
    RTAI_CUDA_CHECK(cudaMallocHost, &data, bytes);
    return Memory(data, bytes, [](void* memory) { cudaFreeHost(memory); });
  }

  Result<void> upload(void* dst, std::span<const std::byte> src) override {
    RTAI_CUDA_CHECK(cudaSetDevice, index_);
    RTAI_CUDA_CHECK(cudaMemcpyAsync, dst, src.data(), src.size(), cudaMemcpyHostToDevice,
                    stream_.get());
    RTAI_CUDA_CHECK(cudaStreamSynchronize, stream_.get());
    return {};
  }

  Result<std::unique_ptr<Graph>> record(const std::function<void(Recorder&)>& work) override {
    RTAI_CUDA_CHECK(cudaSetDevice, index_);
    auto made = std::make_unique<GpuGraph>();
    RTAI_CUDA_CHECK(cudaEventCreate, made->begin.out());
    RTAI_CUDA_CHECK(cudaEventCreate, made->end.out());
    RTAI_CUDA_CHECK(cudaStreamBeginCapture, stream_.get(), cudaStreamCaptureModeThreadLocal);
    GpuRecorder recorder(kernels_, stream_.get(), made->begin.get(), made->end.get());
    work(recorder);
    CudaGraph graph;
    // The capture must end whatever happened, or the stream stays unusable.
    const cudaError_t ended = cudaStreamEndCapture(stream_.get(), graph.out());
    RTAI_TRY_VOID(check(recorder.status(), "recording copies"));
    RTAI_TRY_VOID(check(cudaGetLastError(), "recording kernels"));
    RTAI_TRY_VOID(check(ended, "cudaStreamEndCapture"));
    made->is_timed = recorder.is_timed();
    RTAI_CUDA_CHECK(cudaGraphInstantiate, made->executable.out(), graph.get(), 0);
    RTAI_CUDA_CHECK(cudaGraphUpload, made->executable.get(), stream_.get());
    return made;
  }

  Result<double> run(Graph& graph) override {
    RTAI_CUDA_CHECK(cudaSetDevice, index_);
    const auto& recorded = static_cast<const GpuGraph&>(graph);
    if (!recorded.is_timed) RTAI_CUDA_CHECK(cudaEventRecord, recorded.begin.get(), stream_.get());
    RTAI_CUDA_CHECK(cudaGraphLaunch, recorded.executable.get(), stream_.get());
    if (!recorded.is_timed) RTAI_CUDA_CHECK(cudaEventRecord, recorded.end.get(), stream_.get());
    RTAI_CUDA_CHECK(cudaStreamSynchronize, stream_.get());
    float milliseconds = 0;
    RTAI_CUDA_CHECK(cudaEventElapsedTime, &milliseconds, recorded.begin.get(), recorded.end.get());
    return static_cast<double>(milliseconds);
  }

 private:
  DeviceInfo info_;
  int index_ = 0;
  Kernels kernels_;
  CudaStream stream_;
};

}  // namespace

Result<std::vector<DeviceInfo>> devices() {
  int count = 0;
  const cudaError_t status = cudaGetDeviceCount(&count);
  if (status == cudaErrorInsufficientDriver)
    return Error{ErrorCode::device, "no GPU driver, or one that is too old"};
  if (status == cudaErrorNoDevice || (status == cudaSuccess && count == 0))
    return Error{ErrorCode::device, "no GPU in this machine"};
  RTAI_TRY_VOID(check(status, "cudaGetDeviceCount"));
  std::vector<DeviceInfo> found;
  for (int i = 0; i < count; ++i) {
    RTAI_TRY(DeviceInfo info, describe(i));
    found.push_back(std::move(info));
  }
  return found;
}

Result<std::unique_ptr<Backend>> make_backend(int index) {
  RTAI_TRY(const std::vector<DeviceInfo> found, devices());
  if (index < 0 || index >= static_cast<int>(found.size())) {
    return Error{ErrorCode::device, "no GPU " + std::to_string(index) + "; this machine has " +
                                        std::to_string(found.size())};
  }
  return GpuBackend::make(index);
}

}  // namespace rtai::cuda
