#pragma once

#include <cstddef>

namespace rtai::cuda {

/// How many blocks of how many threads run a kernel.
struct LaunchShape {
  int blocks = 1;
  int threads = 128;  // of a block, a multiple of 32
  std::size_t shared_bytes = 0;
  int team = 1;              // consecutive blocks that wait for each other
  bool follows_grid = true;  // of the same stream; false: a copy or nothing
};

}  // namespace rtai::cuda
