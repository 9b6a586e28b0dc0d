// What keeps a model from being understood, place by place.
#pragma once

#include <string>

namespace rtai::ir {

/// A node that rtai cannot do anything with.
struct Obstacle {
  std::string node;    // its name in the source model, or that of its first output
  std::string op;      // "TopK", "com.microsoft.BeamSearch"
  std::string reason;  // without the node's name

  friend bool operator==(const Obstacle&, const Obstacle&) = default;
};

}  // namespace rtai::ir
