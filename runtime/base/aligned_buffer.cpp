#include "runtime/base/aligned_buffer.h"

#include <sys/mman.h>

#include <cstdint>
#include <string>

namespace rtai {
namespace {

constexpr std::size_t kHugePage = std::size_t{2} << 20;

}  // namespace

Result<AlignedBuffer> AlignedBuffer::make(std::size_t bytes) {
  if (bytes == 0) return AlignedBuffer();
  const Error out_of_memory{ErrorCode::device,
                            "out of memory: " + std::to_string(bytes) + " bytes wanted"};
  if (bytes > SIZE_MAX - 2 * kHugePage) return out_of_memory;
  // Mapped with room to spare, then cut to a huge-page boundary: mmap aligns to 4 KiB only.
  const std::size_t spare = bytes >= kHugePage ? kHugePage : 0;
  void* mapped =
      ::mmap(nullptr, bytes + spare, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (mapped == MAP_FAILED) return out_of_memory;
  auto* data = static_cast<std::byte*>(mapped);
  if (spare > 0) {
    const std::size_t head =
        (kHugePage - reinterpret_cast<std::uintptr_t>(data) % kHugePage) % kHugePage;
    if (head > 0) ::munmap(data, head);
    data += head;
    ::madvise(data, bytes, MADV_HUGEPAGE);
    constexpr std::size_t kPage = 4096;
    const std::size_t used = (bytes + kPage - 1) / kPage * kPage;
    const std::size_t left = (bytes + spare + kPage - 1) / kPage * kPage - head - used;
    if (left > 0) ::munmap(data + used, left);
  }
  return AlignedBuffer(data, bytes);
}

AlignedBuffer::~AlignedBuffer() {
  if (data_ != nullptr) ::munmap(data_, bytes_);
}

}  // namespace rtai
