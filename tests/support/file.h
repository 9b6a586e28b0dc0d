// What lies in a file, and who may read it.
#pragma once

#include "runtime/base/mapped_file.h"

#include <catch2/catch.hpp>
#include <sys/stat.h>

#include <string>

namespace rtai::testing {

/// Ends the test if there is no such file.
inline std::string text_of(const std::filesystem::path& path) {
  const auto file = MappedFile::open(path);
  REQUIRE(file);
  return std::string(file->text());
}

inline mode_t mode_of(const std::filesystem::path& path) {
  struct stat status {};
  REQUIRE(::stat(path.c_str(), &status) == 0);
  return status.st_mode & 0777;
}

}  // namespace rtai::testing
