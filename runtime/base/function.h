// Elementwise functions: activations of models, epilogues of GEMMs.
#pragma once

#include <cstdint>
#include <string_view>

namespace rtai {

/// Serialized in engine files: never reused.
enum class Function : std::uint8_t {
  none = 0,       // x
  gelu = 1,       // x * Phi(x) = x / 2 * (1 + erf(x / sqrt(2))), arXiv:1606.08415
  gelu_tanh = 2,  // its approximation x / 2 * (1 + tanh(sqrt(2 / pi) * (x + 0.044715 x^3)))
  relu = 3,       // max(x, 0)
  tanh = 4,
  sigmoid = 5,  // 1 / (1 + exp(-x))
  silu = 6,     // x * sigmoid(x)
};
inline constexpr int kFunctionCount = 7;

constexpr std::string_view function_name(Function function) {
  constexpr std::string_view kNames[kFunctionCount] = {"none", "gelu",    "gelu_tanh", "relu",
                                                       "tanh", "sigmoid", "silu"};
  return kNames[static_cast<int>(function)];
}

}  // namespace rtai
