// An engine that another program cuts short while rtai has it mapped: rtai says so and ends.
#include "tests/support/program.h"
#include "tests/support/small_engines.h"
#include "tests/support/temp_folder.h"

#include <sys/stat.h>

#include <csignal>
#include <fstream>
#include <thread>

namespace rtai::testing {
namespace {

TEST_CASE("a mapped engine that is cut short ends the program with a message, not a signal") {
  const TempFolder folder;
  const auto path = folder / "model.rtai";
  const auto texts = folder / "texts";  // FIFOs: standard input and output of the program
  const auto answers = folder / "answers";
  const std::vector<std::byte> file = small_engine_file(
      make_model({.layers = 1, .hidden = 64, .heads = 4, .ffn = 64, .labels = 2}));
  std::ofstream(path, std::ios::binary)
      .write(reinterpret_cast<const char*>(file.data()), std::ssize(file));
  REQUIRE(::mkfifo(texts.c_str(), 0600) == 0);
  REQUIRE(::mkfifo(answers.c_str(), 0600) == 0);
  std::thread cutter([&] {
    std::ofstream lines(texts);
    std::ifstream replies(answers);
    lines << "a" << std::endl;
    std::string reply;
    std::getline(replies, reply);  // the engine is open, and has answered
    (void)!::truncate(path.c_str(), 4096);
    lines << "a" << std::endl;
  });
  const Outcome outcome = run_program({"run", path.string(), "--threads", "1"}, [&] {
    ::dup2(::open(texts.c_str(), O_RDONLY), STDIN_FILENO);
    ::dup2(::open(answers.c_str(), O_WRONLY), STDOUT_FILENO);
  });
  cutter.join();
  INFO(outcome.errors);
  CHECK(outcome.signal == 0);
  CHECK(outcome.exit == 5);
  CHECK(outcome.errors ==
        "rtai: a file was cut short by another program while rtai was reading it\n");
}

}  // namespace
}  // namespace rtai::testing
