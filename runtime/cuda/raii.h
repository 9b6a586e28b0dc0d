// Handles of the CUDA runtime that release themselves, and calls that become errors.
#pragma once

#include "runtime/base/result.h"

#include <cuda_runtime.h>

#include <string>
#include <utility>

namespace rtai::cuda {

template <class Handle, auto Destroy>
class UniqueHandle {
 public:
  UniqueHandle() = default;
  explicit UniqueHandle(Handle handle) : handle_(handle) {}
  UniqueHandle(UniqueHandle&& other) noexcept : handle_(std::exchange(other.handle_, {})) {}
  UniqueHandle& operator=(UniqueHandle&& other) noexcept {
    std::swap(handle_, other.handle_);
    return *this;
  }
  UniqueHandle(const UniqueHandle&) = delete;
  UniqueHandle& operator=(const UniqueHandle&) = delete;
  ~UniqueHandle() {
    if (handle_) Destroy(handle_);
  }

  Handle get() const { return handle_; }
  Handle* out() { return &handle_; }  // for the call that makes it

 private:
  Handle handle_ = {};
};

using CudaStream = UniqueHandle<cudaStream_t, &cudaStreamDestroy>;
using CudaEvent = UniqueHandle<cudaEvent_t, &cudaEventDestroy>;
using CudaGraph = UniqueHandle<cudaGraph_t, &cudaGraphDestroy>;
using CudaGraphExec = UniqueHandle<cudaGraphExec_t, &cudaGraphExecDestroy>;

/// "cudaMalloc: out of memory".
inline Result<void> check(cudaError_t status, const char* call) {
  if (status == cudaSuccess) return {};
  return Error{ErrorCode::device, std::string(call) + ": " + cudaGetErrorString(status)};
}

}  // namespace rtai::cuda

/// `RTAI_CUDA_CHECK(cudaStreamSynchronize, stream);` goes on, or returns an error naming the call.
#define RTAI_CUDA_CHECK(call, ...) RTAI_TRY_VOID(::rtai::cuda::check(call(__VA_ARGS__), #call))
