// An engine's tensors on a device, ordered as its kernels want them.
#pragma once

#include "runtime/cuda/backend.h"
#include "runtime/exec/plan.h"

#include <memory>
#include <vector>

namespace rtai::exec {

/// Weights of linear layers lie row by row (an output channel a row), rows padded with zeros to 128
/// bytes, f32 ones as f16; everything else as in the engine.
class DeviceWeights {
 public:
  /// Errors: unsupported for a weight that f16 cannot hold; device if memory runs out.
  static Result<DeviceWeights> upload(cuda::Backend& backend,
                                      const engine::Engine& engine,
                                      const Plan& plan);

  template <class T>
  const T* data(engine::TensorIndex tensor) const {
    if (tensor == engine::kNone) return nullptr;
    return reinterpret_cast<const T*>(memory_.data() + offsets_[static_cast<std::size_t>(tensor)]);
  }
  Index bytes() const { return static_cast<Index>(memory_.size()); }

 private:
  cuda::Memory memory_;
  std::vector<std::size_t> offsets_;  // by tensor
};

}  // namespace rtai::exec
