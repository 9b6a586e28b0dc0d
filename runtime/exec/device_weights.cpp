#include "runtime/exec/internal/device_weights.h"

#include "runtime/base/checked.h"

#include <cmath>
#include <cstring>

namespace rtai::exec {
namespace {

using engine::kPanelRows;

/// Calls body(row, column, element) for every weight of a matrix in panels.
template <class T, class Body>
void for_each_weight(const engine::TensorInfo& tensor, const std::byte* panels, Body&& body) {
  const Index group = engine::panel_group(tensor.dtype);
  const Index groups = div_up(tensor.dims[1], group);
  const T* elements = reinterpret_cast<const T*>(panels);
  for (Index row = 0; row < tensor.dims[0]; ++row) {
    const T* panel = elements + row / kPanelRows * groups * kPanelRows * group;
    for (Index column = 0; column < tensor.dims[1]; ++column)
      body(row, column,
           panel[(column / group * kPanelRows + row % kPanelRows) * group + column % group]);
  }
}

/// A weight as linear kernels read it. Errors: unsupported.
Result<std::vector<std::byte>> as_rows(const engine::TensorInfo& tensor, const std::byte* panels) {
  const bool is_i8 = tensor.dtype == DType::i8;
  const Index stride = cuda::row_stride(static_cast<int>(tensor.dims[1]), is_i8 ? 1 : 2);
  std::vector<std::byte> rows(static_cast<std::size_t>(
      round_up<Index>(tensor.dims[0], cuda::kWeightRows) * stride * (is_i8 ? 1 : 2)));
  if (is_i8) {
    for_each_weight<std::int8_t>(tensor, panels, [&](Index row, Index column, std::int8_t weight) {
      rows[static_cast<std::size_t>(row * stride + column)] = static_cast<std::byte>(weight);
    });
    return rows;
  }
  constexpr float kLargestF16 = 65504.0f;
  bool fits = true;
  for_each_weight<float>(tensor, panels, [&](Index row, Index column, float weight) {
    fits = fits && !(std::fabs(weight) > kLargestF16);
    const std::uint16_t bits = f32_to_f16(weight);
    std::memcpy(rows.data() + 2 * (row * stride + column), &bits, sizeof(bits));
  });
  if (!fits) {
    return Error{ErrorCode::unsupported,
                 "'" + tensor.name + "': a weight larger than 65504; GPUs keep it in 16 bits"};
  }
  return rows;
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
    if (!is_weight[i]) return static_cast<std::size_t>(tensors[i].bytes);
    const int element = tensors[i].dtype == DType::i8 ? 1 : 2;
    return static_cast<std::size_t>(
        round_up<Index>(tensors[i].dims[0], cuda::kWeightRows) * element *
        cuda::row_stride(static_cast<int>(tensors[i].dims[1]), element));
  };
  DeviceWeights weights;
  std::size_t total = 0;
  for (std::size_t i = 0; i < tensors.size(); ++i) {
    weights.offsets_.push_back(total);
    total += round_up(device_bytes(i), kAlignment);
  }
  RTAI_TRY(weights.memory_, backend.allocate(std::max(total, kAlignment)));
  for (std::size_t i = 0; i < tensors.size(); ++i) {
    const std::span<const std::byte> stored = engine.bytes_of(tensors[i]);
    std::byte* dst = weights.memory_.data() + weights.offsets_[i];
    if (is_weight[i]) {
      RTAI_TRY(const std::vector<std::byte> rows, as_rows(tensors[i], stored.data()));
      RTAI_TRY_VOID(backend.upload(dst, rows));
    } else if (!stored.empty()) {
      RTAI_TRY_VOID(backend.upload(dst, stored));
    }
  }
  return weights;
}

}  // namespace rtai::exec
