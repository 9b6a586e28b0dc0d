// How far one scale for all rows reaches: which share of the largest magnitude 127 stands for.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <span>
#include <string_view>

namespace rtai::quant {

/// How it is chosen from what a layer read.
struct Calibration {
  enum class Method : std::uint8_t {
    minmax,      // the largest magnitude itself: nothing saturates
    percentile,  // what so many of the sampled magnitudes do not exceed
    mse,         // the least squared error, each column counting as much as its weights do
    entropy,     // the least divergence of the integers' distribution from that of the magnitudes
  };

  Method method = Method::mse;
  double percentile = 99.999;  // in (0, 100], of Method::percentile
};

/// As users write them, in the order of Calibration::Method.
inline constexpr std::array<std::string_view, 4> kCalibrationMethods = {"minmax", "percentile",
                                                                        "mse", "entropy"};

/// Which of kCalibrationMethods it is; nothing if it is none.
std::optional<Calibration::Method> calibration_method(std::string_view name);

/// The smallest magnitude that `percentile` % of them do not exceed, as a share of `largest`.
/// At least one value; none may exceed `largest`, which is above 0.
double percentile_clip(std::span<const float> values, double percentile, float largest);

/// Of every 16th edge of 2048 bins the one where, if all beyond it saturates, 128 levels tell most
/// of how the magnitudes are distributed: the least Kullback-Leibler divergence. As a share of
/// `largest`, with the same limits.
///
/// Source: Migacz 2017, 8-bit Inference with TensorRT, GTC.
double entropy_clip(std::span<const float> values, float largest);

}  // namespace rtai::quant
