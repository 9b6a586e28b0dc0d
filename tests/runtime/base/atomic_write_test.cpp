#include "runtime/base/atomic_write.h"

#include "tests/support/file.h"
#include "tests/support/temp_folder.h"

#include <catch2/catch.hpp>
#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <fstream>
#include <thread>

namespace rtai {
namespace {

namespace fs = std::filesystem;
using Names = std::vector<std::string>;

TEST_CASE("a file is written, and written again, with nothing beside it") {
  const testing::TempFolder folder;
  // As long as a name may be: temporary names do not grow with it.
  const fs::path path = folder / std::string(255, 'n');
  const mode_t mask = ::umask(027);
  REQUIRE(write_file_atomically(path, "old"));
  ::umask(mask);
  CHECK(testing::text_of(path) == "old");
  CHECK(testing::mode_of(path) == 0640);
  REQUIRE(write_file_atomically(path, "new and longer"));
  CHECK(testing::text_of(path) == "new and longer");
  CHECK(folder.names() == Names{std::string(255, 'n')});
}

TEST_CASE("a file that cannot be written leaves all as it was") {
  const testing::TempFolder folder;
  fs::create_directory(folder / "folder");
  const auto missing = write_file_atomically(folder / "nowhere/file", "text");
  REQUIRE_FALSE(missing);
  CHECK(missing.error().code() == ErrorCode::io);
  CHECK(missing.error().message() ==
        (folder / "nowhere/file").string() + ": cannot be written: No such file or directory");
  CHECK_FALSE(write_file_atomically(folder / "folder", "text"));
  CHECK(folder.names() == Names{"folder"});
}

TEST_CASE("threads that replace files of one folder get each their own") {
  const testing::TempFolder folder;
  const auto replace = [&folder](const std::string& name) {
    for (int i = 0; i < 300; ++i) {
      if (!write_file_atomically(folder / name, name)) return;
    }
    static_cast<void>(write_file_atomically(folder / (name + " done"), name));
  };
  std::thread other(replace, "other");
  replace("mine");
  other.join();
  CHECK(folder.names() == Names{"mine", "mine done", "other", "other done"});
  for (const std::string name : {"mine", "other"})
    CHECK(testing::text_of(folder / name) == name);
}

TEST_CASE("links are followed") {
  const testing::TempFolder folder;
  REQUIRE(write_file_atomically(folder / "target", "old"));
  fs::create_symlink("target", folder / "link");
  REQUIRE(write_file_atomically(folder / "link", "new"));
  CHECK(fs::is_symlink(folder / "link"));
  CHECK(testing::text_of(folder / "target") == "new");
}

TEST_CASE("what a killed process has left is removed, what another one writes is not") {
  const testing::TempFolder folder;
  for (const char* name : {".rtai-part.1.0", ".rtai-part.1.1"})
    std::ofstream(folder / name) << "half";
  fs::create_directory(folder / ".rtai-part.2.0");
  std::ofstream(folder / ".rtai-part.2.0/model.onnx") << "half";
  fs::create_directory(folder / ".rtai-part.2.1");
  std::ofstream(folder / ".rtai-part.2.1/model.onnx") << "half";
  std::ofstream(folder / ".hidden") << "mine";
  const int file = ::open((folder / ".rtai-part.1.1").c_str(), O_RDONLY | O_CLOEXEC);
  const int inner = ::open((folder / ".rtai-part.2.1").c_str(), O_RDONLY | O_CLOEXEC);
  REQUIRE(::flock(file, LOCK_EX) == 0);
  REQUIRE(::flock(inner, LOCK_EX) == 0);

  REQUIRE(write_file_atomically(folder / "file", "text"));
  CHECK(folder.names() == Names{".hidden", ".rtai-part.1.1", ".rtai-part.2.1", "file"});
  ::close(file);
  ::close(inner);
  REQUIRE(write_file_atomically(folder / "file", "text"));
  CHECK(folder.names() == Names{".hidden", "file"});
}

TEST_CASE("a folder appears when it is full") {
  const testing::TempFolder folder;
  REQUIRE(write_folder_atomically(folder / "new", [&](const fs::path& staging) -> Result<void> {
    CHECK_FALSE(fs::exists(folder / "new"));
    RTAI_TRY_VOID(write_file_atomically(staging / "a", "first"));
    return write_file_atomically(staging / "b", "second");
  }));
  CHECK(folder.names() == Names{"new"});
  CHECK(testing::text_of(folder / "new/b") == "second");
}

TEST_CASE("a folder that cannot be filled, or is interrupted, is gone") {
  const testing::TempFolder folder;
  const auto failed = write_folder_atomically(folder / "new", [](const fs::path& staging) {
    CHECK(write_file_atomically(staging / "a", "first"));
    return Result<void>(Error{ErrorCode::io, "no more"});
  });
  REQUIRE_FALSE(failed);
  CHECK(failed.error().message() == "no more");
  CHECK(folder.names().empty());

  const auto interrupted = write_folder_atomically(folder / "new", [](const fs::path& staging) {
    CHECK(write_file_atomically(staging / "a", "first"));
    discard_unfinished_writes();  // as the handler of a signal does
    CHECK_FALSE(fs::exists(staging));
    return Result<void>();
  });
  CHECK_FALSE(interrupted);
  CHECK(folder.names().empty());
}

}  // namespace
}  // namespace rtai
