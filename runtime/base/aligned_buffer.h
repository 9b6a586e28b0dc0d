// Memory for weights and activations: aligned, zeroed, in huge pages where the system has them.
#pragma once

#include "runtime/base/result.h"

#include <cstddef>
#include <span>
#include <utility>

namespace rtai {

/// 64-byte aligned (2 MiB for large buffers), all zeros when made.
class AlignedBuffer {
 public:
  AlignedBuffer() = default;
  /// Errors: device if there is not enough memory.
  static Result<AlignedBuffer> make(std::size_t bytes);

  AlignedBuffer(AlignedBuffer&& other) noexcept
      : data_(std::exchange(other.data_, nullptr)), bytes_(std::exchange(other.bytes_, 0)) {}
  AlignedBuffer& operator=(AlignedBuffer&& other) noexcept {
    std::swap(data_, other.data_);
    std::swap(bytes_, other.bytes_);
    return *this;
  }
  AlignedBuffer(const AlignedBuffer&) = delete;
  AlignedBuffer& operator=(const AlignedBuffer&) = delete;
  ~AlignedBuffer();

  std::byte* data() const { return data_; }
  std::size_t size() const { return bytes_; }
  std::span<std::byte> span() const { return {data_, bytes_}; }

 private:
  AlignedBuffer(std::byte* data, std::size_t bytes) : data_(data), bytes_(bytes) {}

  std::byte* data_ = nullptr;
  std::size_t bytes_ = 0;
};

}  // namespace rtai
