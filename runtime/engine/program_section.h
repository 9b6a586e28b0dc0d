// The program as the bytes of its section in an engine file.
#pragma once

#include "runtime/engine/program.h"

#include <cstddef>
#include <vector>

namespace rtai::engine {

/// Little-endian, in the order of docs/engine-format.md. Whatever the program is: serialize() is
/// what verifies it.
std::vector<std::byte> write_program(const Program& program);

}  // namespace rtai::engine
