#include "tools/report/graph_svg.h"

#include "tools/report/page.h"

#include <fmt/format.h>

namespace rtai::tools {
namespace {

constexpr int kTop = 50;  // of the first box
constexpr int kBoxHeight = 30;
constexpr int kPitch = 42;
constexpr int kBoxLeft = 20;
constexpr int kBoxWidth = 620;
constexpr int kPageWidth = 760;

constexpr std::string_view kSvgStyle =
    "<style>text{font:13px system-ui,'DejaVu "
    "Sans',sans-serif;fill:#1b1f24}.title{font-weight:600;font-size:16px}"
    ".dim{fill:#57606a}rect{fill:#f4f6f8;stroke:#c3cad1}rect.i8{fill:#dff3e4;stroke:#7cb98c}path{"
    "fill:none;stroke:#8a949e}"
    ".paper{fill:#fff;stroke:none}"
    "@media "
    "(prefers-color-scheme:dark){text{fill:#e6e9ed}.dim{fill:#9ba5b0}rect{fill:#1d2127;stroke:#"
    "3f4750}"
    "rect.i8{fill:#173322;stroke:#3d7a50}path{stroke:#7a848f}.paper{fill:#14171b}}</style>";

int top_of(std::size_t step) {
  return kTop + static_cast<int>(step) * kPitch;
}

std::string label_svg(
    int x, int y, std::string_view anchor, std::string_view style, const std::string& text) {
  return fmt::format("<text x=\"{}\" y=\"{}\" text-anchor=\"{}\" class=\"{}\">{}</text>", x, y,
                     anchor, style, escape_markup(text));
}

/// From the step just above in a straight line, from further up around the side.
std::string edge_svg(std::size_t from, std::size_t to) {
  if (from + 1 == to) {
    const int x = kBoxLeft + kBoxWidth / 2;
    return fmt::format("<path marker-end=\"url(#tip)\" d=\"M{} {}V{}\"/>", x,
                       top_of(from) + kBoxHeight, top_of(to) - 2);
  }
  const int side = kBoxLeft + kBoxWidth;
  const int reach = side + 14 + 6 * static_cast<int>(std::min<std::size_t>(to - from, 12));
  const int start = top_of(from) + 2 * kBoxHeight / 3;
  const int end = top_of(to) + kBoxHeight / 3;
  return fmt::format("<path marker-end=\"url(#tip)\" d=\"M{} {}C{} {} {} {} {} {}\"/>", side, start,
                     reach, start, reach, end, side + 2, end);
}

std::string box_svg(std::size_t i, const DrawnStep& step) {
  const int top = top_of(i);
  const int line = top + 20;
  return fmt::format("<rect class=\"{}\" x=\"{}\" y=\"{}\" width=\"{}\" height=\"{}\" rx=\"5\"/>",
                     step.precision.starts_with("i8") ? "i8" : "", kBoxLeft, top, kBoxWidth,
                     kBoxHeight) +
         label_svg(kBoxLeft + 12, line, "start", "", step.op) +
         label_svg(kBoxLeft + 120, line, "start", "dim", step.name) +
         label_svg(kBoxLeft + 490, line, "end", "", step.shape) +
         label_svg(kBoxLeft + kBoxWidth - 12, line, "end", "dim", step.precision);
}

}  // namespace

std::string graph_svg(const std::string& title, std::span<const DrawnStep> steps) {
  const int height = top_of(steps.size()) + 10;
  std::string svg = fmt::format(
      "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {} {}\" width=\"{}\" "
      "height=\"{}\">{}"
      "<defs><marker id=\"tip\" viewBox=\"0 0 8 8\" refX=\"7\" refY=\"4\" markerWidth=\"7\" "
      "markerHeight=\"7\" orient=\"auto\">"
      "<path d=\"M1 1L7 4L1 7\"/></marker></defs><rect class=\"paper\" width=\"{}\" "
      "height=\"{}\"/>",
      kPageWidth, height, kPageWidth, height, kSvgStyle, kPageWidth, height);
  svg += label_svg(kBoxLeft, 30, "start", "title", title) + "\n";
  for (std::size_t i = 0; i < steps.size(); ++i) {
    for (const std::size_t source : steps[i].sources)
      svg += edge_svg(source, i);
    svg += box_svg(i, steps[i]) + "\n";
  }
  return svg + "</svg>\n";
}

}  // namespace rtai::tools
