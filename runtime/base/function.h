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

// How some of them are computed, with the same bits on every target: every step below is one
// rounded operation or one fused multiply-add. Members, so that code for GPUs can have them as
// constants.

/// Adding it rounds to an integer, which then stands in the low bits: floats from here to twice as
/// much, 1.5 * 2^23, are one apart.
inline constexpr float kRounder = 12582912.0f;

/// exp(x) = 2^n e^r with n the nearest integer to log2_e x, and r = x - n ln 2 in two steps: -ln 2
/// is minus_ln2[0], which has few bits, so that its product is exact, and minus_ln2[1].
struct Exponential {
  float log2_e = 1.44269504f;
  float minus_ln2[2] = {-0.693359375f, 2.12194440e-4f};
  /// e^r = sum of terms[i] r^i: Taylor up to 1/5!, then a sixth term that halves the error.
  float terms[7] = {1.0f,          1.0f,          5.0e-1f,      1.6666665e-1f,
                    4.1665796e-2f, 8.3334519e-3f, 1.3981999e-3f};
};
inline constexpr Exponential kExponential;

/// gelu(x) = max(x, 0) - a Q(a) with a = min(|x|, end) and Q the normal distribution's upper tail.
/// log2 Q is smooth: a polynomial, found by weighted least squares as the one with the smallest
/// largest error of a Q(a), 5.1e-8. Largest error with that of the power and of rounding: 5.2e-7.
struct Gelu {
  float end = 7.0f;  // a Q(a) is below 1e-11 from there on
  /// log2 Q(a) = sum of log2_tail[i] a^i
  float log2_tail[7] = {-0.999993086f,  -1.15120173f,     -0.458770961f,  -0.0534121096f,
                        0.00808071904f, -0.000769220293f, 3.30928706e-05f};
  /// 2^r = sum of power[i] r^i for r in [-1/2, 1/2], relative error 2.6e-6
  float power[5] = {0.999999285f, 0.693121791f, 0.240247443f, 0.0559178628f, 0.00957010128f};
};
inline constexpr Gelu kGelu;

/// gelu where its argument comes from integers of 8 bits: max(x, 0) - P(a) with a = min(|x|, end)
/// and P(a) = a (tail[0] + tail[1] a + ..), the polynomial with the smallest largest error, found
/// by linear programming. That error, 1.33e-4, is a hundredth of a step of the integers that are
/// made of results up to 2, and the instructions are half of Gelu's.
struct GeluOfI8 {
  float end = 3.85f;  // from there on P is half of what it stands for at its end
  float tail[7] = {0.49874106f,    -0.382410854f, -0.0567959026f,  0.150874436f,
                   -0.0619053654f, 0.0107751507f, -0.000708664826f};
};
inline constexpr GeluOfI8 kGeluOfI8;

/// The softmax of int8 attention, whose weights are integers up to 255.
struct SoftmaxOfI8 {
  float log2_of_255 = 7.99435344f;
  /// 2^r = sum of power[i] r^i for r in [-1/2, 1/2], relative error 7.5e-5
  float power[4] = {0.999928057f, 0.693260968f, 0.242611125f, 0.0551716685f};
  /// log2(1 + u) = sum of logarithm[i] u^(i + 1) for u in [0, 1), error 2.1e-6
  float logarithm[6] = {1.44255316f,   -0.718281925f, 0.458270788f,
                        -0.279538095f, 0.123451449f,  -0.0264574364f};
};
inline constexpr SoftmaxOfI8 kSoftmaxOfI8;

constexpr std::string_view function_name(Function function) {
  constexpr std::string_view kNames[kFunctionCount] = {"none", "gelu",    "gelu_tanh", "relu",
                                                       "tanh", "sigmoid", "silu"};
  return kNames[static_cast<int>(function)];
}

}  // namespace rtai
