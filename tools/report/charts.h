// Charts as SVG, for the pages of page.h, whose style sheet gives them their colours.
#pragma once

#include <span>
#include <string>
#include <vector>

namespace rtai::tools {

/// How often which latency was measured, with p50, p90 and p99 marked. What lies beyond the axis
/// (more than 10 % above p99) is counted in words.
///
/// Units: milliseconds, at least one sample, in any order.
std::string histogram_svg(std::span<const double> samples);

struct ScatterPoint {
  double x = 0;
  double y = 0;
  std::string label;      // beside the point, and as its tooltip
  std::string tone;       // a class of the style sheet: before, after, hollow, control, ...
  bool on_front = false;  // joined with the others by a line, in the order of x
};

/// Axes from zero. At least one point.
std::string scatter_svg(std::span<const ScatterPoint> points,
                        const std::string& x_title,
                        const std::string& y_title);

}  // namespace rtai::tools
