// Reading files: the model itself, and data beside it that the model names.
#pragma once

#include "runtime/base/dtype.h"
#include "runtime/base/result.h"

#include <filesystem>
#include <span>
#include <string>

namespace rtai::onnx_io {

/// An open regular file.
class InputFile {
 public:
  /// Errors: not_found; invalid_input if it is not a regular file; io.
  static Result<InputFile> open(const std::filesystem::path& path);

  /// A file below the folder of `model` that the model names: `location` is a relative path without
  /// "..", and neither it nor its folders may be symbolic links. One exception is how Hugging Face
  /// stores models: a link beside the model whose target lies in the folder of the model's own
  /// target.
  ///
  /// Errors: invalid_input naming the location and what is wrong with it; not_found; io.
  /// Source: the history of CVE-2022-25882, CVE-2024-27318 and CVE-2026-34447, which tests on the
  /// text of a path let through.
  static Result<InputFile> open_beside(const std::filesystem::path& model,
                                       const std::string& location,
                                       bool allow_hardlinks);

  InputFile(InputFile&& other) noexcept;
  InputFile& operator=(InputFile&& other) noexcept;
  InputFile(const InputFile&) = delete;
  InputFile& operator=(const InputFile&) = delete;
  ~InputFile();

  Index size() const { return size_; }  // bytes
  /// Fills `bytes` from `offset` on. Errors: io, also if the file ends before.
  Result<void> read(Index offset, std::span<std::byte> bytes) const;

 private:
  explicit InputFile(int descriptor) : descriptor_(descriptor) {}
  static Result<InputFile> checked(InputFile file);

  int descriptor_ = -1;
  Index size_ = 0;
};

}  // namespace rtai::onnx_io
