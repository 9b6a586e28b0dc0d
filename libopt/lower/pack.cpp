#include "libopt/lower/pack.h"

#include "runtime/base/checked.h"
#include "runtime/engine/program.h"

#include <cstring>
#include <numeric>

namespace rtai {
namespace {

template <class T>
void pack(std::span<const T> matrix, Index n, Index k, std::span<std::byte> target) {
  constexpr Index kGroup = 4 / static_cast<Index>(sizeof(T));
  const Index groups = div_up(k, kGroup);
  std::memset(target.data(), 0, target.size());
  auto* packed = reinterpret_cast<T*>(target.data());
  for (Index row = 0; row < n; ++row) {
    T* panel = packed + row / 16 * groups * 16 * kGroup + row % 16 * kGroup;
    const T* source = matrix.data() + row * k;
    for (Index i = 0; i < k; ++i)
      panel[i / kGroup * 16 * kGroup + i % kGroup] = source[i];
  }
}

}  // namespace

void pack_panels(const ir::Tensor& matrix, std::span<std::byte> target) {
  const Index n = matrix.dim(0);
  const Index k = matrix.dim(1);
  if (matrix.dtype() == DType::i8) return pack(matrix.data<std::int8_t>(), n, k, target);
  if (matrix.dtype() == DType::bf16) return pack(matrix.data<std::uint16_t>(), n, k, target);
  pack(matrix.data<float>(), n, k, target);
}

void sum_rows(const ir::Tensor& matrix, std::span<std::byte> target) {
  const std::span<const std::int8_t> values = matrix.data<std::int8_t>();
  const auto k = static_cast<std::size_t>(matrix.dim(1));
  for (Index row = 0; row < matrix.dim(0); ++row) {
    const auto source = values.subspan(static_cast<std::size_t>(row) * k, k);
    const std::int32_t sum = std::accumulate(source.begin(), source.end(), std::int32_t{0});
    std::memcpy(target.data() + row * 4, &sum, 4);
  }
}

}  // namespace rtai
