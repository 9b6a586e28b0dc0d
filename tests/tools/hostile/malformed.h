// Files that are wrong in one way each, and what the program must say of them.
#pragma once

#include "tests/support/program.h"

#include <algorithm>
#include <fstream>
#include <iterator>
#include <string>
#include <vector>

namespace rtai::testing {

template <class Bytes>
struct Malformed {
  std::string name;
  Bytes bytes;
  int exit;
  std::string message;  // a part of it, which names the place
};

template <class Bytes>
void write_bytes(const std::string& path, const Bytes& bytes) {
  std::ofstream(path, std::ios::binary)
      .write(reinterpret_cast<const char*>(std::data(bytes)), std::ssize(bytes));
}

/// Runs `rtai COMMAND path` on each of `kinds`: refused in one line, as the kind says.
template <class Bytes>
void check_refused(const std::vector<Malformed<Bytes>>& kinds,
                   const std::string& command,
                   const std::string& path) {
  for (const Malformed<Bytes>& kind : kinds) {
    write_bytes(path, kind.bytes);
    const Outcome outcome = run_program({command, path});
    INFO(kind.name << ": " << outcome.errors);
    CHECK(outcome.exit == kind.exit);
    CHECK(outcome.errors.starts_with("rtai: " + path + ": "));
    CHECK(std::count(outcome.errors.begin(), outcome.errors.end(), '\n') == 1);
    CHECK(outcome.errors.find(kind.message) != std::string::npos);
  }
  WARN(kinds.size() << " kinds");
}

}  // namespace rtai::testing
