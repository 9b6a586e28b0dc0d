#include "tools/report/charts.h"

#include "tools/report/page.h"
#include "tools/statistics.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>

namespace rtai::tools {
namespace {

constexpr double kWidth = 860;
constexpr double kLeft = 62;
constexpr double kRight = 24;

/// A linear axis: values to pixels, and ticks at 1, 2 or 5 times a power of ten.
struct Axis {
  double low = 0;
  double high = 1;
  double from = 0;  // pixels of low
  double to = 1;    // pixels of high

  double at(double value) const {
    return from + (to - from) * (high > low ? (value - low) / (high - low) : 0.5);
  }
  double step() const {
    constexpr int kTicks = 6;
    const double rough = (high > low ? high - low : 1) / kTicks;
    const double power = std::pow(10, std::floor(std::log10(rough)));
    for (const double multiple : {1.0, 2.0, 5.0}) {
      if (rough <= multiple * power) return multiple * power;
    }
    return 10 * power;
  }
  std::vector<double> ticks() const {
    std::vector<double> ticks;
    for (double tick = std::ceil(low / step()) * step(); tick <= high + 1e-9 * step();
         tick += step())
      ticks.push_back(tick);
    return ticks;
  }
};

std::string text_svg(double x,
                     double y,
                     std::string_view anchor,
                     std::string_view text,
                     std::string_view style = "") {
  return fmt::format("<text x=\"{:.1f}\" y=\"{:.1f}\" text-anchor=\"{}\" class=\"{}\">{}</text>", x,
                     y, anchor, style, escape_markup(text));
}

std::string line_svg(double x1, double y1, double x2, double y2, std::string_view style) {
  return fmt::format("<path class=\"{}\" d=\"M{:.1f} {:.1f}L{:.1f} {:.1f}\"/>", style, x1, y1, x2,
                     y2);
}

std::string open_svg(double height, std::string_view label) {
  return fmt::format("<svg viewBox=\"0 0 {:.0f} {:.0f}\" role=\"img\" aria-label=\"{}\">", kWidth,
                     height, escape_markup(label));
}

std::string x_axis_svg(const Axis& axis, double y, const std::string& title) {
  std::string svg = line_svg(axis.from, y, axis.to, y, "axis");
  for (const double tick : axis.ticks()) {
    svg += line_svg(axis.at(tick), y, axis.at(tick), y + 5, "axis");
    svg += text_svg(axis.at(tick), y + 18, "middle", fmt::format("{:.6g}", tick));
  }
  return svg + text_svg(axis.to, y + 34, "end", title);
}

/// Marks p50, p90 and p99; a label that would touch the one before moves a row up.
std::string percentiles_svg(std::span<const double> sorted,
                            const Axis& axis,
                            double top,
                            double bottom) {
  constexpr double kLabelWidth = 105;
  std::string svg;
  double previous = -1e9;
  int row = 0;
  for (const auto& [name, share] : {std::pair{"p50", 0.5}, {"p90", 0.9}, {"p99", 0.99}}) {
    const double value = percentile_of(sorted, share);
    const double x = axis.at(value);
    row = x - previous < kLabelWidth ? row + 1 : 0;
    previous = x;
    const double y = top - 6 - 15 * row;
    const bool is_right = x > kWidth - kRight - kLabelWidth;
    svg += line_svg(x, y + 4, x, bottom, "cut");
    svg += text_svg(is_right ? x - 4 : x + 4, y + 4, is_right ? "end" : "start",
                    fmt::format("{} {:.4g} ms", name, value), "strong");
  }
  return svg;
}

}  // namespace

std::string histogram_svg(std::span<const double> samples) {
  constexpr double kTop = 52;
  constexpr double kBottom = 176;
  constexpr std::size_t kBins = 60;
  std::vector<double> sorted(samples.begin(), samples.end());
  std::sort(sorted.begin(), sorted.end());
  const double p99 = percentile_of(sorted, 0.99);
  Axis axis{.low = sorted.front(),
            .high = std::min(sorted.back(), 1.1 * p99),
            .from = kLeft,
            .to = kWidth - kRight};
  // All samples alike still make one bin of some width.
  if (axis.high <= axis.low) axis.high = axis.low * 1.01 + 1e-9;
  std::array<int, kBins> bins{};
  std::ptrdiff_t beyond = 0;
  for (const double sample : sorted) {
    if (sample > axis.high) {
      ++beyond;
      continue;
    }
    const double share = (sample - axis.low) / (axis.high - axis.low);
    ++bins[std::min(kBins - 1, static_cast<std::size_t>(share * kBins))];
  }
  const int most = *std::max_element(bins.begin(), bins.end());
  const double width = (axis.to - axis.from) / kBins;
  std::string svg = open_svg(kBottom + 42, "histogram of latencies");
  for (std::size_t i = 0; i < kBins; ++i) {
    if (bins[i] == 0) continue;
    const double height = std::max(1.5, (kBottom - kTop) * bins[i] / most);
    svg += fmt::format(
        "<rect class=\"after\" x=\"{:.1f}\" y=\"{:.1f}\" width=\"{:.1f}\" height=\"{:.1f}\"/>",
        axis.from + width * static_cast<double>(i) + 0.5, kBottom - height, width - 1, height);
  }
  svg += text_svg(kLeft - 6, kTop + 9, "end", fmt::format("{} runs", most));
  svg += percentiles_svg(sorted, axis, kTop, kBottom);
  const std::string unit =
      beyond > 0 ? fmt::format("latency in ms; {} more up to {:.4g} ms", beyond, sorted.back())
                 : "latency in ms";
  return svg + x_axis_svg(axis, kBottom, unit) + "</svg>";
}

std::string scatter_svg(std::span<const ScatterPoint> points,
                        const std::string& x_title,
                        const std::string& y_title) {
  constexpr double kTop = 34;
  constexpr double kBottom = 340;
  Axis x{.low = 0, .high = 0, .from = kLeft, .to = kWidth - kRight};
  Axis y{.low = 0, .high = 0, .from = kBottom, .to = kTop};
  std::vector<ScatterPoint> front;
  for (const ScatterPoint& point : points) {
    x.high = std::max(x.high, 1.08 * point.x);
    y.high = std::max(y.high, 1.08 * point.y);
    y.low = std::min(y.low, 1.08 * point.y);
    if (point.on_front) front.push_back(point);
  }
  if (x.high <= 0) x.high = 1;
  if (y.high <= y.low) y.high = y.low + 1;
  std::ranges::sort(front, {}, &ScatterPoint::x);
  std::string svg = open_svg(kBottom + 42, y_title + " against " + x_title);
  for (const double tick : y.ticks()) {
    svg += line_svg(kLeft, y.at(tick), kWidth - kRight, y.at(tick), "axis");
    svg += text_svg(kLeft - 6, y.at(tick) + 4, "end",
                    fmt::format("{:.6g}", std::fabs(tick) < 1e-12 ? 0 : tick));
  }
  svg += text_svg(8, 16, "start", y_title);
  for (std::size_t i = 0; i + 1 < front.size(); ++i)
    svg += line_svg(x.at(front[i].x), y.at(front[i].y), x.at(front[i + 1].x), y.at(front[i + 1].y),
                    "front");
  for (const ScatterPoint& point : points) {
    svg += fmt::format(
        "<circle class=\"{}\" cx=\"{:.1f}\" cy=\"{:.1f}\" r=\"5\"><title>{}</title></circle>",
        point.tone, x.at(point.x), y.at(point.y), fmt::format("{:.4g}, {:.4g}", point.x, point.y));
    // Words stay inside the picture.
    const bool is_right = x.at(point.x) > kWidth - 160;
    svg +=
        text_svg(x.at(point.x) + (is_right ? -9 : 9), y.at(point.y) - 7, is_right ? "end" : "start",
                 point.label, point.tone == "hollow" ? "" : "strong");
  }
  return svg + x_axis_svg(x, kBottom, x_title) + "</svg>";
}

}  // namespace rtai::tools
