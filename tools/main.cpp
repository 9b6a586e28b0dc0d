// rtai: makes BERT-class models answer in milliseconds.
#include "runtime/base/atomic_write.h"
#include "tools/cli.h"
#include "tools/memory_reserve.h"
#include "tools/program.h"

#include <malloc.h>
#include <sys/resource.h>
#include <unistd.h>

#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <new>
#include <string_view>
#include <system_error>

namespace rtai::tools {
namespace {

void on_interrupt(int signal) {
  discard_unfinished_writes();
  ::_exit(128 + signal);
}

/// Another program has cut off pages of a file that is mapped here. What was read is gone, so there
/// is nothing to go on with; writers that replace a file by renaming do not cause this.
void on_lost_pages(int) {
  discard_unfinished_writes();
  constexpr std::string_view kMessage =
      "rtai: a file was cut short by another program while rtai was reading it\n";
  const ssize_t written = ::write(STDERR_FILENO, kMessage.data(), kMessage.size());
  ::_exit(written < 0 ? 1 : exit_code(ErrorCode::corrupt));
}

constexpr const char* kOutOfMemory = "rtai: out of memory\n";  // said without needing any

/// Where no exception gets past. JSON values need memory to be destroyed, and have none while one
/// tells of that.
[[noreturn]] void on_terminate() {
  discard_unfinished_writes();
  try {
    if (std::current_exception()) throw;
  } catch (const std::bad_alloc&) {
    std::fputs(kOutOfMemory, stderr);
    ::_exit(exit_code(ErrorCode::device));
  } catch (const std::exception& error) {
    std::fprintf(stderr, "rtai: %s\n", error.what());
  }
  std::abort();
}

}  // namespace
}  // namespace rtai::tools

int main(int argc, char** argv) {
#ifdef __GLIBC__
  // Weights that were freed go back to the system at once: by default glibc keeps blocks below 32
  // MiB after it has seen such a one freed, and a model's weights are that small.
  ::mallopt(M_MMAP_THRESHOLD, 1 << 20);
#endif
  const rlimit no_core = {0, 0};  // it would hold texts
  ::setrlimit(RLIMIT_CORE, &no_core);
  std::set_terminate(&rtai::tools::on_terminate);
  rtai::tools::hold_memory_reserve();
  std::signal(SIGINT, &rtai::tools::on_interrupt);
  std::signal(SIGTERM, &rtai::tools::on_interrupt);
  std::signal(SIGPIPE, SIG_IGN);
  std::signal(SIGBUS, &rtai::tools::on_lost_pages);
  try {
    return rtai::tools::run_program(argc, argv);
  } catch (const std::bad_alloc&) {
    std::fputs(rtai::tools::kOutOfMemory, stderr);
    return rtai::tools::exit_code(rtai::ErrorCode::device);
  } catch (const std::system_error& error) {
    const bool is_thread = error.code() == std::errc::resource_unavailable_try_again;
    return rtai::tools::report(
        is_thread ? rtai::Error{rtai::ErrorCode::device, "the system gives no more threads"}
                  : rtai::Error{rtai::ErrorCode::internal, error.what()});
  } catch (const std::exception& error) {
    return rtai::tools::report({rtai::ErrorCode::internal, error.what()});
  }
}
