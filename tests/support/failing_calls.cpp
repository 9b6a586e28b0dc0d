// Preloaded into a program under test: fails a chosen call of those that ask the system for memory
// or a thread. Only what happens while main() runs counts.
//
// The environment variable RTAI_FAILING_CALLS names a file of four 64-bit numbers, which the test
// may read and write at any time; see Control.
#include <dlfcn.h>
#include <fcntl.h>
#include <pthread.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstdint>
#include <cstdlib>

// glibc's allocator under the names that nobody replaces.
extern "C" void* __libc_malloc(std::size_t);
extern "C" void* __libc_calloc(std::size_t, std::size_t);
extern "C" void* __libc_realloc(void*, std::size_t);
extern "C" void* __libc_memalign(std::size_t, std::size_t);

namespace {

struct Control {
  std::atomic<std::int64_t> until;   // calls until one fails; 0: none does
  std::atomic<std::int64_t> more;    // how many fail after it, in a row
  std::atomic<std::int64_t> calls;   // until now
  std::atomic<std::int64_t> failed;  // of them
};

Control no_control{};
Control* control = &no_control;
std::atomic<bool> is_running{false};

bool fails() {
  if (!is_running) return false;
  ++control->calls;
  if (control->until <= 0 || --control->until != 0) return false;
  if (control->more > 0) {
    --control->more;
    control->until = 1;
  }
  ++control->failed;
  errno = ENOMEM;
  return true;
}

using Main = int(int, char**, char**);
Main* real_main = nullptr;

int counted_main(int count, char** words, char** environment) {
  is_running = true;
  const int status = real_main(count, words, environment);
  is_running = false;
  return status;
}

template <class Function>
Function* next(const char* name) {
  return reinterpret_cast<Function*>(::dlsym(RTLD_NEXT, name));
}

}  // namespace

extern "C" {

void* malloc(std::size_t size) noexcept {
  return fails() ? nullptr : __libc_malloc(size);
}
void* calloc(std::size_t count, std::size_t size) noexcept {
  return fails() ? nullptr : __libc_calloc(count, size);
}
void* realloc(void* memory, std::size_t size) noexcept {
  return size > 0 && fails() ? nullptr : __libc_realloc(memory, size);
}
void* aligned_alloc(std::size_t alignment, std::size_t size) noexcept {
  return fails() ? nullptr : __libc_memalign(alignment, size);
}
int posix_memalign(void** memory, std::size_t alignment, std::size_t size) noexcept {
  *memory = fails() ? nullptr : __libc_memalign(alignment, size);
  return *memory == nullptr ? ENOMEM : 0;
}
void* mmap(void* place, std::size_t size, int access, int flags, int file, off_t begin) noexcept {
  if (fails()) return MAP_FAILED;
  return reinterpret_cast<void*>(::syscall(SYS_mmap, place, size, access, flags, file, begin));
}
int pthread_create(pthread_t* thread,
                   const pthread_attr_t* attributes,
                   void* (*work)(void*),
                   void* data) noexcept {
  static auto* const real = next<decltype(pthread_create)>("pthread_create");
  return fails() ? EAGAIN : real(thread, attributes, work, data);
}

int __libc_start_main(Main* main,
                      int count,
                      char** words,
                      void (*begin)(),
                      void (*end)(),
                      void (*unload)(),
                      void* stack) {
  const char* path = std::getenv("RTAI_FAILING_CALLS");
  const int file = path == nullptr ? -1 : ::open(path, O_RDWR | O_CLOEXEC);
  if (file >= 0) {
    void* shared = ::mmap(nullptr, sizeof(Control), PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    if (shared != MAP_FAILED) control = static_cast<Control*>(shared);
    ::close(file);
  }
  real_main = main;
  return next<decltype(__libc_start_main)>("__libc_start_main")(&counted_main, count, words, begin,
                                                                end, unload, stack);
}

}  // extern "C"
