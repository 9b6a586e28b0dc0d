// The rtai program, run as a user runs it: what it says, how it ends, what it took.
#pragma once

#include "runtime/base/tensor_view.h"

#include <catch2/catch.hpp>
#include <fcntl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <string>
#include <vector>

namespace rtai::testing {

struct Outcome {
  int exit = -1;  // -1: ended by a signal
  int signal = 0;
  std::string errors;  // standard error
  Index peak_bytes = 0;
  double cpu_seconds = 0;
};

/// Runs RTAI_PROGRAM with `words`; standard output is dropped. `before` is called in the child.
template <class Before>
Outcome run_program(std::vector<std::string> words, Before before) {
  words.insert(words.begin(), RTAI_PROGRAM);
  std::vector<char*> arguments;
  for (std::string& word : words)
    arguments.push_back(word.data());
  arguments.push_back(nullptr);
  int ends[2];
  REQUIRE(::pipe2(ends, O_CLOEXEC) == 0);
  const pid_t child = ::fork();
  if (child == 0) {
    const int nowhere = ::open("/dev/null", O_RDWR);
    ::dup2(nowhere, STDIN_FILENO);
    ::dup2(nowhere, STDOUT_FILENO);
    ::dup2(ends[1], STDERR_FILENO);
    before();
    ::execv(RTAI_PROGRAM, arguments.data());
    ::_exit(126);
  }
  REQUIRE(child > 0);
  ::close(ends[1]);
  Outcome outcome;
  char buffer[4096];
  for (ssize_t count = 0; (count = ::read(ends[0], buffer, sizeof buffer)) > 0;)
    outcome.errors.append(buffer, static_cast<std::size_t>(count));
  ::close(ends[0]);
  int status = 0;
  struct rusage usage {};
  REQUIRE(::wait4(child, &status, 0, &usage) == child);
  if (WIFEXITED(status)) outcome.exit = WEXITSTATUS(status);
  if (WIFSIGNALED(status)) outcome.signal = WTERMSIG(status);
  outcome.peak_bytes = Index{usage.ru_maxrss} * 1024;
  const auto seconds = [](const timeval& time) {
    return static_cast<double>(time.tv_sec) + static_cast<double>(time.tv_usec) * 1e-6;
  };
  outcome.cpu_seconds = seconds(usage.ru_utime) + seconds(usage.ru_stime);
  return outcome;
}

inline Outcome run_program(std::vector<std::string> words) {
  return run_program(std::move(words), [] {});
}

}  // namespace rtai::testing
