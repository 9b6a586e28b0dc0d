#include "tools/statistics.h"

#include <fmt/format.h>
#include <stdlib.h>

#include <algorithm>
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

double median_of(std::vector<double> values) {
  const auto middle = values.begin() + (std::ssize(values) - 1) / 2;
  std::nth_element(values.begin(), middle, values.end());
  return *middle;
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
  std::vector<double> ratios;
  std::vector<double> a(rounds);
  std::vector<double> b(rounds);
  for (std::size_t i = 0; i < kResamples; ++i) {
    for (std::size_t r = 0; r < rounds; ++r) {
      const std::size_t drawn = random() % rounds;
      a[r] = reference[drawn];
      b[r] = other[drawn];
    }
    ratios.push_back(median_of(a) / median_of(b));
  }
  std::ranges::sort(ratios);
  return {.ratio = median_of({reference.begin(), reference.end()}) /
                   median_of({other.begin(), other.end()}),
          .low = ratios[kResamples * 25 / 1000],
          .high = ratios[kResamples * 975 / 1000 - 1]};
}

}  // namespace rtai::tools
