// What stands in for gpu_backend.cpp where rtai is built without CUDA.
#include "runtime/cuda/backend.h"

namespace rtai::cuda {
namespace {

Error without_cuda() {
  return {ErrorCode::device, "this rtai was built without a GPU runtime"};
}

}  // namespace

Result<std::vector<DeviceInfo>> devices() {
  return without_cuda();
}

Result<std::unique_ptr<Backend>> make_backend(int /*index*/) {
  return without_cuda();
}

}  // namespace rtai::cuda
