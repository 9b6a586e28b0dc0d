#include "libopt/quant/calibration.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <numeric>
#include <vector>

namespace rtai::quant {
namespace {

constexpr std::size_t kBins = 2048;
constexpr std::size_t kLevels = 128;  // of magnitudes, with zero
constexpr std::size_t kEdgeStep = 16;

/// How many magnitudes lie in each of equal parts of 0 to `largest`.
std::array<double, kBins> histogram_of(std::span<const float> values, float largest) {
  std::array<double, kBins> bins{};
  for (const float value : values) {
    const double place = std::fabs(value) / static_cast<double>(largest) * kBins;
    bins[std::min(static_cast<std::size_t>(place), kBins - 1)] += 1;
  }
  return bins;
}

/// How far the distribution with all beyond the first `kept` bins in the last of them is from what
/// kLevels levels tell of it: each spreads what the kept bins hold over those that hold anything.
double divergence_of(std::span<const double> bins, std::size_t kept) {
  // Of the levels' distribution, given to all bins alike: none is impossible then.
  constexpr double kEven = 1e-4;
  const double total = std::accumulate(bins.begin(), bins.end(), 0.0);
  const std::span<const double> inside = bins.first(kept);
  const double counted = std::accumulate(inside.begin(), inside.end(), 0.0);
  std::vector<double> wanted(inside.begin(), inside.end());
  wanted.back() += total - counted;
  double divergence = 0;
  for (std::size_t level = 0; level < kLevels; ++level) {
    const std::size_t begin = level * kept / kLevels;
    const std::size_t end = (level + 1) * kept / kLevels;
    const auto first = static_cast<std::ptrdiff_t>(begin);
    const auto last = static_cast<std::ptrdiff_t>(end);
    const double sum = std::accumulate(inside.begin() + first, inside.begin() + last, 0.0);
    const auto holding = static_cast<double>(
        last - first - std::count(wanted.begin() + first, wanted.begin() + last, 0.0));
    const double share = sum > 0 ? sum / holding / counted : 0;
    const double told = (1 - kEven) * share + kEven / static_cast<double>(kept);
    for (std::size_t i = begin; i < end; ++i) {
      if (wanted[i] > 0) divergence += wanted[i] / total * std::log(wanted[i] / total / told);
    }
  }
  return divergence;
}

}  // namespace

std::optional<Calibration::Method> calibration_method(std::string_view name) {
  const auto found = std::ranges::find(kCalibrationMethods, name);
  if (found == kCalibrationMethods.end()) return std::nullopt;
  return static_cast<Calibration::Method>(found - kCalibrationMethods.begin());
}

double percentile_clip(std::span<const float> values, double percentile, float largest) {
  std::vector<float> magnitudes(values.begin(), values.end());
  for (float& value : magnitudes)
    value = std::fabs(value);
  const auto count = static_cast<double>(magnitudes.size());
  const double rank = std::clamp(std::ceil(percentile * count / 100), 1.0, count);
  const auto place = magnitudes.begin() + static_cast<std::ptrdiff_t>(rank) - 1;
  std::ranges::nth_element(magnitudes, place);
  return static_cast<double>(*place) / static_cast<double>(largest);
}

double entropy_clip(std::span<const float> values, float largest) {
  const std::array<double, kBins> bins = histogram_of(values, largest);
  double least = INFINITY;
  std::size_t best = kBins;
  for (std::size_t kept = kLevels; kept <= kBins; kept += kEdgeStep) {
    const double divergence = divergence_of(bins, kept);
    if (!(divergence < least)) continue;
    least = divergence;
    best = kept;
  }
  return static_cast<double>(best) / kBins;
}

}  // namespace rtai::quant
