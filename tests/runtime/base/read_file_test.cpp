#include "runtime/base/read_file.h"

#include "tests/support/temp_folder.h"

#include <catch2/catch.hpp>
#include <sys/stat.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <string>

namespace rtai {
namespace {

std::string bytes_that_differ(std::size_t count) {
  std::string bytes(count, '\0');
  for (std::size_t i = 0; i < count; ++i)
    bytes[i] = static_cast<char>(i * 2654435761u >> 13);
  return bytes;
}

TEST_CASE("a file is read whole, in one piece or in several") {
  const testing::TempFolder folder;
  const std::filesystem::path path = folder.path() / "file";
  for (const std::size_t size : {std::size_t{0}, std::size_t{1}, std::size_t{4097},
                                 std::size_t{4} << 20, (std::size_t{9} << 20) + 5}) {
    const std::string bytes = bytes_that_differ(size);
    std::ofstream(path, std::ios::binary) << bytes;
    const Result<AlignedBuffer> read = read_file(path);
    INFO(size << " bytes");
    REQUIRE(read);
    REQUIRE(read->size() == size);
    CHECK(std::equal(bytes.begin(), bytes.end(), reinterpret_cast<const char*>(read->data())));
  }
}

TEST_CASE("what is read stays as it was when the file becomes another") {
  const testing::TempFolder folder;
  const std::filesystem::path path = folder.path() / "file";
  const std::string bytes = bytes_that_differ(1 << 20);
  std::ofstream(path, std::ios::binary) << bytes;
  const Result<AlignedBuffer> read = read_file(path);
  REQUIRE(read);
  std::filesystem::resize_file(path, 1);
  CHECK(std::equal(bytes.begin(), bytes.end(), reinterpret_cast<const char*>(read->data())));
}

TEST_CASE("what cannot be read is said so") {
  const testing::TempFolder folder;
  const Result<AlignedBuffer> absent = read_file(folder.path() / "nothing");
  REQUIRE_FALSE(absent);
  CHECK(absent.error().code() == ErrorCode::not_found);
  const Result<AlignedBuffer> directory = read_file(folder.path());
  REQUIRE_FALSE(directory);
  CHECK(directory.error().code() == ErrorCode::invalid_input);
  const std::filesystem::path fifo = folder.path() / "fifo";
  REQUIRE(::mkfifo(fifo.c_str(), 0600) == 0);
  const Result<AlignedBuffer> pipe = read_file(fifo);
  REQUIRE_FALSE(pipe);
  CHECK(pipe.error().code() == ErrorCode::invalid_input);
}

}  // namespace
}  // namespace rtai
