#include "runtime/exec/internal/device_weights.h"

#include "runtime/base/checked.h"

#include <algorithm>
#include <cmath>
#include <cstring>

namespace rtai::exec {
namespace {

using engine::kPanelRows;

constexpr Index kGroupBytes = engine::panel_group(DType::i8);  // as many for every element type

/// What a row of a weight [n, k] takes on the device: 8-bit integers, or floats as 16 bits.
Index row_bytes(const engine::TensorInfo& tensor) {
  const int element = tensor.dtype == DType::i8 ? 1 : 2;
  return Index{element} * cuda::row_stride(static_cast<int>(tensor.dims[1]), element);
}

/// What the weight takes with the rows of zeros behind it that kernels may read.
std::size_t weight_bytes(const engine::TensorInfo& tensor) {
  return static_cast<std::size_t>(round_up<Index>(tensor.dims[0], cuda::kWeightRows) *
                                  row_bytes(tensor));
}

/// Calls body(row, group, bytes) for every group of the matrix, in the order in which they are
/// stored: what is read once need not be cached, and the rows of a panel are few enough to be.
template <class Body>
void for_each_group(const engine::TensorInfo& tensor, const std::byte* panels, Body&& body) {
  const Index groups = div_up(tensor.dims[1], engine::panel_group(tensor.dtype));
  for (Index first = 0; first < tensor.dims[0]; first += kPanelRows) {
    const Index rows = std::min(kPanelRows, tensor.dims[0] - first);
    for (Index group = 0; group < groups; ++group, panels += kPanelRows * kGroupBytes) {
      for (Index row = 0; row < rows; ++row)
        body(first + row, group, panels + row * kGroupBytes);
    }
  }
}

/// A weight as linear kernels read it, into `rows`. Errors: unsupported.
Result<void> write_rows(const engine::TensorInfo& tensor,
                        const std::byte* panels,
                        std::vector<std::byte>& rows) {
  rows.assign(weight_bytes(tensor), std::byte{0});
  std::byte* const dst = rows.data();
  const Index stride = row_bytes(tensor);
  if (tensor.dtype == DType::i8) {
    for_each_group(tensor, panels, [&](Index row, Index group, const std::byte* weights) {
      std::byte* const to = dst + row * stride + group * kGroupBytes;
      const Index left = tensor.dims[1] - group * kGroupBytes;
      if (left >= kGroupBytes)
        std::memcpy(to, weights, kGroupBytes);
      else  // what a file has beyond the columns stays there
        std::copy_n(weights, left, to);
    });
    return {};
  }
  constexpr float kLargestF16 = 65504.0f;
  bool fits = true;
  for_each_group(tensor, panels, [&](Index row, Index column, const std::byte* bytes) {
    float weight = 0;
    std::memcpy(&weight, bytes, sizeof(weight));
    fits = fits && !(std::fabs(weight) > kLargestF16);
    const std::uint16_t bits = f32_to_f16(weight);
    std::memcpy(dst + row * stride + 2 * column, &bits, sizeof(bits));
  });
  if (fits) return {};
  return Error{ErrorCode::unsupported,
               "'" + tensor.name + "': a weight larger than 65504; GPUs keep it in 16 bits"};
}

}  // namespace

Result<DeviceWeights> DeviceWeights::upload(cuda::Backend& backend,
                                            const engine::Engine& engine,
                                            const Plan& plan) {
  constexpr std::size_t kAlignment = 256;
  const std::vector<engine::TensorInfo>& tensors = plan.program.tensors;
  std::vector<bool> is_weight(tensors.size());
  for (const engine::Step& step : plan.program.steps) {
    if (step.op == engine::OpKind::linear)
      is_weight[static_cast<std::size_t>(step.tensors[engine::linear_tensor::weight])] = true;
  }
  const auto device_bytes = [&](std::size_t i) {
    return is_weight[i] ? weight_bytes(tensors[i]) : static_cast<std::size_t>(tensors[i].bytes);
  };
  DeviceWeights weights;
  std::size_t total = 0;
  for (std::size_t i = 0; i < tensors.size(); ++i) {
    weights.offsets_.push_back(total);
    total += round_up(device_bytes(i), kAlignment);
  }
  RTAI_TRY(weights.memory_, backend.allocate(std::max(total, kAlignment)));
  std::vector<std::byte> rows;  // one for all: fresh pages take longer than what is done with them
  for (std::size_t i = 0; i < tensors.size(); ++i) {
    const std::span<const std::byte> stored = engine.bytes_of(tensors[i]);
    std::byte* dst = weights.memory_.data() + weights.offsets_[i];
    if (is_weight[i]) {
      RTAI_TRY_VOID(write_rows(tensors[i], stored.data(), rows));
      RTAI_TRY_VOID(backend.upload(dst, rows));
    } else if (!stored.empty()) {
      RTAI_TRY_VOID(backend.upload(dst, stored));
    }
  }
  return weights;
}

}  // namespace rtai::exec
