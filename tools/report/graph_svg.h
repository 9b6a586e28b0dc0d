// A program as a picture: its steps from top to bottom, with shapes and precision.
#pragma once

#include <cstddef>
#include <span>
#include <string>
#include <vector>

namespace rtai::tools {

struct DrawnStep {
  std::string name;                       // may be empty
  std::string op;                         // "linear"
  std::string shape;                      // "128 -> 384"
  std::string precision;                  // "i8 dynamic"; what begins with i8 is coloured
  std::vector<std::size_t> sources = {};  // earlier steps whose results it reads
};

/// A stand-alone SVG file with its own colours, for light and dark.
std::string graph_svg(const std::string& title, std::span<const DrawnStep> steps);

}  // namespace rtai::tools
