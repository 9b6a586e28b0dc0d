#include "tools/statistics.h"

#include <fmt/format.h>
#include <stdlib.h>

#include <algorithm>
#include <cmath>
#include <random>
#include <thread>

namespace rtai::tools {
namespace {

constexpr std::size_t kWindows = 3;
constexpr std::size_t kLeastSamples = 30;
constexpr double kAgreement = 1.10;

/// The likeliest reason, by the direction of the change.
std::string reason_for(const std::vector<double>& windows) {
  std::string reason = fmt::format("medians of three windows: {:.4g}, {:.4g}, {:.4g} ms; ",
                                   windows[0], windows[1], windows[2]);
  if (windows[0] > windows[1] && windows[1] > windows[2]) {
    reason += "getting faster: more --warmup may help";
  } else if (windows[0] < windows[1] && windows[1] < windows[2]) {
    reason += "getting slower: heat, a lower clock or other work on this machine";
  } else {
    reason += "other work on this machine, or a changing clock";
  }
  double load = 0;
  if (::getloadavg(&load, 1) == 1)
    reason += fmt::format(" (load average {:.1f} on {} cores)", load,
                          std::thread::hardware_concurrency());
  return reason;
}

}  // namespace

double percentile_of(std::span<const double> sorted, double share) {
  const auto rank = static_cast<std::size_t>(std::ceil(share * static_cast<double>(sorted.size())));
  return sorted[std::max<std::size_t>(rank, 1) - 1];
}

double median_of(std::vector<double> values) {
  const auto upper = values.begin() + std::ssize(values) / 2;
  std::nth_element(values.begin(), upper, values.end());
  if (values.size() % 2 == 1) return *upper;
  return (*std::max_element(values.begin(), upper) + *upper) / 2;
}

Stability judge_stability(std::span<const double> samples) {
  Stability stability;
  if (samples.size() < kLeastSamples) {
    stability.reason =
        fmt::format("{} runs are too few to tell; {} are needed", samples.size(), kLeastSamples);
    return stability;
  }
  const std::size_t size = samples.size() / kWindows;
  for (std::size_t w = 0; w < kWindows; ++w) {
    const auto window = samples.subspan(samples.size() - (kWindows - w) * size, size);
    stability.window_p50_ms.push_back(median_of({window.begin(), window.end()}));
  }
  const auto [least, most] = std::ranges::minmax(stability.window_p50_ms);
  stability.is_stable = most <= kAgreement * least;
  if (!*stability.is_stable) stability.reason = reason_for(stability.window_p50_ms);
  return stability;
}

TurnLevels separate_turns(std::span<const std::vector<double>> times) {
  constexpr int kSweeps = 8;  // enough to settle; each can only lessen what is left
  constexpr double kMadOfNormal = 1.4826;
  constexpr double kErrorOfMedian = 1.2533;  // against the mean's, of normal noise
  const std::size_t contenders = times.size();
  const std::size_t turns = times.front().size();
  std::vector<double> levels(contenders, 0);
  std::vector<double> speeds(turns, 0);
  const auto left = [&](std::size_t c, std::size_t turn) {
    return std::log(times[c][turn]) - levels[c] - speeds[turn];
  };
  std::vector<double> rest;
  for (int sweep = 0; sweep < kSweeps; ++sweep) {
    for (std::size_t c = 0; c < contenders; ++c) {
      rest.clear();
      for (std::size_t turn = 0; turn < turns; ++turn)
        rest.push_back(left(c, turn));
      levels[c] += median_of(rest);
    }
    for (std::size_t turn = 0; turn < turns; ++turn) {
      rest.clear();
      for (std::size_t c = 0; c < contenders; ++c)
        rest.push_back(left(c, turn));
      speeds[turn] += median_of(rest);
    }
  }
  const double usual = median_of(speeds);
  TurnLevels found;
  for (std::size_t c = 0; c < contenders; ++c) {
    found.ms.push_back(std::exp(levels[c] + usual));
    rest.clear();
    for (std::size_t turn = 0; turn < turns; ++turn)
      rest.push_back(std::fabs(left(c, turn)));
    found.uncertainty =
        std::max(found.uncertainty, kErrorOfMedian * kMadOfNormal * median_of(rest) /
                                        std::sqrt(static_cast<double>(turns)));
  }
  return found;
}

std::string Comparison::verdict() const {
  const double margin = (high - low) / 2;
  if (is_faster()) return fmt::format("{:.2f}x +- {:.2f} faster", ratio, margin);
  // The interval of 1 / ratio is that of ratio, turned round.
  if (is_slower())
    return fmt::format("{:.2f}x +- {:.2f} slower", 1 / ratio, (1 / low - 1 / high) / 2);
  return fmt::format("no difference shown ({:.2f}x +- {:.2f})", ratio, margin);
}

Comparison compare_rounds(std::span<const double> reference,
                          std::span<const double> other,
                          std::uint64_t seed) {
  constexpr std::size_t kResamples = 1000;
  const std::size_t rounds = std::min(reference.size(), other.size());
  std::mt19937_64 random(seed);
  std::vector<double> ratios;  // of the rounds
  for (std::size_t r = 0; r < rounds; ++r)
    ratios.push_back(reference[r] / other[r]);
  std::vector<double> medians;
  std::vector<double> drawn(rounds);
  for (std::size_t i = 0; i < kResamples; ++i) {
    for (double& ratio : drawn)
      ratio = ratios[random() % rounds];
    medians.push_back(median_of(drawn));
  }
  std::ranges::sort(medians);
  return {.ratio = median_of(std::move(ratios)),
          .low = medians[kResamples * 25 / 1000],
          .high = medians[kResamples * 975 / 1000 - 1]};
}

}  // namespace rtai::tools
